package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

const (
	// requestsFlow is how long each flow run lasts.
	requestsFlow = 5 * time.Second
	// requestsQuiet without a request to Northflank is the end of a round: more
	// than either worker waits between two looks at what is under way.
	requestsQuiet = 20 * time.Second
	// requestsAfter is how long is waited after the last round: ours looks whether
	// containers have ended four minutes after their flow runs did.
	requestsAfter = 270 * time.Second
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

// isStart reports whether a request to Northflank starts a job run.
func isStart(q request) bool { return purposeOf(q) == startRun }

// spending is the requests of one round by their purpose.
type spending [purposes]int

func (s spending) total() int {
	sum := 0
	for _, n := range s {
		sum += n
	}
	return sum
}

// spent is what the rounds took, and all of them together with what came after.
type spent struct {
	rounds []spending
	all    spending
}

// measureRequests tells how many requests to Northflank flow runs take.
func measureRequests(ctx context.Context, l *lab) (section, error) {
	platform, err := l.startPlatform(ctx, "requests")
	if err != nil {
		return section{}, err
	}
	defer platform.Kill()
	p, err := together(ctx, l, func(ctx context.Context, c *contender) (spent, error) {
		return l.spend(ctx, c, platform)
	})
	if err != nil {
		return section{}, err
	}
	counters, err := platform.Counters(ctx)
	if err != nil {
		return section{}, err
	}
	if p.original != nil {
		if seen := p.ours.all.total() + p.original.all.total(); counters.Total != seen {
			return section{}, fmt.Errorf("the proxies saw %d requests, but Northflank counted %d", seen, counters.Total)
		}
	}
	return section{
		title: "Requests to Northflank",
		text: fmt.Sprintf("Flow runs of %g s, triggered at once, both workers at the same time on work pools of their own. "+
			"A round ends when all flow runs have completed and no request has come for %g s. The last rows hold all rounds and the %g s after them: "+
			"ours asks four minutes after the end of a flow run, for all at once, whether their containers have ended too. "+
			"The counts of the proxies in front of Northflank and its own agree. Workers poll Prefect every second here, which costs Northflank nothing. Job variables are at their defaults: "+
			"ours lists the jobs of a project once, when it first uses it, and keeps its one job for the next flow runs; it deletes it, by one more request, when it was not used for ten minutes.",
			requestsFlow.Seconds(), requestsQuiet.Seconds(), requestsAfter.Seconds()),
		table: spendingTable(p),
		note:  p.note,
	}, nil
}

func (l *lab) spend(ctx context.Context, c *contender, platform *localstack.Northflank) (found spent, err error) {
	c, err = l.vary(ctx, c, variation{name: "requests", platform: platform, env: map[string]string{"PREFECT_WORKER_QUERY_SECONDS": "1"}})
	if err != nil {
		return found, err
	}
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
			found.rounds = append(found.rounds, s)
		}
		if err := wait(ctx, requestsAfter); err != nil {
			return err
		}
		found.all = spentSince(c, 0)
		return nil
	})
	return found, err
}

// spendRound counts the requests for n flow runs.
func (l *lab) spendRound(ctx context.Context, c *contender, deployment string, n int) (s spending, err error) {
	mark := c.northflank.mark()
	ids := make([]string, n)
	for i := range ids {
		if ids[i], err = l.schedule(ctx, deployment, nil); err != nil {
			return s, err
		}
	}
	if _, err := l.awaitCompleted(ctx, ids); err != nil {
		return s, err
	}
	if err := c.northflank.awaitQuiet(ctx, requestsQuiet); err != nil {
		return s, err
	}
	return spentSince(c, mark), nil
}

// spentSince counts the contender's requests after a mark.
func spentSince(c *contender, mark int) (s spending) {
	requests, _ := c.northflank.since(mark)
	for _, q := range requests {
		s[purposeOf(q)]++
	}
	return s
}

func spendingTable(p pair[spent]) table {
	t := table{head: []string{"flow runs", "worker", "job written", "job run started", "looks", "job deleted", "jobs listed", "other", "all", "a flow run", "original : ours"}}
	add := func(label string, n int, of func(spent) spending) {
		ours := of(p.ours)
		t.rows = append(t.rows, spendingRow(label, "ours", n, ours, ""))
		if p.original != nil {
			original := of(*p.original)
			t.rows = append(t.rows, spendingRow(label, "original", n, original, ratio(float64(original.total()), float64(ours.total()))))
		}
	}
	all := 0
	for i, n := range requestRounds {
		add(showCount(n), n, func(s spent) spending { return s.rounds[i] })
		all += n
	}
	add(fmt.Sprintf("all %d, and after", all), all, func(s spent) spending { return s.all })
	return t
}

func spendingRow(label, worker string, n int, s spending, proportion string) []string {
	row := []string{label, worker}
	for _, requests := range s {
		row = append(row, showCount(requests))
	}
	return append(row, showCount(s.total()), fmt.Sprintf("%.2f", float64(s.total())/float64(n)), proportion)
}
