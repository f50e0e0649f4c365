package main

import (
	"context"
	"fmt"
	"time"
)

const (
	burstSize   = 300
	burstWithin = 5 * time.Minute // bound
	bareRuns    = 100             // flow runs of the bare client
)

// burst is how a worker submitted many flow runs at once.
type burst struct {
	took     time.Duration // from the first poll to the last start request
	requests int           // to Prefect meanwhile
	server   time.Duration // processor time of the Prefect server meanwhile
	worker   time.Duration
	machine  time.Duration // of all processes, on all cores together
	pattern  []request     // what was asked of Prefect for one flow run
}

func (b burst) rate() float64 { return burstSize / b.took.Seconds() }

// share shows a processor time as a share of one core's.
func (b burst) share(of func(burst) time.Duration) string {
	return fmt.Sprintf("%.0f%% of a core", 100*of(b).Seconds()/b.took.Seconds())
}

// measureBurst tells how fast many flow runs are submitted, and whether it is the
// Prefect server that bounds it.
func measureBurst(ctx context.Context, l *lab) (section, error) {
	p, err := inTurn(ctx, l, l.burst)
	if err != nil {
		return section{}, err
	}
	bare, err := l.bareRate(ctx, p.ours.pattern)
	if err != nil {
		return section{}, err
	}
	t := comparison(
		figure(p, "first poll to last start", showDuration, func(b burst) time.Duration { return b.took }),
		rateRow(p),
		words(p, "requests to Prefect for a flow run", func(b burst) string { return fmt.Sprintf("%.1f", float64(b.requests)/burstSize) }),
		words(p, "processor time of the Prefect server", func(b burst) string { return b.share(func(b burst) time.Duration { return b.server }) }),
		words(p, "processor time of the worker", func(b burst) string { return b.share(func(b burst) time.Duration { return b.worker }) }),
		words(p, "processor time of the whole machine", func(b burst) string { return b.share(func(b burst) time.Duration { return b.machine }) }),
		[]string{"the bare client", fmt.Sprintf("%.1f a second", bare), "", ""},
	)
	return section{
		title: fmt.Sprintf("A burst of %d flow runs", burstSize),
		text: fmt.Sprintf("%d flow runs that are due wait when the worker starts, as after an outage; from its first poll to the arrival at Northflank of the request that starts the last job run. "+
			"Northflank's limit of requests is off, and the containers only sleep. "+
			"The bare client is a program that does nothing but send to Prefect, for %d flow runs and %d at a time, the %d requests that ours sends for each: what the Prefect server can take, with the machine to itself.",
			burstSize, bareRuns, clients, len(p.ours.pattern)),
		table: t,
		note:  p.note,
	}, nil
}

// rateRow compares rates, where more is better.
func rateRow(p pair[burst]) []string {
	row := words(p, "flow runs a second", func(b burst) string { return fmt.Sprintf("%.1f", b.rate()) })
	if p.original != nil {
		row[3] = ratio(p.original.rate(), p.ours.rate())
	}
	return row
}

func (l *lab) burst(ctx context.Context, c *contender) (b burst, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, burstWithin, fmt.Errorf("it has not started %d job runs within %s", burstSize, burstWithin))
	defer cancel()
	platform, err := l.startPlatform(ctx, "burst-"+c.name, noLimit...)
	if err != nil {
		return b, err
	}
	defer platform.Kill()
	if c, err = l.vary(ctx, c, variation{name: "burst", platform: platform}); err != nil {
		return b, err
	}
	crowd, err := l.newCrowd(ctx, c)
	if err != nil {
		return b, err
	}
	if _, err := crowd.schedule(ctx, burstSize); err != nil {
		return b, err
	}
	err = l.withWorker(ctx, c, func(w *worker) error {
		defer w.process.Kill() // some wait for their flow runs when they are to end
		before, err := l.expense(w)
		if err != nil {
			return err
		}
		last, err := c.northflank.awaitNumber(ctx, 0, burstSize, isStart)
		if err != nil {
			return err
		}
		after, err := l.expense(w)
		if err != nil {
			return err
		}
		requests, _ := c.prefect.since(0)
		b = burst{
			took: last.at.Sub(w.firstPoll), requests: len(requests), pattern: usualPattern(requests),
			server: after.server - before.server, worker: after.worker - before.worker, machine: after.machine - before.machine,
		}
		l.say("%s: %d flow runs submitted in %s", c.name, burstSize, showDuration(b.took))
		return nil
	})
	return b, err
}

// expense is the processor time spent so far.
type expense struct{ server, worker, machine time.Duration }

func (l *lab) expense(w *worker) (e expense, err error) {
	server, err := usageOf(l.server.PID())
	if err != nil {
		return e, err
	}
	worker, err := usageOf(w.process.PID())
	if err != nil {
		return e, err
	}
	e.server, e.worker = server.cpu, worker.cpu
	e.machine, err = machineCPU()
	return e, err
}
