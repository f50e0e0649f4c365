package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// anyFlowRun stands for a flow run's id in a pattern.
const anyFlowRun = "{flow run}"

// usualPattern returns the requests that most of the flow runs have in common
// that were asked about: in order, with anyFlowRun in place of the id.
func usualPattern(requests []request) []request {
	of := map[string][]request{}
	var ids []string // in the order of their first request
	for _, q := range requests {
		id := flowRunIn(q.path)
		if id == "" {
			continue
		}
		if of[id] == nil {
			ids = append(ids, id)
		}
		q.path, q.body = strings.ReplaceAll(q.path, id, anyFlowRun), strings.ReplaceAll(q.body, id, anyFlowRun)
		of[id] = append(of[id], q)
	}
	seen, most := map[string]int{}, 0
	var usual []request
	for _, id := range ids {
		var key strings.Builder
		for _, q := range of[id] {
			key.WriteString(q.method + q.path + "\n")
		}
		if seen[key.String()]++; seen[key.String()] > most {
			most, usual = seen[key.String()], of[id]
		}
	}
	return usual
}

// bare is what came of a client that does nothing but send a pattern's requests.
type bare struct {
	rate   float64       // flow runs a second
	server time.Duration // processor time of the Prefect server for a flow run
}

// sendBare sends the pattern's requests for n flow runs on a work pool that no
// worker serves.
func (l *lab) sendBare(ctx context.Context, pattern []request, n int) (found bare, err error) {
	c, err := l.vary(ctx, l.ours, variation{name: "bare"})
	if err != nil {
		return found, err
	}
	crowd, err := l.newCrowd(ctx, c)
	if err != nil {
		return found, err
	}
	ids, err := crowd.schedule(ctx, n)
	if err != nil {
		return found, err
	}
	// Prefect's server closes connections that were idle for 5 s: ours close first.
	client := &http.Client{Transport: &http.Transport{Proxy: nil, MaxIdleConnsPerHost: clients, IdleConnTimeout: time.Second}, Timeout: time.Minute}
	before, err := usageOf(l.server.PID())
	if err != nil {
		return found, err
	}
	began := time.Now()
	err = inParallel(ctx, n, func(ctx context.Context, i int) error {
		for _, q := range pattern {
			if err := send(ctx, client, l.server.URL, q, ids[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return found, err
	}
	found.rate = float64(n) / time.Since(began).Seconds()
	after, err := usageOf(l.server.PID())
	found.server = (after.cpu - before.cpu) / time.Duration(n)
	return found, err
}

// send sends a pattern's request for a flow run.
func send(ctx context.Context, client *http.Client, server string, q request, flowRun string) error {
	fill := func(text string) string { return strings.ReplaceAll(text, anyFlowRun, flowRun) }
	out, err := http.NewRequestWithContext(ctx, q.method, server+fill(q.path), strings.NewReader(fill(q.body)))
	if err != nil {
		return err
	}
	out.Header.Set("Content-Type", "application/json")
	response, err := client.Do(out)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	refused := strings.HasSuffix(q.path, "/set_state") && !strings.Contains(string(text), `"status":"ACCEPT"`)
	if err == nil && (response.StatusCode >= http.StatusMultipleChoices || refused) {
		err = fmt.Errorf("prefect answered the bare client's %s %s with %s: %s", q.method, fill(q.path), response.Status, text)
	}
	return err
}
