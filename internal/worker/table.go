package worker

import (
	"maps"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// tracked is one flow run that this worker answers for, from its claim until
// nothing is left to do. Its fields are guarded by the table's mutex.
type tracked struct {
	id, name string
	flowRun  prefect.FlowRun // as last read
	view     view
	prepared *Prepared // nil until known; an adopted flow run's may stay unknown

	// Where its job run lives.
	client      *northflank.Client // nil until known
	project     string
	job         string                     // job id; "" until known
	runID       string                     // job run id; "" until known
	jobRun      northflank.JobRun          // as last seen
	stranger    string                     // the one job run that may be this flow run's, while its start is unconfirmed
	startStatus northflank.ContainerStatus // of the container when it was given up starting

	after []string // job runs of the job that are older than its start; of an adopted one

	adopted bool   // left by another process
	process string // whose claim an adopted flow run carries
	settled bool   // adopted, and signed for

	busy      bool      // a submission or an action is under way: one at a time
	starting  bool      // that submission holds the job for its start
	intended  bool      // the intent was written, or may have been
	notBefore time.Time // after a failed action: the next try
	failures  int       // failed actions in a row
	lookAt    time.Time // look at the job by then, since decide asks for it; zero: it does not
	hintAt    time.Time // look at the job by then, since somebody hinted at trouble; zero: nobody did
	overAt    time.Time // when it was first known that the flow run is over; zero: it is not

	heartbeat time.Duration // between two signs of life of the flow; 0: it gives none
	heard     time.Time     // when Prefect's event stream told of the flow last; zero: never
	submitted string        // id of the event that told of the submission
	lease     lease         // of its deployment's concurrency slot

	since   time.Time // when it was claimed, or adopted
	closing closing   // how it was, or is to be, ended by us
	told    bool      // its end was counted

	missing      int // times in a row that Prefect did not know the flow run
	missingSince time.Time
}

// spec returns what the flow run means on Northflank; nil when not known.
func (t *tracked) spec() *jobspec.Spec {
	if t.prepared == nil {
		return nil
	}
	return &t.prepared.Spec
}

// holdsSlot reports whether the flow run counts against --limit: it is being
// started, or it runs. A container that outlives its flow run does not count.
func (t *tracked) holdsSlot() bool {
	if t.busy && t.view.start == notStarted {
		return true
	}
	return !t.view.over() && t.view.container != ended
}

// setState records a state of Prefect's, read or just proposed.
func (t *tracked) setState(state prefect.State, now time.Time) {
	t.view.state, t.view.stateSince, t.view.readAt = state.Type, state.Timestamp, now
	t.flowRun.State, t.flowRun.StateType, t.flowRun.StateName, t.flowRun.StateID = &state, state.Type, state.Name, state.ID
	if state.Type == prefect.StateRunning {
		t.view.began = true
	}
	t.lease.note(state, now)
	t.noteOver(now)
}

// noteOver keeps overAt.
func (t *tracked) noteOver(now time.Time) {
	switch {
	case !t.view.over():
		t.overAt = time.Time{}
	case t.overAt.IsZero():
		t.overAt = now
	}
}

// table is the set of flow runs that this worker answers for, and of the jobs
// that they run on. What is counted is counted from it, so no counter can leak.
type table struct {
	mu    sync.Mutex
	rows  map[string]*tracked // by flow run id
	jobs  map[jobKey]*job
	lanes chan struct{} // closed and replaced whenever a lane may have become free

	// When flow runs were last forgotten: an answer that was asked for before is
	// older than what was known of them. By flow run id.
	dropped map[string]time.Time

	waiting map[jobKey]int // flow runs that wait for the lane of this job or of a sibling of it

	changed chan struct{} // size 1: something may have to be decided
}

func newTable() *table {
	return &table{
		rows: map[string]*tracked{}, jobs: map[jobKey]*job{},
		lanes: make(chan struct{}), dropped: map[string]time.Time{}, waiting: map[jobKey]int{}, changed: make(chan struct{}, 1),
	}
}

// wake makes the reconciler look at the table again. Called without mu.
func (tb *table) wake() { signal(tb.changed) }

// freeLanes lets those who wait for a lane look again. Called with mu held.
func (tb *table) freeLanes() {
	close(tb.lanes)
	tb.lanes = make(chan struct{})
}

// add starts to answer for a flow run, unless it is already answered for or
// limit rows hold a slot (0: no limit). The new row is busy: its adder acts.
func (tb *table) add(t *tracked, limit int) (added, full bool) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if _, ok := tb.rows[t.id]; ok {
		return false, false
	}
	if limit > 0 && tb.slots() >= limit {
		return false, true
	}
	t.busy = true
	tb.rows[t.id] = t
	return true, false
}

// slots is called with mu held.
func (tb *table) slots() int {
	n := 0
	for _, t := range tb.rows {
		if t.holdsSlot() {
			n++
		}
	}
	return n
}

// size returns the number of flow runs answered for.
func (tb *table) size() int {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return len(tb.rows)
}

// has reports whether a flow run is answered for.
func (tb *table) has(id string) bool {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	_, ok := tb.rows[id]
	return ok
}

// update changes one row under the lock and wakes the reconciler. It does
// nothing when the row is gone.
func (tb *table) update(id string, change func(*tracked)) {
	tb.mu.Lock()
	if t, ok := tb.rows[id]; ok {
		change(t)
		tb.freeLanes()
	}
	tb.mu.Unlock()
	tb.wake()
}

// droppedMemory is for how long it is known when a flow run was forgotten: no
// answer takes longer. More than maxDropped are not kept.
const (
	droppedMemory = 5 * time.Minute
	maxDropped    = 2000
)

// drop forgets a flow run.
func (tb *table) drop(id string) {
	now := time.Now()
	tb.mu.Lock()
	delete(tb.rows, id)
	if len(tb.dropped) >= maxDropped {
		maps.DeleteFunc(tb.dropped, func(_ string, at time.Time) bool { return now.Sub(at) > droppedMemory })
	}
	if len(tb.dropped) < maxDropped {
		tb.dropped[id] = now
	}
	tb.freeLanes()
	tb.mu.Unlock()
	tb.wake()
}

// droppedSince reports whether the flow run was forgotten after a time.
func (tb *table) droppedSince(id string, asked time.Time) bool {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return tb.dropped[id].After(asked)
}
