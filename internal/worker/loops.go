package worker

import "time"

// loop numbers the loops that come round whatever happens outside. The one that
// follows Prefect's events is none: it waits for as long as a connection lasts,
// which its pings watch.
type loop int

const (
	loopSync loop = iota
	loopPoll
	loopObserve
	loopSweep
	loopReconcile
	loopJanitor
	loopFlowLogs
	loopEvents
	loopOutput
	loopLeases
	loops // how many there are
)

var loopNames = [loops]string{"sync", "poll", "observe", "sweep", "reconcile", "janitor", "flow run logs", "events", "output", "leases"}

// stallAfter is how long a loop may take to come round. The longest that one
// rightly takes: a request that Prefect leaves unanswered, in all its attempts
// (8 minutes with Prefect's default settings), after the longest pause.
const stallAfter = 15 * time.Minute

// pulse tells when each loop came round last. It takes no lock: whether the
// worker lives is asked when a lock may be what it hangs on.
type pulse [loops]moment

func (p *pulse) beat(l loop) { p[l].set(time.Now()) }

// Loop is one of the worker's loops.
type Loop struct {
	Name    string
	Round   time.Time // when it came round last; zero: it has not begun
	Stalled bool
}

// Loops tells how the worker's loops fare. It never waits for a lock.
func (w *Worker) Loops() []Loop {
	now := time.Now()
	out := make([]Loop, loops)
	for i := range out {
		round := w.pulse[i].get()
		// Prefect may ask for a longer wait than any, which is no fault of ours.
		since := now.Sub(latest(round, w.Stats.maintenance.get()))
		out[i] = Loop{Name: loopNames[i], Round: round, Stalled: !round.IsZero() && since > stallAfter}
	}
	return out
}
