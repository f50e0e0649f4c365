package northflank

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// budgeted asks the governor before an attempt and tells it the answer's rate
// headers.
func (c *Client) budgeted(next stage) stage {
	return func(ctx context.Context, r *request) (*answer, error) {
		if err := c.governor.await(ctx); err != nil {
			return nil, err
		}
		seq, err := c.governor.admit(r.classIn(ctx), holdIn(ctx))
		if err != nil {
			return nil, err
		}
		asked := time.Now()
		a, err := next(ctx, r)
		if a == nil {
			c.governor.lost()
			return nil, err
		}
		c.governor.record(seq, a.status, a.header)
		c.clock.record(a.header, asked, time.Now())
		return a, err
	}
}

// observing logs each attempt and tells [Options.Observe].
func (c *Client) observing(next stage) stage {
	return func(ctx context.Context, r *request) (*answer, error) {
		start := time.Now()
		a, err := next(ctx, r)
		call := Call{
			Method: r.method, Route: r.route, Class: r.classIn(ctx),
			Err: err, Duration: time.Since(start), Budget: c.governor.snapshot(),
		}
		if a != nil {
			call.Status = a.status
		}
		c.log.DebugContext(ctx, "northflank request", "method", call.Method, "path", r.path, "class", call.Class.String(),
			"status", call.Status, "duration", call.Duration, "remaining", call.Budget.Remaining, "err", err)
		if c.observe != nil {
			c.observe(call)
		}
		return a, err
	}
}

// parseRateHeaders reads x-ratelimit-limit, -remaining and -reset. Reset is a
// number of seconds, not a time (Northflank docs: rate limits); a larger number
// than the window is taken as an epoch all the same.
func parseRateHeaders(h http.Header, now time.Time) (Budget, bool) {
	limit, ok1 := number(h.Get("x-ratelimit-limit"))
	remaining, ok2 := number(h.Get("x-ratelimit-remaining"))
	reset, ok3 := number(h.Get("x-ratelimit-reset"))
	if !ok1 || !ok2 || !ok3 || limit < 1 {
		return Budget{}, false
	}
	at := now.Add(seconds(reset))
	if reset > maxReset {
		at = time.Unix(0, 0).Add(seconds(reset))
		if at.After(now.Add(maxReset * time.Second)) {
			at = now.Add(maxReset * time.Second) // neither a duration nor a sensible time
		}
	}
	return Budget{Limit: int(limit), Remaining: int(remaining), ResetAt: at.Add(resetMargin), SeenAt: now}, true
}

// retryAfter reads the Retry-After header, seconds or a date; 0 when it is
// absent or unreadable. At most an hour.
func retryAfter(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, ok := number(v); ok {
		return min(seconds(n), maxReset*time.Second)
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(0, time.Until(at)), maxReset*time.Second)
	}
	return 0
}

func number(s string) (float64, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	// The upper bound keeps conversions to int and Duration in range.
	return f, err == nil && f >= 0 && f < 4e9
}

func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
