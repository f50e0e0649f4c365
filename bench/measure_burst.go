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

// measureBurst tells how fast many flow runs are submitted, and whether it is the
// Prefect server that bounds it.
func measureBurst(ctx context.Context, l *lab) (section, error) {
	p, err := inTurn(ctx, l, l.burst)
	if err != nil {
		return section{}, err
	}
	alone, err := l.sendBare(ctx, p.ours.pattern, bareRuns)
	return section{
		title: fmt.Sprintf("A burst of %d flow runs", burstSize),
		text: fmt.Sprintf("%d flow runs that are due wait when the worker starts, as after an outage; from its first poll to the arrival at Northflank of the request that starts the last job run. "+
			"Northflank's limit of requests is off, and the containers only sleep. "+
			"The bare client shows what the Prefect server can take: a program that does nothing but send it the %d requests that ours sends for each flow run, for %d flow runs, %d at a time, with the machine to itself.",
			burstSize, len(p.ours.pattern), bareRuns, clients),
		table: burstTable(p, alone),
		note:  p.note,
	}, err
}

func burstTable(p pair[burst], alone bare) table {
	rate := func(r float64) string { return fmt.Sprintf("%.1f", r) }
	share := func(of func(burst) time.Duration) func(burst) string {
		return func(b burst) string { return fmt.Sprintf("%.0f%%", 100*of(b).Seconds()/b.took.Seconds()) }
	}
	server := func(b burst) time.Duration { return b.server }
	t := comparison(
		figure(p, "first poll to last start", showDuration, func(b burst) time.Duration { return b.took }),
		figure(p, "flow runs a second", rate, burst.rate),
		figure(p, "requests to Prefect for a flow run", rate, func(b burst) float64 { return float64(b.requests) / burstSize }),
		figure(p, "processor time of the Prefect server for a flow run", showDuration, func(b burst) time.Duration { return b.server / burstSize }),
		words(p, "share of a core that the Prefect server used", share(server)),
		words(p, "that the worker used", share(func(b burst) time.Duration { return b.worker })),
		words(p, "that all on the machine used", share(func(b burst) time.Duration { return b.machine })),
	)
	t.head = append(t.head, "bare client")
	cells := []string{"", rate(alone.rate), rate(float64(len(p.ours.pattern))), showDuration(alone.server), fmt.Sprintf("%.0f%%", 100*alone.rate*alone.server.Seconds()), "", ""}
	for i := range t.rows {
		t.rows[i] = append(t.rows[i], cells[i])
	}
	return t
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
