package main

import (
	"context"
	"fmt"
	"time"
)

// idleTime is how long a worker is watched doing nothing but polling.
const idleTime = 30 * time.Second

// idleness is what an idle worker takes.
type idleness struct {
	memory, peak int64
	cpuStart     time.Duration // until the first poll
	cpuIdle      time.Duration // in idleTime after it
	polls        int
	requests     int // to Prefect, polls included
}

// measureIdle tells what a worker takes that has no flow run.
func measureIdle(ctx context.Context, l *lab) (section, error) {
	p, err := inTurn(ctx, l, l.watchIdle)
	return section{
		title: "Idle worker",
		text: fmt.Sprintf("One worker at a time with Prefect's default settings and no flow run, watched for %g s from its first poll on. "+
			"Memory is resident memory as Linux counts it, 1 MB = 1,000,000 bytes; processor time is counted in steps of %g s.", idleTime.Seconds(), clockTick.Seconds()),
		table: comparison(
			figure(p, "memory at the end", showBytes, func(i idleness) int64 { return i.memory }),
			figure(p, "peak memory", showBytes, func(i idleness) int64 { return i.peak }),
			figure(p, "processor time to first poll", showTicks, func(i idleness) time.Duration { return i.cpuStart }),
			figure(p, fmt.Sprintf("processor time in %g s", idleTime.Seconds()), showTicks, func(i idleness) time.Duration { return i.cpuIdle }),
			figure(p, "polls in that time", showCount, func(i idleness) int { return i.polls }),
			figure(p, "all requests to Prefect in that time", showCount, func(i idleness) int { return i.requests }),
		),
		note: p.note,
	}, err
}

func (l *lab) watchIdle(ctx context.Context, c *contender) (found idleness, err error) {
	err = l.withWorker(ctx, c, func(w *worker) error {
		mark := c.prefect.mark()
		before, err := usageOf(w.process.PID())
		if err != nil {
			return err
		}
		if err := wait(ctx, idleTime); err != nil {
			return err
		}
		after, err := usageOf(w.process.PID())
		if err != nil {
			return err
		}
		requests, _ := c.prefect.since(mark)
		found = idleness{
			memory: after.memory, peak: after.peak, cpuStart: before.cpu, cpuIdle: after.cpu - before.cpu,
			polls: count(requests, isPoll), requests: len(requests),
		}
		return nil
	})
	return found, err
}
