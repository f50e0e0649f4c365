package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

const (
	sweepsAtOnce  = 4
	maxSweepRuns  = 1000             // job runs read of one job in one sweep; the rest is asked for one by one
	maxSingles    = 20               // such single reads in one sweep
	clockSlack    = 10 * time.Minute // how far Northflank's clock and ours may differ, when no answer told
	startSlack    = 5 * time.Second  // on top of a measured difference: time to process a start
	sweepLoopIdle = time.Minute
	minLook       = time.Second // between two looks at a job, whoever asks: no bug may spend the budget
)

// sweepLoop looks at the jobs of our flow runs in Northflank, each when it is
// due: when decide wants to know something, when there is a sign of trouble, else
// in rounds that the request budget allows. One list answers for up to 100 job
// runs. A slow answer about one job keeps no other waiting.
func (w *Worker) sweepLoop(ctx context.Context) error {
	var sweeps sync.WaitGroup
	defer sweeps.Wait()
	tokens := make(chan struct{}, sweepsAtOnce)
	for {
		w.pulse.beat(loopSweep)
		due, next := w.dueSweeps(time.Now())
		for key, rows := range due {
			sweeps.Go(func() {
				defer w.swept(key)
				select {
				case tokens <- struct{}{}:
					defer func() { <-tokens }()
					w.sweep(ctx, key, rows)
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(time.Until(next), 10*time.Millisecond)):
		case <-w.sweepNow:
		}
	}
}

// swept ends a look at a job.
func (w *Worker) swept(key jobKey) {
	w.table.changeJob(key, func(j *job) { j.sweeping = false })
	w.table.wake()
	signal(w.sweepNow) // the time of the next one is another now
}

// dueSweeps returns the jobs to look at now, with copies of the rows that are
// looked for, and when the next one is due.
func (w *Worker) dueSweeps(now time.Time) (due map[jobKey][]tracked, next time.Time) {
	feedUp := w.feed.isUp()
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	due, next = map[jobKey][]tracked{}, now.Add(sweepLoopIdle)
	byJob := w.table.rowsByJob()
	intervals := w.sweepIntervals(byJob, feedUp, now)
	for key, rows := range byJob {
		j := w.table.job(key)
		if j.sweeping {
			continue
		}
		wanted, at := w.wantedOf(rows, j, intervals[key.client], feedUp, now)
		at = latest(at, j.sweptAt.Add(minLook))
		if j.trouble > 0 {
			at = latest(at, j.sweptAt.Add(min(time.Second<<min(j.trouble, 6), time.Minute)))
		}
		if at.After(now) {
			next = earliest(next, at)
			continue
		}
		j.sweptAt, j.sweeping = now, true
		for _, t := range wanted {
			due[key] = append(due[key], *t)
		}
	}
	return due, next
}

// wantedOf returns which rows of a job are to be looked for, if any are due, and
// since or from when. What somebody waits for is looked for alone. A round takes
// along all that would be due some time: it is a list that shows them too.
func (w *Worker) wantedOf(rows []*tracked, j *job, interval time.Duration, feedUp bool, now time.Time) (wanted []*tracked, at time.Time) {
	at = now.Add(sweepLoopIdle)
	due := false // a round
	var round []*tracked
	for _, t := range rows {
		rowAt, why := t.lookDue(w.Timing, interval, feedUp)
		if why == lookRound {
			rowAt = latest(rowAt, j.noRoundBefore)
			round = append(round, t)
		}
		at = earliest(at, rowAt)
		switch {
		case rowAt.After(now):
		case why == lookRound:
			due = true
		default:
			wanted = append(wanted, t)
		}
	}
	if len(wanted) == 0 && due {
		wanted = round
	}
	return wanted, at
}

// lookReason tells apart why a job is looked at.
type lookReason int

const (
	lookAsked  lookReason = iota // somebody waits for the answer, for this row alone
	lookSilent                   // the flow, or the platform, gave a sign of trouble
	lookRound                    // one of many looks that serve all rows of a job
)

var lookNames = [...]string{lookAsked: "asked", lookSilent: "silent", lookRound: "round"}

// lookDue says when the row wants a look at its job, and why.
func (t *tracked) lookDue(timing Timing, interval time.Duration, feedUp bool) (time.Time, lookReason) {
	v := &t.view
	last := latest(v.lastLook, v.intentAt)
	switch {
	case t.starting:
		return last.Add(interval), lookAsked // its own answer is on the way
	case !t.lookAt.IsZero():
		return t.lookAt, lookAsked
	case v.start == unconfirmed:
		return v.lastLook.Add(time.Minute), lookAsked // decide asks for what it needs
	}
	if !t.hintAt.IsZero() {
		return t.hintAt, lookSilent // a round may have to wait for requests
	}
	return t.unaskedLook(timing, interval, feedUp)
}

// unaskedLook says when a row whose job run is known wants a look without a sign
// of trouble.
func (t *tracked) unaskedLook(timing Timing, interval time.Duration, feedUp bool) (time.Time, lookReason) {
	v := &t.view
	last := latest(v.lastLook, v.intentAt)
	switch {
	case v.over():
		// Its container has most likely ended too: one look for all that ended
		// meanwhile tells.
		settle := timing.Settle
		if linger := v.policy.linger; linger > 0 {
			settle = min(settle, linger)
		}
		return latest(t.overAt, v.lastLook).Add(max(interval, settle)), lookRound
	case v.state == prefect.StatePending:
		// Most begin by themselves: looks get ever rarer.
		return last.Add(max(interval, timing.FirstLook, last.Sub(v.intentAt))), lookAsked
	case feedUp && t.beats():
		if silent := t.heard.Add(2*t.heartbeat + heartbeatSlack); last.Before(silent) {
			return silent, lookSilent
		}
	}
	return last.Add(interval), lookRound
}

// heartbeatSlack is how late a heartbeat may come: the flow's own pace, Prefect
// and the event stream delay it.
const heartbeatSlack = 5 * time.Second

// beats reports whether the flow is known to tell regularly that it lives.
func (t *tracked) beats() bool { return t.heartbeat > 0 && !t.heard.IsZero() }

// sweepIntervals returns the time between two rounds of looks, by account.
func (w *Worker) sweepIntervals(byJob map[jobKey][]*tracked, feedUp bool, now time.Time) map[*northflank.Client]time.Duration {
	costs := map[*northflank.Client]int{}
	for key, rows := range byJob {
		unheard, over := 0, 0
		for _, t := range rows {
			switch {
			case t.view.over():
				over = 1
			case !feedUp || !t.beats():
				unheard++
			}
		}
		costs[key.client] += max(over, min(unheard, w.table.listPages(key)))
	}
	intervals := map[*northflank.Client]time.Duration{}
	for client, cost := range costs {
		intervals[client] = w.pace.interval(client, cost, now, w.Timing.SweepMin, w.Timing.SweepMax)
	}
	return intervals
}

// sweep looks at one job and records what it shows of the rows. A failed look
// changes nothing but the time of the next one.
func (w *Worker) sweep(ctx context.Context, key jobKey, rows []tracked) {
	why := w.sweepReason(rows)
	ctx = northflank.WithClass(ctx, why.class())
	found, err := w.look(ctx, key, rows)
	if ctx.Err() != nil {
		return
	}
	subject := "looking at job " + key.id
	spent, isSpent := errors.AsType[*northflank.BudgetError](err)
	switch {
	case isSpent && why == lookRound:
		// The worker said that the budget is short, and rounds can wait.
		w.table.changeJob(key, func(j *job) { j.noRoundBefore = spent.ResetAt })
		return
	case err != nil:
		w.Stats.Sweeps.Add(1, lookNames[why], "failed")
		w.said.trouble(ctx, w.log, subject, err)
		w.table.changeJob(key, func(j *job) { j.trouble++ })
		return
	}
	w.Stats.Sweeps.Add(1, lookNames[why], "done")
	w.lastSweep.set(time.Now())
	w.said.over(ctx, w.log, subject)
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	w.table.job(key).trouble = 0
	now := time.Now()
	asked := map[string]bool{}
	for _, t := range rows {
		asked[t.id] = true
	}
	for id, t := range w.table.rows {
		// A list shows others too: what it does not show of them says nothing.
		_, shown := found.runs[t.runID]
		if t.key() == key && (asked[id] || shown && t.view.start == started) {
			t.record(found, now)
		}
	}
	w.table.freeLanes()
}

// sweepReason: a look is a round as soon as one row is looked for in it.
func (w *Worker) sweepReason(rows []tracked) lookReason {
	feedUp, most := w.feed.isUp(), lookAsked
	for _, t := range rows {
		_, why := t.lookDue(w.Timing, 0, feedUp)
		most = max(most, why)
	}
	return most
}

// class: what somebody waits for is more urgent than a round.
func (r lookReason) class() northflank.Class {
	if r == lookRound {
		return northflank.ClassSweep
	}
	return northflank.ClassConfirm
}

// findings are what a look at a job showed.
type findings struct {
	runs      map[string]northflank.JobRun // all that were seen
	missing   map[string]bool              // looked for and not there
	strangers []northflank.JobRun          // job runs that belong to no flow run; nil unless asked for
	counted   bool                         // strangers was asked for
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
	// One by one where that is cheaper than the pages that a list takes.
	w.table.mu.Lock()
	pages := w.table.listPages(key)
	w.table.mu.Unlock()
	if len(wanted) > 1 && len(wanted) >= pages || f.counted {
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
	var order listOrder
	n := 0
	for run, err := range key.client.ListRuns(ctx, key.project, key.id) {
		if errors.Is(err, northflank.ErrNotFound) {
			return nil // no job, no runs; single reads confirm it
		}
		if err != nil {
			return err
		}
		n++
		f.runs[run.ID] = run
		delete(wanted, run.ID)
		if f.counted && !run.StartedAt.Before(bound) {
			candidates = append(candidates, run)
		}
		order.see(run)
		past := !f.counted || order.newestFirst() && run.StartedAt.Before(bound)
		if len(wanted) == 0 && past || n >= maxSweepRuns {
			break
		}
	}
	w.table.changeJob(key, func(j *job) { j.pages = (n + northflank.PageSize - 1) / northflank.PageSize })
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

// listOrder is what a list of job runs has shown of its order, which Northflank
// does not document.
type listOrder struct {
	falling, rising bool
	last            time.Time
}

func (o *listOrder) see(run northflank.JobRun) {
	if !o.last.IsZero() {
		o.falling = o.falling || run.StartedAt.Before(o.last)
		o.rising = o.rising || run.StartedAt.After(o.last)
	}
	o.last = run.StartedAt
}

// newestFirst reports whether everything seen says so.
func (o *listOrder) newestFirst() bool { return o.falling && !o.rising }

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
	v.lastLook, t.lookAt, t.hintAt = now, time.Time{}, time.Time{}
	if ok {
		t.jobRun = run
		v.status = run.Status
		v.odd = run.Concluded == (run.Status == northflank.JobRunRunning)
	}
}
