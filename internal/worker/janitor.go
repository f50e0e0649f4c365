package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
)

// janitorTick is how often idle jobs of ours are looked for; that costs nothing.
const janitorTick = 5 * time.Second

// maxOrphans bounds the jobs of dead workers that one round removes in a
// project, so that cleaning up never eats the request budget.
const maxOrphans = 20

// janitorLoop deletes jobs that nothing needs any more: our own when idle, and
// now and then those that dead workers of the pool left behind.
func (w *Worker) janitorLoop(ctx context.Context) error {
	var orphansAt time.Time
	for sleep(ctx, min(janitorTick, w.Timing.JobIdle)) {
		for _, key := range w.idleJobs(time.Now()) {
			w.deleteJob(ctx, key, "", deleteIfIdle)
		}
		if time.Now().Before(orphansAt) {
			continue
		}
		if w.removeOrphans(ctx) {
			orphansAt = time.Now().Add(jittered(w.Timing.Janitor))
		}
	}
	return nil
}

// idleJobs returns our jobs that may be deleted now.
func (w *Worker) idleJobs(now time.Time) []jobKey {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	var idle []jobKey
	for key, j := range w.table.jobs {
		if j.exists && j.cleanup && !j.deleting && now.Sub(j.lastUsed) >= w.Timing.JobIdle && !w.table.inUse(key, "") {
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
// something still runs is left for the next time.
func (w *Worker) deleteJob(ctx context.Context, key jobKey, except string, remove func(context.Context, jobKey) (active bool, err error)) {
	w.table.mu.Lock()
	j := w.table.job(key)
	free := !j.deleting && !w.table.inUse(key, except)
	j.deleting = j.deleting || free
	w.table.mu.Unlock()
	if !free {
		return
	}
	active, err := remove(northflank.WithClass(ctx, northflank.ClassCleanup), key)
	deleted := err == nil && !active || errors.Is(err, northflank.ErrNotFound)
	switch {
	case deleted:
		w.log.InfoContext(ctx, "job deleted", "job_id", key.id)
	case err != nil:
		w.said.trouble(ctx, w.log, "deleting unused jobs", err)
	default:
		w.log.DebugContext(ctx, "idle job not deleted: something runs in it", "job_id", key.id)
	}
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	if deleted {
		delete(w.table.jobs, key)
	} else {
		j.deleting, j.lastUsed = false, time.Now()
	}
	w.table.freeLanes()
}

// deleteIfIdle deletes a job in which nothing runs. Deleting a job kills what
// runs in it, so a look comes first.
func deleteIfIdle(ctx context.Context, key jobKey) (active bool, err error) {
	if active, err = hasActiveRuns(ctx, key); active || err != nil {
		return active, err
	}
	return deleteNow(ctx, key)
}

// deleteNow deletes a job whose only job run is known to have ended.
func deleteNow(ctx context.Context, key jobKey) (active bool, err error) {
	return false, key.client.DeleteJob(ctx, key.project, key.id)
}

// hasActiveRuns reports whether something runs in the job. Only its newest runs
// are read where pages show them first.
func hasActiveRuns(ctx context.Context, key jobKey) (bool, error) {
	n := 0
	for run, err := range key.client.ListRuns(ctx, key.project, key.id) {
		if err != nil {
			return false, err
		}
		if !run.Terminal() {
			return true, nil
		}
		if n++; n >= maxSweepRuns {
			return true, nil // too many to be sure: rather leave it
		}
	}
	return false, nil
}

// removeOrphans deletes jobs that workers of this pool left behind: the worker
// is not online, the job may be cleaned up, and nothing runs in it. Other
// people's jobs carry no mark of ours and are never touched. It returns false
// when it could not look yet.
func (w *Worker) removeOrphans(ctx context.Context) bool {
	online, ok := w.onlineWorkers()
	if !ok {
		return false
	}
	places := w.knownPlaces()
	for _, p := range places {
		keys, err := w.orphansIn(ctx, p, online)
		if err != nil {
			w.said.trouble(ctx, w.log, "looking for jobs of dead workers", err)
			continue
		}
		for _, key := range keys {
			w.deleteJob(ctx, key, "", deleteIfIdle)
		}
	}
	return len(places) > 0
}

// onlineWorkers returns the names of the pool's live workers, ours among them;
// ok is false while they are not known well enough.
func (w *Worker) onlineWorkers() (names []string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.peersAt.IsZero() || time.Since(w.peersAt) > 2*w.Heartbeat {
		return nil, false
	}
	for name, online := range w.peers {
		if online || name == w.Name {
			names = append(names, name)
		}
	}
	return names, true
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

func (w *Worker) orphansIn(ctx context.Context, p place, online []string) ([]jobKey, error) {
	poolID := w.currentPool().ID
	known := w.knownJobs(p)
	var keys []jobKey
	for job, err := range p.client.ListJobs(northflank.WithClass(ctx, northflank.ClassCleanup), p.project) {
		if err != nil {
			return nil, err
		}
		mark, ok := jobspec.ParseJobMark(job.Name, job.Description)
		if !ok || !mark.Cleanup || !mark.OfPool(poolID) || known[job.ID] || slices.ContainsFunc(online, func(name string) bool {
			return name != w.Name && mark.OfWorker(name)
		}) {
			continue
		}
		if time.Since(job.CreatedAt) < w.Timing.JobIdle && !job.CreatedAt.IsZero() {
			continue // another process under our name may have just made it
		}
		if keys = append(keys, jobKey{p, job.ID}); len(keys) >= maxOrphans {
			break
		}
	}
	return keys, nil
}

// knownJobs returns the jobs that this process uses, or watches, in a project:
// they are deleted when idle, not as orphans.
func (w *Worker) knownJobs(p place) map[string]bool {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	known := map[string]bool{}
	for key := range w.table.jobs {
		if key.place == p {
			known[key.id] = true
		}
	}
	for _, t := range w.table.rows {
		known[t.job] = true
	}
	return known
}
