package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

const (
	// channelSetupTimeout bounds all that comes before ready (Prefect 3.8:
	// WORKER_CHANNEL_SETUP_TIMEOUT_SECONDS). A busy server may need longer; REST
	// has more patience with it.
	channelSetupTimeout = 10 * time.Second
	// maxChannelFrame bounds a frame in bytes, in both directions. A Prefect server
	// takes no larger ones (uvicorn's ws_max_size), and the one large thing in a
	// frame, the base job template, comes from it.
	maxChannelFrame = 16 << 20
)

// channelRoute is no operation of the REST API, hence not in the route table.
var channelRoute = Route{http.MethodGet, "/work_pools/{work_pool_name}/workers/connect"}

// ChannelOptions is what a worker says on its channel, and what it wants to hear.
type ChannelOptions struct {
	Pool       string
	ConsumerID string // a UUID, the same as long as the process lives
	WorkerName string
	WorkerType string
	Heartbeat  time.Duration // between two heartbeats: whole seconds, at least one
	WorkQueues []string      // that are polled; empty: all. The channel is refused when one is missing.
	// CreatePool lets Prefect create a missing work pool, of the worker's type.
	CreatePool bool
	// BaseJobTemplate is given to a pool that is created, and to one whose template
	// is empty.
	BaseJobTemplate json.RawMessage
	Metadata        json.RawMessage // an object; Prefect wants it once in the life of a process; nil: not told

	// Ready is called once, when the channel is up; Snapshot for each later change
	// of the pool that matters to workers. Both come from the goroutine that called
	// WorkerChannel, in order, and must return quickly: see [Client.FollowEvents].
	Ready    func(ChannelReady)
	Snapshot func(WorkPool)
	// Beat tells when a heartbeat was sent. It may be called at the same time as
	// the others. Prefect confirms no heartbeat; it closes the channel when it could
	// not store one.
	Beat func(sent time.Time)

	// Cleanup tears down what a flow run left. It may be called again for the same
	// flow run, and must do what it can as long as ctx lives, then return: an ended
	// ctx means that the reservation or the connection was lost, and that the
	// message comes again or to another worker. Prefect delivers what was released
	// again at once, and three times in all: so trying again is better done within
	// the call, as long as there is hope; the lease is kept meanwhile. It must not
	// propose a state: the flow run has its own. nil: the worker does not do this.
	Cleanup      func(ctx context.Context, m CleanupMessage) CleanupRelease
	CleanupLimit int // calls of Cleanup at once; 0 is 1
}

// ChannelReady is what Prefect answers to a worker's hello.
type ChannelReady struct {
	Beat       time.Time     // when the hello was sent; it counts as a heartbeat, and this one was stored
	WorkerID   string        // Prefect Cloud's; a server tells none
	Heartbeat  time.Duration // between two heartbeats, as Prefect wants it
	WorkQueues []string      // those asked for, or all that there are
	Cleanup    bool          // cleanups will be delivered
	Pool       WorkPool
}

// WorkerChannel opens the worker channel and keeps it up until the connection
// ends or ctx does; the error, always a [*ChannelError], says which. It never
// reconnects. While it is up, heartbeats and changes of the pool need no REST.
//
// What it sends first creates the pool or fills its template, if it may.
func (c *Client) WorkerChannel(ctx context.Context, o ChannelOptions) error {
	setUp, err := c.workerChannel(ctx, o)
	return channelEnd(ctx, err, setUp)
}

// CheckChannel opens a worker channel, has its credentials accepted, and closes
// it before a worker is named, so that Prefect notes none. The error, if any, is
// a [*ChannelError].
func (c *Client) CheckChannel(ctx context.Context, pool string) error {
	if err := c.checkSocket(ctx, channelRoute, channelRoute.fill(pool), c.channelToken()); err != nil {
		return channelEnd(ctx, err, false)
	}
	return nil
}

func (c *Client) workerChannel(ctx context.Context, o ChannelOptions) (setUp bool, err error) {
	setup, cancel := withTimeout(ctx, channelSetupTimeout)
	defer cancel()
	conn, err := c.openSocket(setup, channelRoute, channelRoute.fill(o.Pool), maxChannelFrame)
	if err != nil {
		return false, fmt.Errorf("open websocket: %w", err)
	}
	defer conn.conn.CloseNow() //nolint:errcheck // nothing is left to do with a failure
	if err := conn.authenticate(setup, c.channelToken()); err != nil {
		return false, err
	}
	s := &channelSession{frameConn: conn, o: o}
	sent := time.Now()
	if err := s.sendFrame(setup, frameHello, o.hello()); err != nil {
		return false, err
	}
	ready, err := s.awaitReady(setup)
	if err != nil {
		return false, err
	}
	cancel()
	if c.settings.IsCloud() {
		c.identity.setWorkerID(ready.WorkerID)
	}
	if o.Metadata != nil {
		c.identity.noteTold()
	}
	s.sequence, s.seconds = ready.Initial.Sequence, ready.HeartbeatSeconds
	told := ChannelReady{
		Beat: sent, WorkerID: ready.WorkerID, Heartbeat: time.Duration(s.seconds) * time.Second, Pool: ready.Initial.Pool,
	}
	for _, q := range ready.WorkQueues {
		told.WorkQueues = append(told.WorkQueues, q.Name)
	}
	beside := []func(context.Context) error{s.beat}
	if ready.CleanupLimit > 0 {
		told.Cleanup = true
		s.cleaner = newCleaner(conn, o.Cleanup, min(ready.CleanupLimit, o.cleanupLimit()))
		beside = append(beside, s.cleaner.run)
	}
	o.Ready(told)
	return true, s.follow(ctx, func(data []byte) error { return s.receive(ctx, data) }, beside...)
}

// channelToken is what the first frame proves who we are with, as in Prefect 3.8,
// which here prefers the auth string; nil without credentials.
func (c *Client) channelToken() any {
	switch {
	case !c.settings.AuthString.IsZero():
		return c.settings.AuthString.Reveal()
	case !c.settings.APIKey.IsZero():
		return c.settings.APIKey.Reveal()
	}
	return nil
}

func (o ChannelOptions) cleanupLimit() int { return max(o.CleanupLimit, 1) }

func (o ChannelOptions) hello() helloPayload {
	hello := helloPayload{
		ConsumerID: o.ConsumerID, WorkerName: o.WorkerName, WorkerType: o.WorkerType,
		HeartbeatSeconds: max(int(o.Heartbeat/time.Second), 1),
		Versions:         []string{channelVersion},
		Capabilities:     []string{capabilityHeartbeat, capabilitySnapshot},
		WorkQueues:       append([]string{}, o.WorkQueues...),
		CleanupKinds:     []string{},
		CreatePool:       o.CreatePool,
		Template:         o.BaseJobTemplate,
		Metadata:         o.Metadata,
	}
	if hello.Template == nil {
		hello.Template = json.RawMessage("{}")
	}
	if o.Cleanup != nil {
		hello.Capabilities = append(hello.Capabilities, capabilityCleanup)
		hello.CleanupKinds, hello.CleanupLimit = []string{CancellingTimeout}, o.cleanupLimit()
	}
	return hello
}

// channelSession is one channel from its hello on.
type channelSession struct {
	*frameConn
	o        ChannelOptions
	seconds  int      // between two heartbeats
	sequence int64    // of the last snapshot
	cleaner  *cleaner // nil: no cleanups are delivered
}

// errProtocol: what came, or was to be sent, is not of the protocol.
var errProtocol = errors.New("not the protocol of the worker channel")

func (s *channelSession) violated(message string, cause error) error {
	return s.failed(message, errors.Join(errProtocol, cause))
}

func (s *channelSession) sendFrame(ctx context.Context, kind string, payload any) error {
	_, data, err := channelFrame(kind, time.Now(), payload)
	if err != nil {
		return s.violated("encode "+kind+": "+err.Error(), err)
	}
	if len(data) > maxChannelFrame {
		return s.violated(fmt.Sprintf("%s would have %d bytes, more than Prefect takes (%d MiB); the base job template is too large",
			kind, len(data), maxChannelFrame>>20), nil)
	}
	return s.write(ctx, data)
}

// awaitReady reads the answer to the hello.
func (s *channelSession) awaitReady(ctx context.Context) (*readyPayload, error) {
	for {
		_, data, err := s.conn.Read(ctx)
		if err != nil {
			return nil, s.ended(ctx, err)
		}
		f, err := parseChannelFrame(data)
		if err != nil {
			return nil, s.violated("unreadable answer to the hello: "+err.Error(), err)
		}
		switch ready := f.Ready; {
		case f.Snapshot != nil || f.Cleanup != nil || f.Result != nil:
			return nil, s.violated("the answer to the hello is "+f.Type, nil)
		case ready == nil:
			s.logOther(ctx, f)
		case !strings.EqualFold(ready.ConsumerID, s.o.ConsumerID):
			return nil, s.violated("the answer to the hello is for another consumer", nil)
		case ready.CleanupLimit > 0 && s.o.Cleanup == nil:
			return nil, s.violated("Prefect wants to deliver cleanups that nobody asked for", nil)
		default:
			return ready, nil
		}
	}
}

func (s *channelSession) logOther(ctx context.Context, f receivedFrame) {
	s.logger.DebugContext(ctx, "worker channel: frame of another kind", slog.String("type", clip(f.Type)))
}

// receive takes one frame. A frame that cannot be read ends the channel: it may
// have been the snapshot that matters, and REST has the truth.
func (s *channelSession) receive(ctx context.Context, data []byte) error {
	f, err := parseChannelFrame(data)
	switch {
	case err != nil: // of the frame itself nothing is shown: a template may hold anything
		return s.violated("the server sent an unreadable frame: "+err.Error(), err)
	case f.Snapshot != nil:
		if f.Snapshot.Sequence > s.sequence {
			s.sequence = f.Snapshot.Sequence
			s.o.Snapshot(f.Snapshot.Pool)
		}
	case f.Cleanup != nil && s.cleaner != nil:
		s.cleaner.deliver(ctx, reserved{cleanupPayload: *f.Cleanup, ends: time.Now().Add(f.lease(f.Cleanup.LeaseEnds))})
	case f.Result != nil && s.cleaner != nil:
		s.cleaner.answer(operationResult{resultPayload: *f.Result, lease: f.lease(f.Result.LeaseEnds)})
	default:
		s.logOther(ctx, f)
	}
	return nil
}

// beat sends heartbeats. The hello was the first.
func (s *channelSession) beat(ctx context.Context) error {
	every := time.NewTicker(time.Duration(s.seconds) * time.Second)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return nil
		}
		sent := time.Now()
		err := s.sendFrame(ctx, frameHeartbeat, heartbeatPayload{s.o.ConsumerID, s.o.WorkerName, s.seconds})
		if err != nil {
			return err
		}
		s.o.Beat(sent)
	}
}
