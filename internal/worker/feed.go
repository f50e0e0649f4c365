package worker

import (
	"context"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

const (
	feedOverlap    = time.Minute // replayed at a reconnect before the newest event seen
	feedRemembered = 2000        // events, to drop what is told twice
	feedRetryFirst = time.Second
	feedRetryLast  = 5 * time.Minute
	feedPoolWait   = time.Second // between two looks whether the pool is known
	// slowObserve is how many times the query interval lies between two reads of
	// the pool's flow runs while events tell what changes.
	slowObserve = 3
)

// feedSubject is what is said about the stream when it cannot be followed.
const feedSubject = "following Prefect's events: meanwhile all is found out by polling"

// feed follows Prefect's event stream for the pool. It wakes those who look, and
// tells states and signs of life of our flow runs. Prefect drops events when it
// is busy, so that nothing rests on the feed alone: without it, or with holes in
// it, all is found out by polling, only later.
type feed struct {
	w *Worker

	mu     sync.Mutex
	up     bool
	newest time.Time       // when the newest event occurred, by Prefect's clock
	seen   map[string]bool // ids of events
	order  []string        // of seen, oldest first
}

func newFeed(w *Worker) *feed { return &feed{w: w, seen: map[string]bool{}} }

// isUp reports whether the stream is connected.
func (f *feed) isUp() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.up
}

func (f *feed) setUp(up bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.up = up
}

// run keeps the stream connected until ctx ends.
func (f *feed) run(ctx context.Context) error {
	for failures := 0; ; {
		began := time.Now()
		err := f.follow(ctx)
		f.setUp(false)
		if ctx.Err() != nil {
			return nil
		}
		signal(f.w.sweepNow) // what the feed would have told must be looked for
		if time.Since(began) > time.Minute {
			failures = 0
		}
		if err != nil && failures > 0 { // a lone break is nothing to tell of
			f.w.said.trouble(ctx, f.w.log, feedSubject, err)
		}
		if !sleep(ctx, backoff(failures, feedRetryFirst, feedRetryLast)) {
			return nil
		}
		failures++
	}
}

// follow is one connection. It ends when the pool is another one.
func (f *feed) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pool := f.w.currentPool().ID
	for pool == "" {
		if !sleep(ctx, feedPoolWait) {
			return nil
		}
		pool = f.w.currentPool().ID
	}
	filter := prefect.EventFilter{Prefixes: []string{"prefect.flow-run."}, Resources: []string{"prefect.work-pool." + pool}}
	f.mu.Lock()
	if !f.newest.IsZero() {
		filter.Since = f.newest.Add(-feedOverlap)
	}
	f.mu.Unlock()
	ready := func() {
		f.setUp(true)
		f.w.Stats.Streams.Add(1)
		f.w.said.over(ctx, f.w.log, feedSubject)
		// What happened while nobody listened.
		signal(f.w.polled)
		signal(f.w.observeNow)
	}
	return f.w.Prefect.FollowEvents(ctx, filter, ready, func(e prefect.StreamedEvent) {
		if f.w.currentPool().ID != pool {
			cancel()
			return
		}
		if f.isNew(e) {
			f.w.heard(e)
		}
	})
}

// isNew reports whether the event was not told yet, and remembers it.
func (f *feed) isNew(e prefect.StreamedEvent) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.newest = latest(f.newest, e.Occurred)
	if f.seen[e.ID] {
		return false
	}
	f.seen[e.ID] = true
	f.order = append(f.order, e.ID)
	if len(f.order) > feedRemembered {
		delete(f.seen, f.order[0])
		f.order = f.order[1:]
	}
	return true
}

// heard takes an event. It never counts as a read of the flow run: what is done
// for good rests on one (proposeFrom).
func (w *Worker) heard(e prefect.StreamedEvent) {
	id := e.FlowRunID()
	if id == "" {
		return
	}
	state, isState := e.State()
	if isState && state.Type == prefect.StateScheduled {
		signal(w.polled)
	}
	now := time.Now()
	known := false
	w.table.mu.Lock()
	if t, ok := w.table.rows[id]; ok {
		known = true
		t.heard = now
		if isState && t.isNews(state) {
			if e.Follows == t.flowRun.StateID && !t.busy {
				t.tell(state, now)
			} else {
				signal(w.observeNow) // out of order: Prefect knows
			}
		}
	}
	w.table.mu.Unlock()
	if known && isState {
		w.table.wake()
		signal(w.sweepNow) // what is looked for may have changed
	}
}

// isNews reports whether a state that an event told is not known already, or
// about to be: while a flow run is submitted, its Pending states are those that
// the submission proposes and hears the answer of. Times of states are the
// server's.
func (t *tracked) isNews(state prefect.State) bool {
	return state.ID != t.flowRun.StateID && !state.Timestamp.Before(t.view.stateSince) &&
		!(t.busy && state.Type == prefect.StatePending)
}

// tell records a state that an event told, without counting it as read.
func (t *tracked) tell(state prefect.State, now time.Time) {
	read := t.view.readAt
	t.setState(state, now)
	t.view.readAt = read
}
