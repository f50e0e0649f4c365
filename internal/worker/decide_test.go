package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

var t0 = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// aView is a flow run one minute into its life: read and looked at just now.
func aView(state prefect.StateType, start startPhase, change ...func(*view)) view {
	v := view{
		state: state, stateSince: t0.Add(-time.Minute), readAt: t0, start: start, intentAt: t0.Add(-time.Minute),
		strangers: -1, pidSaved: start == started, lastLook: t0,
		policy: policy{linger: 5 * time.Minute, killGrace: 30 * time.Second, retries: 1, timing: Timing{}.withDefaults()},
	}
	switch state {
	case prefect.StateRunning, prefect.StateCompleted, prefect.StateFailed:
		v.began = true
	}
	for _, c := range change {
		c(&v)
	}
	return v
}

func container(phase containerPhase, status northflank.JobRunStatus, ago time.Duration) func(*view) {
	return func(v *view) {
		v.container, v.status, v.since, v.sightings, v.looks = phase, status, t0.Add(-ago), 1, 1
	}
}

func looked(looks, strangers int, intentAgo time.Duration) func(*view) {
	return func(v *view) {
		v.looks, v.strangers, v.alive, v.intentAt = looks, strangers, max(strangers, 0), t0.Add(-intentAgo)
	}
}

func since(ago time.Duration) func(*view) { return func(v *view) { v.stateSince = t0.Add(-ago) } }
func gone(v *view)                        { v.gone = true }
func superseded(v *view)                  { v.superseded = true }
func began(v *view)                       { v.began = true }
func streaming(v *view)                   { v.policy.stream = true }
func found(e evidence) func(*view)        { return func(v *view) { v.evidence = &e } }
func aborted(ago time.Duration) func(*view) {
	return func(v *view) { v.abortedAt = t0.Add(-ago) }
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const (
		running, success, failed = northflank.JobRunRunning, northflank.JobRunSuccess, northflank.JobRunFailed
		long                     = 10 * time.Minute
	)
	tests := []struct {
		name string
		view view
		want action
	}{
		// The windows around each write, as a successor finds them.
		{"Pending accepted, worker gone", aView(prefect.StatePending, notStarted), doHandBack},
		{"job PUT, nothing else", aView(prefect.StatePending, notStarted), doHandBack},
		{"intent written, first look still to come", aView(prefect.StatePending, unconfirmed, looked(0, -1, time.Second)), doNothing},
		{"intent written, looks show nothing yet", aView(prefect.StatePending, unconfirmed, looked(2, 0, 45*time.Second)), doNothing},
		{"intent written, proved that nothing started", aView(prefect.StatePending, unconfirmed, looked(3, 0, 95*time.Second)), doHandBack},
		{"run started, answer lost", aView(prefect.StatePending, unconfirmed, looked(1, 1, 5*time.Second)), doConfirm},
		{"run started, answer lost, flow runs already", aView(prefect.StateRunning, unconfirmed, looked(1, 1, 5*time.Second)), doConfirm},
		{"run started, pid not written", aView(prefect.StatePending, started, func(v *view) { v.pidSaved = false }), doSavePID},
		{"pid written, container comes up", aView(prefect.StatePending, started), doNothing},
		{"terminal proposed, worker gone", aView(prefect.StateCompleted, started, container(ended, success, 0)), doRelease},
		{"ended, its last lines on their way", aView(prefect.StateCompleted, started, container(ended, success, time.Second), streaming), doNothing},
		{"ended, all its lines forwarded", aView(prefect.StateCompleted, started, container(ended, success, time.Second), streaming, func(v *view) { v.streamed = true }), doRelease},
		{"ended, its last lines never came", aView(prefect.StateCompleted, started, container(ended, success, time.Minute), streaming), doRelease},
		{"job deleted", aView(prefect.StateRunning, started, container(absent, "", long), func(v *view) { v.sightings = 2 }, func(v *view) { v.readAt = t0 }), doCrash},

		// Nothing was started.
		{"unread", aView("", notStarted), doNothing},
		{"cancelled before the start", aView(prefect.StateCancelling, notStarted), doCancel},
		{"cancelled directly before the start", aView(prefect.StateCancelled, notStarted), doRelease},
		{"deleted before the start", aView(prefect.StatePending, notStarted, gone), doRelease},
		{"given back", aView(prefect.StateScheduled, notStarted), doRelease},
		{"running somewhere else", aView(prefect.StateRunning, notStarted), doRelease},

		// The start is unconfirmed.
		{"unconfirmed, too few looks", aView(prefect.StatePending, unconfirmed, looked(1, 0, long)), doNothing},
		{"unconfirmed, last look too early", aView(prefect.StatePending, unconfirmed, looked(5, 0, 95*time.Second), func(v *view) { v.lastLook = t0.Add(-10 * time.Second) }), doNothing},
		{"unconfirmed and cancelled, nothing there", aView(prefect.StateCancelling, unconfirmed, looked(3, 0, long)), doCancel},
		{"unconfirmed and cancelled, found", aView(prefect.StateCancelled, unconfirmed, looked(1, 1, time.Second)), doConfirm},
		{"unconfirmed and deleted, found", aView(prefect.StatePending, unconfirmed, looked(1, 1, time.Second), gone), doConfirm},
		{"unconfirmed and deleted, nothing there", aView(prefect.StatePending, unconfirmed, looked(3, 0, long), gone), doRelease},
		{"unconfirmed, flow runs, not visible", aView(prefect.StateRunning, unconfirmed, looked(3, 0, long)), doNothing},
		{"unconfirmed, several strangers", aView(prefect.StatePending, unconfirmed, looked(3, 2, long)), doNothing},
		{"unconfirmed, several strangers, over", aView(prefect.StateCompleted, unconfirmed, looked(3, 2, long)), doRelease},
		{"unconfirmed, several strangers, all ended before the flow began", aView(prefect.StatePending, unconfirmed, looked(3, 2, long), func(v *view) { v.alive = 0 }), doHandBack},
		{"unconfirmed and cancelled, several strangers, all ended", aView(prefect.StateCancelling, unconfirmed, looked(3, 2, long), func(v *view) { v.alive = 0 }), doCancel},
		{"unconfirmed, ended meanwhile", aView(prefect.StateCompleted, unconfirmed, looked(3, 0, long)), doRelease},

		// The container lives.
		{"running", aView(prefect.StateRunning, started, container(live, running, long)), doNothing},
		{"paused", aView(prefect.StatePaused, started, container(live, running, long)), doNothing},
		{"retrying in its own process", aView(prefect.StateScheduled, started, container(live, running, long)), doNothing},
		{"image being pulled, no limit", aView(prefect.StatePending, started, container(live, running, long)), doNothing},
		{"image being pulled, over the limit", aView(prefect.StatePending, started, container(live, running, long), func(v *view) { v.policy.startTimeout = 30 * time.Second }), doAbort},
		{"image being pulled, within the limit", aView(prefect.StatePending, started, container(live, running, long), func(v *view) { v.policy.startTimeout = long }), doNothing},
		{"cancelled while the image is pulled", aView(prefect.StateCancelling, started, container(live, running, long), since(0)), doAbort},
		{"cancelled while the image is pulled, never looked at", aView(prefect.StateCancelling, started, since(0)), doAbort},
		{"cancelled, flow may end itself", aView(prefect.StateCancelling, started, began, container(live, running, long), since(30*time.Second)), doNothing},
		{"cancelled, flow hangs", aView(prefect.StateCancelling, started, began, container(live, running, long), since(61*time.Second)), doAbort},
		{"cancelled, abort sent", aView(prefect.StateCancelling, started, began, container(live, running, long), since(70*time.Second), aborted(5*time.Second)), doNothing},
		{"cancelled, abort sent, lives on for minutes", aView(prefect.StateCancelling, started, began, container(live, running, long), since(long), aborted(2*time.Minute)), doAbort},
		{"Cancelled directly, a moment ago", aView(prefect.StateCancelled, started, container(live, running, long), since(10*time.Second)), doNothing},
		{"Cancelled directly", aView(prefect.StateCancelled, started, container(live, running, long), since(61*time.Second)), doAbort},
		{"Crashed by somebody, container lives on", aView(prefect.StateCrashed, started, container(live, running, long), since(61*time.Second)), doAbort},
		{"flow run deleted", aView(prefect.StateRunning, started, container(live, running, long), gone), doAbort},
		{"started again elsewhere", aView(prefect.StateRunning, started, container(live, running, long), superseded, since(30*time.Second)), doNothing},
		{"started again elsewhere, lives on", aView(prefect.StateRunning, started, container(live, running, long), superseded, since(2*time.Minute)), doAbort},
		{"completed, container closes down", aView(prefect.StateCompleted, started, container(live, running, long), since(time.Second)), doNothing},
		{"completed, container lives on", aView(prefect.StateCompleted, started, container(live, running, long), since(2*time.Minute)), doNoteLinger},
		{"completed, lives on, told", aView(prefect.StateCompleted, started, container(live, running, long), since(2*time.Minute), func(v *view) { v.lingerNote = true }), doNothing},
		{"completed, lives on too long", aView(prefect.StateCompleted, started, container(live, running, long), since(6*time.Minute)), doAbort},
		{"completed, not looked at since", aView(prefect.StateCompleted, started, container(live, running, long), since(6*time.Minute), func(v *view) { v.lastLook = t0.Add(-7 * time.Minute) }), doNothing},
		{"completed, may live on for ever", aView(prefect.StateCompleted, started, container(live, running, long), since(24*time.Hour), func(v *view) { v.policy.linger = -1; v.lingerNote = true }), doNothing},

		// Northflank lacks the job run.
		{"absent, once", aView(prefect.StateRunning, started, container(absent, "", time.Second)), doNothing},
		{"absent, twice, but the list may lag", aView(prefect.StateRunning, started, container(absent, "", time.Second), func(v *view) { v.sightings = 2 }), doNothing},
		{"absent and cancelled", aView(prefect.StateCancelling, started, container(absent, "", long), func(v *view) { v.sightings = 2 }), doCancel},
		{"absent and completed", aView(prefect.StateCompleted, started, container(absent, "", long), func(v *view) { v.sightings = 2 }), doRelease},
		{"vanished before the flow began", aView(prefect.StatePending, started, container(absent, "", long), func(v *view) { v.sightings = 2 }), doRetry},

		// The job run ended.
		{"ended, last report may be on its way", aView(prefect.StateRunning, started, container(ended, success, time.Second)), doNothing},
		{"ended, Prefect not read since", aView(prefect.StateRunning, started, container(ended, failed, 4*time.Second), func(v *view) { v.readAt = t0.Add(-2 * time.Second) }), doNothing},
		{"ended, why", aView(prefect.StateRunning, started, container(ended, failed, time.Minute)), doEvidence},
		{"ended with an error while running", aView(prefect.StateRunning, started, container(ended, failed, time.Minute), found(evidence{ran: true})), doCrash},
		{"ended with success, still Running", aView(prefect.StateRunning, started, container(ended, success, time.Minute), found(evidence{ran: true})), doCrash},
		{"ended while cancelling", aView(prefect.StateCancelling, started, container(ended, failed, time.Minute)), doCancel},
		{"ended and rescheduled", aView(prefect.StateScheduled, started, container(ended, failed, time.Minute)), doRelease},
		{"ended and suspended", aView(prefect.StatePaused, started, container(ended, success, time.Minute)), doRelease},
		{"ended and deleted", aView(prefect.StateRunning, started, container(ended, failed, time.Minute), gone), doRelease},
		{"ended, started again elsewhere", aView(prefect.StatePending, started, container(ended, failed, time.Minute), superseded), doRelease},
		{"contradictory end, seen once", aView(prefect.StateRunning, started, container(ended, running, time.Minute), func(v *view) { v.odd = true }), doNothing},
		{"contradictory end, seen twice", aView(prefect.StateRunning, started, container(ended, running, time.Minute), func(v *view) { v.odd, v.sightings, v.evidence = true, 2, &evidence{} }), doCrash},
		{"own command, success", aView(prefect.StatePending, started, container(ended, success, time.Minute), func(v *view) { v.policy.ownCommand = true }), doComplete},
		{"own command, failure", aView(prefect.StatePending, started, container(ended, failed, time.Minute), func(v *view) { v.policy.ownCommand = true }, found(evidence{ran: true})), doCrash},
		{"Prefect's command, success, never began", aView(prefect.StatePending, started, container(ended, success, time.Minute), found(evidence{ran: true})), doCrash},

		// Before the flow began.
		{"image could not be pulled", aView(prefect.StatePending, started, container(ended, failed, time.Minute), found(evidence{neverRan: true})), doRetry},
		{"image could not be pulled, no start left", aView(prefect.StatePending, started, container(ended, failed, time.Minute), found(evidence{neverRan: true}), func(v *view) { v.policy.attempt = 1 }), doCrash},
		{"evicted before the flow began", aView(prefect.StatePending, started, container(ended, failed, time.Minute), found(evidence{evicted: true})), doRetry},
		{"its own error before the flow began", aView(prefect.StatePending, started, container(ended, failed, time.Minute), found(evidence{ran: true})), doCrash},
		{"start timed out and was aborted", aView(prefect.StatePending, started, container(ended, failed, time.Minute), aborted(2*time.Minute), found(evidence{neverRan: true})), doRetry},
		{"evicted while the flow ran", aView(prefect.StateRunning, started, container(ended, failed, time.Minute), found(evidence{evicted: true})), doCrash},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := decide(t0, tt.view); got.action != tt.want {
				t.Errorf("decide() = %v (%s), want %v", got.action, got.why, tt.want)
			}
		})
	}
}

// TestDecideNeverCrashesBlindly runs through every combination of states: no
// flow run is ended or started again unless Northflank said that its job run
// concluded, or it is certain that there is none.
func TestDecideNeverCrashesBlindly(t *testing.T) {
	t.Parallel()
	states := []prefect.StateType{
		"", prefect.StateScheduled, prefect.StatePending, prefect.StateRunning, prefect.StateCompleted, prefect.StateFailed,
		prefect.StateCancelled, prefect.StateCancelling, prefect.StateCrashed, prefect.StatePaused, "NEW_TYPE",
	}
	statuses := []northflank.JobRunStatus{"", northflank.JobRunRunning, northflank.JobRunSuccess, northflank.JobRunFailed, "NEW_STATUS"}
	times := []time.Duration{0, 5 * time.Second, time.Minute, time.Hour}
	n := 0
	for _, state := range states {
		for _, start := range []startPhase{notStarted, unconfirmed, started} {
			for _, phase := range []containerPhase{unseen, live, ended, absent} {
				for _, status := range statuses {
					for _, ago := range times {
						for bits := range 1 << 6 {
							v := aView(state, start, container(phase, status, ago), looked(bits&3, bits>>2&1, ago))
							v.gone, v.superseded = bits&8 != 0, bits&16 != 0
							if bits&32 != 0 {
								v.sightings, v.evidence = 2, &evidence{}
							}
							checkDecision(t, v, decide(t0, v))
							n++
						}
					}
				}
			}
		}
	}
	t.Logf("%d combinations", n)
}

func checkDecision(t *testing.T, v view, d decision) {
	t.Helper()
	fail := func(rule string) { t.Fatalf("%s: decide(%+v) = %v", rule, v, d.action) }
	concluded := v.start == started && (v.container == ended || v.container == absent && v.sightings >= 2)
	switch d.action {
	case doCrash, doComplete, doRetry:
		if !concluded || v.over() {
			fail("ended or started again without proof")
		}
		if d.action == doRetry && v.state != prefect.StatePending {
			fail("a flow that began is started again")
		}
	case doHandBack:
		if v.state != prefect.StatePending || v.start == started || v.start == unconfirmed && (v.looks < 2 || v.alive != 0) {
			fail("given back though something may run")
		}
	case doCancel:
		if v.state != prefect.StateCancelling || v.start == started && !concluded {
			fail("cancelled though something may run")
		}
	case doAbort:
		if v.start != started || v.state == prefect.StateRunning && !v.gone && !v.superseded {
			fail("a wanted container is aborted")
		}
	case doRelease:
		if v.start == started && !concluded {
			fail("a container that may live is forgotten")
		}
	}
}

func TestRendezvousPicksOneAndSpreads(t *testing.T) {
	t.Parallel()
	counts := map[string]int{}
	for i := range 3000 {
		best, bestScore := "", uint64(0)
		for _, w := range []string{"a", "b", "c"} {
			if s := rendezvous(w, fmt.Sprint("flow-run-", i)); best == "" || s > bestScore {
				best, bestScore = w, s
			}
		}
		counts[best]++
	}
	for _, w := range []string{"a", "b", "c"} {
		if counts[w] < 800 || counts[w] > 1200 {
			t.Errorf("worker %s is picked for %d of 3000 flow runs, want about 1000", w, counts[w])
		}
	}
}
