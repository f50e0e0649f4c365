package prefect

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	opAck     = "ack"
	opRelease = "release"
	opRenew   = "renew"

	// Prefect 3.8: workers/_cleanup.py.
	renewBefore      = 5 * time.Second // the end of the lease; half of a lease shorter than twice that
	operationTimeout = 30 * time.Second
	operationTries   = 3
	operationPause   = time.Second

	// maxCleanups bounds how many cleanups are held at once. A server delivers as
	// many as it was told; what comes beyond this is left until its lease is over.
	maxCleanups = 64
)

// CleanupMessage asks for the infrastructure of a flow run to be torn down.
type CleanupMessage struct {
	ID                string
	Kind              string // [CancellingTimeout]
	FlowRunID         string
	InfrastructurePID string // "": not known
	Delivery          int    // 1 for the first; Prefect 3.8 gives up after the third
}

// CleanupRelease says why a cleanup was not done, so that Prefect delivers it
// again, here or elsewhere. [CleanupDone] is the good end.
type CleanupRelease string

// Prefect's words.
const (
	CleanupDone            CleanupRelease = "" // also: nothing was left
	CleanupNoHandle        CleanupRelease = "missing_infrastructure_handle"
	CleanupNoConfiguration CleanupRelease = "configuration_context_unavailable"
	CleanupNotAvailable    CleanupRelease = "infrastructure_not_available" // this worker cannot reach it
	CleanupFailed          CleanupRelease = "handler_failed"

	cleanupUnknownKind CleanupRelease = "unsupported_cleanup_kind"
	cleanupNoTarget    CleanupRelease = "invalid_payload"
)

// reserved is a message that is ours until its lease ends.
type reserved struct {
	cleanupPayload
	ends time.Time // by our clock
}

type operationResult struct {
	resultPayload
	lease time.Duration // from now on, of a renewal
}

// cleaner does the cleanups of one connection. A reservation outlives the
// connection on the server, but here all ends with it: what was not acknowledged
// is delivered again.
type cleaner struct {
	conn   *frameConn
	handle func(context.Context, CleanupMessage) CleanupRelease
	slots  chan struct{} // one for each call of handle
	inbox  chan reserved

	mu      sync.Mutex
	held    map[string]bool                 // by reservation token
	waiting map[string]chan operationResult // by id of the request
}

func newCleaner(conn *frameConn, handle func(context.Context, CleanupMessage) CleanupRelease, limit int) *cleaner {
	return &cleaner{
		conn: conn, handle: handle,
		slots: make(chan struct{}, min(limit, maxCleanups)), inbox: make(chan reserved, maxCleanups),
		held: map[string]bool{}, waiting: map[string]chan operationResult{},
	}
}

// deliver hands over a message without waiting.
func (c *cleaner) deliver(ctx context.Context, m reserved) {
	select {
	case c.inbox <- m:
	default:
		c.conn.logger.DebugContext(ctx, "worker channel: too many cleanups", slog.String("message_id", m.MessageID))
	}
}

// answer hands a result to who waits for it, if anyone still does.
func (c *cleaner) answer(r operationResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if waiting, ok := c.waiting[r.RequestID]; ok {
		delete(c.waiting, r.RequestID)
		waiting <- r // has room for one
	}
}

// run works through what is delivered until ctx ends, and waits for its goroutines.
func (c *cleaner) run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		select {
		case m := <-c.inbox:
			if c.hold(m) {
				work.Go(func() {
					defer c.letGo(m)
					c.clean(ctx, m)
				})
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// hold reports whether a message is to be worked on: it is not held already, its
// lease is not over, and there is room.
func (c *cleaner) hold(m reserved) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[m.Token] || len(c.held) >= maxCleanups || !time.Now().Before(m.ends) {
		return false
	}
	c.held[m.Token] = true
	return true
}

func (c *cleaner) letGo(m reserved) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.held, m.Token)
}

// clean answers one message, and keeps its lease until that is done.
func (c *cleaner) clean(session context.Context, m reserved) {
	ctx, lose := context.WithCancel(session)
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer lose()
	o := operation{write: func(data []byte) error { return c.conn.write(session, data) }, message: m}
	keeping.Go(func() {
		defer lose()
		c.keep(ctx, o)
	})
	switch release := c.do(ctx, m); {
	case ctx.Err() != nil: // no longer ours
	case release == CleanupDone:
		c.settle(ctx, o, opAck, "")
	default:
		c.settle(ctx, o, opRelease, release)
	}
}

func (c *cleaner) do(ctx context.Context, m reserved) CleanupRelease {
	switch {
	case m.Kind != CancellingTimeout:
		return cleanupUnknownKind
	case m.Target.FlowRunID == "":
		return cleanupNoTarget
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return CleanupFailed
	}
	defer func() { <-c.slots }()
	return c.handle(ctx, CleanupMessage{
		ID: m.MessageID, Kind: m.Kind, FlowRunID: m.Target.FlowRunID, InfrastructurePID: m.Target.InfrastructurePID, Delivery: m.Deliveries,
	})
}

// keep renews the lease until ctx ends or the reservation is lost.
func (c *cleaner) keep(ctx context.Context, o operation) {
	for ends := o.message.ends; ; {
		left := time.Until(ends)
		if left <= 0 || !pause(ctx, max(left-renewBefore, left/2)) {
			return
		}
		timed, cancel := context.WithDeadline(ctx, ends)
		r, v := c.settle(timed, o, opRenew, "")
		cancel()
		switch v {
		case settled:
			ends = time.Now().Add(r.lease)
		case lost:
			return
		}
	}
}

// operation is what all operations on one message have in common.
type operation struct {
	// write does not stop half-way when the reservation is lost: that would close
	// the connection.
	write   func([]byte) error
	message reserved
}

type verdict int

const (
	unsettled verdict = iota // asking again may help
	settled
	lost // somebody else has the message, or nobody shall
)

func (p *resultPayload) accepted() bool { return p.Status == "accepted" }

func (p *resultPayload) verdict() verdict {
	switch p.Status {
	case "accepted":
		return settled
	case "not_found":
		if p.Operation == opAck { // an earlier one arrived
			return settled
		}
		return lost
	case "not_current", "expired", "invalid_token", "unauthorized", "dead_lettered":
		return lost
	}
	return unsettled
}

// settle asks until there is a verdict, a few times.
func (c *cleaner) settle(ctx context.Context, o operation, op string, release CleanupRelease) (operationResult, verdict) {
	for try := range operationTries {
		if try > 0 && !pause(ctx, operationPause) {
			break
		}
		r, err := c.ask(ctx, o, op, release)
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			c.conn.logger.DebugContext(ctx, "worker channel: no answer about a cleanup", slog.String("operation", op),
				slog.String("message_id", o.message.MessageID), slog.Any("err", err))
			continue
		}
		c.conn.logger.DebugContext(ctx, "worker channel: cleanup", slog.String("operation", op), slog.String("status", clip(r.Status)),
			slog.String("message_id", o.message.MessageID), slog.String("reason", clip(r.Reason)))
		if v := r.verdict(); v != unsettled {
			return r, v
		}
	}
	return operationResult{}, unsettled
}

var errNoResult = errors.New("no result in time")

// ask sends one operation and waits for its result.
func (c *cleaner) ask(ctx context.Context, o operation, op string, release CleanupRelease) (operationResult, error) {
	id, data, err := channelFrame("cleanup."+op+".v1", time.Now(), operationPayload{o.message.MessageID, o.message.Token, string(release)})
	if err != nil {
		return operationResult{}, err
	}
	result := make(chan operationResult, 1)
	c.mu.Lock()
	c.waiting[id] = result
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
	}()
	if err := o.write(data); err != nil {
		return operationResult{}, err
	}
	timer := time.NewTimer(operationTimeout)
	defer timer.Stop()
	select {
	case r := <-result:
		return r, nil
	case <-timer.C:
		return operationResult{}, errNoResult
	case <-ctx.Done():
		return operationResult{}, ctx.Err()
	}
}

// pause waits; it returns false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
