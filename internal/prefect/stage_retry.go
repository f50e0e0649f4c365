package prefect

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// retriedStatuses are repeated by Prefect's own client: request timeout, rate
// limit, and a gateway or server that cannot serve at the moment. A SQLite-backed
// server answers 503 to any write while its database is locked. 500 and 504 are
// not among them: they say that something went wrong, not that it was not done.
var retriedStatuses = [...]int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
}

// retryStage repeats what may succeed when sent again. Every method is
// repeated, POST too: a state proposal carries its transition id, a new flow run
// its idempotency key. Callers with another kind of write use [WithoutRetry].
type retryStage struct {
	next        stage
	maxRetries  int     // after the first attempt
	jitter      float64 // 0.2 is ±20 %
	extraCodes  []int
	logger      *slog.Logger
	maintenance func(until time.Time)

	// answered is set once the server has answered at all. Before that a refused
	// connection is more likely a wrong URL, which is to be reported at once.
	answered atomic.Bool
}

func (s *retryStage) do(ctx context.Context, ex *exchange) (*reply, error) {
	var uncertain bool // some attempt may have taken effect
	for failures := 0; ; {
		rep, err := s.next(ctx, ex)
		if err == nil {
			s.answered.Store(true)
			return rep, nil
		}
		e, ok := asError(err)
		if !ok {
			return nil, err
		}
		uncertain = uncertain || e.uncertain
		e.uncertain = uncertain
		if e.Status != 0 {
			s.answered.Store(true)
		}
		if !e.maintenance {
			failures++
		}
		if ctx.Err() != nil || isSingleAttempt(ctx) || failures > s.maxRetries || !s.retryable(e) {
			return nil, e
		}
		if !s.pause(ctx, e, failures, ex) {
			return nil, e
		}
	}
}

func (s *retryStage) retryable(e *Error) bool {
	if e.Status != 0 {
		return slices.Contains(retriedStatuses[:], e.Status) || slices.Contains(s.extraCodes, e.Status)
	}
	if isRefused(e.cause) {
		return s.answered.Load()
	}
	return !isCertificateError(e.cause)
}

// pause waits before the next attempt and reports whether there is to be one.
// It does not sleep towards a deadline that comes first.
func (s *retryStage) pause(ctx context.Context, e *Error, failures int, ex *exchange) bool {
	wait := s.delay(e, failures)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	level := slog.LevelDebug // one 503 now and then is everyday life with SQLite
	if failures > 1 || e.maintenance {
		level = slog.LevelWarn
	}
	s.logger.LogAttrs(ctx, level, "prefect request failed, trying again",
		slog.String("method", ex.route.Method), slog.String("path", ex.path),
		slog.Int("attempt", ex.attempts), slog.Duration("wait", wait), slog.Any("err", e))
	if e.maintenance && s.maintenance != nil {
		s.maintenance(time.Now().Add(wait))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		e.cause = ctx.Err() // so that the caller sees its own cancellation
		return false
	}
}

// delay: Retry-After and up to the jitter more, else 2^failures seconds give or
// take the jitter.
func (s *retryStage) delay(e *Error, failures int) time.Duration {
	if e.retryAfter >= 0 {
		return time.Duration(float64(e.retryAfter) * (1 + s.jitter*rand.Float64()))
	}
	base := float64(time.Second) * float64(int64(1)<<min(failures, 10))
	return time.Duration(base * (1 + s.jitter*(2*rand.Float64()-1)))
}

// isRefused: no connection could be made.
func isRefused(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial" && !op.Timeout()
}

// isCertificateError: the server's certificate will be as wrong next time.
func isCertificateError(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

type singleAttemptKey struct{}

// WithoutRetry makes calls under ctx a single attempt, for writes that must not
// be repeated blindly, such as handing a flow run back.
func WithoutRetry(ctx context.Context) context.Context {
	return context.WithValue(ctx, singleAttemptKey{}, true)
}

func isSingleAttempt(ctx context.Context) bool {
	return ctx.Value(singleAttemptKey{}) != nil
}
