package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// act carries out one decision about a flow run.
func (w *Worker) act(ctx context.Context, row tracked, d decision) error {
	switch d.action {
	case doSettleIn:
		return w.settleIn(ctx, row)
	case doConfirm:
		return w.confirm(ctx, row)
	case doSavePID:
		return w.savePID(ctx, row.id, row.job, row.runID)
	case doHandBack:
		return w.handBack(ctx, row, handBackNow)
	case doRetry:
		return w.handBack(ctx, row, w.handBackForRetry(row, d.why))
	case doAbort:
		return w.abort(ctx, row, d.why)
	case doEvidence:
		return w.gatherEvidence(ctx, row)
	case doCrash:
		return w.propose(ctx, row, prefect.StateCrashed, d.why, crashMessage(row, d.why))
	case doCancel:
		return w.propose(ctx, row, prefect.StateCancelled, d.why, cancelMessage(d.why))
	case doComplete:
		return w.propose(ctx, row, prefect.StateCompleted, d.why, "The job run's own command ended successfully. It did not report to Prefect, so the Northflank worker does.")
	case doNoteLinger:
		w.noteLinger(row)
	case doRelease:
		w.release(ctx, row, d.why)
	}
	return nil
}

// confirm records that the job's one unknown job run is the flow run's.
func (w *Worker) confirm(ctx context.Context, row tracked) error {
	run := row.stranger
	w.log.InfoContext(ctx, "job run found after its start's answer was lost", "flow_run_id", row.id, "flow_run", row.name, "job_id", row.job, "job_run_id", run)
	w.table.changeJob(row.key(), func(j *job) { j.remember(run) })
	w.table.update(row.id, func(t *tracked) {
		t.runID, t.view.start, t.view.container, t.view.sightings = run, started, unseen, 0
	})
	signal(w.sweepNow) // there is a job run to plan for
	return w.savePID(ctx, row.id, row.job, run)
}

// savePID tells Prefect the job run's id, so that a successor finds it.
func (w *Worker) savePID(ctx context.Context, flowRunID, jobID, runID string) error {
	err := w.Prefect.SetInfrastructurePID(ctx, flowRunID, joinPID(jobID, runID))
	if err != nil && !errors.Is(err, prefect.ErrNotFound) {
		return err
	}
	w.table.update(flowRunID, func(t *tracked) { t.view.pidSaved = true })
	return nil
}

func (t *tracked) key() jobKey { return jobKey{place{t.client, t.project}, t.job} }

// handingBack says how a flow run goes back to Scheduled.
type handingBack struct {
	state   string // name of the Scheduled state
	message string
	delay   time.Duration
	attempt int // starts so far, for the label; <0: unchanged
}

var handBackNow = handingBack{state: "Scheduled", message: "Nothing was started on Northflank: any worker may take this flow run.", attempt: -1}

// handBackForRetry counts a start that failed before the flow began.
func (w *Worker) handBackForRetry(row tracked, why reason) handingBack {
	p := row.view.policy
	delay := min(w.Timing.RetryDelay<<min(p.attempt, 10), 10*time.Minute)
	return handingBack{
		state: stateNameRetry, delay: delay, attempt: p.attempt + 1,
		message: fmt.Sprintf("%s\nStarting again in %s (start %d of %d).", whatHappened(row, why), delay, p.attempt+2, p.retries+1),
	}
}

// handBack gives a flow run, of which nothing runs, back to Scheduled. It goes
// through a Pending state that only one process can reach (claim.go), and the
// last step is sent once only: repeated blindly, it could take the flow run
// away from whoever claimed it since.
func (w *Worker) handBack(ctx context.Context, row tracked, h handingBack) error {
	now, err := w.Prefect.FlowRun(ctx, row.id)
	if err != nil {
		if errors.Is(err, prefect.ErrNotFound) {
			w.table.update(row.id, func(t *tracked) { t.missed(time.Now()) })
			return nil
		}
		return err
	}
	if now.State == nil || now.StateType != prefect.StatePending || now.StateID != row.flowRun.StateID || w.supersededBy(&row, now) {
		w.table.update(row.id, func(t *tracked) { w.refreshRow(t, now, time.Now()) })
		return nil
	}
	c := claim{worker: w.Name, process: w.process}
	if held, ok := readClaim(now.State); !ok || !held.returning || held.process != w.process {
		result, err := w.proposeFrom(ctx, row.id, now.StateID, time.Now(), prefect.StateProposal{
			Type: prefect.StatePending, Name: returningName(now.StateName), Message: c.returningMessage(),
		})
		if err != nil {
			return err
		}
		if result.Status != prefect.Accept {
			signal(w.observeNow)
			return nil
		}
		w.table.update(row.id, func(t *tracked) { t.setState(result.State, time.Now()) })
	}
	if h.attempt >= 0 {
		if err := w.Prefect.SetLabels(ctx, row.id, map[string]any{labelAttempt: h.attempt}); err != nil {
			return err
		}
	}
	result, err := w.Prefect.SetState(prefect.WithoutRetry(ctx), row.id, prefect.StateProposal{
		Type: prefect.StateScheduled, Name: h.state, Message: h.message, ScheduledTime: time.Now().Add(h.delay),
	})
	if err != nil {
		signal(w.observeNow)
		return err
	}
	w.table.update(row.id, func(t *tracked) { t.setState(result.State, time.Now()) })
	w.log.InfoContext(ctx, "flow run given back", "flow_run_id", row.id, "flow_run", row.name, "state", result.State.Name, "wait", h.delay)
	if h.attempt < 0 {
		w.Stats.HandBacks.Add(1)
		return nil
	}
	w.Stats.StartRetries.Add(1)
	w.flowLogs.add(row.id, levelWarning, "%s", h.message)
	return nil
}

// abort stops the container. Northflank sends SIGTERM, and SIGKILL after the
// grace period. That there is nothing to stop any more is as good.
func (w *Worker) abort(ctx context.Context, row tracked, why reason) error {
	var status northflank.ContainerStatus
	if why == whyStartTimeout {
		status = w.containerStatus(ctx, row)
	}
	err := row.client.AbortRun(northflank.WithClass(ctx, northflank.ClassAbort), row.project, row.job, row.runID)
	if err != nil && !errors.Is(err, northflank.ErrNotFound) && !errors.Is(err, northflank.ErrConflict) {
		return err
	}
	w.Stats.Aborts.Add(1, why.label())
	w.log.InfoContext(ctx, "job run aborted", "flow_run_id", row.id, "flow_run", row.name, "job_id", row.job, "job_run_id", row.runID, "reason", string(why))
	if !row.view.gone {
		w.flowLogs.add(row.id, levelWarning, "Northflank job run %s aborted: %s.", row.runID, why)
	}
	w.table.update(row.id, func(t *tracked) {
		t.view.abortedAt, t.startStatus = time.Now(), status
	})
	return nil
}

// propose proposes the flow run's last state. Whatever Prefect answers, its
// word is recorded, and decide goes on from it.
func (w *Worker) propose(ctx context.Context, row tracked, typ prefect.StateType, why reason, message string) error {
	w.table.update(row.id, func(t *tracked) { t.closing = closingOf(row, typ, why) })
	name := string(typ[0]) + strings.ToLower(string(typ[1:]))
	result, err := w.proposeFrom(ctx, row.id, row.flowRun.StateID, row.view.readAt, prefect.StateProposal{Type: typ, Name: name, Message: message})
	if errors.Is(err, errMoved) {
		return nil // decide goes on from the state that it is in now
	}
	if errors.Is(err, prefect.ErrNotFound) {
		w.table.update(row.id, func(t *tracked) { t.missed(time.Now()) })
		return nil
	}
	if err != nil {
		return err
	}
	if result.Status != prefect.Accept {
		w.log.InfoContext(ctx, "flow run: state not taken", "flow_run_id", row.id, "flow_run", row.name, "proposed", name, "state", result.State.Name, "reason", result.Reason)
		fr, err := w.Prefect.FlowRun(ctx, row.id)
		if err == nil {
			w.table.update(row.id, func(t *tracked) { w.refreshRow(t, fr, time.Now()) })
		}
		return err
	}
	w.table.update(row.id, func(t *tracked) { t.setState(result.State, time.Now()) })
	w.log.InfoContext(ctx, "flow run reported as "+strings.ToLower(string(typ)), "flow_run_id", row.id, "flow_run", row.name, "reason", message)
	if typ == prefect.StateCrashed {
		if !row.jobRun.ConcludedAt.IsZero() {
			w.Stats.Detection.Observe(time.Since(row.jobRun.ConcludedAt))
		}
		w.flowLogs.add(row.id, levelError, "Reported flow run '%s' as crashed: %s", row.id, message)
	}
	return nil
}

func cancelMessage(why reason) string {
	if why == whyNothingStarted {
		return "Cancelled by the Northflank worker before anything was started."
	}
	return "Cancelled by the Northflank worker: its job run has ended."
}

// noteLinger tells the flow run's log, once, that its container lives on.
func (w *Worker) noteLinger(row tracked) {
	v := row.view
	end := "it is left alone (job variable linger_timeout_seconds is not set)"
	if _, due := v.stopDue(); !due.IsZero() {
		end = "it will be aborted at " + due.UTC().Format(time.TimeOnly) + " UTC (job variable linger_timeout_seconds)"
	}
	w.flowLogs.add(row.id, levelWarning, "The flow run ended at %s UTC, but its container still runs in Northflank and is paid for: job %s, job run %s; %s.",
		v.stateSince.UTC().Format(time.TimeOnly), row.job, row.runID, end)
	w.table.update(row.id, func(t *tracked) { t.view.lingerNote = true })
}

// release forgets a flow run of which nothing is left to do, and deletes the
// job that was made for it alone.
func (w *Worker) release(ctx context.Context, row tracked, why reason) {
	v := row.view
	switch why {
	case whyCannotTell:
		w.log.WarnContext(ctx, "flow run ended, but its job run could not be told from others", "flow_run_id", row.id, "flow_run", row.name, "job_id", row.job)
	case whyNotOurs:
		w.log.InfoContext(ctx, "flow run runs elsewhere", "flow_run_id", row.id, "flow_run", row.name)
	default:
		w.log.InfoContext(ctx, "flow run settled", "flow_run_id", row.id, "flow_run", row.name, "state", string(v.state), "job_run_status", string(v.status))
	}
	if v.start == started && v.state.Terminal() {
		status := -1
		if v.status == northflank.JobRunSuccess {
			status = 0
		}
		w.events.emit("prefect.worker.executed-flow-run",
			flowRunRelated(w.currentPool(), row.flowRun, row.prepared, joinPID(row.job, row.runID), &status), row.submitted)
	}
	if row.client != nil && row.job != "" {
		w.releaseJob(ctx, row)
	}
	w.table.drop(row.id)
	if w.Limit > 0 {
		signal(w.polled)
	}
}

// releaseJob lets go of the row's job. One that was made for this flow run alone
// is deleted, if it is certain that nothing runs in it; otherwise it may be in
// another worker's hands by now, and is forgotten.
func (w *Worker) releaseJob(ctx context.Context, row tracked) {
	key := row.key()
	w.table.mu.Lock()
	j := w.table.job(key)
	j.lastUsed = time.Now()
	single, cleanup := j.single, j.cleanup
	w.table.mu.Unlock()
	if !single {
		return
	}
	v := row.view
	if cleanup && v.start == started && v.container == ended && v.state.Terminal() && !v.superseded {
		w.deleteJob(ctx, key, row.id, deleteNow)
		return
	}
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	if !w.table.inUse(key, row.id) {
		delete(w.table.jobs, key)
	}
}
