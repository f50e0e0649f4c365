package northflank

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

const (
	// attemptTimeout bounds one attempt, from dialling to the last byte.
	attemptTimeout = 30 * time.Second
	// maxAnswer bounds an answer's body in bytes. 100 job runs take about 40 kB;
	// a page of logs may take a few MB.
	maxAnswer = 16 << 20
)

var errAttemptTimeout = fmt.Errorf("no answer within %v", attemptTimeout)

// send performs one attempt. Its errors are [*TransportError].
func (c *Client) send(ctx context.Context, r *request) (*answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, &TransportError{Host: c.base, Err: context.Cause(ctx)}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, attemptTimeout, errAttemptTimeout)
	defer cancel()

	var track sendTracker
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(track.trace(ctx), r.method, r.url(c.base), body)
	if err != nil {
		return nil, &TransportError{Host: c.base, Err: err}
	}
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("Accept", "application/json")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !r.public && !c.token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}

	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(ctx, err, track.mayHaveLeft(err))
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(data) > maxAnswer {
		err = fmt.Errorf("answer is larger than %d bytes", maxAnswer)
	}
	a := &answer{status: resp.StatusCode, header: resp.Header, body: data}
	if err != nil && resp.StatusCode < 300 {
		return a, c.transportError(ctx, err, true)
	}
	return a, nil // a cut error body still tells its status
}

// transportError names the cause without the url.Error around it (the method
// and object are said by the caller) and prefers the reason of a cancelled
// context to the bare "context deadline exceeded".
func (c *Client) transportError(ctx context.Context, err error, sent bool) *TransportError {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		if cause := context.Cause(ctx); !errors.Is(cause, err) {
			err = &causeError{cause: cause, err: err}
		}
	}
	return &TransportError{Host: c.base, Sent: sent, Err: err}
}

// causeError shows why a context ended and still is what the context said.
type causeError struct{ cause, err error }

func (e *causeError) Error() string   { return e.cause.Error() }
func (e *causeError) Unwrap() []error { return []error{e.cause, e.err} }

// sendTracker learns from net/http whether a request was handed to a
// connection. A RoundTripper that reports nothing leaves asked false.
type sendTracker struct{ asked, connected atomic.Bool }

func (t *sendTracker) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { t.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { t.connected.Store(true) },
	})
}

// mayHaveLeft reports whether any byte of the request may have reached the
// other side. Only a connection that was never made proves that none did.
func (t *sendTracker) mayHaveLeft(err error) bool {
	if t.asked.Load() {
		return t.connected.Load()
	}
	return !isDialError(err)
}

func isDialError(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "dial" || op.Op == "proxyconnect") {
		return true
	}
	_, dns := errors.AsType[*net.DNSError](err)
	_, cert := errors.AsType[*tls.CertificateVerificationError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	return dns || cert || unknown
}
