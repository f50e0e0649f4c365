package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

const (
	sweepsAtOnce  = 4
	maxSweepRuns  = 1000             // job runs read of one job in one sweep; the rest is asked for one by one
	maxSingles    = 20               // such single reads in one sweep
	clockSlack    = 10 * time.Minute // how far Northflank's clock and ours may differ, when no answer told
	startSlack    = 5 * time.Second  // on top of a measured difference: time to process a start
	sweepShare    = 0.35             // of the account's requests, at most, while none run short
	defaultLimit  = 1000             // requests an hour, until an answer tells
	sweepLoopIdle = time.Minute
	minLook       = time.Second // between two looks at a job, whoever asks: no bug may spend the budget
)

// sweepLoop looks at the jobs of our flow runs in Northflank, each when it is
// due: when decide wants to know something, else at an interval that the
// request budget allows. One list answers for up to 100 job runs.
func (w *Worker) sweepLoop(ctx context.Context) error {
	for {
		due, next := w.dueSweeps(time.Now())
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(sweepsAtOnce)
		for key, rows := range due {
			g.Go(func() error {
				w.sweep(gctx, key, rows)
				return nil
			})
		}
		_ = g.Wait()
		if len(due) > 0 {
			w.table.wake()
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(time.Until(next), 10*time.Millisecond)):
		case <-w.sweepNow:
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// dueSweeps returns the jobs to look at now, with copies of their rows, and
// when the next one is due.
func (w *Worker) dueSweeps(now time.Time) (due map[jobKey][]tracked, next time.Time) {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	due, next = map[jobKey][]tracked{}, now.Add(sweepLoopIdle)
	byJob := w.table.rowsByJob()
	watched := map[*northflank.Client]int{}
	for key := range byJob {
		watched[key.client]++
	}
	for key, rows := range byJob {
		j := w.table.job(key)
		at := now.Add(sweepLoopIdle)
		interval := w.sweepInterval(key.client, watched[key.client], now)
		for _, t := range rows {
			at = earliest(at, t.lookDue(interval))
		}
		at = latest(at, j.sweptAt.Add(minLook))
		if j.trouble > 0 {
			at = latest(at, j.sweptAt.Add(min(time.Second<<min(j.trouble, 6), time.Minute)))
		}
		if at.After(now) {
			next = earliest(next, at)
			continue
		}
		j.sweptAt = now
		for _, t := range rows {
			due[key] = append(due[key], *t)
		}
	}
	return due, next
}

// lookDue says when the row wants a look at its job.
func (t *tracked) lookDue(interval time.Duration) time.Time {
	if t.starting {
		return latest(t.view.lastLook, t.view.intentAt).Add(interval) // its own answer is on the way
	}
	if !t.lookAt.IsZero() {
		return t.lookAt
	}
	if t.view.start == unconfirmed {
		return t.view.lastLook.Add(time.Minute) // decide asks for what it needs
	}
	return latest(t.view.lastLook, t.view.intentAt).Add(interval)
}

// sweepInterval spreads the looks at an account's jobs over what its request
// budget allows: a fixed share of the hour, and less when others spend from it.
func (w *Worker) sweepInterval(client *northflank.Client, jobs int, now time.Time) time.Duration {
	b := client.Budget()
	limit := b.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	interval := time.Duration(float64(jobs) * float64(time.Hour) / (sweepShare * float64(limit)))
	if left := b.ResetAt.Sub(now); b.Limit > 0 && left > 0 {
		spare := max(float64(b.Remaining)-0.1*float64(limit), 1) / 2
		interval = max(interval, time.Duration(float64(jobs)*float64(left)/spare))
	}
	return min(max(interval, w.Timing.SweepMin), w.Timing.SweepMax)
}

// sweep looks at one job and records what it shows of the rows. A failed look
// changes nothing but the time of the next one.
func (w *Worker) sweep(ctx context.Context, key jobKey, rows []tracked) {
	ctx = northflank.WithClass(ctx, sweepClass(rows))
	found, err := w.look(ctx, key, rows)
	if ctx.Err() != nil {
		return
	}
	subject := "looking at job " + key.id
	if err != nil {
		w.said.trouble(ctx, w.log, subject, err)
		w.table.changeJob(key, func(j *job) { j.trouble++ })
		return
	}
	w.said.over(ctx, w.log, subject)
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	w.table.job(key).trouble = 0
	now := time.Now()
	for i := range rows {
		if t, ok := w.table.rows[rows[i].id]; ok && t.job == key.id {
			t.record(found, now)
		}
	}
	w.table.freeLanes()
}

func sweepClass(rows []tracked) northflank.Class {
	for _, t := range rows {
		if t.view.start == unconfirmed {
			return northflank.ClassConfirm
		}
	}
	return northflank.ClassSweep
}

// findings are what a look at a job showed.
type findings struct {
	runs      map[string]northflank.JobRun
	missing   map[string]bool     // looked for and not there
	strangers []northflank.JobRun // job runs that belong to no flow run; nil unless asked for
	counted   bool                // strangers was asked for
}

// look reads what the rows need to know of their job.
func (w *Worker) look(ctx context.Context, key jobKey, rows []tracked) (findings, error) {
	f := findings{runs: map[string]northflank.JobRun{}, missing: map[string]bool{}}
	wanted := map[string]bool{}
	var intent time.Time // the earliest of unconfirmed starts
	for _, t := range rows {
		switch {
		case t.view.start == unconfirmed:
			intent, f.counted = earliest(intent, t.view.intentAt), true
		case t.runID != "":
			wanted[t.runID] = true
		}
	}
	if len(wanted) > 1 || f.counted {
		if err := w.list(ctx, key, wanted, intent, &f); err != nil {
			return f, err
		}
	}
	singles := 0
	for id := range wanted {
		if singles++; singles > maxSingles {
			break // those are looked for in the next sweep
		}
		run, err := key.client.GetRun(ctx, key.project, key.id, id)
		switch {
		case errors.Is(err, northflank.ErrNotFound):
			f.missing[id] = true
		case err != nil:
			return f, err
		default:
			f.runs[id] = run
		}
	}
	return f, nil
}

// startedSince returns the time, by Northflank's clock, from which on a job run
// may be the one whose start was asked for at intent, by ours. Too early a time
// may take somebody's older job run for it; too late a time would miss it, and
// start the flow run twice: so the bounds of what is known are used.
func startedSince(client *northflank.Client, intent time.Time) time.Time {
	low, _, ok := client.ClockSkew()
	if !ok {
		return intent.Add(-clockSlack)
	}
	return intent.Add(low - startSlack).Truncate(time.Second)
}

// list pages through the job's runs until all wanted ones were seen. What is
// found leaves wanted. Northflank does not tell the order: only where the pages
// show that newest come first is an old run a reason to stop.
func (w *Worker) list(ctx context.Context, key jobKey, wanted map[string]bool, intent time.Time, f *findings) error {
	var candidates []northflank.JobRun
	bound := intent.Add(-clockSlack)
	falling, rising, last, n := false, false, time.Time{}, 0
	for run, err := range key.client.ListRuns(ctx, key.project, key.id) {
		if errors.Is(err, northflank.ErrNotFound) {
			return nil // no job, no runs; single reads confirm it
		}
		if err != nil {
			return err
		}
		n++
		if wanted[run.ID] {
			f.runs[run.ID] = run
			delete(wanted, run.ID)
		}
		if f.counted && !run.StartedAt.Before(bound) {
			candidates = append(candidates, run)
		}
		falling = falling || n > 1 && run.StartedAt.Before(last)
		rising = rising || n > 1 && run.StartedAt.After(last)
		last = run.StartedAt
		past := !f.counted || falling && !rising && run.StartedAt.Before(bound)
		if len(wanted) == 0 && past || n >= maxSweepRuns {
			break
		}
	}
	if !f.counted {
		return nil
	}
	// Only now is Northflank's clock known for sure: it has just answered.
	since := startedSince(key.client, intent)
	candidates = slices.DeleteFunc(candidates, func(run northflank.JobRun) bool { return run.StartedAt.Before(since) })
	strangers, err := w.strangersAmong(ctx, key, candidates, since)
	f.strangers = strangers
	return err
}

// strangersAmong returns the job runs that belong to no flow run: neither to
// one that we answer for, nor to any of the pool, under way or ended.
func (w *Worker) strangersAmong(ctx context.Context, key jobKey, candidates []northflank.JobRun, since time.Time) ([]northflank.JobRun, error) {
	w.table.mu.Lock()
	known := map[string]bool{}
	for id := range w.table.job(key).runs {
		known[id] = true
	}
	for _, t := range w.table.rows {
		known[t.runID] = true
		for _, id := range t.after {
			known[id] = true
		}
	}
	w.table.mu.Unlock()
	w.mu.Lock()
	for id := range w.elsewhere {
		known[id] = true
	}
	w.mu.Unlock()
	isKnown := func(run northflank.JobRun) bool { return known[run.ID] }
	unknown := slices.DeleteFunc(candidates, isKnown)
	if len(unknown) == 0 {
		return nil, nil
	}
	for fr, err := range w.Prefect.FlowRuns(ctx, prefect.FlowRunFilter{WorkPool: w.Pool, EndedAfter: since}) {
		if err != nil {
			return nil, fmt.Errorf("read ended flow runs of pool %q: %w", w.Pool, err)
		}
		if _, runID, ok := splitPID(fr.InfrastructurePID); ok {
			known[runID] = true
		}
	}
	return slices.DeleteFunc(unknown, isKnown), nil
}

// record lays the findings into the row's view.
func (t *tracked) record(f findings, now time.Time) {
	v := &t.view
	if v.start == unconfirmed {
		if f.counted {
			v.strangers, v.alive, t.stranger = len(f.strangers), 0, ""
			for _, run := range f.strangers {
				t.stranger = run.ID
				if !run.Terminal() {
					v.alive++
				}
			}
			v.looks++
			v.lastLook, t.lookAt = now, time.Time{}
		}
		return
	}
	phase := absent
	run, ok := f.runs[t.runID]
	switch {
	case ok && run.Terminal():
		phase = ended
	case ok:
		phase = live
	case !f.missing[t.runID]:
		return // not looked for
	}
	if v.container != phase {
		v.container, v.since, v.sightings = phase, now, 0
	}
	v.sightings++
	v.looks++
	v.lastLook, t.lookAt = now, time.Time{}
	if ok {
		t.jobRun = run
		v.status = run.Status
		v.odd = run.Concluded == (run.Status == northflank.JobRunRunning)
	}
}
