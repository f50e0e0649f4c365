package prefect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	// A connection may be dead without anyone having closed it: a host that was
	// switched off, a NAT that forgot. Servers and proxies send nothing for minutes.
	pingEvery   = 20 * time.Second
	pingTimeout = 10 * time.Second
)

// frameConn is one open websocket of a Prefect API, over which JSON goes in both
// directions. Its errors are those of a request: each is an *Error.
type frameConn struct {
	conn     *websocket.Conn
	path     string // below the API URL, escaped
	maxBytes int64  // of a received frame
	errs     *errorStage
	logger   *slog.Logger
}

// socketHeaders are those of every request, without what belongs to the
// handshake and would break it (PREFECT_CLIENT_CUSTOM_HEADERS may name anything).
func socketHeaders(fixed http.Header) http.Header {
	h := fixed.Clone()
	for name := range h {
		if name == "Connection" || name == "Upgrade" || strings.HasPrefix(name, "Sec-Websocket-") {
			h.Del(name)
		}
	}
	h.Del("Accept")
	return h
}

// openSocket upgrades a connection. A refusal is an error as of any other
// request, an accepted upgrade counts as an empty 200. net/http keeps HTTP/2
// away from upgrades, whatever PREFECT_API_ENABLE_HTTP2 says.
func (c *Client) openSocket(ctx context.Context, route Route, path string, maxBytes int64) (*frameConn, error) {
	s := &frameConn{path: path, maxBytes: maxBytes, logger: c.logger}
	s.errs = newErrorStage(func(ctx context.Context, ex *exchange) (*reply, error) {
		ex.attempts++
		conn, resp, err := websocket.Dial(ctx, c.settings.APIURL+ex.path, &websocket.DialOptions{
			HTTPClient: c.http, HTTPHeader: c.socketHeader, Subprotocols: []string{"prefect"},
		})
		switch {
		case err == nil:
			conn.SetReadLimit(maxBytes)
			s.conn = conn
			return &reply{status: http.StatusOK, header: resp.Header}, nil
		case resp == nil || resp.StatusCode == http.StatusSwitchingProtocols:
			return nil, transportCause(ctx, err)
		case resp.StatusCode < 300:
			return nil, errNoUpgrade
		}
		body, _ := io.ReadAll(resp.Body) // in memory, at most 1,024 bytes of it
		return &reply{status: resp.StatusCode, header: resp.Header, body: body}, nil
	}, c.settings)
	upgrade := observeStage(s.errs.do, c.logger, c.observe)
	_, err := upgrade(ctx, &exchange{route: route, path: path})
	if e, ok := asError(err); ok && (errors.Is(err, errNoUpgrade) || e.foreign && e.Status < 500) {
		e.hint = "a proxy on the way may not pass websockets on: let it forward the headers Upgrade and Connection for " + path
	}
	return s, err
}

var errNoUpgrade = errors.New("the answer is not an upgrade to a websocket")

// authenticate sends the token and reads the verdict. Prefect wants both of
// clients with the subprotocol "prefect", also where nothing is to be proven.
func (s *frameConn) authenticate(ctx context.Context, token any) error {
	if err := s.send(ctx, map[string]any{"type": "auth", "token": token}); err != nil {
		return err
	}
	_, data, err := s.conn.Read(ctx)
	if websocket.CloseStatus(err) == websocket.StatusPolicyViolation {
		return s.refused(closeText(err), err)
	}
	if err != nil {
		return s.ended(ctx, err)
	}
	verdict, err := parseFrame(data)
	switch {
	case err != nil:
		return s.failed("the answer to the authentication cannot be read: "+err.Error(), err)
	case verdict.Type != "auth_success":
		return s.refused(verdict.Type+": "+verdict.Reason, nil)
	}
	return nil
}

func (s *frameConn) send(ctx context.Context, frame any) error {
	data, err := encode(frame)
	if err != nil {
		return err
	}
	return s.write(ctx, data)
}

func (s *frameConn) write(ctx context.Context, data []byte) error {
	if err := s.conn.Write(ctx, websocket.MessageText, data); err != nil {
		return s.ended(ctx, err)
	}
	return nil
}

// follow hands each frame to receive, in order and from the calling goroutine,
// until the connection ends, receive fails or ctx is done, and finds out when the
// connection is dead. What runs beside it ends with it; its error ends follow.
func (s *frameConn) follow(ctx context.Context, receive func([]byte) error, beside ...func(context.Context) error) error {
	live, die := context.WithCancelCause(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer die(nil)
	for _, run := range append(beside, s.ping) {
		others.Go(func() {
			if err := run(live); err != nil {
				die(err)
			}
		})
	}
	for {
		_, data, err := s.conn.Read(live)
		if err == nil {
			if err := receive(data); err != nil {
				return err
			}
			continue
		}
		if ctx.Err() == nil && live.Err() != nil && websocket.CloseStatus(err) == -1 {
			err = context.Cause(live)
		}
		return s.ended(ctx, err)
	}
}

func (s *frameConn) ping(ctx context.Context) error {
	every := time.NewTicker(pingEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return nil
		}
		timeout, cancel := withTimeout(ctx, pingTimeout)
		err := s.conn.Ping(timeout)
		if err != nil {
			err = fmt.Errorf("ping: %w", transportCause(timeout, err))
		}
		cancel()
		if err != nil {
			return err
		}
	}
}

// ended says why the connection is no more.
func (s *frameConn) ended(ctx context.Context, err error) error {
	if e, ok := asError(err); ok { // said already
		return e
	}
	switch {
	case websocket.CloseStatus(err) != -1:
		return s.failed("closed by the server, "+closeText(err), err)
	case errors.Is(err, websocket.ErrMessageTooBig):
		return s.failed(fmt.Sprintf("the server sent a frame larger than %d MiB", s.maxBytes>>20), err)
	}
	message := "connection lost: "
	if ctx.Err() != nil {
		err, message = transportCause(ctx, err), ""
	}
	return s.failed(message+err.Error(), err)
}

func (s *frameConn) failed(message string, cause error) *Error {
	return &Error{
		Method: http.MethodGet, Path: s.path, Attempts: 1, retryAfter: -1,
		Message: s.errs.fit(message), cause: cause,
	}
}

// refused is a 401 although it came in a frame: callers and users treat it the
// same.
func (s *frameConn) refused(why string, cause error) *Error {
	e := s.failed("authentication refused, "+why, cause)
	e.Status = http.StatusUnauthorized
	e.hint = s.errs.statusHint(&reply{status: e.Status}, false)
	return e
}

// closeText is a close frame in words, such as "close code 1008: Invalid token".
func closeText(err error) string {
	var frame websocket.CloseError
	errors.As(err, &frame)
	text := fmt.Sprintf("close code %d", int(frame.Code))
	if frame.Reason != "" {
		text += ": " + frame.Reason
	}
	return text
}
