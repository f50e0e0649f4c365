package prefect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Conditions that callers act on. Test with errors.Is; every error of a request
// is an [*Error] that answers to the one its status stands for.
var (
	ErrUnauthorized = errors.New("prefect: not authorised")
	ErrForbidden    = errors.New("prefect: forbidden")
	ErrNotFound     = errors.New("prefect: not found")
	ErrConflict     = errors.New("prefect: conflict")
	ErrGone         = errors.New("prefect: gone")
	ErrInvalid      = errors.New("prefect: request refused as invalid")
	// ErrUnavailable: nobody decided anything. No answer, or 408, 429, 5xx.
	ErrUnavailable = errors.New("prefect: not available")
)

// Error is a request that Prefect did not answer with success.
type Error struct {
	Status   int    // HTTP status; 0 when no answer was read
	Message  string // what the server said, or what happened; never holds a credential of ours
	Method   string
	Path     string // below the API URL, without the query
	Attempts int    // how often the request was sent

	cause       error         // transport error, when Status is 0
	hint        string        // next step for a person
	retryAfter  time.Duration // from Retry-After; negative when absent
	maintenance bool          // the answer carried Prefect-Maintenance: true
	uncertain   bool          // a write that may have taken effect
	foreign     bool          // the answer is not from a route of Prefect's API
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Method, e.Path)
	if e.Status != 0 {
		fmt.Fprintf(&b, "%d %s", e.Status, strings.ToLower(http.StatusText(e.Status)))
		if e.Message != "" {
			b.WriteString(": ")
		}
	}
	b.WriteString(e.Message)
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " (%d attempts)", e.Attempts)
	}
	b.WriteString(" (prefect)")
	return b.String()
}

// Hint says what a person can do about it; "" when there is nothing to say.
func (e *Error) Hint() string { return e.hint }

// Unwrap gives the transport error, so that errors.Is finds context.Canceled.
func (e *Error) Unwrap() error { return e.cause }

// Is maps the status to the sentinels of this package. What a proxy or a web
// page answers in Prefect's place is ErrUnavailable: a stranger's 404 must not
// pass for a deleted flow run.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized
	case ErrForbidden:
		return e.Status == http.StatusForbidden
	case ErrNotFound:
		return e.Status == http.StatusNotFound && !e.foreign
	case ErrConflict:
		return e.Status == http.StatusConflict && !e.foreign
	case ErrGone:
		return e.Status == http.StatusGone && !e.foreign
	case ErrInvalid:
		return (e.Status == http.StatusUnprocessableEntity || e.Status == http.StatusBadRequest) && !e.foreign
	case ErrUnavailable:
		return e.unavailable()
	}
	return false
}

func (e *Error) unavailable() bool {
	switch {
	case errors.Is(e.cause, context.Canceled): // the caller gave up, which says nothing about Prefect
		return false
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		return false
	case e.foreign || e.Status < 400 || e.Status >= 500: // below 400: no answer, an unreadable one, a redirect
		return true
	}
	return e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooManyRequests
}

// MayHaveHappened reports whether the failed write behind err may nevertheless
// have taken effect: its answer was lost, cut, late or a 5xx, in any of its
// attempts. False means that it provably did not: the connection was never made
// or the server refused it with a 4xx.
func MayHaveHappened(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.uncertain
}
