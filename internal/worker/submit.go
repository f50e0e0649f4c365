package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// submission is the way of one scheduled flow run to its job run:
//
//	prepare -> claim (Pending) -> job (PUT) -> labels -> intent (Submitting)
//	        -> start (POST) -> infrastructure pid
//
// Each step leaves behind what a successor needs (claim.go). A step that fails
// ends the submission; what to do then is decide's business, from what both
// sides say: the submission only records how far it got.
type submission struct {
	*Worker
	pool     prefect.WorkPool
	flowRun  prefect.FlowRun
	prepared *Prepared
	place    place
	release  func() // gives back what was held of the request budget
	key      jobKey // the lane that it starts on
	attempt  int
	polledAt time.Time     // when the poll that told of it was asked
	state    prefect.State // as we last put it
	stateAt  time.Time
}

// errHandled ends a submission whose outcome has been dealt with.
var errHandled = errors.New("handled")

// runSubmission submits a flow run.
func (w *Worker) runSubmission(ctx context.Context, pool prefect.WorkPool, fr prefect.FlowRun, polledAt time.Time) {
	s := &submission{Worker: w, pool: pool, flowRun: fr, attempt: labelInt(fr.Labels, labelAttempt), polledAt: polledAt, release: func() {}}
	defer func() { s.release() }()
	// Whatever happened, decide carries on from what both sides say.
	defer w.table.update(fr.ID, func(t *tracked) { t.busy = false })
	ctx, ready, fault := s.prepare(ctx)
	switch {
	case fault != nil:
		// Claimed first, so that of several workers only one reports it.
		if s.claim(ctx) {
			s.crash(ctx, reasonConfiguration, submitFailed+messageOf(fault))
		}
	case !ready:
		w.table.drop(fr.ID) // not claimed: it stays Scheduled
	default:
		if s.claim(ctx) {
			s.start(ctx)
		}
	}
}

// prepare renders the flow run and reports whether it may be claimed now; fault
// is what is wrong with the flow run's own configuration. What is held of the
// request budget for its start is in the returned context.
func (s *submission) prepare(ctx context.Context) (held context.Context, ready bool, fault error) {
	fr := s.flowRun
	const subject = "preparing flow runs"
	prepared, err := s.preparer.prepare(ctx, s.pool, fr, s.polledAt)
	var wrong *ConfigurationError
	switch {
	case errors.Is(err, errDeploymentGone):
		s.cancelDeploymentGone(ctx)
		return ctx, false, nil
	case errors.As(err, &wrong):
		return ctx, false, err
	case err != nil:
		s.said.trouble(ctx, s.log, subject, err)
		return ctx, false, nil
	}
	s.said.over(ctx, s.log, subject)
	client, err := s.accountClient(ctx, prepared.Spec.Account)
	if err != nil {
		return ctx, false, err
	}
	s.prepared, s.place = prepared, place{client, prepared.Spec.ProjectID}
	if !s.gate.enter(s.place, fr, time.Now()) {
		return ctx, false, nil
	}
	ctx, s.release, err = client.Hold(ctx, northflank.ClassStart, startRequests)
	if err != nil {
		s.refused(ctx, err)
		return ctx, false, nil
	}
	if fr.InfrastructurePID != "" && s.stillRuns(ctx, client) {
		s.gate.left(s.place)
		return ctx, false, nil
	}
	return ctx, true, nil
}

// startRequests is what a start costs at most: the job is saved, and run.
const startRequests = 2

// refused keeps flow runs Scheduled until Northflank may take them again.
func (s *submission) refused(ctx context.Context, err error) {
	if s.gate.refused(s.place, err, time.Now()) {
		s.said.trouble(ctx, s.log, "starting job runs", err)
	}
}

// cancelDeploymentGone ends a flow run whose deployment was deleted, as
// Prefect's own worker does.
func (s *submission) cancelDeploymentGone(ctx context.Context) {
	_, err := s.Prefect.SetState(ctx, s.flowRun.ID, prefect.StateProposal{
		Type: prefect.StateCancelled, Name: "Cancelled", Force: true,
		Message: fmt.Sprintf("Deployment %s no longer exists, cancelled run.", s.flowRun.DeploymentID),
	})
	if err == nil {
		s.noteCancelled(reasonDeploymentGone)
	}
	s.log.InfoContext(ctx, "flow run cancelled: its deployment was deleted", "flow_run_id", s.flowRun.ID, "flow_run", s.flowRun.Name, "err", err)
}

// messageOf is an error's text with its next step.
func messageOf(err error) string {
	if hint := hintOf(err); hint != "" {
		return err.Error() + "\n" + hint
	}
	return err.Error()
}

// submitFailed is what Prefect's own worker begins such a message with.
const submitFailed = "Failed to submit flow run to infrastructure: "

// crash proposes Crashed for a flow run of which nothing was started.
func (s *submission) crash(ctx context.Context, why, message string) {
	s.table.update(s.flowRun.ID, func(t *tracked) {
		t.closing = closing{prefect.StateCrashed, why, strings.TrimPrefix(message, submitFailed)}
	})
	s.flowLogs.add(s.flowRun.ID, levelError, "Failed to submit flow run '%s' to infrastructure.\n%s", s.flowRun.Name, message)
	s.log.WarnContext(ctx, "flow run cannot be started", "flow_run_id", s.flowRun.ID, "flow_run", s.flowRun.Name, "reason", message)
	result, err := s.proposeFrom(ctx, s.flowRun.ID, s.state.ID, s.stateAt, prefect.StateProposal{Type: prefect.StateCrashed, Name: "Crashed", Message: message})
	if err == nil {
		s.setState(result.State)
	} else if !errors.Is(err, prefect.ErrNotFound) {
		// Given back by decide, to be found at fault again.
		s.log.WarnContext(ctx, "reporting a flow run as crashed", "flow_run_id", s.flowRun.ID, "err", err)
	}
}

// stillRuns reports whether a job run of an earlier start may be alive. A flow
// that retries in its own process is offered again by Prefect meanwhile, and
// must not get a second container. A failed look says yes.
func (s *submission) stillRuns(ctx context.Context, client *northflank.Client) bool {
	jobID, runID, ok := splitPID(s.flowRun.InfrastructurePID)
	if !ok {
		return false
	}
	project := labelText(s.flowRun.Labels, labelProject)
	if project == "" {
		project = s.place.project
	}
	run, err := client.GetRun(northflank.WithClass(ctx, northflank.ClassConfirm), project, jobID, runID)
	if errors.Is(err, northflank.ErrNotFound) || err == nil && run.Terminal() {
		return false
	}
	s.log.InfoContext(ctx, "flow run is offered again while its container lives: left alone", "flow_run_id", s.flowRun.ID, "flow_run", s.flowRun.Name, "err", err)
	return true
}

func (w *Worker) accountClient(ctx context.Context, a jobspec.Account) (*northflank.Client, error) {
	client, isNew, err := w.Accounts.Client(a.BaseURL, a.TeamID, a.Token)
	if err == nil && isNew && client.Warning() != "" {
		w.log.WarnContext(ctx, client.Warning())
	}
	return client, err
}

// claim proposes Pending and reports whether the flow run is ours. When the
// answer stays unknown the row is kept: observation tells what happened.
func (s *submission) claim(ctx context.Context) bool {
	fr := s.flowRun
	result, err := s.proposeFrom(ctx, fr.ID, fr.StateID, s.polledAt, prefect.StateProposal{
		Type: prefect.StatePending, Name: stateNamePending,
		Message: claim{worker: s.Name, process: s.process}.pendingMessage(),
	})
	switch {
	case err == nil && result.Status == prefect.Accept:
	case err != nil && isPassing(err):
		s.log.WarnContext(ctx, "claiming a flow run: no answer", "flow_run_id", fr.ID, "flow_run", fr.Name, "err", err)
		s.leaveGate()
		return false
	default:
		return s.notClaimed(ctx, result.Reason, err)
	}
	s.setState(result.State)
	s.log.InfoContext(ctx, "flow run claimed", "flow_run_id", fr.ID, "flow_run", fr.Name)
	s.flowLogs.add(fr.ID, levelInfo, "Worker '%s' submitting flow run '%s'", s.Name, fr.ID)
	return true
}

// notClaimed forgets the flow run. Always false.
func (s *submission) notClaimed(ctx context.Context, why string, err error) bool {
	s.log.InfoContext(ctx, "flow run not claimed", "flow_run_id", s.flowRun.ID, "flow_run", s.flowRun.Name, "reason", why, "err", err)
	s.leaveGate()
	s.table.drop(s.flowRun.ID)
	return false
}

func (s *submission) leaveGate() {
	if s.place.client != nil {
		s.gate.left(s.place)
	}
}

// setState records a state that Prefect has just told.
func (s *submission) setState(state prefect.State) {
	s.state, s.stateAt = state, time.Now()
	s.table.update(s.flowRun.ID, func(t *tracked) { t.setState(state, time.Now()) })
}

// start goes from a claimed flow run to its job run.
func (s *submission) start(ctx context.Context) {
	s.tellSubmitted(ctx)
	err := s.tryStart(ctx)
	switch {
	case err == nil:
		if s.gate.passed(s.place, time.Now()) {
			s.log.InfoContext(ctx, "Northflank takes job runs again", "project", s.place.project)
		}
	case errors.Is(err, errHandled):
		s.gate.left(s.place)
	case isRefusal(err):
		s.refused(ctx, err)
	default:
		s.gate.left(s.place)
		s.log.WarnContext(ctx, "starting a flow run", "flow_run_id", s.flowRun.ID, "flow_run", s.flowRun.Name, "err", err)
	}
}

// tellSubmitted tells the flow run's log and Prefect's events what is under way.
func (s *submission) tellSubmitted(ctx context.Context) {
	fr, spec := s.flowRun, &s.prepared.Spec
	event := s.events.emit("prefect.worker.submitted-flow-run", flowRunRelated(s.pool, fr, s.prepared, "", nil), "")
	s.table.update(fr.ID, func(t *tracked) {
		t.submitted, t.prepared, t.client, t.project = event, s.prepared, s.place.client, s.place.project
		t.view.policy, t.heartbeat = policyOf(spec, s.attempt, s.Timing), heartbeatOf(spec)
	})
	if warning := UnreachableAPI(spec.Run.RuntimeEnvironment["PREFECT_API_URL"], spec.Account.BaseURL); warning != "" {
		s.said.trouble(ctx, s.log, "the Prefect API's address", errors.New(warning))
		s.flowLogs.add(fr.ID, levelWarning, "%s", warning)
	}
	for _, warning := range s.prepared.Warnings {
		if !warning.Once {
			s.flowLogs.add(fr.ID, levelWarning, "%s", warning)
			continue
		}
		s.said.trouble(ctx, s.log, warning.Subject(), errors.New(warning.Text))
	}
}

// policyOf reads the policy from a spec.
func policyOf(spec *jobspec.Spec, attempt int, timing Timing) policy {
	p := policy{
		ownCommand: ownCommand(spec.Run), stream: spec.Stream, attempt: attempt, retries: spec.StartRetries,
		startTimeout: spec.StartTimeout, linger: spec.LingerTimeout, killGrace: spec.GracePeriod, timing: timing,
	}
	if p.startTimeout == jobspec.NoTimeout {
		p.startTimeout = 0
	}
	if p.killGrace == 0 {
		p.killGrace = defaultKillGrace
	}
	return p
}

// heartbeatOf reads how often the flow tells that it lives; 0 when it does not,
// or by a setting inside the image.
func heartbeatOf(spec *jobspec.Spec) time.Duration {
	seconds, err := strconv.Atoi(strings.TrimSpace(spec.Run.RuntimeEnvironment[jobspec.HeartbeatVariable]))
	if err != nil || seconds < 1 {
		return 0
	}
	return time.Duration(max(seconds, jobspec.HeartbeatSeconds)) * time.Second
}

// defaultKillGrace is Northflank's own time between SIGTERM and SIGKILL.
const defaultKillGrace = 30 * time.Second

// tryStart does the steps. The lane is held from before the intent until
// Prefect knows the job run, or it is certain that there is none.
func (s *submission) tryStart(ctx context.Context) error {
	spec := &s.prepared.Spec
	requests := make([]northflank.JobRequest, maxLanes)
	ids := make([]string, maxLanes)
	for lane := range requests {
		requests[lane] = spec.JobNamed(lane)
		ids[lane] = requests[lane].Name
	}
	lane, err := s.table.takeLane(ctx, s.flowRun.ID, s.place, ids)
	if err != nil {
		return err
	}
	defer s.table.update(s.flowRun.ID, func(t *tracked) { t.starting = false })
	s.key = jobKey{s.place, ids[lane]}
	s.table.changeJob(s.key, func(j *job) { j.cleanup, j.single = spec.Cleanup, spec.Scope == jobspec.ScopeFlowRun })
	if err := s.ensureJob(ctx, requests[lane]); err != nil {
		return s.refuseOrCrash(ctx, err)
	}
	leaseEnds := time.Now().Add(s.Timing.StartLease)
	if err := s.writeIntent(ctx); err != nil {
		return err
	}
	return s.startRun(ctx, requests[lane], leaseEnds)
}

// ensureJob makes sure that the job exists as rendered. Repeating is harmless.
func (s *submission) ensureJob(ctx context.Context, request northflank.JobRequest) error {
	exists := false
	s.table.changeJob(s.key, func(j *job) { exists = j.exists })
	if exists {
		return nil
	}
	s.table.changeJob(s.key, func(j *job) { j.made = true })
	created, err := s.place.client.PutJob(northflank.WithClass(ctx, northflank.ClassStart), s.place.project, request)
	if err != nil {
		return err
	}
	if created.ID != request.Name {
		return fmt.Errorf("northflank calls job %q %q: names of this program are expected to be their own ids", request.Name, created.ID)
	}
	s.table.changeJob(s.key, func(j *job) { j.exists = true })
	return nil
}

// writeIntent leaves behind what a successor needs and takes the one right to
// start or give back this flow run.
func (s *submission) writeIntent(ctx context.Context) error {
	fr, key := s.flowRun, s.key
	if fr.InfrastructurePID != "" {
		if err := s.Prefect.SetInfrastructurePID(ctx, fr.ID, ""); err != nil { // of an earlier start
			return err
		}
	}
	spec := &s.prepared.Spec
	var recent []string
	s.table.changeJob(key, func(j *job) { recent = slices.Clone(j.recent) })
	labels := map[string]any{
		labelWorkerName: s.Name, labelWorkerType: Type, labelPoolName: s.pool.Name, labelPoolID: s.pool.ID,
		labelAPI: key.client.BaseURL(), labelTeam: spec.Account.TeamID, labelProject: key.project, labelJob: key.id,
		labelIntent: time.Now().UTC().Format(time.RFC3339Nano), labelAttempt: s.attempt,
		labelAfter: strings.Join(recent, ","),
	}
	if ownCommand(spec.Run) {
		labels[labelOwnCommand] = true
	}
	if err := s.Prefect.SetLabels(ctx, fr.ID, labels); err != nil {
		return err
	}
	s.table.update(fr.ID, func(t *tracked) { t.intended = true })
	result, err := s.proposeFrom(ctx, fr.ID, s.state.ID, s.stateAt, prefect.StateProposal{
		Type: prefect.StatePending, Name: stateNameSubmitting,
		Message: claim{worker: s.Name, process: s.process, project: key.project, job: key.id}.submittingMessage(),
	})
	switch {
	case err != nil:
		return err
	case result.Status == prefect.Accept:
		s.setState(result.State)
		return nil
	case result.State.Type == prefect.StatePending:
		// Another process under this worker's name was faster: its business.
		s.log.WarnContext(ctx, "another process took over this flow run: does a second worker run under this name?", "flow_run_id", fr.ID, "flow_run", fr.Name, "worker", s.Name)
		s.table.drop(fr.ID)
		return errHandled
	}
	s.setState(result.State) // cancelled meanwhile, say: decide goes on from here
	return errHandled
}

// startRun asks Northflank for the job run. Whether it may have been started is
// known from here on only by looking.
func (s *submission) startRun(ctx context.Context, request northflank.JobRequest, leaseEnds time.Time) error {
	fr, key := s.flowRun, s.key
	s.table.update(fr.ID, func(t *tracked) {
		t.view.start, t.view.intentAt = unconfirmed, time.Now()
	})
	s.pace.started(key.client, time.Now())
	if !fr.NextScheduledStart.IsZero() {
		s.Stats.Dispatch.Observe(time.Since(fr.NextScheduledStart))
	}
	run, err := s.askForRun(ctx, leaseEnds)
	if errors.Is(err, northflank.ErrNotFound) && !northflank.MayHaveHappened(err) {
		// Somebody deleted the job. Nothing was started: make it again, once.
		s.table.changeJob(key, func(j *job) { j.exists = false })
		if err = s.ensureJob(ctx, request); err == nil {
			run, err = s.askForRun(ctx, leaseEnds)
		}
	}
	switch {
	case err == nil:
		s.Stats.Starts.Add(1, startDone)
		s.record(ctx, run)
		return nil
	case northflank.MayHaveHappened(err):
		s.Stats.Starts.Add(1, startUnanswered)
		s.log.WarnContext(ctx, "no answer to the start of a job run: looking for it", "flow_run_id", fr.ID, "flow_run", fr.Name, "job_id", key.id, "err", err)
		return errHandled
	}
	s.table.update(fr.ID, func(t *tracked) { t.view.start = notStarted })
	return s.refuseOrCrash(ctx, err)
}

// askForRun sends the start, if the lease still allows it. Tries that provably
// never left are repeated within the lease, and the last is cut off one request
// timeout after it: from then on no start can take effect any more.
func (s *submission) askForRun(ctx context.Context, leaseEnds time.Time) (northflank.StartedRun, error) {
	if !time.Now().Before(leaseEnds) {
		return northflank.StartedRun{}, errLeaseEnded
	}
	if err := s.mayStart(); err != nil {
		return northflank.StartedRun{}, err
	}
	ctx, cancel := context.WithDeadline(ctx, leaseEnds.Add(startTimeout))
	defer cancel()
	return s.place.client.StartRun(ctx, s.key.project, s.key.id, s.prepared.Spec.Run)
}

// errLeaseEnded: writing the intent, or asking, took too long.
var errLeaseEnded = errors.New("the right to start the flow run ended before Northflank could be asked")

// startTimeout is how long a start may go on after its lease: one request of
// Northflank's client.
const startTimeout = 30 * time.Second

// record keeps the job run's id: here, and in Prefect.
func (s *submission) record(ctx context.Context, run northflank.StartedRun) {
	fr, key := s.flowRun, s.key
	s.table.changeJob(key, func(j *job) { j.remember(run.ID) })
	s.table.update(fr.ID, func(t *tracked) { t.runID, t.jobRun.Name, t.view.start = run.ID, run.Name, started })
	if err := s.Prefect.SetInfrastructurePID(ctx, fr.ID, joinPID(key.id, run.ID)); err != nil {
		// Tried again by decide; until then the lane stays taken, so that a
		// successor finds at most one job run that nobody knows.
		s.log.WarnContext(ctx, "recording a job run", "flow_run_id", fr.ID, "job_run_id", run.ID, "err", err)
	} else {
		s.table.update(fr.ID, func(t *tracked) { t.view.pidSaved = true })
	}
	signal(s.sweepNow) // it has a new job run to plan for
	s.log.InfoContext(ctx, "flow run submitted", "flow_run_id", fr.ID, "flow_run", fr.Name, "job_id", key.id, "job_run_id", run.ID)
	s.flowLogs.add(fr.ID, levelInfo, "Flow run '%s' submitted to infrastructure", fr.Name)
}

// isRefusal reports whether Northflank, or the way to it, is at fault rather
// than the flow run.
func isRefusal(err error) bool {
	for _, target := range []error{
		northflank.ErrUnauthorized, northflank.ErrForbidden, northflank.ErrRateLimited, northflank.ErrBudgetSpent,
		context.DeadlineExceeded,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	if _, ok := errors.AsType[*northflank.TransportError](err); ok {
		return true
	}
	answer, ok := errors.AsType[*northflank.Error](err)
	return ok && answer.Status >= 500
}

// refuseOrCrash deals with an error of Northflank's after which it is certain
// that nothing was started: a fault of the platform gives the flow run back, a
// fault of the flow run ends it.
func (s *submission) refuseOrCrash(ctx context.Context, err error) error {
	if isRefusal(err) || errors.Is(err, context.Canceled) || errors.Is(err, errLeaseEnded) || errors.Is(err, errFenced) {
		if isRefusal(err) {
			s.Stats.Starts.Add(1, startRefused)
		} else {
			s.Stats.Starts.Add(1, startGivenUp)
		}
		return err
	}
	s.Stats.Starts.Add(1, startInvalid)
	message := submitFailed + messageOf(err)
	if which := refusedVariables(err); which != "" {
		message += "\n" + which
	}
	s.crash(ctx, reasonInvalidRequest, message)
	return errHandled
}
