package northflank

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	maxAttempts  = 4
	firstBackoff = 500 * time.Millisecond // doubles: 0.5, 1, 2 s, each ±50 %
	// retryBound: no further attempt begins later than this after the first. A
	// pause for a spent budget is usually longer; its error goes to the caller,
	// who has better things to do than to wait here.
	retryBound = 45 * time.Second
)

// retrying repeats an attempt where repeating is safe: a GET, PUT or DELETE
// after a transport error, 429, 502, 503, 504 or an answer that some proxy made
// up; a POST only when it provably never left.
func (c *Client) retrying(next stage) stage {
	return func(ctx context.Context, r *request) (*answer, error) {
		start := time.Now()
		maybe := false // an earlier attempt may have had its effect
		for attempt := 1; ; attempt++ {
			a, err := next(ctx, r)
			if err == nil {
				return a, nil
			}
			wait := c.backoff(attempt, err)
			deadline, bounded := ctx.Deadline()
			if attempt == maxAttempts || !retriable(r, err) ||
				time.Since(start)+wait > retryBound || bounded && time.Until(deadline) <= wait || ctx.Err() != nil {
				return a, withHistory(err, maybe)
			}
			maybe = maybe || MayHaveHappened(err)
			if !sleep(ctx, wait) {
				return a, withHistory(fmt.Errorf("%w (%w)", err, context.Cause(ctx)), maybe)
			}
		}
	}
}

func withHistory(err error, maybe bool) error {
	if maybe && !MayHaveHappened(err) {
		return &attemptsError{err}
	}
	return err
}

func retriable(r *request, err error) bool {
	if e, ok := errors.AsType[*TransportError](err); ok {
		return r.repeatable() || !e.Sent
	}
	if !r.repeatable() {
		return false
	}
	if e, ok := errors.AsType[*Error](err); ok {
		switch e.Status {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	_, madeUp := errors.AsType[*AnswerError](err)
	return madeUp
}

// backoff returns the wait before the next attempt. What the server asks for
// comes before anything computed.
func (c *Client) backoff(attempt int, err error) time.Duration {
	computed := firstBackoff << (attempt - 1)
	computed = computed/2 + rand.N(computed)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return computed
	}
	asked := e.RetryAfter
	if e.Status == http.StatusTooManyRequests {
		asked = max(asked, c.governor.pauseLeft())
	}
	return max(computed, asked)
}

// sleep waits and reports whether it got to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
