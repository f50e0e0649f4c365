package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	// requestsFlow is how long each flow run lasts.
	requestsFlow = 5 * time.Second
	// requestsQuiet without a request to Northflank is the end of a round: more
	// than either worker waits between two looks at what is under way.
	requestsQuiet = 20 * time.Second
)

// requestRounds are the numbers of flow runs that are triggered at once.
var requestRounds = []int{1, 5, 20}

// purpose is what a request to Northflank is for.
type purpose int

const (
	putJob purpose = iota
	startRun
	look
	deleteJob
	listJobs
	other
	purposes
)

// purposeOf tells it from the verb and the path behind /v1/projects/ID.
func purposeOf(q request) purpose {
	segments := strings.Split(strings.Trim(q.path, "/"), "/")
	within := strings.Join(segments[min(3, len(segments)):], "/") // "jobs/ID/runs/ID"
	jobs, depth := strings.HasPrefix(within, "jobs"), strings.Count(within, "/")
	runs := jobs && depth >= 2 && strings.Split(within, "/")[2] == "runs"
	switch {
	case within == "jobs" && (q.method == "PUT" || q.method == "POST"):
		return putJob
	case runs && depth == 2 && q.method == "POST":
		return startRun
	case runs && q.method == "GET":
		return look
	case jobs && depth == 1 && q.method == "DELETE":
		return deleteJob
	case within == "jobs" && q.method == "GET":
		return listJobs
	}
	return other
}

// spending is the requests of one round by their purpose.
type spending [purposes]int

func (s spending) total() int {
	sum := 0
	for _, n := range s {
		sum += n
	}
	return sum
}

// measureRequests tells how many requests to Northflank flow runs take.
func measureRequests(ctx context.Context, l *lab) (section, error) {
	before, err := l.northflank.Counters(ctx)
	if err != nil {
		return section{}, err
	}
	marks := l.northflankMarks()
	p, err := together(ctx, l, l.spend)
	if err != nil {
		return section{}, err
	}
	after, err := l.northflank.Counters(ctx)
	if err != nil {
		return section{}, err
	}
	if counted, seen := after.Total-before.Total, l.northflankMarks()-marks; p.note == "" && counted != seen {
		return section{}, fmt.Errorf("the proxies saw %d requests, but Northflank counted %d", seen, counted)
	}
	return section{
		title: "Requests to Northflank",
		text: fmt.Sprintf("Flow runs of %g s, triggered at once, both workers at the same time on work pools of their own. "+
			"A round ends when all flow runs have completed and no request has come for %g s. The counts of the proxies in front of Northflank and its own agree. "+
			"Workers poll Prefect every second here, which costs Northflank nothing. Job variables are at their defaults: "+
			"ours lists the jobs of a project once, when it first uses it, and keeps its one job for the next flow runs; it deletes it, by one more request, when it was not used for ten minutes.", requestsFlow.Seconds(), requestsQuiet.Seconds()),
		table: spendingTable(p),
		note:  p.note,
	}, nil
}

// northflankMarks is the number of requests that all proxies in front of
// Northflank have seen.
func (l *lab) northflankMarks() int {
	n := l.ours.northflank.mark()
	if l.original != nil {
		n += l.original.northflank.mark()
	}
	return n
}

func (l *lab) spend(ctx context.Context, c *contender) (rounds []spending, err error) {
	err = l.withWorker(ctx, c, func(*worker) error {
		deployment, err := l.deploy(ctx, c, command(requestsFlow))
		if err != nil {
			return err
		}
		for _, n := range requestRounds {
			s, err := l.spendRound(ctx, c, deployment, n)
			if err != nil {
				return err
			}
			l.say("%s: %d requests for %d flow runs", c.name, s.total(), n)
			rounds = append(rounds, s)
		}
		return nil
	})
	return rounds, err
}

func (l *lab) spendRound(ctx context.Context, c *contender, deployment string, n int) (s spending, err error) {
	mark := c.northflank.mark()
	ids := make([]string, n)
	for i := range ids {
		if ids[i], err = l.schedule(ctx, deployment); err != nil {
			return s, err
		}
	}
	if _, err := l.awaitCompleted(ctx, ids); err != nil {
		return s, err
	}
	if err := c.northflank.awaitQuiet(ctx, requestsQuiet); err != nil {
		return s, err
	}
	requests, _ := c.northflank.since(mark)
	for _, q := range requests {
		s[purposeOf(q)]++
	}
	return s, nil
}

func spendingTable(p pair[[]spending]) table {
	t := table{head: []string{"flow runs", "worker", "job written", "job run started", "looks", "job deleted", "jobs listed", "other", "all", "a flow run", "original : ours"}}
	for i, n := range requestRounds {
		t.rows = append(t.rows, spendingRow(n, "ours", p.ours[i], ""))
		if p.original != nil {
			original := (*p.original)[i]
			t.rows = append(t.rows, spendingRow(n, "original", original, ratio(float64(original.total()), float64(p.ours[i].total()))))
		}
	}
	return t
}

func spendingRow(n int, worker string, s spending, proportion string) []string {
	row := []string{showCount(n), worker}
	for _, requests := range s {
		row = append(row, showCount(requests))
	}
	return append(row, showCount(s.total()), fmt.Sprintf("%.2f", float64(s.total())/float64(n)), proportion)
}
