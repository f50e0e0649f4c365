package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	dispatches     = 20
	dispatchWindow = time.Minute
	dispatchFlow   = time.Second // how long each flow run lasts
)

// measureDispatch tells how long a scheduled flow run waits for its start.
func measureDispatch(ctx context.Context, l *lab) (section, error) {
	// The same moments for both, at random: a flow run must not wait for a poll
	// that the end of the one before it is in step with.
	random := rand.New(rand.NewPCG(1, 2))
	moments := make([]time.Duration, dispatches)
	for i := range moments {
		moments[i] = time.Duration(random.Int64N(int64(dispatchWindow)))
	}
	slices.Sort(moments)
	p, err := together(ctx, l, func(ctx context.Context, c *contender) ([]time.Duration, error) {
		return l.dispatch(ctx, c, moments)
	})
	if err != nil {
		return section{}, err
	}
	at := func(q float64) func([]time.Duration) time.Duration {
		return func(waits []time.Duration) time.Duration { return quantile(waits, q) }
	}
	return section{
		title: "Dispatch",
		text: fmt.Sprintf("From the time for which Prefect scheduled a flow run to the arrival of the request that starts its job run at Northflank. "+
			"%d flow runs of %g s, triggered to start at once at random moments within %g s, the same for both workers, which run at the same time with Prefect's default settings (a poll every 10 s).",
			dispatches, dispatchFlow.Seconds(), dispatchWindow.Seconds()),
		table: comparison(
			figure(p, "median", showDuration, at(0.5)),
			figure(p, "p95", showDuration, at(0.95)),
			figure(p, "longest", showDuration, at(1)),
		),
		note: p.note,
	}, nil
}

// dispatch triggers a flow run at each of the moments and returns how long each
// waited.
func (l *lab) dispatch(ctx context.Context, c *contender, moments []time.Duration) (waits []time.Duration, err error) {
	err = l.withWorker(ctx, c, nil, func(*worker) error {
		deployment, err := l.deploy(ctx, c, dispatchFlow)
		if err != nil {
			return err
		}
		began := time.Now()
		ids := make([]string, len(moments))
		for i, moment := range moments {
			if err := wait(ctx, time.Until(began.Add(moment))); err != nil {
				return err
			}
			if ids[i], err = l.schedule(ctx, deployment); err != nil {
				return err
			}
		}
		runs, err := l.awaitCompleted(ctx, ids)
		if err != nil {
			return err
		}
		waits, err = l.startWaits(ctx, runs)
		return err
	})
	return waits, err
}

// startWaits returns how long each flow run waited for its start.
func (l *lab) startWaits(ctx context.Context, runs []flowRun) ([]time.Duration, error) {
	bodies, err := l.northflank.Bodies(ctx)
	if err != nil {
		return nil, err
	}
	startedAt := make(map[string]time.Time)
	for _, body := range bodies {
		if body.JobRunID != "" {
			startedAt[body.JobRunID] = body.Time
		}
	}
	waits := make([]time.Duration, len(runs))
	for i, r := range runs {
		at, ok := startedAt[r.jobRun()]
		if !ok {
			return nil, fmt.Errorf("flow run %s: Northflank recorded no start of its job run %q", r.Name, r.jobRun())
		}
		waits[i] = at.Sub(r.Scheduled)
	}
	return waits, nil
}
