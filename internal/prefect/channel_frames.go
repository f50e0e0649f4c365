package prefect

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// The frames of the worker channel (Prefect 3.8: client/schemas/worker_channel.py).
// Prefect refuses a frame with a field that it does not know, so what is sent has
// those fields alone.
const (
	channelVersion = "work_pool_worker_channel.v1"

	frameHello     = "worker.hello.v1"
	frameReady     = "worker.ready.v1"
	frameHeartbeat = "worker.heartbeat.v1"
	frameSnapshot  = "work_pool.snapshot.v1"
	frameCleanup   = "cleanup.message.v1"
	frameResult    = "cleanup.operation_result.v1"

	capabilityHeartbeat = "worker_heartbeat.v1"
	capabilitySnapshot  = "work_pool_snapshot.v1"
	capabilityCleanup   = "cleanup_delivery.v1"

	// CancellingTimeout is the kind of cleanup that Prefect 3.8 asks for: a flow
	// run was Cancelling for too long and is Cancelled now; its infrastructure may
	// still be there.
	CancellingTimeout = "cancelling_timeout_teardown.v1"
)

// What a server can make of the time between two heartbeats and of a lease.
const (
	maxHeartbeatSeconds = 24 * 60 * 60
	maxLease            = time.Hour
)

type helloPayload struct {
	ConsumerID       string          `json:"consumer_id"`
	WorkerName       string          `json:"worker_name"`
	WorkerType       string          `json:"worker_type"`
	HeartbeatSeconds int             `json:"heartbeat_interval_seconds"`
	Versions         []string        `json:"supported_channel_versions"`
	Capabilities     []string        `json:"requested_capabilities"`
	WorkQueues       []string        `json:"work_queue_names"`
	CleanupKinds     []string        `json:"handled_cleanup_kinds"`
	CleanupLimit     int             `json:"max_cleanup_concurrency"`
	CreatePool       bool            `json:"create_pool_if_not_found"`
	Template         json.RawMessage `json:"default_base_job_template"`
	Metadata         json.RawMessage `json:"worker_metadata"`
}

type heartbeatPayload struct {
	ConsumerID       string `json:"consumer_id"`
	WorkerName       string `json:"worker_name"`
	HeartbeatSeconds int    `json:"heartbeat_interval_seconds"`
}

// operationPayload is that of cleanup.ack.v1, cleanup.renew.v1 and
// cleanup.release.v1. Only the last has a reason, and must have one.
type operationPayload struct {
	MessageID string `json:"message_id"`
	Token     string `json:"reservation_token"`
	Reason    string `json:"reason,omitempty"`
}

// channelFrame encodes a frame and returns its id.
func channelFrame(kind string, now time.Time, payload any) (id string, data []byte, err error) {
	unique, err := uuid.NewV7()
	if err != nil {
		return "", nil, err
	}
	data, err = encode(struct {
		Type    string    `json:"type"`
		ID      string    `json:"id"`
		SentAt  time.Time `json:"sent_at"`
		Payload any       `json:"payload"`
	}{kind, unique.String(), now.UTC(), payload})
	return unique.String(), data, err
}

// receivedFrame is a frame of the server; the payload of its type is set, of an
// unknown type none.
type receivedFrame struct {
	Type   string
	SentAt time.Time

	Ready    *readyPayload
	Snapshot *snapshotPayload
	Cleanup  *cleanupPayload
	Result   *resultPayload
}

type readyPayload struct {
	ConsumerID       string   `json:"consumer_id"`
	WorkerID         string   `json:"worker_id"`
	Version          string   `json:"selected_channel_version"`
	HeartbeatSeconds int      `json:"effective_heartbeat_interval_seconds"`
	Accepted         []string `json:"accepted_capabilities"`
	CleanupLimit     int      `json:"effective_max_cleanup_concurrency"`
	WorkQueues       []struct {
		Name string `json:"name"`
	} `json:"resolved_work_queues"`
	Initial snapshotPayload `json:"initial_snapshot"`
}

type snapshotPayload struct {
	Sequence int64    `json:"snapshot_sequence"`
	Reason   string   `json:"reason"`
	Pool     WorkPool `json:"work_pool"`
}

type cleanupPayload struct {
	MessageID   string    `json:"message_id"`
	Kind        string    `json:"kind"`
	Token       string    `json:"reservation_token"`
	LeaseEnds   time.Time `json:"lease_expires_at"` // by the server's clock
	Deliveries  int       `json:"delivery_count"`
	WorkQueueID string    `json:"work_queue_id"`
	Target      struct {
		FlowRunID         string `json:"flow_run_id"`
		InfrastructurePID string `json:"infrastructure_pid"`
	} `json:"target"`
}

type resultPayload struct {
	RequestID string    `json:"request_frame_id"`
	Operation string    `json:"operation"` // ack, release, renew
	Status    string    `json:"status"`
	LeaseEnds time.Time `json:"lease_expires_at"` // of an accepted renewal, by the server's clock
	Reason    string    `json:"reason"`
}

// parseChannelFrame reads a frame of the server. Unknown types and fields pass; a
// known frame that lacks what the protocol promises is an error.
func parseChannelFrame(data []byte) (receivedFrame, error) {
	var envelope struct {
		Type    string          `json:"type"`
		SentAt  json.RawMessage `json:"sent_at"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := decode(data, &envelope); err != nil {
		return receivedFrame{}, err
	}
	f := receivedFrame{Type: envelope.Type}
	var payload interface{ check() error }
	switch f.Type {
	case frameReady:
		f.Ready = new(readyPayload)
		payload = f.Ready
	case frameSnapshot:
		f.Snapshot = new(snapshotPayload)
		payload = f.Snapshot
	case frameCleanup:
		f.Cleanup = new(cleanupPayload)
		payload = f.Cleanup
	case frameResult:
		f.Result = new(resultPayload)
		payload = f.Result
	default:
		return f, nil
	}
	err := cmp.Or(decode(envelope.SentAt, &f.SentAt), decode(envelope.Payload, payload))
	if err == nil {
		err = payload.check()
	}
	if err != nil {
		return receivedFrame{}, fmt.Errorf("%s: %w", f.Type, err)
	}
	return f, nil
}

// lease is how long a reservation lasts from the frame on: the clock of the
// server may differ from ours, so the two times are its own.
func (f receivedFrame) lease(ends time.Time) time.Duration {
	return min(max(ends.Sub(f.SentAt), 0), maxLease)
}

func (p *readyPayload) check() error {
	switch {
	case p.Version != channelVersion:
		return fmt.Errorf("the version is %q, not %s", clip(p.Version), channelVersion)
	case p.HeartbeatSeconds < 1 || p.HeartbeatSeconds > maxHeartbeatSeconds:
		return fmt.Errorf("a heartbeat each %d s is out of range", p.HeartbeatSeconds)
	case !slices.Contains(p.Accepted, capabilityHeartbeat) || !slices.Contains(p.Accepted, capabilitySnapshot):
		return errors.New("heartbeats or snapshots were not accepted")
	case slices.Contains(p.Accepted, capabilityCleanup) != (p.CleanupLimit > 0):
		return fmt.Errorf("a limit of %d cleanups does not fit what was accepted", p.CleanupLimit)
	case p.Initial.Sequence != 1 || p.Initial.Reason != "initial":
		return errors.New("the first snapshot is not the initial one")
	}
	return p.Initial.check()
}

func (p *snapshotPayload) check() error {
	var template map[string]json.RawMessage
	if json.Unmarshal(p.Pool.BaseJobTemplate, &template) != nil || template == nil {
		return errors.New("a work pool without a base job template")
	}
	if p.Sequence < 1 || p.Pool.ID == "" || p.Pool.Name == "" {
		return errors.New("a snapshot without sequence, or a work pool without id or name")
	}
	return nil
}

func (p *cleanupPayload) check() error {
	if p.MessageID == "" || p.Token == "" || p.LeaseEnds.IsZero() {
		return errors.New("a cleanup without id, reservation or end of its lease")
	}
	return nil
}

func (p *resultPayload) check() error {
	switch {
	case p.RequestID == "" || p.Status == "":
		return errors.New("a result without status, or of no request")
	case p.accepted() && p.Operation == opRenew && p.LeaseEnds.IsZero():
		return errors.New("a renewed lease without an end")
	}
	return nil
}
