package main

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

const (
	crashes      = 20               // flow runs of each worker
	crashTrigger = 2 * time.Second  // between the triggers of two
	crashFirst   = 60 * time.Second // from the first trigger to the first death
	crashWindow  = 60 * time.Second // in which they die
	crashWithin  = 6 * time.Minute  // bound, from the last trigger on
)

// way is a way to learn of a crash.
type way struct {
	label     string
	contender *contender
	variation variation
	found     []time.Duration // how long each crash went unnoticed
	requests  int             // to Northflank
	err       error
}

// measureCrash tells how long it takes until Prefect shows a flow run as Crashed
// whose container was killed.
func measureCrash(ctx context.Context, l *lab) (section, error) {
	platform, err := l.startPlatform(ctx, "crash", noLimit...)
	if err != nil {
		return section{}, err
	}
	defer platform.Kill()
	webhook, err := l.webhook(ctx, platform)
	if err != nil {
		return section{}, err
	}
	ways := []*way{
		{label: "ours with a webhook", contender: l.ours, variation: webhook},
		{label: "ours with heartbeats", contender: l.ours, variation: variation{name: "crash-heartbeats", platform: platform}},
		{label: "ours with sweeps alone", contender: l.ours, variation: variation{name: "crash-sweeps", platform: platform, refused: isEventStream}},
	}
	if l.original != nil {
		ways = append(ways, &way{label: "original", contender: l.original, variation: variation{name: "crash", platform: platform}})
	}
	moments := spreadMoments(mathrand.New(mathrand.NewPCG(5, 6)), crashes, crashWindow)
	var all errgroup.Group
	for _, w := range ways {
		all.Go(func() error {
			if w.err = l.detect(ctx, w, moments); w.contender == l.ours {
				return w.err
			}
			return nil
		})
	}
	err = all.Wait()
	s := section{
		title: "Crash",
		text: fmt.Sprintf("From the moment at which a flow run's container is killed, without a word to Prefect, to the time of the flow run's state Crashed in Prefect. "+
			"%d flow runs of each worker die within %g s; all workers at the same time, each on a work pool of its own, with their default settings and job runs that Northflank does not retry (settings_backoff_limit: 0). "+
			"Ours learns of it by a notification of Northflank's to its webhook; or by the absence of heartbeats, which flow runs send every %g s; "+
			"or by its sweeps alone, with a proxy in front of Prefect that refuses its websocket of events: with so few flow runs there is one every 15 s. "+
			"The original asks Northflank for each job run every 10 s.",
			crashes, crashWindow.Seconds(), beatEvery.Seconds()),
		note: l.noOriginal,
	}
	if err != nil {
		return s, err
	}
	if last := ways[len(ways)-1]; last.err != nil {
		ways, s.note = ways[:len(ways)-1], firstLine(last.err.Error())
	}
	s.table = crashTable(ways)
	return s, nil
}

// webhook creates a webhook and returns how a worker listens to it.
func (l *lab) webhook(ctx context.Context, platform *localstack.Northflank) (variation, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return variation{}, err
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		return variation{}, err
	}
	to, secret := "http://"+address+"/northflank", rand.Text()
	_, err = l.stack.Program(ctx, localstack.ProgramOptions{
		Args: []string{"webhook", "create", "--url", to},
		Env:  map[string]string{"NORTHFLANK_API_BASE_URL": platform.URL, "NORTHFLANK_API_TOKEN": platform.Token, "NORTHFLANK_WEBHOOK_SECRET": secret},
	})
	return variation{
		name: "crash-webhook", platform: platform,
		args: []string{"--webhook-listen", address, "--webhook-url", to}, env: map[string]string{"NORTHFLANK_WEBHOOK_SECRET": secret},
	}, err
}

// detect lets flow runs die at the moments, about, and notes how long each death
// went unnoticed.
func (l *lab) detect(ctx context.Context, w *way, moments []time.Duration) error {
	c, err := l.vary(ctx, w.contender, w.variation)
	if err != nil {
		return err
	}
	pool, err := l.poolID(ctx, c)
	if err != nil {
		return err
	}
	deployment, err := l.deploy(ctx, c, sleeper)
	if err != nil {
		return err
	}
	deaths := filepath.Join(l.stack.WorkDir(), "deaths-"+c.pool)
	return l.withWorker(ctx, c, func(*worker) error {
		began, ids := time.Now(), make([]string, len(moments))
		for i, moment := range moments {
			triggered := time.Duration(i) * crashTrigger
			if err := wait(ctx, time.Until(began.Add(triggered))); err != nil {
				return err
			}
			command := fmt.Sprintf("%s %s %s", command(crashFirst+moment-triggered), pool, deaths)
			if ids[i], err = l.schedule(ctx, deployment, map[string]any{"command": command, "settings_backoff_limit": 0}); err != nil {
				return err
			}
		}
		runs, err := l.awaitEnded(ctx, ids, crashWithin)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(deaths)
		if err != nil {
			return err
		}
		w.requests = c.northflank.mark()
		w.found, err = unnoticed(runs, string(text))
		return err
	})
}

// unnoticed returns how long after its death each flow run was Crashed; deaths
// is what they wrote before it.
func unnoticed(runs []flowRun, deaths string) ([]time.Duration, error) {
	var found []time.Duration
	for _, r := range runs {
		died, err := time.Parse(time.RFC3339Nano, valueAfter(deaths, r.ID, " "))
		if err != nil {
			return nil, fmt.Errorf("when flow run %s died: %w", r.Name, err)
		}
		if r.State.Type != "CRASHED" {
			return nil, fmt.Errorf("flow run %s ended %s: %s", r.Name, r.State.Name, r.State.Message)
		}
		found = append(found, r.State.Timestamp.Sub(died))
	}
	return found, nil
}

// crashTable compares the ways; the original's is the last, if it is there.
func crashTable(ways []*way) table {
	t := table{head: []string{"crash unnoticed for"}}
	requests, proportions := []string{"requests to Northflank"}, []string{"original : ours, median"}
	last := ways[len(ways)-1]
	for _, w := range ways {
		t.head = append(t.head, w.label)
		requests = append(requests, showCount(w.requests))
		proportion := ""
		if last.contender.name == "original" && w != last {
			proportion = ratio(float64(median(last.found)), float64(median(w.found)))
		}
		proportions = append(proportions, proportion)
	}
	for i, label := range []string{"median", "p95", "longest"} {
		row := []string{label}
		for _, w := range ways {
			row = append(row, showDuration(quantile(w.found, []float64{0.5, 0.95, 1}[i])))
		}
		t.rows = append(t.rows, row)
	}
	t.rows = append(t.rows, proportions, requests)
	return t
}
