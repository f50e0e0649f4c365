package northflank

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Conditions that callers act on; test with errors.Is.
var (
	ErrUnauthorized = errors.New("unauthorized")         // 401: the token is refused
	ErrForbidden    = errors.New("forbidden")            // 403: the token's role may not do this
	ErrNotFound     = errors.New("not found")            // 404
	ErrConflict     = errors.New("conflict")             // 409: the object's state forbids it
	ErrInvalid      = errors.New("invalid request")      // 400
	ErrRateLimited  = errors.New("rate limited")         // 429
	ErrBudgetSpent  = errors.New("request budget spent") // refused locally, nothing was sent
)

var sentinelByStatus = map[int]error{
	http.StatusBadRequest:      ErrInvalid,
	http.StatusUnauthorized:    ErrUnauthorized,
	http.StatusForbidden:       ErrForbidden,
	http.StatusNotFound:        ErrNotFound,
	http.StatusConflict:        ErrConflict,
	http.StatusTooManyRequests: ErrRateLimited,
}

// Error is an answer other than 2xx. Secrets of the client and of the request
// are masked in its texts.
type Error struct {
	Status     int
	ID         string // such as "nf-invalid-request-body"; often ""
	Message    string // as sent, or the text of a body that was not JSON; may be ""
	Details    any    // decoded JSON, usually field -> list of complaints; the only place that names a bad field
	Method     string
	Path       string        // as sent, without the query
	Route      string        // template of Path
	Project    string        // "" on routes without one
	RetryAfter time.Duration // what the answer asks to wait; 0 when it says nothing
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s", e.Status, statusText(e.Status))
	if e.Project != "" {
		fmt.Fprintf(&b, " for project %q", e.Project)
	}
	b.WriteString(" (northflank)")
	if m := strings.TrimRight(oneLine(e.Message, maxMessage), "."); m != "" && !strings.EqualFold(m, statusText(e.Status)) {
		b.WriteString(": " + m)
	}
	if d := flattenDetails(e.Details); d != "" {
		b.WriteString(": " + d)
	}
	return b.String()
}

// Is maps the status to the sentinels.
func (e *Error) Is(target error) bool {
	s, ok := sentinelByStatus[e.Status]
	return ok && s == target
}

func statusText(status int) string {
	if t := http.StatusText(status); t != "" {
		return strings.ToLower(t)
	}
	return "unknown status"
}

// TransportError is an attempt that brought no usable answer: no connection, a
// timeout, a cut or oversized answer.
type TransportError struct {
	Host string // where the request went
	Sent bool   // whether any of it may have reached Northflank
	Err  error
}

func (e *TransportError) Error() string { return fmt.Sprintf("reach %s: %v", e.Host, e.Err) }

func (e *TransportError) Unwrap() error { return e.Err }

// Hint is the next step.
func (e *TransportError) Hint() string {
	if isDialError(e.Err) {
		return "check the network, HTTPS_PROXY and the Northflank API address (" + e.Host + ")"
	}
	return ""
}

// AnswerError is a 2xx answer that is not what the documents promise: a
// proxy's page, or an object without its id.
type AnswerError struct {
	Method  string
	Path    string
	Problem string // such as "not JSON: <html>…"
}

func (e *AnswerError) Error() string {
	return fmt.Sprintf("unusable answer to %s %s: %s", e.Method, e.Path, e.Problem)
}

// Hint is the next step.
func (e *AnswerError) Hint() string {
	return "something other than Northflank's API may answer at this address: check the Northflank API address and proxies"
}

// attemptsError is the last error of several attempts of which an earlier one
// may have had its effect.
type attemptsError struct{ error }

func (e *attemptsError) Unwrap() error { return e.error }

// MayHaveHappened reports whether the write that ended with err may have had
// its effect all the same: a timeout, a reset, a cut answer, a 5xx. It is false
// where it provably had none: nothing was sent, or Northflank refused it.
func MayHaveHappened(err error) bool {
	if _, ok := errors.AsType[*attemptsError](err); ok {
		return true
	}
	if e, ok := errors.AsType[*Error](err); ok {
		// A redirect is a proxy's doing; what it did with the request is unknown.
		return e.Status < 400 || e.Status >= 500
	}
	if e, ok := errors.AsType[*TransportError](err); ok {
		return e.Sent
	}
	_, ok := errors.AsType[*AnswerError](err)
	return ok
}
