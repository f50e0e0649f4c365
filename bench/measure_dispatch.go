package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

const (
	dispatches     = 40
	dispatchWindow = 100 * time.Second
	dispatchFlow   = time.Second // how long each flow run lasts
)

// waits are those of one contender's flow runs.
type waits struct {
	all []time.Duration // from the scheduled time to the start request
	own []time.Duration // from the poll that told of the flow run to the start request
}

// measureDispatch tells how long a scheduled flow run waits for its start.
func measureDispatch(ctx context.Context, l *lab) (section, error) {
	moments := spreadMoments(rand.New(rand.NewPCG(1, 2)))
	p, err := together(ctx, l, func(ctx context.Context, c *contender) (waits, error) {
		return l.dispatch(ctx, c, moments)
	})
	if err != nil {
		return section{}, err
	}
	all := func(q float64) func(waits) time.Duration {
		return func(w waits) time.Duration { return quantile(w.all, q) }
	}
	own := func(q float64) func(waits) time.Duration {
		return func(w waits) time.Duration { return quantile(w.own, q) }
	}
	return section{
		title: "Dispatch",
		text: fmt.Sprintf("From the time for which Prefect scheduled a flow run to the request that starts its job run at Northflank, and the part of it that begins with the poll whose answer told the worker of it. "+
			"%d flow runs of %g s, triggered to start at once, spread over %g s, the same moments for both workers, which run at the same time with Prefect's default settings (a poll every 10 s).",
			dispatches, dispatchFlow.Seconds(), dispatchWindow.Seconds()),
		table: comparison(
			figure(p, "scheduled to started, median", showDuration, all(0.5)),
			figure(p, "p95", showDuration, all(0.95)),
			figure(p, "longest", showDuration, all(1)),
			figure(p, "polled to started, median", showDuration, own(0.5)),
			figure(p, "p95", showDuration, own(0.95)),
			figure(p, "longest", showDuration, own(1)),
		),
		note: p.note,
	}, nil
}

// spreadMoments returns when to trigger flow runs, counted from the first
// moment of the window: one in each of as many equal parts, anywhere in it, so
// that they are in step with nothing and no part of a poll interval is missed.
func spreadMoments(random *rand.Rand) []time.Duration {
	const part = dispatchWindow / dispatches
	moments := make([]time.Duration, dispatches)
	for i := range moments {
		moments[i] = time.Duration(i)*part + time.Duration(random.Int64N(int64(part)))
	}
	return moments
}

// dispatch triggers a flow run at each of the moments and returns how long each
// waited.
func (l *lab) dispatch(ctx context.Context, c *contender, moments []time.Duration) (found waits, err error) {
	err = l.withWorker(ctx, c, nil, func(*worker) error {
		deployment, err := l.deploy(ctx, c, dispatchFlow)
		if err != nil {
			return err
		}
		mark := c.prefect.mark()
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
		requests, _ := c.prefect.since(mark)
		found, err = l.waitsOf(ctx, runs, requests)
		return err
	})
	return found, err
}

// waitsOf returns how long each flow run waited for its start; requests are
// those of the worker to Prefect meanwhile.
func (l *lab) waitsOf(ctx context.Context, runs []flowRun, requests []request) (waits, error) {
	bodies, err := l.northflank.Bodies(ctx)
	if err != nil {
		return waits{}, err
	}
	startedAt := make(map[string]time.Time)
	for _, body := range bodies {
		if body.JobRunID != "" {
			startedAt[body.JobRunID] = body.Time
		}
	}
	var found waits
	for _, r := range runs {
		at, ok := startedAt[r.jobRun()]
		if !ok {
			return waits{}, fmt.Errorf("flow run %s: Northflank recorded no start of its job run %q", r.Name, r.jobRun())
		}
		polled, ok := pollThatTold(requests, r.ID)
		if !ok {
			return waits{}, fmt.Errorf("flow run %s was started, but no poll told of it", r.Name)
		}
		found.all = append(found.all, at.Sub(r.Scheduled))
		found.own = append(found.own, at.Sub(polled))
	}
	return found, nil
}

// pollThatTold returns when the first poll arrived whose answer holds a flow
// run.
func pollThatTold(requests []request, id string) (time.Time, bool) {
	for _, q := range requests {
		if strings.Contains(q.answer, id) {
			return q.at, true
		}
	}
	return time.Time{}, false
}
