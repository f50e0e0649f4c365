package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

const (
	dispatches     = 80 // of ours alone
	dispatchesEach = 40 // of two workers at the same time
	dispatchWindow = 80 * time.Second
	dispatchFlow   = time.Second     // how long each flow run lasts
	dispatchSettle = 3 * time.Second // from the worker's first poll on: it connects to what it listens to
)

// waits are those of one contender's flow runs.
type waits struct {
	all []time.Duration // from the scheduled time to the start request
	own []time.Duration // from the poll that told of the flow run to the start request
}

// dispatched are the results of the three ways.
type dispatched struct {
	events  waits       // ours, as it is
	polling pair[waits] // ours without Prefect's events, and the original
}

// measureDispatch tells how long a scheduled flow run waits for its start.
func measureDispatch(ctx context.Context, l *lab) (section, error) {
	platform, err := l.startPlatform(ctx, "dispatch", noLimit...)
	if err != nil {
		return section{}, err
	}
	defer platform.Kill()
	random := rand.New(rand.NewPCG(1, 2))
	var d dispatched
	if d.events, err = l.dispatch(ctx, l.ours, variation{name: "dispatch", platform: platform}, spreadMoments(random, dispatches, dispatchWindow)); err != nil {
		return section{}, err
	}
	moments := spreadMoments(random, dispatchesEach, dispatchWindow)
	d.polling, err = together(ctx, l, func(ctx context.Context, c *contender) (waits, error) {
		v := variation{name: "dispatch-polling", platform: platform}
		if c == l.ours {
			v.refused = isEventStream
		}
		return l.dispatch(ctx, c, v, moments)
	})
	if err != nil {
		return section{}, err
	}
	return section{
		title: "Dispatch",
		text: fmt.Sprintf("From the time for which Prefect scheduled a flow run to the request that starts its job run at Northflank, and the part of it that begins with the poll whose answer told the worker of it. "+
			"Flow runs of %g s, triggered to start at once, at random moments of %g s; workers with Prefect's default settings (a poll every 10 s). "+
			"Ours was measured alone with %d flow runs; then with %d and a proxy in front of Prefect that refuses its websocket of events, at the same time as the original with as many at the same moments.",
			dispatchFlow.Seconds(), dispatchWindow.Seconds(), dispatches, dispatchesEach),
		table: dispatchTable(d),
		note:  d.polling.note,
	}, nil
}

func dispatchTable(d dispatched) table {
	t := table{head: []string{"", "ours", "ours without events", "original", "original : ours"}}
	add := func(label string, of func(waits) []time.Duration) {
		for i, q := range []float64{0.5, 0.95, 0.99, 1} {
			label := label + []string{", median", ", p95", ", p99", ", longest"}[i]
			at := func(w waits) time.Duration { return quantile(of(w), q) }
			row := figure(pair[waits]{ours: d.events, original: d.polling.original}, label, showDuration, at)
			t.rows = append(t.rows, slices.Insert(row, 2, showDuration(at(d.polling.ours))))
		}
	}
	add("scheduled to started", func(w waits) []time.Duration { return w.all })
	add("polled to started", func(w waits) []time.Duration { return w.own })
	return t
}

// spreadMoments returns n moments, counted from the first of a window: one in each
// of n equal parts, anywhere in it, so that they are in step with nothing and no
// part of a poll interval is missed.
func spreadMoments(random *rand.Rand, n int, window time.Duration) []time.Duration {
	part := window / time.Duration(n)
	moments := make([]time.Duration, n)
	for i := range moments {
		moments[i] = time.Duration(i)*part + time.Duration(random.Int64N(int64(part)))
	}
	return moments
}

// dispatch triggers a flow run at each of the moments and returns how long each
// waited.
func (l *lab) dispatch(ctx context.Context, c *contender, v variation, moments []time.Duration) (found waits, err error) {
	if c, err = l.vary(ctx, c, v); err != nil {
		return found, err
	}
	err = l.withWorker(ctx, c, func(*worker) error {
		deployment, err := l.deploy(ctx, c, command(dispatchFlow))
		if err != nil {
			return err
		}
		if err := wait(ctx, dispatchSettle); err != nil {
			return err
		}
		mark := c.prefect.mark()
		began := time.Now()
		ids := make([]string, len(moments))
		for i, moment := range moments {
			if err := wait(ctx, time.Until(began.Add(moment))); err != nil {
				return err
			}
			if ids[i], err = l.schedule(ctx, deployment, nil); err != nil {
				return err
			}
		}
		runs, err := l.awaitCompleted(ctx, ids)
		if err != nil {
			return err
		}
		requests, _ := c.prefect.since(mark)
		found, err = waitsOf(ctx, c.platform, runs, requests)
		return err
	})
	return found, err
}

// waitsOf returns how long each flow run waited for its start; requests are
// those of the worker to Prefect meanwhile.
func waitsOf(ctx context.Context, platform *localstack.Northflank, runs []flowRun, requests []request) (waits, error) {
	bodies, err := platform.Bodies(ctx)
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
