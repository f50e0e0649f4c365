package worker

import (
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// startPhase says how far the start of a flow run's job run got.
type startPhase int

const (
	notStarted  startPhase = iota // claimed at most: Northflank was not asked to start anything
	unconfirmed                   // a start was asked for, or may have been; the job run is not known
	started                       // the job run is known by its id
)

// containerPhase is what the looks at Northflank have told about the job run.
type containerPhase int

const (
	unseen containerPhase = iota // no look has told anything yet
	live                         // not concluded when last looked at
	ended                        // concluded
	absent                       // Northflank does not know such a job run
)

// view is everything known about one flow run at one moment: what Prefect
// says, what Northflank says, and the policy that applies. It is rebuilt from
// both sides after a restart; nothing in it needs to survive the process.
type view struct {
	// Prefect's side. state is "" until it was read.
	state      prefect.StateType
	stateSince time.Time // when Prefect entered the state, by Prefect's clock
	readAt     time.Time // when we last read it
	gone       bool      // Prefect says that the flow run does not exist
	began      bool      // the flow itself ran at some time
	superseded bool      // another start, or another worker, stands for the flow run now

	// The start.
	start     startPhase
	intentAt  time.Time // when the start was, or may have been, asked for
	pidSaved  bool      // Prefect knows the job run's id
	strangers int       // job runs of the job that belong to no known flow run; -1: no look yet
	alive     int       // of those, how many have not concluded
	looks     int       // successful looks since intentAt
	lastLook  time.Time // newest successful look

	// Northflank's side, of the known job run.
	container containerPhase
	status    northflank.JobRunStatus
	odd       bool      // concluded and status contradict each other
	since     time.Time // when this container phase was first seen
	sightings int       // looks that showed this phase

	abortedAt  time.Time // newest acknowledged abort; zero: none
	lingerNote bool      // the flow run's log already tells that its container lives on
	streamed   bool      // the output of the ended container has been forwarded, as far as it can be had
	evidence   *evidence // why it failed; nil: not gathered

	policy policy
}

// policy is what the flow run's job variables and the worker's timing allow.
type policy struct {
	ownCommand   bool          // the container runs a command of the user's, which need not report to Prefect
	stream       bool          // the container's output is forwarded into the flow run's log
	attempt      int           // starts before this one, 0 for the first
	retries      int           // starts allowed after the first, for failures before the flow began
	startTimeout time.Duration // longest wait for the flow to begin; 0: no limit
	linger       time.Duration // how long a container may outlive its flow run; <0: for ever
	killGrace    time.Duration // SIGTERM to SIGKILL at an abort
	timing       Timing
}

// action is what is to be done about a flow run. At most one at a time.
type action int

const (
	doNothing    action = iota
	doSettleIn          // find out how an adopted flow run's job is reached, and sign for it
	doConfirm           // the one stranger is this flow run's job run: record it
	doSavePID           // tell Prefect the job run's id
	doHandBack          // nothing was started: give the flow run back to Scheduled
	doRetry             // it failed before the flow began: back to Scheduled, counted
	doAbort             // stop the container
	doEvidence          // find out why it failed
	doCrash             // propose Crashed
	doCancel            // propose Cancelled
	doComplete          // propose Completed, for a user's own command
	doNoteLinger        // tell the flow run's log that its container lives on
	doRelease           // nothing is left to do: forget the flow run
)

var actionNames = [...]string{"nothing", "settle in", "confirm", "save pid", "hand back", "retry", "abort", "gather evidence", "crash", "cancel", "complete", "note lingering", "release"}

func (a action) String() string { return actionNames[a] }

// decision is an action, why, and when to come back if nothing changes before.
type decision struct {
	action action
	why    reason
	lookAt time.Time // Northflank should be looked at by then; zero: the sweep's interval is enough
	wakeAt time.Time // decide again by then; zero: only when something changes
	reread bool      // Prefect's side should be read again
}

// reason tells apart causes that lead to the same action.
type reason string

const (
	whyNone            reason = ""
	whyDeleted         reason = "the flow run was deleted"
	whyCancelled       reason = "the flow run was cancelled"
	whyOutlived        reason = "the flow run ended but its container lives on"
	whyStartTimeout    reason = "the flow did not begin in time"
	whyNothingStarted  reason = "no job run was started"
	whyEnded           reason = "the job run ended"
	whyVanished        reason = "the job run no longer exists"
	whyCannotTell      reason = "several unknown job runs"
	whyNotOurs         reason = "not started by a worker of this kind"
	whyAlreadyTerminal reason = "done"
)

// decide says what is to be done about a flow run, given what both sides say
// now. It is pure, and level-triggered: it asks what is, not what happened, so
// that adoption, cancellation, lost answers, crashes and ordinary ends are rows
// of one table.
func decide(now time.Time, v view) decision {
	switch v.start {
	case notStarted:
		return decideUnstarted(v)
	case unconfirmed:
		return decideUnconfirmed(now, v)
	}
	switch {
	case !v.pidSaved && !v.gone && !v.superseded:
		return decision{action: doSavePID}
	case v.container == ended:
		return decideEnded(now, v, whyEnded)
	case v.container == absent && v.vanished(now):
		return decideEnded(now, v, whyVanished)
	}
	return decideLive(now, v)
}

// over reports whether Prefect expects nothing more of a container: the flow
// run has ended, was deleted, or waits for another start.
func (v view) over() bool {
	return v.gone || v.superseded || v.state.Terminal() || v.state == prefect.StateScheduled || v.state == prefect.StatePaused
}

// vanished reports whether the job run's absence can be believed: a list may
// lag behind, so it takes two sightings and some time.
func (v view) vanished(now time.Time) bool {
	return v.sightings >= 2 && now.Sub(v.since) >= v.policy.timing.ListLag
}

func decideUnstarted(v view) decision {
	switch {
	case v.over():
		return decision{action: doRelease, why: whyAlreadyTerminal}
	case v.state == prefect.StatePending:
		return decision{action: doHandBack, why: whyNothingStarted}
	case v.state == prefect.StateCancelling:
		return decision{action: doCancel, why: whyNothingStarted}
	case v.state == prefect.StateRunning:
		// No worker of this kind started it: somebody else's.
		return decision{action: doRelease, why: whyNotOurs}
	}
	return decision{} // not read, or a state that is not known yet
}

func decideUnconfirmed(now time.Time, v view) decision {
	t := v.policy.timing
	if v.strangers == 1 {
		// Also for a flow run that is over: its container has to be stopped.
		return decision{action: doConfirm}
	}
	settledAt := v.intentAt.Add(t.StartSettle)
	if v.looks < 2 || v.lastLook.Before(settledAt) {
		return decision{lookAt: nextStartLook(v, settledAt)}
	}
	switch {
	case v.alive > 0 && v.over():
		return decision{action: doRelease, why: whyCannotTell}
	case v.alive > 0, v.state == prefect.StateRunning:
		// The flow runs, or may run, in a job run that cannot be told apart
		// yet: other starts becoming known, or the end of either, settle it.
		return decision{lookAt: v.lastLook.Add(t.ListLag)}
	case v.over():
		return decision{action: doRelease, why: whyNothingStarted}
	case v.state == prefect.StateCancelling:
		return decision{action: doCancel, why: whyNothingStarted}
	case v.state == prefect.StatePending:
		return decision{action: doHandBack, why: whyNothingStarted}
	}
	return decision{} // a state that is not known yet
}

// nextStartLook spaces the looks for an unconfirmed start: early ones find a
// job run that did start, the last one, at settledAt, proves that none did.
func nextStartLook(v view, settledAt time.Time) time.Time {
	for _, after := range v.policy.timing.StartLooks {
		if at := v.intentAt.Add(after); at.Before(settledAt) && v.lastLook.Before(at) {
			return at
		}
	}
	if v.lastLook.Before(settledAt) {
		return settledAt
	}
	return v.lastLook.Add(v.policy.timing.Relook)
}

func decideLive(now time.Time, v view) decision {
	t := v.policy.timing
	d := decision{}
	if v.container == absent {
		d.lookAt = v.lastLook.Add(t.ListLag / 2)
	}
	why, due := v.stopDue()
	if why == whyNone {
		return d
	}
	if !v.abortedAt.IsZero() {
		return v.afterAbort(now)
	}
	if due.IsZero() { // it may live on, by the user's wish
		return v.noteLinger(now, d)
	}
	if now.Before(due) {
		d.wakeAt = due
		return v.noteLinger(now, d)
	}
	if v.container == absent {
		return d
	}
	if v.state.Terminal() && !v.seenAfter(v.stateSince) {
		// Its container most likely ended too: no abort is spent on it before a
		// look. One that ended by itself waits for the next round of looks.
		if v.state == prefect.StateCancelled || v.state == prefect.StateCrashed {
			d.lookAt = now
		}
		return d
	}
	return decision{action: doAbort, why: why}
}

// stopDue says why and when the live container has to be stopped, if at all. A
// zero time with a reason means: never, but tell.
func (v view) stopDue() (reason, time.Time) {
	p := v.policy
	switch {
	case v.gone:
		return whyDeleted, v.readAt
	case v.superseded:
		return whyOutlived, v.stateSince.Add(p.timing.CancelGrace)
	case v.state == prefect.StateCancelling && !v.began:
		return whyCancelled, v.stateSince
	case v.state == prefect.StateCancelling:
		return whyCancelled, v.stateSince.Add(p.timing.CancelGrace)
	case v.state == prefect.StateCancelled, v.state == prefect.StateCrashed:
		return whyOutlived, v.stateSince.Add(p.timing.CancelGrace)
	case v.state.Terminal() && p.linger < 0:
		return whyOutlived, time.Time{}
	case v.state.Terminal():
		return whyOutlived, v.stateSince.Add(p.linger)
	case v.state == prefect.StatePending && p.startTimeout > 0:
		return whyStartTimeout, v.intentAt.Add(p.startTimeout)
	}
	return whyNone, time.Time{}
}

// noteLinger adds, once, a line to the flow run's log when its container is
// seen alive some time after the flow run ended.
func (v view) noteLinger(now time.Time, d decision) decision {
	if !v.state.Terminal() || v.lingerNote {
		return d
	}
	noteAt := v.stateSince.Add(v.policy.timing.LingerNote)
	switch {
	case now.Before(noteAt):
		d.wakeAt = earliest(d.wakeAt, noteAt)
	case v.seenAfter(noteAt):
		return decision{action: doNoteLinger, wakeAt: d.wakeAt}
	}
	return d
}

// seenAfter reports whether a look after t showed the container alive.
func (v view) seenAfter(t time.Time) bool {
	return v.container == live && v.lastLook.After(t)
}

// afterAbort waits for an acknowledged abort to take effect, and repeats it
// only when the container is seen alive long after it should be dead.
func (v view) afterAbort(now time.Time) decision {
	dead := v.abortedAt.Add(v.policy.killGrace + v.policy.timing.Relook)
	overdue := dead.Add(v.policy.timing.ListLag)
	if v.seenAfter(overdue) {
		return decision{action: doAbort, why: whyOutlived}
	}
	if v.lastLook.Before(v.abortedAt.Add(v.policy.timing.Relook)) {
		return decision{lookAt: v.abortedAt.Add(v.policy.timing.Relook)}
	}
	if v.lastLook.Before(dead) {
		return decision{lookAt: dead}
	}
	return decision{lookAt: latest(overdue.Add(time.Second), v.lastLook.Add(v.policy.timing.ListLag/2))}
}

func decideEnded(now time.Time, v view, why reason) decision {
	t := v.policy.timing
	if v.over() {
		if given := v.since.Add(streamPatience); v.policy.stream && !v.streamed && v.state.Terminal() && !v.gone && now.Before(given) {
			return decision{wakeAt: given} // the last lines are on their way
		}
		return decision{action: doRelease, why: why}
	}
	if v.odd && v.sightings < 2 {
		return decision{lookAt: v.lastLook.Add(t.Relook)}
	}
	// What the flow reported last may still be on its way to Prefect.
	believe := v.since.Add(t.LateReport)
	if now.Before(believe) {
		return decision{wakeAt: believe}
	}
	if v.readAt.Before(believe) {
		return decision{reread: true, wakeAt: now.Add(t.Relook)}
	}
	clean := why == whyEnded && v.status == northflank.JobRunSuccess
	switch {
	case v.state == prefect.StateCancelling:
		return decision{action: doCancel, why: why}
	case v.state != prefect.StatePending && v.state != prefect.StateRunning:
		return decision{} // not read, or a state that is not known yet
	case clean && v.policy.ownCommand && v.state == prefect.StatePending:
		return decision{action: doComplete, why: why}
	case v.evidence == nil && why == whyEnded:
		return decision{action: doEvidence, why: why}
	case v.state == prefect.StatePending && !v.began && v.platformFailure() && v.policy.attempt < v.policy.retries:
		return decision{action: doRetry, why: why}
	}
	return decision{action: doCrash, why: why}
}

// platformFailure reports whether the platform, not the flow's own container,
// is at fault, so that another start can help.
func (v view) platformFailure() bool {
	if v.evidence == nil {
		return true // vanished before the flow began
	}
	return v.evidence.neverRan || v.evidence.evicted || !v.abortedAt.IsZero()
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
