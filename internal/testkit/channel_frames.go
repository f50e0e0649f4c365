package testkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	channelVersion    = "work_pool_worker_channel.v1"
	capabilityCleanup = "cleanup_delivery.v1"
)

var (
	requiredCapabilities = []string{"worker_heartbeat.v1", "work_pool_snapshot.v1"}
	cleanupKinds         = []string{CancellingTimeout, "pending_claim_teardown.v1"}
)

// workerFrame is a frame of a worker; its payload is one of those below.
type workerFrame struct {
	kind, id string
	payload  any
}

type helloPayload struct {
	ConsumerID       string          `json:"consumer_id"`
	WorkerName       string          `json:"worker_name"`
	WorkerType       string          `json:"worker_type"`
	HeartbeatSeconds int             `json:"heartbeat_interval_seconds"`
	Versions         []string        `json:"supported_channel_versions"`
	Capabilities     []string        `json:"requested_capabilities"`
	WorkQueues       []string        `json:"work_queue_names"`
	CleanupKinds     []string        `json:"handled_cleanup_kinds"`
	CleanupLimit     *int            `json:"max_cleanup_concurrency"`
	CreatePool       bool            `json:"create_pool_if_not_found"`
	Template         json.RawMessage `json:"default_base_job_template"`
	Metadata         map[string]any  `json:"worker_metadata"`
}

type heartbeatPayload struct {
	ConsumerID       string `json:"consumer_id"`
	WorkerName       string `json:"worker_name"`
	HeartbeatSeconds int    `json:"heartbeat_interval_seconds"`
}

type operationPayload struct {
	MessageID string  `json:"message_id"`
	Token     string  `json:"reservation_token"`
	Reason    *string `json:"reason"` // of a release, and only there
}

// parseWorkerFrame reads a frame as strictly as the server.
func parseWorkerFrame(data []byte) (workerFrame, error) {
	var frame struct {
		Type    string          `json:"type"`
		ID      string          `json:"id"`
		SentAt  time.Time       `json:"sent_at"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := decodeStrictly(data, &frame); err != nil {
		return workerFrame{}, err
	}
	f := workerFrame{kind: frame.Type, id: frame.ID}
	var payload interface{ valid(kind string) bool }
	switch f.kind {
	case "worker.hello.v1":
		payload = new(helloPayload)
	case "worker.heartbeat.v1":
		payload = new(heartbeatPayload)
	case "cleanup.ack.v1", "cleanup.release.v1", "cleanup.renew.v1":
		payload = new(operationPayload)
	default:
		return f, errFrame
	}
	if err := decodeStrictly(frame.Payload, payload); err != nil {
		return f, err
	}
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(frame.Payload, &fields)
	for name, value := range fields {
		if string(value) == "null" && name != "worker_metadata" { // the one field that may be
			return f, errFrame
		}
	}
	f.payload = payload
	if !isUUID(f.id) || frame.SentAt.IsZero() || !payload.valid(f.kind) {
		return f, errFrame
	}
	return f, nil
}

var errFrame = errors.New("not a frame of a worker")

func decodeStrictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func isUUID(text string) bool {
	_, err := uuid.Parse(text)
	return err == nil
}

func (h *helloPayload) valid(string) bool {
	for _, names := range [][]string{h.Versions, h.Capabilities, h.WorkQueues} {
		if slices.Contains(names, "") {
			return false
		}
	}
	for _, c := range requiredCapabilities {
		if !slices.Contains(h.Capabilities, c) {
			return false
		}
	}
	var template map[string]json.RawMessage
	if len(h.Template) > 0 && json.Unmarshal(h.Template, &template) != nil {
		return false
	}
	for _, kind := range h.CleanupKinds {
		if !slices.Contains(cleanupKinds, kind) {
			return false
		}
	}
	asks := slices.Contains(h.Capabilities, capabilityCleanup)
	limit := h.CleanupLimit
	if limit == nil {
		limit = new(int)
		if asks && len(h.CleanupKinds) > 0 {
			*limit = 1
		}
		h.CleanupLimit = limit
	}
	return isUUID(h.ConsumerID) && h.WorkerName != "" && h.WorkerType != "" && h.HeartbeatSeconds > 0 && len(h.Versions) > 0 &&
		*limit >= 0 && (asks || len(h.CleanupKinds) == 0 && *limit == 0)
}

// wantsCleanups: the capability alone is not enough.
func (h *helloPayload) wantsCleanups() bool {
	return slices.Contains(h.Capabilities, capabilityCleanup) && len(h.CleanupKinds) > 0 && *h.CleanupLimit > 0
}

func (h *heartbeatPayload) valid(string) bool {
	return isUUID(h.ConsumerID) && h.WorkerName != "" && h.HeartbeatSeconds > 0
}

func (o *operationPayload) valid(kind string) bool {
	released := kind == "cleanup.release.v1"
	return isUUID(o.MessageID) && o.Token != "" && (o.Reason != nil) == released && (!released || *o.Reason != "")
}

// serverFrame is a frame as the server sends it.
func (p *Prefect) serverFrame(kind string, payload any) []byte {
	return raw(map[string]any{"type": kind, "id": p.newID(), "sent_at": now(), "payload": payload})
}

func (p *Prefect) readyFrame(ch *channel, queues []*queue) []byte {
	h := ch.hello
	accepted, limit := slices.Clone(requiredCapabilities), 0
	if h.wantsCleanups() {
		accepted, limit = append(accepted, capabilityCleanup), *h.CleanupLimit
	}
	rejected := []string{}
	for _, c := range h.Capabilities {
		if !slices.Contains(accepted, c) && !slices.Contains(rejected, c) {
			rejected = append(rejected, c)
		}
	}
	resolved := []any{}
	for _, q := range queues {
		resolved = append(resolved, map[string]any{"id": q.id, "name": q.name})
	}
	return p.serverFrame("worker.ready.v1", map[string]any{
		"consumer_id": strings.ToLower(h.ConsumerID), "worker_id": nil, "selected_channel_version": channelVersion,
		"effective_heartbeat_interval_seconds": h.HeartbeatSeconds, "accepted_capabilities": accepted, "rejected_capabilities": rejected,
		"effective_max_cleanup_concurrency": limit, "resolved_work_queues": resolved, "initial_snapshot": p.snapshot(ch, "initial"),
	})
}

// snapshotFrame returns the next snapshot for a worker; nil when there is no pool
// any more.
func (p *Prefect) snapshotFrame(ch *channel, reason string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pools[ch.pool.name] != ch.pool {
		return nil
	}
	ch.sent++
	ch.told = ch.pool.updated
	return p.serverFrame("work_pool.snapshot.v1", p.snapshot(ch, reason))
}

func (p *Prefect) snapshot(ch *channel, reason string) map[string]any {
	return map[string]any{
		"snapshot_sequence": ch.sent, "reason": reason, "work_pool": json.RawMessage(p.appendPool(nil, ch.pool)),
	}
}
