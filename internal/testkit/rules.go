package testkit

import (
	"fmt"
	"math"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// State is a flow run's state as the server holds it.
type State struct {
	ID            string
	Type          prefect.StateType
	Name          string // "" in a proposal: the type's usual name
	Message       string
	Timestamp     time.Time
	TransitionID  string
	ScheduledTime time.Time // zero: none
	// LeaseID is the deployment's concurrency slot, "" without a limit.
	LeaseID string
	// PersistedResult: the flow stored its result. Such a Completed run cannot be
	// moved back.
	PersistedResult bool
	// Suspended marks a PAUSED state whose process has ended (pause_reschedule).
	Suspended bool
}

// Result is the answer to a proposed state. State is the flow run's state
// afterwards.
type Result struct {
	Status prefect.Answer
	State  State
	Reason string
	Delay  time.Duration // with Wait
}

// Names of states that the server gives by itself.
const (
	awaitingSlot  = "AwaitingConcurrencySlot"
	awaitingRetry = "AwaitingRetry"
	late          = "Late"
)

// Delays of the server, in its default settings.
const (
	lateAfter         = 15 * time.Second
	slotWait          = 30 * time.Second
	cancellingTimeout = 300 * time.Second
)

const cancellingTimedOut = "Flow run cancellation timed out; marked this flow run as Cancelled."

// verdict is what the rules make of a proposal: the state to write, nil for
// none, and what the client is told.
type verdict struct {
	status prefect.Answer
	write  *State
	reason string
	delay  time.Duration
}

func accept(s *State) *verdict      { return &verdict{status: prefect.Accept, write: s} }
func abort(reason string) *verdict  { return &verdict{status: prefect.Abort, reason: reason} }
func reject(reason string) *verdict { return &verdict{status: prefect.Reject, reason: reason} }
func divert(s State, why string) *verdict {
	return &verdict{status: prefect.Reject, write: &s, reason: why}
}

func wait(d time.Duration, why string) *verdict {
	return &verdict{status: prefect.Wait, reason: why, delay: d}
}

// rule may settle a proposal, or change it and return nil.
type rule func(p *Prefect, r *flowRun, proposed *State) *verdict

// coreRules and forcedRules are Prefect 3.8's CoreFlowPolicy and
// MinimalFlowPolicy (server/orchestration/core_policy.py), in their order; the
// first rule that settles a proposal is the last to see it.
var (
	coreRules = []rule{
		preserveLease,
		preventDuplicateTransitions,
		handleTerminalStates,
		enforceCancellingToCancelled,
		bypassCancellingWithoutInfrastructure,
		preventPendingTransitions,
		validateLease,
		secureConcurrencySlot,
		onlyScheduledBecomesLate,
		handlePausing,
		handleResuming,
		copyScheduledTime,
		waitForScheduledTime,
		retryFailedFlows,
	}
	forcedRules = []rule{
		preventResultDataLoss,
		bypassCancellingWithoutInfrastructure,
	}
)

// setState puts a proposal to the rules and writes what they leave of it.
func (p *Prefect) setState(r *flowRun, proposed State, force bool) Result {
	if proposed.Name == "" {
		proposed.Name = usualName(proposed.Type)
	}
	if proposed.Type == prefect.StateScheduled && proposed.ScheduledTime.IsZero() {
		proposed.ScheduledTime = now()
	}
	rules := coreRules
	if force {
		rules = forcedRules
	}
	retryType, ended := r.retryType, r.state.Type.Terminal()
	v := accept(&proposed)
	for _, rule := range rules {
		if settled := rule(p, r, &proposed); settled != nil {
			v = settled
			break
		}
	}
	if ended && v.status != prefect.Accept {
		r.retryType = retryType // handleTerminalStates is undone when a later rule objects
	}
	if v.write != nil {
		p.write(r, *v.write)
	}
	return Result{Status: v.status, State: r.state, Reason: v.reason, Delay: v.delay}
}

// usualName is the name of a state that was given none.
func usualName(t prefect.StateType) string {
	if t == "" {
		return ""
	}
	name := []byte(t)
	for i := 1; i < len(name); i++ {
		name[i] += 'a' - 'A'
	}
	return string(name)
}

// preserveLease: PreserveDeploymentConcurrencyLeaseId.
func preserveLease(_ *Prefect, r *flowRun, proposed *State) *verdict {
	if proposed.LeaseID == "" {
		proposed.LeaseID = r.state.LeaseID
	}
	return nil
}

// preventDuplicateTransitions: PreventDuplicateTransitions.
func preventDuplicateTransitions(_ *Prefect, r *flowRun, proposed *State) *verdict {
	if proposed.TransitionID != "" && proposed.TransitionID == r.state.TransitionID {
		return reject("This run has already made this state transition.")
	}
	return nil
}

// handleTerminalStates: HandleFlowTerminalStateTransitions. It does not keep a
// Crashed, Failed or (without a stored result) Completed run from Pending,
// Running or Scheduled.
func handleTerminalStates(p *Prefect, r *flowRun, proposed *State) *verdict {
	if !r.state.Type.Terminal() {
		return nil
	}
	switch proposed.Type {
	case prefect.StateCancelling, prefect.StatePaused, prefect.StateCrashed:
		return abort(fmt.Sprintf("Run is already in terminal state %s.", r.state.Type))
	}
	if r.state.PersistedResult && !proposed.Type.Terminal() {
		return reject("Run is already COMPLETED.")
	}
	if v := preventResultDataLoss(p, r, proposed); v != nil {
		return v
	}
	if proposed.Type == prefect.StateScheduled && r.deploymentID == "" {
		return abort("Cannot reschedule a run without an associated deployment.")
	}
	switch {
	case proposed.Type == prefect.StateScheduled:
		r.retryType = "reschedule"
	case !proposed.Type.Terminal():
		r.retryType = ""
	}
	return nil
}

// preventResultDataLoss: PreventResultDataLoss.
func preventResultDataLoss(_ *Prefect, r *flowRun, proposed *State) *verdict {
	if r.state.PersistedResult && proposed.Type == prefect.StateCompleted && !proposed.PersistedResult {
		return reject("Cannot overwrite a COMPLETED state that carries persisted result data with one that does not.")
	}
	return nil
}

// enforceCancellingToCancelled: EnforceCancellingToCancelledTransition.
func enforceCancellingToCancelled(_ *Prefect, r *flowRun, proposed *State) *verdict {
	if r.state.Type == prefect.StateCancelling && proposed.Type != prefect.StateCancelled {
		return reject("Cannot transition flows that are cancelling to a state other than Cancelled.")
	}
	return nil
}

// bypassCancellingWithoutInfrastructure: BypassCancellingFlowRunsWithNoInfra.
func bypassCancellingWithoutInfrastructure(_ *Prefect, r *flowRun, proposed *State) *verdict {
	if proposed.Type != prefect.StateCancelling {
		return nil
	}
	cancelled := State{Type: prefect.StateCancelled, Name: "Cancelled"}
	switch {
	case r.state.Type == prefect.StateScheduled && (r.infrastructurePID == "" || r.state.Name == "Resuming"):
		return divert(cancelled, "Scheduled flow run has no infrastructure to terminate.")
	case r.state.Type == prefect.StatePaused && r.state.Suspended:
		return divert(cancelled, "Suspended flow run has no infrastructure to terminate.")
	}
	return nil
}

// preventPendingTransitions: PreventPendingTransitions.
func preventPendingTransitions(_ *Prefect, r *flowRun, proposed *State) *verdict {
	if proposed.Type != prefect.StatePending {
		return nil
	}
	switch r.state.Type {
	case prefect.StatePending, prefect.StateCancelling, prefect.StateRunning, prefect.StateCancelled:
	default:
		return nil
	}
	if r.state.Type == prefect.StatePending && r.state.Name != proposed.Name && proposed.Name != "Pending" {
		proposed.ScheduledTime, proposed.LeaseID = r.state.ScheduledTime, r.state.LeaseID
		return nil
	}
	return abort(fmt.Sprintf("This run is in a %s state and cannot transition to a PENDING state.", r.state.Type))
}

// secureConcurrencySlot: SecureFlowConcurrencySlots.
func secureConcurrencySlot(p *Prefect, r *flowRun, proposed *State) *verdict {
	if proposed.Type != prefect.StatePending || r.deploymentID == "" || hasSlot(r.state.Type) {
		return nil
	}
	d, ok := p.deployments[r.deploymentID]
	if !ok {
		return abort("Deployment not found.")
	}
	if d.ConcurrencyLimit == 0 {
		return nil
	}
	const reason = "Deployment concurrency limit reached."
	switch {
	case p.takeSlot(r, d, proposed):
		return nil
	case d.CancelNew:
		return divert(State{Type: prefect.StateCancelled, Name: "Cancelled", Message: reason}, reason)
	}
	return divert(State{Type: prefect.StateScheduled, Name: awaitingSlot, ScheduledTime: now().Add(slotWait)}, reason)
}

// hasSlot: the slot was taken before.
func hasSlot(t prefect.StateType) bool {
	return t == prefect.StatePending || t == prefect.StateRunning || t == prefect.StateCancelling
}

// onlyScheduledBecomesLate: EnsureOnlyScheduledFlowsMarkedLate.
func onlyScheduledBecomesLate(_ *Prefect, r *flowRun, proposed *State) *verdict {
	if proposed.Type != prefect.StateScheduled || proposed.Name != late {
		return nil
	}
	if r.state.Type != prefect.StateScheduled {
		return reject("Only scheduled flows can be marked late.")
	}
	if r.state.Name == late {
		return reject("This flow run is already marked late.")
	}
	return nil
}

// handlePausing: HandlePausingFlows, without pause keys.
func handlePausing(_ *Prefect, r *flowRun, proposed *State) *verdict {
	if proposed.Type == prefect.StatePaused && r.state.Type != prefect.StateRunning {
		return reject("Cannot pause flows that are not currently running.")
	}
	return nil
}

// handleResuming: HandleResumingPausedFlows, without time-outs.
func handleResuming(_ *Prefect, r *flowRun, proposed *State) *verdict {
	if r.state.Type != prefect.StatePaused || proposed.Type.Terminal() {
		return nil
	}
	switch proposed.Type {
	case prefect.StateRunning, prefect.StateScheduled, prefect.StateCancelling:
		return nil
	}
	return reject(fmt.Sprintf("This run cannot transition to the StateType.%s state from the StateType.%s state.", proposed.Type, r.state.Type))
}

// copyScheduledTime: CopyScheduledTime.
func copyScheduledTime(_ *Prefect, r *flowRun, proposed *State) *verdict {
	if r.state.Type == prefect.StateScheduled && proposed.Type == prefect.StatePending && proposed.ScheduledTime.IsZero() {
		proposed.ScheduledTime = r.state.ScheduledTime
	}
	return nil
}

// waitForScheduledTime: WaitForScheduledTime. Only whole seconds are told.
func waitForScheduledTime(_ *Prefect, r *flowRun, proposed *State) *verdict {
	early := r.state.Type == prefect.StateScheduled || r.state.Type == prefect.StatePending
	if !early || proposed.Type != prefect.StateRunning || r.state.ScheduledTime.IsZero() {
		return nil
	}
	if seconds := math.Round(r.state.ScheduledTime.Sub(now()).Seconds()); seconds > 0 {
		return wait(time.Duration(seconds)*time.Second, "Scheduled time is in the future")
	}
	return nil
}

// retryFailedFlows: RetryFailedFlows. The flow's process goes on after the
// delay, so the run is Scheduled but not handed out.
func retryFailedFlows(_ *Prefect, r *flowRun, proposed *State) *verdict {
	if r.state.Type != prefect.StateRunning || proposed.Type != prefect.StateFailed {
		return nil
	}
	if r.runCount > r.retries {
		r.retryType = ""
		return nil
	}
	r.retryType = inProcess
	return divert(State{
		Type: prefect.StateScheduled, Name: awaitingRetry, Message: proposed.Message,
		ScheduledTime: now().Add(r.retryDelay), LeaseID: r.state.LeaseID,
	}, "Retrying")
}

// inProcess is the retry type of a flow run that its own process retries.
const inProcess = "in_process"

// write stores a state and what follows from it (server/orchestration/global_policy.py).
func (p *Prefect) write(r *flowRun, s State) {
	s.ID = p.newID()
	s.Timestamp = now()
	for n := len(r.history); n > 0 && !s.Timestamp.After(r.history[n-1].Timestamp); {
		s.Timestamp = r.history[n-1].Timestamp.Add(time.Microsecond) // EnsureFlowRunStateTimestampIsUnique
	}
	was := r.state
	r.state = s
	r.history = append(r.history, s)
	r.touch()

	if was.Type == prefect.StateRunning {
		r.runTime += s.Timestamp.Sub(was.Timestamp) // IncrementRunTime
	}
	if s.Type == prefect.StateRunning {
		if r.startTime.IsZero() {
			r.startTime = s.Timestamp
		}
		r.runCount++
	}
	switch {
	case s.Type.Terminal() && r.endTime.IsZero():
		if r.startTime.IsZero() {
			r.startTime = s.Timestamp // also for a run that never began
		}
		r.endTime = s.Timestamp
	case was.Type.Terminal() && !s.Type.Terminal():
		r.endTime = time.Time{}
	}
	if s.Type == prefect.StateScheduled {
		r.nextStart = s.ScheduledTime
		if r.expectedStart.IsZero() {
			r.expectedStart = s.ScheduledTime
		}
	} else if was.Type == prefect.StateScheduled {
		r.nextStart = time.Time{}
	}
	p.stateChanged(r, was)
}

// passTime does what the server's services would have done by now.
func (p *Prefect) passTime(r *flowRun) {
	at := now()
	switch {
	case r.state.Type == prefect.StateScheduled && r.state.Name == "Scheduled" && !at.Before(r.nextStart.Add(lateAfter)):
		p.setState(r, State{Type: prefect.StateScheduled, Name: late, ScheduledTime: r.nextStart}, false)
	case r.state.Type == prefect.StateCancelling && !at.Before(r.state.Timestamp.Add(cancellingTimeout)):
		p.setState(r, State{Type: prefect.StateCancelled, Message: cancellingTimedOut}, true)
		p.requestCleanup(r)
	}
}
