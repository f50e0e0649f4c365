package worker

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

const (
	channelRetryFirst = time.Second
	channelRetryLast  = 30 * time.Second
	channelRefused    = 5 * time.Minute // until a server that does not want the channel is asked again
	// channelBlind is how long a dead connection may pass unnoticed: a ping every
	// 20 s, 10 s for its answer. A heartbeat sent on it is lost without a word.
	channelBlind   = 30 * time.Second
	cleanupsAtOnce = 4
	cleanupLook    = time.Second
)

// channelSubject is what is said about a channel that Prefect does not want.
const channelSubject = "opening Prefect's worker channel: meanwhile heartbeats go by REST"

// channel keeps Prefect's worker channel open. While it is up it carries the
// heartbeats and tells what changes of the pool, which the sync loop otherwise
// does by REST; and Prefect hands over what flow runs left that did not end their
// cancellation in time.
type channel struct {
	w  *Worker
	id string // of this process, for Prefect

	up bool // guarded by Worker.mu
}

func newChannel(w *Worker) *channel { return &channel{w: w, id: uuid.Must(uuid.NewV7()).String()} }

// carriesHeartbeats reports whether heartbeats go by the channel now. With a short
// interval a dead connection would not be noticed before others call us offline.
func (c *channel) carriesHeartbeats() bool {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return c.up && c.w.Heartbeat >= channelBlind
}

func (c *channel) isUp() bool {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return c.up
}

func (c *channel) setUp(up bool) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.up = up
}

// run keeps the channel open until ctx ends. Nothing is lost without it.
func (c *channel) run(ctx context.Context) error {
	w := c.w
	for failures := 0; ; failures++ {
		began := time.Now()
		err := w.Prefect.WorkerChannel(ctx, c.options(ctx))
		wasUp := c.isUp()
		c.setUp(false)
		if ctx.Err() != nil {
			return nil
		}
		if wasUp {
			signal(w.syncNow) // nobody knows which heartbeats arrived
		}
		if wasUp && time.Since(began) > time.Minute {
			failures = 0
		}
		wait := backoff(failures, channelRetryFirst, channelRetryLast)
		if end, ok := errors.AsType[*prefect.ChannelError](err); ok && end.Refused {
			wait = jittered(channelRefused)
			c.tellRefused(ctx, end)
		}
		w.log.DebugContext(ctx, "worker channel ended: heartbeats go by REST", "err", err, "wait", wait)
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// tellRefused tells of a refusal that somebody can do something about: Prefect has
// a channel, but not for this worker. A pool that is missing was told of already;
// proxies that pass no websockets on are, by the event stream.
func (c *channel) tellRefused(ctx context.Context, end *prefect.ChannelError) {
	if !end.NoChannel && c.w.currentPool().ID != "" {
		c.w.said.trouble(ctx, c.w.log, channelSubject, end)
	}
}

func (c *channel) options(ctx context.Context) prefect.ChannelOptions {
	w := c.w
	return prefect.ChannelOptions{
		Pool: w.Pool, ConsumerID: c.id, WorkerName: w.Name, WorkerType: Type, Heartbeat: max(w.Heartbeat.Truncate(time.Second), time.Second),
		WorkQueues: w.Queues, CreatePool: w.CreatePool, BaseJobTemplate: w.template(),
		Metadata: w.Prefect.WorkerMetadata(),
		Ready: func(r prefect.ChannelReady) {
			c.setUp(true)
			w.Stats.Channels.Add(1)
			w.said.over(ctx, w.log, channelSubject)
			w.beatAt(r.Beat)
			w.takePool(ctx, r.Pool)
			w.log.DebugContext(ctx, "worker channel is up")
		},
		Snapshot: func(pool prefect.WorkPool) { w.takePool(ctx, pool) },
		Beat: func(sent time.Time) {
			if c.carriesHeartbeats() {
				w.beatAt(sent.Add(-channelBlind))
			}
		},
		Cleanup: c.cleanUp, CleanupLimit: cleanupsAtOnce,
	}
}

// beatAt notes a heartbeat that Prefect took.
func (w *Worker) beatAt(sent time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastBeat = latest(w.lastBeat, sent)
}

// cleanUp sees to it that the container of a flow run that was cancelled is
// stopped: this worker answers for the flow run from now on, and the message is
// done when the abort is acknowledged or nothing is left.
func (c *channel) cleanUp(ctx context.Context, m prefect.CleanupMessage) prefect.CleanupRelease {
	w := c.w
	if !w.table.has(m.FlowRunID) {
		fr, err := w.Prefect.FlowRun(ctx, m.FlowRunID)
		switch {
		case errors.Is(err, prefect.ErrNotFound):
			return prefect.CleanupDone // the janitor stops what is left of it
		case err != nil:
			return prefect.CleanupFailed
		}
		f := readFootprint(fr)
		switch {
		case f.phase == notStarted:
			return prefect.CleanupDone
		case w.isOnline(f.owner):
			return prefect.CleanupNotAvailable // its own worker is at it
		}
		w.adopt(ctx, fr, f)
	}
	signal(w.observeNow)
	for sleep(ctx, cleanupLook) {
		if w.table.stopped(m.FlowRunID) {
			return prefect.CleanupDone
		}
	}
	return prefect.CleanupFailed
}

// stopped reports whether nothing of a flow run runs any more, or its container
// was told to stop.
func (tb *table) stopped(flowRunID string) bool {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	t, ok := tb.rows[flowRunID]
	return !ok || t.view.container == ended || !t.view.abortedAt.IsZero()
}
