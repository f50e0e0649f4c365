package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	allowed = 1000 // requests an hour, of Northflank's

	hourFlows = 10 // flow runs that are measured in real time
	hourFlow  = time.Minute
)

// load is an hour's flow runs, as a test of the engine simulates them.
type load struct {
	test     string
	label    string
	flowRuns int
	lasting  time.Duration // each
}

const (
	steadyTest     = "TestRequestsAFlowRun"
	concurrentTest = "TestConcurrentForAnHour"
)

func loads() []load {
	all := []load{
		{steadyTest + "/100_of_a_minute_in_an_hour", "100 flow runs of a minute, one after the other", 100, time.Minute},
		{steadyTest + "/900_of_ten_minutes_in_an_hour", "900 flow runs of ten minutes, one begun every 4 s", 900, 10 * time.Minute},
	}
	for _, n := range []int{300, 900} {
		for _, by := range []string{"with heartbeats", "with webhook", "with sweeps alone"} {
			all = append(all, load{
				fmt.Sprintf("%s/%d_%s", concurrentTest, n, strings.ReplaceAll(by, " ", "_")),
				fmt.Sprintf("%d flow runs at once for an hour, ours %s", n, by), n, time.Hour,
			})
		}
	}
	return all
}

// cost is what a flow run takes in requests to Northflank.
type cost struct {
	fixed float64 // whatever it lasts
	looks float64 // for each minute that it lasts
}

func (c cost) of(lasting time.Duration) float64 { return c.fixed + c.looks*lasting.Minutes() }

// measureHour tells how many flow runs an hour's requests are enough for.
func measureHour(ctx context.Context, l *lab) (section, error) {
	var simulated map[string]simulation
	var p pair[cost]
	var both errgroup.Group
	both.Go(func() (err error) {
		simulated, err = simulate(ctx, "^("+steadyTest+"|"+concurrentTest+")$")
		return err
	})
	both.Go(func() (err error) {
		p, err = together(ctx, l, l.costOf)
		return err
	})
	if err := both.Wait(); err != nil {
		return section{}, err
	}
	t, err := hourTable(loads(), simulated, p.original)
	return section{
		title: "An hour's requests",
		text: fmt.Sprintf("Requests to Northflank, which allows %d an hour. Ours: tests of the engine in virtual time, run for this report, "+
			"with a Prefect server and a Northflank in memory that counts and limits; one job, from the first request to the job's deletion. Of those for an hour, one flow run in 60 dies without a word: how long that went unnoticed. "+
			"The original: %d flow runs of %s in real time took %s; the rest is computed from that.",
			allowed, hourFlows, hourFlow, originalCost(p)),
		table: t,
		note:  p.note,
	}, err
}

func originalCost(p pair[cost]) string {
	if p.original == nil {
		return "nothing that was measured"
	}
	return fmt.Sprintf("%.1f requests each and %.1f for every minute", p.original.fixed, p.original.looks)
}

// costOf counts the requests of a few flow runs.
func (l *lab) costOf(ctx context.Context, c *contender) (found cost, err error) {
	platform, err := l.startPlatform(ctx, "hour-"+c.name)
	if err != nil {
		return found, err
	}
	defer platform.Kill()
	if c, err = l.vary(ctx, c, variation{name: "hour", platform: platform}); err != nil {
		return found, err
	}
	err = l.withWorker(ctx, c, func(*worker) error {
		deployment, err := l.deploy(ctx, c, command(hourFlow))
		if err != nil {
			return err
		}
		s, err := l.spendRound(ctx, c, deployment, hourFlows)
		found = cost{fixed: float64(s.total()-s[look]) / hourFlows, looks: float64(s[look]) / hourFlows / hourFlow.Minutes()}
		return err
	})
	return found, err
}

func hourTable(loads []load, simulated map[string]simulation, original *cost) (table, error) {
	t := table{head: []string{"", "ours", "a flow run", "crash unnoticed for, median", "longest", "original", "a flow run", "original : ours"}}
	var missing []error
	most := 0 // flow runs at once for an hour
	for _, load := range loads {
		s := simulated[load.test]
		if s.requests == 0 {
			missing = append(missing, fmt.Errorf("the simulation %s told no number of requests", load.test))
			continue
		}
		each := float64(s.requests) / float64(load.flowRuns)
		row := []string{load.label, showCount(s.requests), fmt.Sprintf("%.2f", each), "", "", "not measured", "", ""}
		if len(s.crashes) > 0 {
			row[3], row[4] = showDuration(median(s.crashes)), showDuration(slices.Max(s.crashes))
		}
		if original != nil {
			theirs := original.of(load.lasting)
			row[5], row[6], row[7] = fmt.Sprintf("%.0f", theirs*float64(load.flowRuns)), fmt.Sprintf("%.2f", theirs), ratio(theirs, each)
		}
		t.rows = append(t.rows, row)
		if load.lasting == time.Hour && s.passed {
			most = max(most, load.flowRuns)
		}
	}
	row := []string{fmt.Sprintf("flow runs at once for an hour, with %d requests", allowed), "none was simulated", "", "", "", "not measured", "", ""}
	if most > 0 {
		row[1] = fmt.Sprintf("%d, and more were not tried", most)
	}
	if original != nil {
		theirs := allowed / original.of(time.Hour)
		row[5], row[7] = fmt.Sprintf("%.1f", theirs), fmt.Sprintf("1 : %.0f", float64(most)/theirs)
	}
	t.rows = append(t.rows, row)
	return t, errors.Join(missing...)
}
