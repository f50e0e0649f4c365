package main

import (
	"context"
	"fmt"
	"time"
)

const (
	liveTime   = beatEvery       // how long a worker is watched: each flow run gives a sign of life in it
	liveSettle = 5 * time.Second // before, for what the starts left to do
	liveWithin = 5 * time.Minute // bound of the time until so many live
)

// liveLevels are the numbers of live flow runs in one worker, one after the
// other; the original is not tried with the last.
var liveLevels = []int{50, 300, 1000}

// liveness is what a worker takes with so many live flow runs.
type liveness struct {
	memory, peak        int64
	cpu                 time.Duration // in liveTime
	prefect, northflank int           // requests in that time
}

// liveLoad is what a worker took at the first levels, and what kept it from the
// next one; nil if nothing did.
type liveLoad struct {
	levels  []liveness
	stopped error
}

// measureLive tells what a worker takes that answers for many flow runs.
func measureLive(ctx context.Context, l *lab) (section, error) {
	p, err := inTurn(ctx, l, func(ctx context.Context, c *contender) (liveLoad, error) {
		levels := liveLevels
		if c == l.original {
			levels = levels[:len(levels)-1]
		}
		load, err := l.watchLive(ctx, c, levels)
		if err == nil && (c == l.ours || len(load.levels) == 0) {
			err = load.stopped
		}
		return load, err
	})
	s := section{
		title: "Live flow runs",
		text: fmt.Sprintf("One worker at a time while so many flow runs run, watched for %g s. Their containers only sleep; that they run, and every %g s that they live, the benchmark tells Prefect for all of them. "+
			"Prefect's default settings, Northflank's limit of requests off; memory and processor time as of the idle worker. The original was tried with %d at most.",
			liveTime.Seconds(), beatEvery.Seconds(), liveLevels[len(liveLevels)-2]),
		note: p.note,
	}
	if err != nil {
		return s, err
	}
	s.table = liveTable(p)
	if p.original != nil && p.original.stopped != nil {
		s.note = "with more flow runs: " + firstLine(p.original.stopped.Error())
	}
	return s, nil
}

// watchLive brings the worker to each of the levels. Its error is one of the
// benchmark's, not of the worker's.
func (l *lab) watchLive(ctx context.Context, c *contender, levels []int) (load liveLoad, err error) {
	platform, err := l.startPlatform(ctx, "live-"+c.name, noLimit...)
	if err != nil {
		return load, err
	}
	defer platform.Kill()
	if c, err = l.vary(ctx, c, variation{name: "live", platform: platform}); err != nil {
		return load, err
	}
	crowd, err := l.newCrowd(ctx, c)
	if err != nil {
		return load, err
	}
	err = l.withWorker(ctx, c, func(w *worker) error {
		defer w.process.Kill() // some wait for their flow runs when they are to end
		return crowd.beating(ctx, func(ctx context.Context) error {
			for _, n := range levels {
				if load.stopped = l.growTo(ctx, c, crowd, n); load.stopped != nil {
					break
				}
				found, err := watch(ctx, c, w)
				if err != nil {
					return err
				}
				load.levels = append(load.levels, found)
				l.say("%s: %d live flow runs in %s", c.name, n, showBytes(found.memory))
			}
			return nil
		})
	})
	return load, err
}

// growTo triggers flow runs until n live.
func (l *lab) growTo(ctx context.Context, c *contender, crowd *crowd, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, liveWithin, fmt.Errorf("it has not started %d job runs within %s", n, liveWithin))
	defer cancel()
	ids, err := crowd.schedule(ctx, n-crowd.size())
	if err != nil {
		return err
	}
	if _, err := c.northflank.awaitNumber(ctx, 0, n, isStart); err != nil {
		return err
	}
	return crowd.begin(ctx, ids)
}

// watch measures a worker for a while.
func watch(ctx context.Context, c *contender, w *worker) (found liveness, err error) {
	if err := wait(ctx, liveSettle); err != nil {
		return found, err
	}
	prefect, northflank := c.prefect.mark(), c.northflank.mark()
	before, err := usageOf(w.process.PID())
	if err != nil {
		return found, err
	}
	if err := wait(ctx, liveTime); err != nil {
		return found, err
	}
	after, err := usageOf(w.process.PID())
	return liveness{
		memory: after.memory, peak: after.peak, cpu: after.cpu - before.cpu,
		prefect: c.prefect.mark() - prefect, northflank: c.northflank.mark() - northflank,
	}, err
}

func liveTable(p pair[liveLoad]) table {
	t := table{head: []string{
		"flow runs", "worker", "memory", "peak memory", fmt.Sprintf("processor time in %g s", liveTime.Seconds()),
		"requests to Prefect", "to Northflank", "memory, original : ours",
	}}
	row := func(n int, name string, found liveness, proportion string) {
		t.rows = append(t.rows, []string{
			showCount(n), name, showBytes(found.memory), showBytes(found.peak), showTicks(found.cpu),
			showCount(found.prefect), showCount(found.northflank), proportion,
		})
	}
	for i, ours := range p.ours.levels {
		row(liveLevels[i], "ours", ours, "")
		if p.original != nil && i < len(p.original.levels) {
			original := p.original.levels[i]
			row(liveLevels[i], "original", original, ratio(float64(original.memory), float64(ours.memory)))
		}
	}
	return t
}
