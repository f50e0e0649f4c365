package northflank

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

var (
	errReset   = &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
	errRefused = &net.OpError{Op: "dial", Err: errors.New("connection refused")}
)

// TestRetry plays answers in order, the last one again and again, and looks at
// how often and over what time the request was sent.
func TestRetry(t *testing.T) {
	t.Parallel()
	status := func(s int, headers ...string) func() (*http.Response, error) {
		body := `{"data":{"id":"r"}}`
		if s != 200 {
			body = `{}`
		}
		return func() (*http.Response, error) { return reply(s, body, headers...), nil }
	}
	fail := func(err error) func() (*http.Response, error) {
		return func() (*http.Response, error) { return nil, err }
	}
	page := func() (*http.Response, error) { return reply(200, "<html>"), nil }
	type answers []func() (*http.Response, error)
	get := func(ctx context.Context, c *Client) error { _, err := c.GetRun(ctx, "data", "j", "r"); return err }
	put := func(ctx context.Context, c *Client) error { _, err := c.PutJob(ctx, "data", minimalJob()); return err }
	abort := func(ctx context.Context, c *Client) error { return c.AbortRun(ctx, "data", "j", "r") }

	tests := []struct {
		name     string
		call     func(context.Context, *Client) error
		answers  answers
		timeout  time.Duration // of the caller; 0 is none
		attempts int
		minWait  time.Duration
		maxWait  time.Duration
		ok       bool
		maybe    bool // MayHaveHappened
	}{
		{name: "read repeats after a reset", call: get, answers: answers{fail(errReset), status(200)}, attempts: 2, minWait: 250 * time.Millisecond, maxWait: 750 * time.Millisecond, ok: true},
		{name: "put repeats after a reset", call: put, answers: answers{fail(errReset), status(200)}, attempts: 2, maxWait: time.Second, ok: true},
		{name: "abort repeats after 503", call: abort, answers: answers{status(503), status(200)}, attempts: 2, maxWait: time.Second, ok: true},
		{name: "abort repeated finds it gone", call: abort, answers: answers{fail(errReset), status(404)}, attempts: 2, maxWait: time.Second, maybe: true},
		{name: "read repeats after a proxy's page", call: get, answers: answers{page, status(200)}, attempts: 2, maxWait: time.Second, ok: true},
		{name: "read gives up", call: get, answers: answers{status(502)}, attempts: 4, minWait: 1750 * time.Millisecond, maxWait: 5250 * time.Millisecond, maybe: true},
		{name: "500 is final", call: get, answers: answers{status(500)}, attempts: 1, maybe: true},
		{name: "404 is final", call: get, answers: answers{status(404)}, attempts: 1},
		{name: "start never repeats after a reset", call: startOnce, answers: answers{fail(errReset)}, attempts: 1, maybe: true},
		{name: "start never repeats after 503", call: startOnce, answers: answers{status(503)}, attempts: 1, maybe: true},
		{name: "start never repeats after 429", call: startOnce, answers: answers{status(429)}, attempts: 1},
		{name: "start never repeats after a page", call: startOnce, answers: answers{page}, attempts: 1, maybe: true},
		{name: "start repeats when it never left", call: startOnce, answers: answers{fail(errRefused), status(200)}, attempts: 2, maxWait: time.Second, ok: true},
		{name: "start that left on the second attempt", call: startOnce, answers: answers{fail(errRefused), fail(errReset)}, attempts: 2, maxWait: time.Second, maybe: true},
		{name: "put keeps in mind that it may have happened", call: put, answers: answers{fail(errReset), status(403)}, attempts: 2, maxWait: time.Second, maybe: true},
		{name: "retry-after is obeyed", call: get, answers: answers{status(503, "Retry-After", "7"), status(200)}, attempts: 2, minWait: 7 * time.Second, maxWait: 7 * time.Second, ok: true},
		{name: "429 waits as asked", call: get, answers: answers{status(429, "Retry-After", "10"), status(200)}, attempts: 2, minWait: 10 * time.Second, maxWait: 11 * time.Second, ok: true},
		{name: "429 waits for the window", call: get, answers: answers{status(429, "x-ratelimit-limit", "1000", "x-ratelimit-remaining", "0", "x-ratelimit-reset", "20"), status(200)}, attempts: 2, minWait: 20 * time.Second, maxWait: 24 * time.Second, ok: true},
		{name: "429 too long to wait for", call: get, answers: answers{status(429, "Retry-After", "120")}, attempts: 1},
		{name: "429 without a word", call: get, answers: answers{status(429)}, attempts: 1},
		{name: "no time left", call: get, answers: answers{status(503, "Retry-After", "7")}, timeout: 5 * time.Second, attempts: 1, maybe: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				c := newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) {
					a := tt.answers[min(n, len(tt.answers)-1)]
					n++
					return a()
				}))
				ctx := t.Context()
				if tt.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.timeout)
					defer cancel()
				}
				start := time.Now()
				err := tt.call(ctx, c)
				waited := time.Since(start)
				if (err == nil) != tt.ok {
					t.Errorf("err = %v, want success %v", err, tt.ok)
				}
				if n != tt.attempts {
					t.Errorf("%d attempts, want %d", n, tt.attempts)
				}
				if waited < tt.minWait || waited > tt.maxWait {
					t.Errorf("took %v, want %v to %v", waited, tt.minWait, tt.maxWait)
				}
				if got := MayHaveHappened(err); got != tt.maybe {
					t.Errorf("MayHaveHappened(%v) = %v, want %v", err, got, tt.maybe)
				}
			})
		})
	}
}

func TestRetryStopsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) {
			return reply(503, "", "Retry-After", "30"), nil
		}))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, err := c.GetRun(ctx, "data", "j", "r")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v, want context.Canceled", err)
		}
		if e, ok := errors.AsType[*Error](err); !ok || e.Status != 503 {
			t.Errorf("err = %v, want the 503 in it", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v, want 1s", took)
		}
	})
}

// Attempts that each run into the timeout must end within a bounded time.
func TestRetryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		start := time.Now()
		if _, err := c.GetRun(t.Context(), "data", "j", "r"); err == nil {
			t.Error("GetRun() = nil error")
		}
		if took, limit := time.Since(start), retryBound+attemptTimeout; took > limit {
			t.Errorf("took %v, want at most %v", took, limit)
		}
	})
}
