package testkit

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The queue of cleanups (Prefect 3.8:
// server/worker_communication/cleanup_queue/memory.py), in its default settings.

const (
	// CancellingTimeout is the one kind of cleanup that the server asks for.
	CancellingTimeout = "cancelling_timeout_teardown.v1"

	cleanupLease  = 30 * time.Second
	maxDeliveries = 3
)

// CleanupState is how far a cleanup has come.
type CleanupState string

// The states of a cleanup.
const (
	CleanupWaiting  CleanupState = "waiting"  // for a worker
	CleanupReserved CleanupState = "reserved" // for one, under a lease
	CleanupDone     CleanupState = "done"     // as a worker said
	CleanupDead     CleanupState = "dead"     // delivered too often
)

// Cleanup is a cleanup as [Prefect.Cleanups] shows it.
type Cleanup struct {
	FlowRunID, InfrastructurePID string
	State                        CleanupState
	Deliveries                   int
	Releases                     []string // the workers' reasons
}

type cleanup struct {
	id, queueID string
	pool        *pool
	flowRunID   string
	pid         string
	state       CleanupState
	deliveries  int
	releases    []string

	// Of its last reservation.
	token  string
	ends   time.Time
	holder string // worker and process
}

// RequestCleanup asks the workers of a flow run's pool to tear its infrastructure
// down, as the server does when a cancellation has timed out.
func (p *Prefect) RequestCleanup(flowRunID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requestCleanup(p.flowRuns[flowRunID])
}

// Cleanups returns all cleanups so far, the oldest first.
func (p *Prefect) Cleanups() []Cleanup {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Cleanup
	for _, c := range p.cleanups {
		all = append(all, Cleanup{
			FlowRunID: c.flowRunID, InfrastructurePID: c.pid, State: c.state, Deliveries: c.deliveries, Releases: slices.Clone(c.releases),
		})
	}
	return all
}

func (p *Prefect) requestCleanup(r *flowRun) {
	if r.queue == nil || strings.HasSuffix(r.queue.pool.kind, ":push") || strings.HasSuffix(r.queue.pool.kind, ":managed") {
		return
	}
	p.cleanups = append(p.cleanups, &cleanup{
		id: p.newID(), queueID: r.queue.id, pool: r.queue.pool, flowRunID: r.id, pid: r.infrastructurePID, state: CleanupWaiting,
	})
	p.dispatchCleanups(r.queue.pool)
}

func (p *Prefect) lease() time.Duration { return cmp.Or(p.CleanupLease, cleanupLease) }

// expire ends a lease that is over, as the server notices when it looks.
func (c *cleanup) expire() {
	if c.state == CleanupReserved && !now().Before(c.ends) {
		c.redeliver()
	}
}

func (c *cleanup) redeliver() {
	c.state = CleanupWaiting
	if c.deliveries >= maxDeliveries {
		c.state = CleanupDead
	}
}

// holder identifies a worker's process: another connection of it is the same.
func (ch *channel) holder() string { return ch.hello.ConsumerID + " " + ch.hello.WorkerName }

// dispatchCleanups hands out what waits to workers with room for it: to those of
// the flow run's queue first, then to any of the pool.
func (p *Prefect) dispatchCleanups(pl *pool) {
	for _, c := range p.cleanups {
		if c.pool == pl {
			c.expire()
		}
	}
	for {
		c, i := p.nextCleanup(pl)
		if c == nil {
			return
		}
		ch := p.channels[i]
		c.state, c.token, c.ends, c.holder = CleanupReserved, "token-"+strconv.FormatUint(p.lastID, 16), now().Add(p.lease()), ch.holder()
		c.deliveries++
		var pid any
		if c.pid != "" {
			pid = c.pid
		}
		ch.outbox <- p.serverFrame("cleanup.message.v1", map[string]any{
			"message_id": c.id, "kind": CancellingTimeout, "reservation_token": c.token, "lease_expires_at": c.ends, "delivery_count": c.deliveries,
			"work_queue_id": c.queueID, "data": map[string]any{}, "target": map[string]any{"flow_run_id": c.flowRunID, "infrastructure_pid": pid},
		})
		// In turn: the next one goes to another worker.
		p.channels = append(slices.Delete(p.channels, i, i+1), ch)
	}
}

// nextCleanup chooses a cleanup and the index of a channel for it.
func (p *Prefect) nextCleanup(pl *pool) (*cleanup, int) {
	for _, anyQueue := range []bool{false, true} {
		for i, ch := range p.channels {
			if ch.pool != pl || !p.hasRoom(ch) {
				continue
			}
			for _, c := range p.cleanups {
				if c.pool == pl && c.state == CleanupWaiting && (anyQueue || slices.Contains(ch.queues, c.queueID)) &&
					slices.Contains(ch.hello.CleanupKinds, CancellingTimeout) {
					return c, i
				}
			}
		}
	}
	return nil, 0
}

func (p *Prefect) hasRoom(ch *channel) bool {
	if !ch.hello.wantsCleanups() || len(ch.outbox) == cap(ch.outbox) {
		return false
	}
	busy := 0
	for _, c := range p.cleanups {
		if c.state == CleanupReserved && c.pool == ch.pool && c.holder == ch.holder() {
			busy++
		}
	}
	return busy < *ch.hello.CleanupLimit
}

// operate answers what a worker says of a cleanup.
func (p *Prefect) operate(ch *channel, frame workerFrame, o *operationPayload) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	operation := strings.TrimSuffix(strings.TrimPrefix(frame.kind, "cleanup."), ".v1")
	status, reason, ends := p.operateOn(ch, operation, o)
	result := map[string]any{
		"request_frame_id": frame.id, "message_id": o.MessageID, "operation": operation, "status": status,
		"lease_expires_at": nil, "reason": nil, "detail": nil,
	}
	if reason != "" {
		result["reason"] = reason
	}
	if !ends.IsZero() {
		result["lease_expires_at"] = ends
	}
	return p.serverFrame("cleanup.operation_result.v1", result)
}

func (p *Prefect) operateOn(ch *channel, operation string, o *operationPayload) (status, reason string, ends time.Time) {
	const tooOften = "max_delivery_attempts_reached"
	i := slices.IndexFunc(p.cleanups, func(c *cleanup) bool { return c.id == o.MessageID })
	switch {
	case !ch.hello.wantsCleanups():
		return "unauthorized", "cleanup_delivery_not_accepted", ends
	case i < 0 || p.cleanups[i].state == CleanupDone || p.cleanups[i].state == CleanupDead:
		return "not_found", "message_not_found", ends
	}
	c := p.cleanups[i]
	switch {
	case c.pool != ch.pool:
		return "unauthorized", "work_pool_mismatch", ends
	case c.state != CleanupReserved:
		return "not_current", "no_active_reservation", ends
	case c.token != o.Token:
		return "invalid_token", "reservation_token_mismatch", ends
	}
	if c.expire(); c.state == CleanupDead {
		return "dead_lettered", tooOften, ends
	} else if c.state != CleanupReserved {
		return "expired", "lease_expired", ends
	}
	switch operation {
	case "ack":
		c.state = CleanupDone
	case "renew":
		c.ends = now().Add(p.lease())
		ends = c.ends
	default:
		c.releases = append(c.releases, *o.Reason)
		if c.redeliver(); c.state == CleanupDead {
			return "dead_lettered", tooOften, ends
		}
	}
	return "accepted", "", ends
}
