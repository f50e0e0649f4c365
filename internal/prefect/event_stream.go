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
	// maxEventFrame bounds a frame in bytes. Prefect takes events up to 1.5 MB
	// (Prefect 3.8: PREFECT_SERVER_EVENTS_MAXIMUM_SIZE_BYTES).
	maxEventFrame = 4 << 20
	// A connection may be dead without anyone having closed it: a host that was
	// switched off, a NAT that forgot. Servers and proxies send nothing for minutes.
	eventPingEvery   = 20 * time.Second
	eventPingTimeout = 10 * time.Second
	// filterHorizon is how far in the future the filter ends, as in Prefect's
	// client. By default it ends where it begins, and nothing new passes.
	filterHorizon = 365 * 24 * time.Hour
)

// EventFilter selects events by the start of their names and by any resource
// that they concern or relate to. An empty list selects all.
type EventFilter struct {
	Prefixes  []string // of event names, such as "prefect.flow-run."
	Resources []string // resource ids, any of which an event concerns or is related to, such as "prefect.work-pool.<id>"
	// Since: events that occurred from here on are replayed first, the oldest
	// first, at most what the server keeps for this (15 minutes). Earlier ones are
	// left out of the live stream too, so take it from an event or a state rather
	// than from this machine's clock, which may be ahead. Zero: nothing is replayed.
	Since time.Time
}

// frame is the one message that selects what the server sends.
func (f EventFilter) frame(now time.Time) any {
	occurred := map[string]any{"until": now.Add(filterHorizon).UTC()}
	if !f.Since.IsZero() {
		occurred["since"] = f.Since.UTC()
	}
	filter := map[string]any{"occurred": occurred}
	if len(f.Prefixes) > 0 {
		filter["event"] = map[string]any{"prefix": f.Prefixes}
	}
	if len(f.Resources) > 0 {
		filter["any_resource"] = map[string]any{"id": f.Resources}
	}
	return map[string]any{"type": "filter", "filter": filter, "backfill": !f.Since.IsZero()}
}

// FollowEvents subscribes to Prefect's event stream and calls receive for each
// event, in order and from the calling goroutine, until the connection ends or
// ctx does. The error says which; it is never nil. ready is called once, when the
// filter was sent after a successful authentication. It never reconnects.
//
// While receive runs, nothing is read, not even the answer to the ping that is
// sent every 20 s and must be answered within 10 s. So receive has to return
// quickly.
//
// The stream is a hint, never the truth; what matters is to be read by REST:
//   - the server drops events of a subscriber for whom 256 are waiting, without a
//     word (Prefect 3.8: SUBSCRIPTION_BACKLOG);
//   - it may read the filter a moment after ready, and what happens in between is
//     lost;
//   - a replay does not close that gap: events are stored up to 5 s after they
//     were streamed (PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL);
//   - a server that runs as several processes may stream those of one alone, and
//     PREFECT_SERVER_EVENTS_STREAM_OUT_ENABLED=false leaves a stream that is silent;
//   - any client of the API may send events of any name.
func (c *Client) FollowEvents(ctx context.Context, filter EventFilter, ready func(), receive func(StreamedEvent)) error {
	return fmt.Errorf("follow events: %w", c.followEvents(ctx, filter, ready, receive))
}

func (c *Client) followEvents(ctx context.Context, filter EventFilter, ready func(), receive func(StreamedEvent)) error {
	setup, cancel := withTimeout(ctx, c.settings.RequestTimeout)
	defer cancel()
	s, err := c.openEventStream(setup)
	if err != nil {
		return fmt.Errorf("open websocket: %w", err)
	}
	defer s.conn.CloseNow() //nolint:errcheck // nothing is left to do with a failure
	if err := s.authenticate(setup, c.streamToken()); err != nil {
		return err
	}
	if err := s.send(setup, filter.frame(time.Now())); err != nil {
		return err
	}
	cancel()
	ready()
	return s.follow(ctx, receive)
}

// streamToken is what the first frame proves who we are with: nil to a server
// without authentication.
func (c *Client) streamToken() any {
	switch {
	case c.settings.IsCloud() && !c.settings.APIKey.IsZero():
		return c.settings.APIKey.Reveal()
	case !c.settings.AuthString.IsZero():
		return c.settings.AuthString.Reveal()
	}
	return nil
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

// eventStream is one open socket.
type eventStream struct {
	conn   *websocket.Conn
	errs   *errorStage
	logger *slog.Logger
}

// eventsOut is no operation of the REST API, hence not in the route table.
const eventsOut = "/events/out"

// openEventStream upgrades a connection. A refusal is an error as of any other
// request, an accepted upgrade counts as an empty 200. net/http keeps HTTP/2
// away from upgrades, whatever PREFECT_API_ENABLE_HTTP2 says.
func (c *Client) openEventStream(ctx context.Context) (*eventStream, error) {
	s := &eventStream{logger: c.logger}
	s.errs = newErrorStage(func(ctx context.Context, ex *exchange) (*reply, error) {
		ex.attempts++
		conn, resp, err := websocket.Dial(ctx, c.settings.APIURL+ex.path, &websocket.DialOptions{
			HTTPClient: c.http, HTTPHeader: c.socketHeader, Subprotocols: []string{"prefect"},
		})
		switch {
		case err == nil:
			conn.SetReadLimit(maxEventFrame)
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
	_, err := upgrade(ctx, &exchange{route: Route{http.MethodGet, eventsOut}, path: eventsOut})
	if e, ok := asError(err); ok && (errors.Is(err, errNoUpgrade) || e.foreign && e.Status < 500) {
		e.hint = "a proxy on the way may not pass websockets on: let it forward the headers Upgrade and Connection for " + eventsOut
	}
	return s, err
}

var errNoUpgrade = errors.New("the answer is not an upgrade to a websocket")

// authenticate sends the token and reads the verdict. Prefect wants both of
// clients with the subprotocol "prefect", also where nothing is to be proven.
func (s *eventStream) authenticate(ctx context.Context, token any) error {
	if err := s.send(ctx, map[string]any{"type": "auth", "token": token}); err != nil {
		return err
	}
	_, data, err := s.conn.Read(ctx)
	if websocket.CloseStatus(err) == websocket.StatusPolicyViolation {
		return s.refused(closeText(err))
	}
	if err != nil {
		return s.ended(ctx, err)
	}
	verdict, err := parseFrame(data)
	switch {
	case err != nil:
		return s.failed("the answer to the authentication cannot be read: "+err.Error(), err)
	case verdict.Type != "auth_success":
		return s.refused(verdict.Type + ": " + verdict.Reason)
	}
	return nil
}

func (s *eventStream) send(ctx context.Context, frame any) error {
	data, err := encode(frame)
	if err != nil {
		return err
	}
	if err := s.conn.Write(ctx, websocket.MessageText, data); err != nil {
		return s.ended(ctx, err)
	}
	return nil
}

// follow reads until the connection ends, and finds out when it is dead.
func (s *eventStream) follow(ctx context.Context, receive func(StreamedEvent)) error {
	live, die := context.WithCancelCause(ctx)
	var pings sync.WaitGroup
	defer pings.Wait()
	defer die(nil)
	pings.Go(func() { s.ping(live, die) })
	for {
		_, data, err := s.conn.Read(live)
		if err != nil {
			if ctx.Err() == nil && live.Err() != nil && websocket.CloseStatus(err) == -1 {
				err = context.Cause(live)
			}
			return s.ended(ctx, err)
		}
		event, err := parseEvent(data)
		switch {
		case errors.Is(err, errOtherFrame):
			s.logger.DebugContext(ctx, "event stream: frame of another kind", slog.Any("err", err))
		case err != nil: // of the frame itself nothing is shown: a payload may hold anything
			s.logger.DebugContext(ctx, "event stream: unreadable event", slog.Int("bytes", len(data)), slog.Any("err", err))
		default:
			receive(event)
		}
	}
}

func (s *eventStream) ping(ctx context.Context, die context.CancelCauseFunc) {
	every := time.NewTicker(eventPingEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
		timeout, cancel := withTimeout(ctx, eventPingTimeout)
		err := s.conn.Ping(timeout)
		if err != nil {
			die(fmt.Errorf("ping: %w", transportCause(timeout, err)))
		}
		cancel()
		if err != nil {
			return
		}
	}
}

// ended says why the connection is no more.
func (s *eventStream) ended(ctx context.Context, err error) error {
	switch {
	case websocket.CloseStatus(err) != -1:
		return s.failed("closed by the server, "+closeText(err), err)
	case errors.Is(err, websocket.ErrMessageTooBig):
		return s.failed(fmt.Sprintf("the server sent a frame larger than %d MiB", maxEventFrame>>20), err)
	}
	message := "connection lost: "
	if ctx.Err() != nil {
		err, message = transportCause(ctx, err), ""
	}
	return s.failed(message+err.Error(), err)
}

func (s *eventStream) failed(message string, cause error) *Error {
	return &Error{
		Method: http.MethodGet, Path: eventsOut, Attempts: 1, retryAfter: -1,
		Message: clip(s.errs.mask.Replace(message)), cause: cause,
	}
}

// refused is a 401 although it came in a frame: callers and users treat it the
// same.
func (s *eventStream) refused(why string) *Error {
	e := s.failed("authentication refused, "+why, nil)
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
