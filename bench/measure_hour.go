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

// cost is what a flow run of the original's takes in requests to Northflank.
type cost struct {
	fixed  float64       // whatever it lasts
	period time.Duration // between two looks while it lasts
}

func (c cost) of(lasting time.Duration) float64 {
	return c.fixed + lasting.Seconds()/c.period.Seconds()
}

// measureHour tells how many flow runs an hour's requests are enough for.
func measureHour(ctx context.Context, l *lab) (section, error) {
	var simulated map[string]simulation
	var original *cost
	note := l.noOriginal
	var both errgroup.Group
	both.Go(func() (err error) {
		simulated, err = simulate(ctx, "^("+steadyTest+"|"+concurrentTest+")$")
		return err
	})
	if l.original != nil {
		both.Go(func() error {
			found, err := l.costOf(ctx, l.original)
			if err != nil {
				note = firstLine(err.Error())
				return nil
			}
			original = &found
			return nil
		})
	}
	if err := both.Wait(); err != nil {
		return section{}, err
	}
	s := section{
		title: "An hour's requests",
		text: fmt.Sprintf("Requests to Northflank, which allows %d an hour. Ours: tests of the engine in virtual time, run for this report, "+
			"with a Prefect server and a Northflank in memory that counts and limits; one job, from the first request to the job's deletion, which comes after the hour. A test fails when a request is refused. More than 900 at once were not simulated. Of those for an hour, one flow run in 60 dies without a word: how long that went unnoticed. ", allowed),
		note: note,
	}
	if original != nil {
		s.text += fmt.Sprintf("The original: %d flow runs of %g s, measured in real time, took %.1f requests each, a look every %.1f s among them; the rest is computed from that.",
			hourFlows, hourFlow.Seconds(), original.of(hourFlow), original.period.Seconds())
	}
	var err error
	s.table, err = hourTable(loads(), simulated, original)
	return s, err
}

// costOf counts the requests of a few flow runs.
func (l *lab) costOf(ctx context.Context, c *contender) (found cost, err error) {
	platform, err := l.startPlatform(ctx, "hour")
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
		if _, err := l.spendRound(ctx, c, deployment, hourFlows); err != nil {
			return err
		}
		requests, _ := c.northflank.since(0)
		found, err = costIn(requests, hourFlows, hourFlow)
		return err
	})
	return found, err
}

// costIn reads the cost of a flow run from the requests of n that lasted so long.
func costIn(requests []request, n int, lasting time.Duration) (cost, error) {
	last := map[string]time.Time{} // look at each job run
	var gaps []time.Duration
	for _, q := range requests {
		if purposeOf(q) != look {
			continue
		}
		if before, ok := last[q.path]; ok {
			gaps = append(gaps, q.at.Sub(before))
		}
		last[q.path] = q.at
	}
	if len(gaps) == 0 {
		return cost{}, errors.New("it has looked at no job run twice")
	}
	c := cost{period: median(gaps)}
	c.fixed = float64(len(requests))/float64(n) - c.of(lasting)
	return c, nil
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
		requests := showCount(s.requests)
		if !s.passed {
			requests += ", and the test failed"
		}
		row := []string{load.label, requests, fmt.Sprintf("%.2f", each), "", "", "not measured", "", ""}
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
	row := []string{fmt.Sprintf("most flow runs at once for an hour within %d requests", allowed), showCount(most), "", "", "", "not measured", "", ""}
	if original != nil {
		theirs := allowed / original.of(time.Hour)
		row[5], row[7] = fmt.Sprintf("%.1f", theirs), fmt.Sprintf("1 : %.0f", float64(most)/theirs)
	}
	t.rows = append(t.rows, row)
	return t, errors.Join(missing...)
}
