package prefect

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxAnswerBytes bounds what is read of one answer, after decompression. A page
// of 200 flow runs with ordinary parameters is below 2 MiB.
const maxAnswerBytes = 64 << 20

// sendStage makes one HTTP request of the exchange. Its error is a transport
// error: no complete answer was read.
func sendStage(client *http.Client, apiURL string, timeout time.Duration) stage {
	return func(ctx context.Context, ex *exchange) (*reply, error) {
		ctx, cancel := withTimeout(ctx, timeout)
		defer cancel()

		if ctx.Err() != nil {
			return nil, &notSentError{context.Cause(ctx)}
		}
		target := apiURL + ex.path
		if len(ex.query) > 0 {
			target += "?" + ex.query.Encode()
		}
		req, err := http.NewRequestWithContext(ctx, ex.route.Method, target, bytes.NewReader(ex.body))
		if err != nil {
			return nil, &notSentError{err}
		}
		req.Header = ex.header
		ex.attempts++
		resp, err := client.Do(req)
		if err != nil {
			return nil, transportCause(ctx, err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
		if err != nil {
			return nil, fmt.Errorf("answer cut off: %w", transportCause(ctx, err))
		}
		if len(body) > maxAnswerBytes {
			return nil, fmt.Errorf("answer is larger than %d MiB", maxAnswerBytes>>20)
		}
		return &reply{status: resp.StatusCode, header: resp.Header, body: body}, nil
	}
}

func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s: %w", timeout, context.DeadlineExceeded))
}

// transportCause strips net/http's wrapper, which repeats method and URL, and
// says whose clock ran out when one did.
func transportCause(ctx context.Context, err error) error {
	if wrapper, ok := errors.AsType[*url.Error](err); ok {
		err = wrapper.Err
	}
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); errors.Is(cause, ctx.Err()) {
		return cause
	}
	return ctx.Err()
}

// notSentError is a failure from before the request went out.
type notSentError struct{ error }

func (e *notSentError) Unwrap() error { return e.error }

// neverSent reports whether a transport error proves that the request did not
// reach the server: the connection was not made. Everything else may have.
func neverSent(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "dial" || op.Op == "proxyconnect") {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	_, ok := errors.AsType[*notSentError](err)
	return ok
}
