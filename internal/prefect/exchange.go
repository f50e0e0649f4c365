package prefect

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The transport is a chain of stages, each with one job, wired in NewClient:
//
//	observe -> retry -> error -> CSRF -> headers -> send
//
// A call enters at the left once. Everything right of retry happens again for
// each attempt. Errors travel back to the left; only the error stage turns an
// answer into an *Error, so the stages right of it see plain status codes.

// exchange is one call on its way down the chain.
type exchange struct {
	route    Route
	path     string // filled and escaped, below the API URL
	query    url.Values
	body     []byte // JSON; nil when there is none
	header   http.Header
	attempts int // sends so far; counted by the send stage
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
	unsent bool // the answer to a request before ours, which was then not sent
}

type stage func(ctx context.Context, ex *exchange) (*reply, error)

// Call is one finished call of the client, all its attempts together.
type Call struct {
	Method   string
	Route    string // path template, such as /flow_runs/{id}
	Status   int    // of the last answer; 0 when there was none
	Attempts int
	Duration time.Duration // waits between attempts included
	Err      error
}

// observeStage logs each call at debug level and reports it to the observer.
func observeStage(next stage, logger *slog.Logger, observer func(Call)) stage {
	return func(ctx context.Context, ex *exchange) (*reply, error) {
		start := time.Now()
		rep, err := next(ctx, ex)
		call := Call{
			Method: ex.route.Method, Route: ex.route.Path, Attempts: ex.attempts,
			Duration: time.Since(start), Err: err,
		}
		if rep != nil {
			call.Status = rep.status
		} else if e, ok := asError(err); ok {
			call.Status = e.Status
		}
		logger.LogAttrs(ctx, slog.LevelDebug, "prefect request",
			slog.String("method", call.Method), slog.String("path", ex.path), slog.Int("status", call.Status),
			slog.Int("attempt", call.Attempts), slog.Duration("took", call.Duration))
		if observer != nil {
			observer(call)
		}
		return rep, err
	}
}

// isJSON reports whether the answer says that its body is JSON. Prefect always
// does; a proxy's or a web page's answer does not.
func (r *reply) isJSON() bool {
	return strings.Contains(r.header.Get("Content-Type"), "json")
}
