package testkit

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
)

// FaultAction is what happens to a request instead of its plain answer.
type FaultAction int

// The actions. "Before" and "after" are about the request's effect: dropped
// before it, nothing was changed; after it, only the answer is lost.
const (
	FaultNone       FaultAction = iota
	FaultRefuse                 // no connection: provably never sent
	FaultDropBefore             // connection reset
	FaultDropAfter              // connection reset
	FaultHang                   // no answer and no effect until the request's context ends
	FaultHangAfter              // the same with the effect
	Fault500                    // without effect, as the ones below
	Fault503                    // what Prefect answers when its database is locked
	Fault429
)

// fault counts a request and asks the hook.
func (p *Prefect) fault(r *http.Request) FaultAction {
	p.mu.Lock()
	p.requests++
	n := p.requests
	p.mu.Unlock()
	if p.Fault == nil {
		return FaultNone
	}
	return p.Fault(n, r)
}

// failure is the answer of an action that gives one.
func (a FaultAction) failure() *call {
	c := &call{}
	switch a {
	case Fault500:
		c.exception(http.StatusInternalServerError, "Internal Server Error")
	case Fault503:
		c.exception(http.StatusServiceUnavailable, "Service Unavailable")
	case Fault429:
		c.fail(http.StatusTooManyRequests, "Too Many Requests")
	default:
		panic("unknown FaultAction " + strconv.Itoa(int(a)))
	}
	return c
}

// Transport returns a RoundTripper that asks the server directly: no socket, and
// no goroutine but for websockets, so that clients work in a synctest bubble.
// It honours the request's context.
func (p *Prefect) Transport() http.RoundTripper { return transport{p} }

type transport struct{ p *Prefect }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var c *call
	switch action := t.p.fault(r); action {
	case FaultNone:
		if isUpgrade(r) {
			return t.upgrade(r)
		}
		c = t.p.serve(r)
	case FaultRefuse:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case FaultDropBefore:
		return nil, errReset
	case FaultDropAfter:
		t.p.serve(r)
		return nil, errReset
	case FaultHang, FaultHangAfter:
		if action == FaultHangAfter {
			t.p.serve(r)
		}
		<-ctx.Done()
	default:
		c = action.failure()
	}
	// Also when the hook ended it: the request went out, the answer is lost.
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &http.Response{
		Status: strconv.Itoa(c.status) + " " + http.StatusText(c.status), StatusCode: c.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(bytes.NewReader(c.answer)), ContentLength: int64(len(c.answer)),
	}, nil
}

var errReset = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
