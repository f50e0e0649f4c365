package worker

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// minObserve is the least time between two observations, whoever asks.
const minObserve = time.Second

// observeLoop reads Prefect's side of all flow runs of the pool at the query
// interval.
func (w *Worker) observeLoop(ctx context.Context) error {
	failures := 0
	var last time.Time
	for {
		w.pulse.beat(loopObserve)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff(failures, w.observeEvery(), 2*time.Minute)):
		case <-w.observeNow:
			if !sleep(ctx, time.Until(last.Add(minObserve))) {
				return nil
			}
		}
		last = time.Now()
		const subject = "reading the pool's flow runs"
		if err := w.observe(ctx); err != nil && ctx.Err() == nil {
			w.said.trouble(ctx, w.log, subject, err)
			failures++
		} else {
			w.said.over(ctx, w.log, subject)
			failures = 0
		}
	}
}

// observeEvery is the time between two observations that nobody asked for.
func (w *Worker) observeEvery() time.Duration {
	if w.feed.isUp() {
		return slowObserve * w.Query
	}
	return w.Query
}

// observe reads the flow runs that are under way in the pool: ours are brought
// up to date, those that a dead worker left are adopted. Ours that are not
// under way any more are read one by one.
func (w *Worker) observe(ctx context.Context) error {
	began := time.Now()
	seen := map[string]bool{}
	elsewhere, jobs := map[string]string{}, map[string]bool{}
	var others []prefect.FlowRun
	under := []prefect.StateType{prefect.StatePending, prefect.StateRunning, prefect.StateCancelling}
	for fr, err := range w.Prefect.FlowRuns(ctx, prefect.FlowRunFilter{WorkPool: w.Pool, StateTypes: under}) {
		if err != nil {
			return fmt.Errorf("read the flow runs of pool %q: %w", w.Pool, err)
		}
		seen[fr.ID] = true
		if _, runID, ok := splitPID(fr.InfrastructurePID); ok {
			elsewhere[runID] = fr.ID
		}
		jobs[readFootprint(fr).job] = true
		if !w.refresh(fr, began) && !w.table.droppedSince(fr.ID, began) {
			others = append(others, fr)
		}
	}
	w.mu.Lock()
	w.elsewhere, w.jobsUnderWay = elsewhere, jobs
	w.mu.Unlock()
	if err := w.adoptFrom(ctx, others); err != nil {
		return err
	}
	if err := w.observeEnded(ctx, seen, began); err != nil {
		return err
	}
	w.observed.set(began)
	return nil
}

// adoptFrom takes over those of others' flow runs whose worker is gone.
func (w *Worker) adoptFrom(ctx context.Context, others []prefect.FlowRun) error {
	asked := false
	for _, fr := range others {
		owner := readFootprint(fr).owner
		if w.isOnline(owner) {
			continue
		}
		if owner != w.Name && !asked {
			// He may have come since: who is dead is read anew.
			if err := w.readPeers(ctx); err != nil {
				return err
			}
			asked = true
		}
		w.considerAdoption(ctx, fr)
	}
	return nil
}

// isOnline reports whether another worker is known to be alive.
func (w *Worker) isOnline(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return name != w.Name && w.peers[name]
}

// observeEnded reads those of our flow runs that are not under way: ended,
// scheduled again, moved to another pool, or deleted.
func (w *Worker) observeEnded(ctx context.Context, seen map[string]bool, began time.Time) error {
	var ids []string
	w.table.mu.Lock()
	for id := range w.table.rows {
		if !seen[id] {
			ids = append(ids, id)
		}
	}
	w.table.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	for fr, err := range w.Prefect.FlowRuns(ctx, prefect.FlowRunFilter{IDs: ids}) {
		if err != nil {
			return fmt.Errorf("read flow runs: %w", err)
		}
		seen[fr.ID] = true
		w.refresh(fr, began)
	}
	for _, id := range ids {
		if seen[id] {
			continue
		}
		// A list that lacks it proves little: ask for this one.
		fr, err := w.Prefect.FlowRun(ctx, id)
		switch {
		case errors.Is(err, prefect.ErrNotFound):
			w.table.update(id, func(t *tracked) { t.missed(time.Now()) })
		case err != nil:
			return fmt.Errorf("read flow run %s: %w", id, err)
		default:
			w.refresh(fr, began)
		}
	}
	return nil
}

// missed records that Prefect does not know the flow run. It takes two
// sightings some time apart to believe it.
func (t *tracked) missed(now time.Time) {
	if t.missing == 0 {
		t.missingSince = now
	}
	t.missing++
	if t.missing >= 2 && now.Sub(t.missingSince) >= t.view.policy.timing.Relook {
		t.view.gone, t.view.readAt = true, now
		t.noteOver(now)
	}
}

// refresh brings a row up to date and reports whether the flow run is ours. An
// answer that may be older than what is known changes nothing.
func (w *Worker) refresh(fr prefect.FlowRun, asked time.Time) (ours bool) {
	defer w.table.wake()
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	t, ok := w.table.rows[fr.ID]
	if !ok {
		return false
	}
	if fr.State == nil || asked.Before(t.view.readAt) {
		return true
	}
	w.refreshRow(t, fr, asked)
	return true
}

// refreshRow lays what Prefect says of the flow run into its row.
func (w *Worker) refreshRow(t *tracked, fr prefect.FlowRun, asked time.Time) {
	t.missing, t.view.gone = 0, false
	t.flowRun = fr
	if fr.State != nil {
		t.setState(*fr.State, asked)
	}
	if !fr.StartTime.IsZero() && !fr.StateType.Terminal() {
		t.view.began = true
	}
	t.view.superseded = w.supersededBy(t, fr)
	t.noteOver(time.Now())
}

// supersededBy reports whether the flow run has moved on without us: another
// start, or another process, stands for it now.
func (w *Worker) supersededBy(t *tracked, fr prefect.FlowRun) bool {
	if _, runID, ok := splitPID(fr.InfrastructurePID); ok && t.view.pidSaved && runID != t.runID {
		return true
	}
	if c, ok := readClaim(fr.State); ok && c.process != w.process && c.process != t.process {
		return true
	}
	return false
}

// considerAdoption takes over a flow run that is under way and whose worker is
// gone. Of several live workers exactly one does: rendezvous hashing over those
// that Prefect calls online picks it.
func (w *Worker) considerAdoption(ctx context.Context, fr prefect.FlowRun) {
	if fr.State == nil {
		return
	}
	f := readFootprint(fr)
	if f.phase == notStarted && fr.StateType == prefect.StateRunning {
		return // not started by a worker of this kind
	}
	if f.owner != w.Name && !w.inherits(fr, f.owner) {
		return
	}
	switch age := time.Since(fr.State.Timestamp); {
	case f.process == w.process && age < w.Timing.Relook:
		return // ours, just finished: this answer is older
	case f.owner == w.Name && f.process != "" && f.process != w.process && fr.State.Timestamp.After(w.startedAt):
		w.said.trouble(ctx, w.log, "sharing flow runs", fmt.Errorf("another process claims flow runs of this pool as worker %q: give every worker its own --name", w.Name))
		if age < w.Timing.StartLease {
			return // it is about to start this one
		}
	}
	w.adopt(ctx, fr, f)
}

// adopt begins to answer for a flow run that another process left.
func (w *Worker) adopt(ctx context.Context, fr prefect.FlowRun, f footprint) {
	row := &tracked{
		id: fr.ID, name: fr.Name, flowRun: fr, process: f.process, adopted: true, since: time.Now(),
		project: f.project, job: f.job, runID: f.runID, after: f.after,
		view: view{
			start: f.phase, intentAt: f.intentAt, strangers: -1, pidSaved: f.runID != "",
			began:  fr.StateType == prefect.StateRunning || !fr.StartTime.IsZero(),
			policy: policy{ownCommand: f.own, attempt: f.attempt, linger: w.Timing.CancelGrace, killGrace: defaultKillGrace, timing: w.Timing},
		},
	}
	row.setState(*fr.State, time.Now())
	row.told = fr.State.Type.Terminal() // in another process's time
	if added, _ := w.table.add(row, 0); !added {
		return
	}
	w.Stats.Adoptions.Add(1)
	w.log.InfoContext(ctx, "flow run adopted", "flow_run_id", fr.ID, "flow_run", fr.Name, "state", fr.StateName, "from_worker", f.owner, "job_id", f.job, "job_run_id", f.runID)
	w.table.update(fr.ID, func(t *tracked) { t.busy = false })
}

// inherits reports whether this worker is the one to take over from owner (""
// when nothing names one).
func (w *Worker) inherits(fr prefect.FlowRun, owner string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.peersAt) > w.Heartbeat || !w.peers[w.Name] {
		return false // who is alive is not known well enough
	}
	if w.peers[owner] {
		return false
	}
	if owner == "" && time.Since(fr.State.Timestamp) < w.Timing.UnownedAge {
		return false // its worker may be about to sign
	}
	best, bestScore := "", uint64(0)
	for name, online := range w.peers {
		if score := rendezvous(name, fr.ID); online && (best == "" || score > bestScore || score == bestScore && name < best) {
			best, bestScore = name, score
		}
	}
	return best == w.Name
}

func rendezvous(worker, flowRun string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(flowRun + "\x00" + worker))
	// FNV's high bits hardly depend on the last bytes: mix them.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}

// settleIn finds out how an adopted flow run's job is reached, and signs for it.
func (w *Worker) settleIn(ctx context.Context, row tracked) error {
	client, prepared, err := w.findAccount(ctx, row)
	if err != nil {
		return err
	}
	if labelText(row.flowRun.Labels, labelWorkerName) != w.Name {
		err := w.Prefect.SetLabels(ctx, row.id, map[string]any{
			labelWorkerName: w.Name, labelWorkerType: Type, labelPoolName: w.Pool, labelPoolID: w.currentPool().ID,
		})
		if err != nil && !errors.Is(err, prefect.ErrNotFound) {
			return err
		}
	}
	project := row.project
	if project == "" && prepared != nil {
		project = prepared.Spec.ProjectID // started by the Python package, which leaves no labels
	}
	if project == "" {
		return fmt.Errorf("project of job %q is not known", row.job)
	}
	w.table.changeJob(jobKey{place{client, project}, row.job}, func(j *job) {
		j.cleanup = prepared == nil || prepared.Spec.Cleanup
		j.single = prepared != nil && prepared.Spec.Scope == jobspec.ScopeFlowRun
		j.exists, j.made, j.lastUsed = true, true, time.Now()
		j.remember(row.runID)
	})
	w.table.update(row.id, func(t *tracked) {
		t.client, t.project, t.settled = client, project, true
		if prepared != nil {
			t.prepared, t.view.policy = prepared, policyOf(&prepared.Spec, t.view.policy.attempt, w.Timing)
			t.heartbeat = heartbeatOf(&prepared.Spec)
		}
	})
	return nil
}

// findAccount finds credentials for an adopted flow run: those that its
// configuration gives today, else any that this worker has for the address and
// team that the flow run's labels tell. A token is never sent to another address
// than its own.
func (w *Worker) findAccount(ctx context.Context, row tracked) (*northflank.Client, *Prepared, error) {
	prepared, err := w.preparer.Prepare(ctx, w.currentPool(), row.flowRun)
	if err != nil && isPassing(err) {
		return nil, nil, err
	}
	var candidates []*northflank.Client
	if err == nil {
		if c, err := w.accountClient(ctx, prepared.Spec.Account); err == nil {
			candidates = append(candidates, c)
		}
	}
	if !w.Account.Token.IsZero() {
		if c, err := w.accountClient(ctx, w.Account); err == nil {
			candidates = append(candidates, c)
		}
	}
	candidates = append(candidates, w.Accounts.All()...)
	api, team := labelText(row.flowRun.Labels, labelAPI), labelText(row.flowRun.Labels, labelTeam)
	for _, c := range candidates {
		if api == "" || c.BaseURL() == api && c.TeamID() == team {
			return c, prepared, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("its credentials are for another account than the one its job run was started in (%s)", api)
	}
	return nil, nil, fmt.Errorf("no credentials for job run %q: %w", row.runID, err)
}
