package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// janitorTick is how often idle jobs of ours are looked for; that costs nothing.
const janitorTick = 5 * time.Second

// maxOrphans bounds the jobs of dead workers that one round removes in a
// project, so that cleaning up never eats the request budget.
const maxOrphans = 20

// janitorLoop deletes jobs that nothing needs any more: our own when idle, and
// now and then, or when a worker goes offline, those that dead workers left.
func (w *Worker) janitorLoop(ctx context.Context) error {
	orphansAt := time.Now().Add(w.Timing.Relook)
	tick := time.NewTicker(min(janitorTick, w.Timing.JobIdle))
	defer tick.Stop()
	for {
		w.pulse.beat(loopJanitor)
		select {
		case <-ctx.Done():
			return nil
		case <-w.cleanSoon:
			orphansAt = time.Now()
		case <-tick.C:
		}
		for _, key := range w.idleJobs(time.Now()) {
			w.deleteJob(ctx, key, "", deleteIfIdle)
		}
		if time.Now().Before(orphansAt) {
			continue
		}
		switch done, ok := w.removeOrphans(ctx); {
		case !ok:
		case done:
			orphansAt = time.Now().Add(jittered(w.Timing.Janitor))
		default:
			orphansAt = time.Now().Add(jittered(w.Timing.JobIdle))
		}
	}
}

// idleJobs returns our jobs that may be deleted now.
func (w *Worker) idleJobs(now time.Time) []jobKey {
	w.mu.Lock()
	underWay := w.jobsUnderWay // replaced, never changed
	w.mu.Unlock()
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	var idle []jobKey
	for key, j := range w.table.jobs {
		if j.made && j.cleanup && !j.deleting && now.Sub(j.lastUsed) >= w.Timing.JobIdle && !underWay[key.id] && !w.table.inUse(key, "") {
			idle = append(idle, key)
		}
	}
	return idle
}

// inUse reports whether a row other than except needs the job. Called with mu held.
func (tb *table) inUse(key jobKey, except string) bool {
	for _, t := range tb.rows {
		if t.job == key.id && t.id != except {
			return true
		}
	}
	return false
}

// deleteJob deletes one of our jobs, unless a flow run needs it; except is one
// that does not any more. No start can begin on it meanwhile. A job in which
// something still runs is left for the next time. It reports whether it is gone.
func (w *Worker) deleteJob(ctx context.Context, key jobKey, except string, remove func(context.Context, jobKey) (active []northflank.JobRun, err error)) bool {
	w.table.mu.Lock()
	j := w.table.job(key)
	free := !j.deleting && !w.table.inUse(key, except)
	j.deleting = j.deleting || free
	w.table.mu.Unlock()
	if !free {
		return false
	}
	active, err := remove(northflank.WithClass(ctx, northflank.ClassCleanup), key)
	deleted := err == nil && len(active) == 0 || errors.Is(err, northflank.ErrNotFound)
	switch {
	case deleted:
		w.log.InfoContext(ctx, "job deleted", "job_id", key.id)
	case err != nil:
		w.said.trouble(ctx, w.log, "deleting unused jobs", err)
	default:
		w.lookAfter(ctx, key, active)
	}
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	j.deleting, j.lastUsed = false, time.Now()
	if deleted || !j.made {
		delete(w.table.jobs, key)
	}
	w.table.freeLanes()
	return deleted
}

// deleteIfIdle deletes a job in which nothing runs. Deleting a job kills what
// runs in it, so a look comes first.
func deleteIfIdle(ctx context.Context, key jobKey) (active []northflank.JobRun, err error) {
	active, err = activeRuns(ctx, key)
	if err != nil || len(active) > 0 {
		return active, err
	}
	return deleteNow(ctx, key)
}

// deleteNow deletes a job whose only job run is known to have ended.
func deleteNow(ctx context.Context, key jobKey) (active []northflank.JobRun, err error) {
	return nil, key.client.DeleteJob(ctx, key.project, key.id)
}

// activeRuns returns the job runs of a job that have not ended. A job that was
// long in use has thousands: where the list begins with the newest, those that
// come after the first hundreds are too old to be alive without anybody knowing.
func activeRuns(ctx context.Context, key jobKey) ([]northflank.JobRun, error) {
	var active []northflank.JobRun
	var order listOrder
	n := 0
	for run, err := range key.client.ListRuns(ctx, key.project, key.id) {
		if err != nil {
			return nil, err
		}
		if !run.Terminal() {
			active = append(active, run)
		}
		order.see(run)
		n++
		if n >= maxActiveRuns && order.newestFirst() {
			break
		}
		if n >= maxListedRuns {
			return nil, fmt.Errorf("job %q has more than %d job runs: delete it in Northflank when nothing runs in it", key.id, maxListedRuns)
		}
	}
	return active, nil
}

const (
	maxActiveRuns = 300    // job runs read to see whether something runs, newest first
	maxListedRuns = 10_000 // in another order
)

// removeOrphans deals with jobs that workers of this pool left behind: the worker
// is not online, or was an earlier process under our name. What still runs in
// them is looked after; when nothing does, a job that may be cleaned up is
// deleted. Other people's jobs carry no mark of ours and are never touched.
// done is false while some are left; ok is false when it could not look yet.
func (w *Worker) removeOrphans(ctx context.Context) (done, ok bool) {
	if w.currentPool().ID == "" {
		return false, false
	}
	ctx = northflank.WithClass(ctx, northflank.ClassCleanup)
	places := w.knownPlaces()
	for _, p := range slices.Concat(w.recentPlaces(ctx), w.deploymentPlaces(ctx)) {
		if !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	done = true
	for _, p := range places {
		orphans, err := w.orphansIn(ctx, p)
		if err != nil {
			w.said.trouble(ctx, w.log, "looking for jobs of dead workers", err)
			return false, true
		}
		for _, o := range orphans {
			w.pulse.beat(loopJanitor)
			done = w.removeOrphan(ctx, o) && done
		}
	}
	return done, true
}

// orphan is a job that no live process answers for, or whose earlier job runs
// nobody does.
type orphan struct {
	key     jobKey
	cleanup bool // may be deleted
	young   bool // another process under our name may have just made it
	inUse   bool // by this process, which found it there
}

// removeOrphan deletes the job when nothing runs in it, and reports whether
// nothing is left to do about it.
func (w *Worker) removeOrphan(ctx context.Context, o orphan) bool {
	active, err := activeRuns(ctx, o.key)
	switch {
	case errors.Is(err, northflank.ErrNotFound):
		return true
	case err != nil:
		w.said.trouble(ctx, w.log, "looking for jobs of dead workers", err)
		return false
	case o.inUse:
		left := w.lookAfter(ctx, o.key, active)
		w.table.changeJob(o.key, func(j *job) { j.searched = !left })
		return !left
	case len(active) > 0:
		w.lookAfter(ctx, o.key, active)
		return false
	case !o.cleanup:
		return true
	case o.young:
		return false
	}
	return w.deleteJob(ctx, o.key, "", deleteNow)
}

// lookAfter takes over job runs that live on in a dead worker's job though their
// flow runs have ended: nobody else would stop them. One that belongs to no flow
// run at all, once that is certain, is aborted. It reports whether some are left
// that nobody looks after yet.
func (w *Worker) lookAfter(ctx context.Context, key jobKey, active []northflank.JobRun) (left bool) {
	if active = w.unwatched(key, active); len(active) == 0 {
		return false
	}
	oldest := active[0].StartedAt
	for _, run := range active {
		oldest = earliest(oldest, run.StartedAt)
	}
	owners := map[string]prefect.FlowRun{}
	for fr, err := range w.Prefect.FlowRuns(ctx, prefect.FlowRunFilter{WorkPool: w.Pool, EndedAfter: oldest.Add(-clockSlack)}) {
		if err != nil {
			w.said.trouble(ctx, w.log, "reading ended flow runs", err)
			return true
		}
		if _, runID, ok := splitPID(fr.InfrastructurePID); ok {
			owners[runID] = fr
		}
	}
	w.mu.Lock()
	underWay := w.elsewhere // replaced, never changed
	w.mu.Unlock()
	for _, run := range active {
		fr, ended := owners[run.ID]
		switch {
		case underWay[run.ID] != "":
		case ended:
			w.adopt(ctx, fr, readFootprint(fr))
		case time.Since(run.StartedAt) <= clockSlack:
			left = true // its start may not have been told yet
		default:
			w.log.WarnContext(ctx, "job run belongs to no flow run: aborting it", "job_id", key.id, "job_run_id", run.ID)
			if err := key.client.AbortRun(northflank.WithClass(ctx, northflank.ClassAbort), key.project, key.id, run.ID); err != nil {
				w.log.WarnContext(ctx, "aborting a job run", "job_run_id", run.ID, "err", err)
			} else {
				w.Stats.Aborts.Add(1, abortedOrphan)
			}
			left = true
		}
	}
	return left
}

// unwatched leaves out the job runs of flow runs that this process answers for.
func (w *Worker) unwatched(key jobKey, runs []northflank.JobRun) []northflank.JobRun {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	watched := map[string]bool{}
	for _, t := range w.table.rows {
		if t.key() == key {
			watched[t.runID] = true
		}
	}
	return slices.DeleteFunc(runs, func(run northflank.JobRun) bool { return watched[run.ID] })
}

const (
	recentPast     = 24 * time.Hour // flow runs that ended within this tell where workers had jobs
	recentFlowRuns = 200            // of those, at most
)

// recentPlaces returns the projects in which flow runs of this pool ended
// lately, whatever worker had them, as far as credentials are known.
func (w *Worker) recentPlaces(ctx context.Context) []place {
	var places []place
	tried := map[[3]string]bool{}
	n := 0
	for fr, err := range w.Prefect.FlowRuns(ctx, prefect.FlowRunFilter{WorkPool: w.Pool, EndedAfter: time.Now().Add(-recentPast)}) {
		if err != nil {
			w.log.DebugContext(ctx, "reading ended flow runs", "err", err)
			break
		}
		if n++; n > recentFlowRuns {
			break
		}
		f := readFootprint(fr)
		where := [3]string{f.api, f.team, f.project}
		if f.project == "" || tried[where] {
			continue
		}
		tried[where] = true
		client, _, err := w.findAccount(ctx, tracked{flowRun: fr})
		if err != nil {
			w.log.DebugContext(ctx, "looking for jobs of dead workers", "project", f.project, "err", err)
			continue
		}
		places = append(places, place{client, f.project})
	}
	return places
}

// maxDeployments bounds the deployments that are read to find their projects.
const maxDeployments = 50

// deploymentPlaces returns the projects that the pool's deployments are meant
// for: a worker may have died there before it left any other trace.
func (w *Worker) deploymentPlaces(ctx context.Context) []place {
	var places []place
	n := 0
	for d, err := range w.Prefect.Deployments(ctx, w.Pool) {
		if err != nil {
			w.log.DebugContext(ctx, "reading the pool's deployments", "err", err)
			break
		}
		if n++; n > maxDeployments {
			break
		}
		w.pulse.beat(loopJanitor) // each may take a while
		prepared, err := w.preparer.Prepare(ctx, w.currentPool(), prefect.FlowRun{FlowID: d.FlowID, DeploymentID: d.ID})
		if err != nil {
			continue // its flow runs will tell
		}
		if client, err := w.accountClient(ctx, prepared.Spec.Account); err == nil {
			places = append(places, place{client, prepared.Spec.ProjectID})
		}
	}
	return places
}

// onlinePeers returns the names of the pool's other live workers.
func (w *Worker) onlinePeers() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var names []string
	for name, online := range w.peers {
		if online && name != w.Name {
			names = append(names, name)
		}
	}
	return names
}

// knownPlaces returns the projects that this process has had to do with.
func (w *Worker) knownPlaces() []place {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	var places []place
	for key := range w.table.jobs {
		if !slices.Contains(places, key.place) {
			places = append(places, key.place)
		}
	}
	return places
}

// orphansIn finds jobs of the pool that no live process answers for. Who is dead,
// and which jobs flow runs are under way on, is read after the jobs: a worker is
// heard of by Prefect before it makes a job, and keeps being heard of while it
// starts anything on it (mayStart).
func (w *Worker) orphansIn(ctx context.Context, p place) ([]orphan, error) {
	poolID := w.currentPool().ID
	marks := map[northflank.Job]jobspec.Mark{}
	for job, err := range p.client.ListJobs(ctx, p.project) {
		if err != nil {
			return nil, err
		}
		if mark, ok := jobspec.ParseJobMark(job.Name, job.Description); ok && mark.OfPool(poolID) {
			marks[job] = mark
		}
	}
	if err := w.observe(ctx); err != nil {
		return nil, err
	}
	if err := w.readPeers(ctx); err != nil {
		return nil, err
	}
	known, peers := w.knownJobs(p), w.onlinePeers()
	w.mu.Lock()
	underWay := w.jobsUnderWay // replaced, never changed
	w.mu.Unlock()
	var orphans []orphan
	for job, mark := range marks {
		if len(orphans) >= maxOrphans {
			break
		}
		key := jobKey{p, job.ID}
		if known[job.ID] {
			// An earlier process may have left job runs in it whose flow runs ended.
			if !w.wasSearched(key) && job.CreatedAt.Before(startedSince(p.client, w.startedAt)) {
				orphans = append(orphans, orphan{key: key, inUse: true})
			}
			continue
		}
		if underWay[job.ID] || slices.ContainsFunc(peers, mark.OfWorker) {
			continue
		}
		orphans = append(orphans, orphan{
			key: key, cleanup: mark.Cleanup,
			young: mark.OfWorker(w.Name) && !job.CreatedAt.IsZero() && time.Since(job.CreatedAt) < w.Timing.JobIdle,
		})
	}
	return orphans, nil
}

// wasSearched reports whether a job was searched for job runs that an earlier
// process left.
func (w *Worker) wasSearched(key jobKey) bool {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	j, ok := w.table.jobs[key]
	return ok && j.searched
}

// knownJobs returns the jobs that this process uses, or watches, in a project:
// they are deleted when idle, not as orphans.
func (w *Worker) knownJobs(p place) map[string]bool {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	known := map[string]bool{}
	for key, j := range w.table.jobs {
		if key.place == p && j.made {
			known[key.id] = true
		}
	}
	for _, t := range w.table.rows {
		known[t.job] = true
	}
	return known
}
