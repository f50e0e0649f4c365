package northflank

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/northflank/prefect-northflank/internal/hostile"
)

// someAnswers are what Northflank answers with, and what a proxy in between may.
var someAnswers = []string{
	`{"data":{"id":"run-1","runName":"job-run-1","status":"RUNNING","concluded":false,"active":1,"startedAt":"2026-03-21T15:01:17Z","concludedAt":null}}`,
	`{"data":{"runs":[{"id":"run-1","status":"SUCCESS","succeeded":"1","startedAt":1774105277}],"jobs":[{"id":"a"}],"projects":null,"notificationIntegrations":[{"id":"b"}]},"pagination":{"hasNextPage":true,"cursor":"c"}}`,
	`{"data":{"containers":[{"name":"c","status":"TASK_RUNNING","createdAt":1774105277,"updatedAt":1774105277123}]}}`,
	`{"data":[{"containerId":"c","log":"2026-03-21T15:01:17.5Z stdout P a","ts":"2026-03-21T15:01:17.310Z"},{"log":{"a":1}},null]}`,
	`{"data":{"logs":[{"message":"stderr F b","timestamp":1}],"data":[]},"pagination":null}`,
	`{"data":null}`, `{"data":{"id":5,"active":1e300,"startedAt":[]}}`, `{"error":{"status":404,"message":"x"}}`, `null`, `[]`, `<html>`, ``,
}

// FuzzAnswers: no answer makes the client panic or ask for ever, and what it
// hands on keeps its promises.
func FuzzAnswers(f *testing.F) { fuzzAnswers(f) }

func fuzzAnswers(f hostile.F) {
	for _, body := range someAnswers {
		f.Add(body, 200)
		f.Add(body, 404)
	}
	f.Fuzz(func(t *testing.T, body string, status int) {
		if status < 100 || status > 999 {
			return // net/http lets no other through
		}
		synctest.Test(t, func(t *testing.T) {
			requests := 0
			c := newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) {
				requests++
				return reply(status, body, "Content-Type", "application/json"), nil
			}))
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			run, err := c.GetRun(ctx, "p", "j", "r")
			wantWhole(t, err, run.ID != "")
			started, err := c.StartRun(ctx, "p", "j", RunRequest{})
			wantWhole(t, err, started.ID != "")
			job, err := c.PutJob(ctx, "p", JobRequest{Name: "j"})
			wantWhole(t, err, job.ID != "")
			drain(t, c.ListRuns(ctx, "p", "j"))
			drain(t, c.ListJobs(ctx, "p"))
			drain(t, c.ListNotifications(ctx))
			_, err = c.ListContainers(ctx, "p", "j", "r")
			wantWhole(t, err, true)
			lines, err := c.Logs(ctx, "p", "j", LogQuery{})
			wantWhole(t, err, true)
			for i := 1; i < len(lines); i++ {
				if lines[i].Time.Before(lines[i-1].Time) && !strings.Contains(body, " P ") {
					t.Errorf("lines out of order: %v", lines)
				}
			}
			if requests > 100 {
				t.Errorf("%d requests", requests)
			}
		})
	})
}

// wantWhole checks that a call brought what it promises, or a fit error.
func wantWhole(t *testing.T, err error, whole bool) {
	t.Helper()
	switch {
	case err == nil && !whole:
		t.Error("neither a result nor an error")
	case err != nil && (len(err.Error()) > 8000 || strings.ContainsFunc(err.Error(), unicode.IsControl)):
		t.Errorf("unfit error: %q", err)
	}
}

func drain[T any](t *testing.T, list iter.Seq2[T, error]) {
	t.Helper()
	for _, err := range list {
		wantWhole(t, err, true)
	}
}

// FuzzTailFrames: no frame of a log socket makes it panic, and lines lose nothing
// on their way through the joiner.
func FuzzTailFrames(f *testing.F) { fuzzTailFrames(f) }

func fuzzTailFrames(f hostile.F) {
	for _, frame := range []string{
		`{"type":"log-lines","data":[{"containerId":"c","log":"stdout P a"},{"containerId":"c","log":"stdout F b"}]}`,
		`{"type":"log-lines","data":{"logs":[{"line":"x","time":"2026-03-21T15:01:17Z"}]}}`, `{"type":"init","data":{"auth":"successful"}}`,
		`{"type":"error","data":{"message":"no"}}`, `{"type":5}`, `{}`, `null`, ``,
	} {
		f.Add([]byte(frame))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var frame tailFrame
		if json.Unmarshal(data, &frame) != nil {
			return
		}
		raw, err := parseLogData(frame.Data)
		if err != nil {
			return
		}
		before, after := 0, 0
		for _, l := range raw {
			before += len(l.Text)
		}
		joiner := newLineJoiner()
		for _, l := range append(joiner.add(raw), joiner.rest()...) {
			after += len(l.Text)
		}
		if before != after {
			t.Errorf("%d bytes of text became %d", before, after)
		}
	})
}

// FuzzHeaders: whatever the headers say, the budget and the pause are of this
// hour, and requests go on after it.
func FuzzHeaders(f *testing.F) { fuzzHeaders(f) }

func fuzzHeaders(f hostile.F) {
	f.Add("1000", "999", "1800", "30", "Sat, 21 Mar 2026 15:01:17 GMT", 200)
	f.Add("1000", "0", "1774105277", "Sat, 21 Mar 2026 15:01:17 GMT", "", 429)
	f.Add("-1", "1e9", "NaN", "1e400", "yesterday", 429)
	f.Fuzz(func(t *testing.T, limit, remaining, reset, retry, date string, status int) {
		if status < 100 || status > 999 {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			g, now := newGovernor(), time.Now()
			h := http.Header{
				"X-Ratelimit-Limit": {limit}, "X-Ratelimit-Remaining": {remaining}, "X-Ratelimit-Reset": {reset},
				"Retry-After": {retry}, "Date": {date},
			}
			new(clock).record(h, now, now)
			seq, err := g.admit(ClassAbort, nil)
			if err != nil {
				t.Fatal(err)
			}
			g.record(seq, status, h)
			if b := g.snapshot(); b.Limit < 0 || b.Remaining < 0 || b.ResetAt.After(now.Add(time.Hour+resetMargin)) {
				t.Errorf("budget %+v", b)
			}
			time.Sleep(2 * time.Hour)
			if _, err := g.admit(ClassAbort, nil); err != nil && !errors.Is(err, ErrBudgetSpent) || g.pauseLeft() > 0 {
				t.Errorf("after two hours: %v, a pause of %s is left", err, g.pauseLeft())
			}
		})
	})
}
