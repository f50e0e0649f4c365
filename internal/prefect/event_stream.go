package prefect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// eventsOut is no operation of the REST API, hence not in the route table.
const eventsOut = "/events/out"

const (
	// maxEventFrame bounds a frame in bytes. Prefect takes events up to 1.5 MB
	// (Prefect 3.8: PREFECT_SERVER_EVENTS_MAXIMUM_SIZE_BYTES).
	maxEventFrame = 4 << 20
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
	s, err := c.openSocket(setup, Route{http.MethodGet, eventsOut}, eventsOut, maxEventFrame)
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
	return s.follow(ctx, func(data []byte) error {
		event, err := parseEvent(data)
		switch {
		case errors.Is(err, errOtherFrame):
			s.logger.DebugContext(ctx, "event stream: frame of another kind", slog.Any("err", err))
		case err != nil: // of the frame itself nothing is shown: a payload may hold anything
			s.logger.DebugContext(ctx, "event stream: unreadable event", slog.Int("bytes", len(data)), slog.Any("err", err))
		default:
			receive(event)
		}
		return nil
	})
}

// CheckEvents opens the event stream, has its credentials accepted, and closes
// it: nil when a websocket gets through.
func (c *Client) CheckEvents(ctx context.Context) error {
	return c.checkSocket(ctx, Route{http.MethodGet, eventsOut}, eventsOut, c.streamToken())
}

// checkSocket opens a websocket, authenticates, and closes it.
func (c *Client) checkSocket(ctx context.Context, route Route, path string, token any) error {
	setup, cancel := withTimeout(ctx, c.settings.RequestTimeout)
	defer cancel()
	s, err := c.openSocket(setup, route, path, maxEventFrame)
	if err != nil {
		return fmt.Errorf("open websocket: %w", err)
	}
	defer s.conn.CloseNow() //nolint:errcheck // nothing is left to do with a failure
	return s.authenticate(setup, token)
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
