package testkit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

const (
	eventsOut = "/events/out"
	// maxBacklog is how many events wait for a subscriber; more are dropped
	// (Prefect 3.8: SUBSCRIPTION_BACKLOG).
	maxBacklog = 256
	// socketTimeout bounds each read and write at a subscriber that should be
	// ready for it.
	socketTimeout = 10 * time.Second
	// serviceEvery is how often time passes while somebody subscribes: the period
	// of the server's service that finds late flow runs.
	serviceEvery = 5 * time.Second
)

// stream is one open websocket of the event stream.
type stream struct {
	cut    context.CancelFunc
	filter *streamFilter    // nil until it was sent
	queue  chan queuedEvent // of maxBacklog
}

type queuedEvent struct {
	due   time.Time
	frame []byte
}

// RefuseEventStreams answers upgrades of the event stream with a status, as a
// proxy does that passes no websockets on; 0 accepts them again. Open streams
// stay.
func (p *Prefect) RefuseEventStreams(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuseStreams = status
}

// CutEventStreams ends all open streams without a word.
func (p *Prefect) CutEventStreams() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.streams {
		s.cut()
	}
}

// EventStreams returns how many event streams have a subscriber.
func (p *Prefect) EventStreams() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, s := range p.streams {
		if s.filter != nil {
			n++
		}
	}
	return n
}

// Close cuts all websockets, accepts no more, and waits until their goroutines
// have ended. A server without websockets needs no Close.
func (p *Prefect) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.CutEventStreams()
	p.CutChannels()
	p.streaming.Wait()
}

// emit hands an event to the subscribers whom it concerns, and keeps it for
// replays.
func (p *Prefect) emit(e prefect.Event) {
	at := now()
	for len(p.recent) > 0 && p.recent[0].Received.Before(at.Add(-replayable)) {
		p.recent = p.recent[1:]
	}
	received := receivedEvent{e, at}
	p.recent = append(p.recent, received)
	var frame []byte
	for _, s := range p.streams {
		if s.filter == nil || !s.filter.matches(e) || p.loses(e.ID) {
			continue
		}
		if frame == nil {
			frame = received.frame()
		}
		select {
		case s.queue <- queuedEvent{due: at.Add(p.EventDelay), frame: frame}:
		default:
		}
	}
}

// loses draws, from the id alone, so that a replay of a history loses the same.
func (p *Prefect) loses(eventID string) bool {
	if p.LoseEvents <= 0 {
		return false
	}
	h := fnv.New64a()
	h.Write([]byte(eventID))
	return rand.New(rand.NewPCG(h.Sum64(), 0)).Float64() < p.LoseEvents
}

// isEventStream reports whether r is the upgrade of an event stream.
func isEventStream(r *http.Request) bool {
	return r.URL.Path == "/api"+eventsOut && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// serveEventStream speaks with one subscriber until either side ends it
// (Prefect 3.8: server/api/events.py, stream_workspace_events_out).
func (p *Prefect) serveEventStream(w http.ResponseWriter, r *http.Request) {
	ctx, cut := context.WithCancel(context.Background())
	s := &stream{cut: cut, queue: make(chan queuedEvent, maxBacklog)}
	defer cut()
	if refusal := p.open(s); refusal != 0 {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(refusal)
		return
	}
	defer p.end(s)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"prefect"}})
	if err != nil { // Accept has answered
		return
	}
	defer conn.CloseNow()
	replay, ok := p.subscribe(ctx, conn, s)
	if !ok {
		return
	}
	// Reads answer pings, and notice that the client is gone.
	ctx = conn.CloseRead(ctx)
	for _, e := range replay {
		if writeFrame(ctx, conn, e.frame()) != nil {
			return
		}
	}
	p.feed(ctx, conn, s)
}

// open enters a stream, or says with which status it is refused.
func (p *Prefect) open(s *stream) (refusal int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byRoute["GET "+eventsOut]++
	switch {
	case p.closed:
		return http.StatusServiceUnavailable
	case p.refuseStreams != 0:
		return p.refuseStreams
	}
	p.streaming.Add(1)
	p.streams = append(p.streams, s)
	return 0
}

func (p *Prefect) end(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams = slices.DeleteFunc(p.streams, func(other *stream) bool { return other == s })
	p.streaming.Done()
}

// subscribe takes the client's two frames and returns what is to be replayed.
func (p *Prefect) subscribe(ctx context.Context, conn *websocket.Conn, s *stream) (replay []receivedEvent, ok bool) {
	var frame struct {
		Type     string          `json:"type"`
		Token    *string         `json:"token"`
		Filter   json.RawMessage `json:"filter"`
		Backfill *bool           `json:"backfill"` // absent is true
	}
	if readFrame(ctx, conn, &frame) != nil {
		return nil, false
	}
	if frame.Type != "auth" {
		conn.Close(websocket.StatusPolicyViolation, "Expected 'auth' message")
		return nil, false
	}
	if writeFrame(ctx, conn, []byte(`{"type":"auth_success"}`)) != nil || readFrame(ctx, conn, &frame) != nil {
		return nil, false
	}
	if frame.Type != "filter" {
		conn.Close(websocket.StatusProtocolError, "Expected 'filter' message")
		return nil, false
	}
	filter := new(streamFilter)
	d := json.NewDecoder(bytes.NewReader(frame.Filter))
	d.DisallowUnknownFields()
	if d.Decode(filter) != nil {
		conn.Close(websocket.StatusProtocolError, "Invalid filter")
		return nil, false
	}
	filter.clamp()

	p.mu.Lock()
	defer p.mu.Unlock()
	s.filter = filter
	if frame.Backfill != nil && !*frame.Backfill {
		return nil, true
	}
	stored := now().Add(-storedAfter)
	for _, e := range p.recent {
		if !e.Received.After(stored) && filter.matches(e.Event) {
			replay = append(replay, e)
		}
	}
	slices.SortStableFunc(replay, func(a, b receivedEvent) int { return a.Occurred.Compare(b.Occurred) })
	return replay, true
}

// feed sends what is queued until the stream ends. Meanwhile the server's
// services do their work without anybody looking.
func (p *Prefect) feed(ctx context.Context, conn *websocket.Conn, s *stream) {
	services := time.NewTicker(serviceEvery)
	defer services.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-services.C:
			p.passTimeForAll()
		case e := <-s.queue:
			if !waitUntil(ctx, e.due) || writeFrame(ctx, conn, e.frame) != nil {
				return
			}
		}
	}
}

func waitUntil(ctx context.Context, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// passTimeForAll may be called by each websocket; time need not pass more often.
func (p *Prefect) passTimeForAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now().Before(p.passed.Add(serviceEvery)) {
		return
	}
	p.passed = now()
	for _, r := range p.order {
		p.passTime(r)
	}
}

func readFrame(ctx context.Context, conn *websocket.Conn, into any) error {
	ctx, cancel := context.WithTimeout(ctx, socketTimeout)
	defer cancel()
	_, data, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

func writeFrame(ctx context.Context, conn *websocket.Conn, frame []byte) error {
	ctx, cancel := context.WithTimeout(ctx, socketTimeout)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, frame)
}

// upgrade serves a websocket over net.Pipe: the conversation goes on in a
// goroutine after the 101, as it does on a socket.
func (t transport) upgrade(r *http.Request) (*http.Response, error) {
	client, server := net.Pipe()
	w := &pipeWriter{ResponseRecorder: httptest.NewRecorder(), conn: server, ready: make(chan struct{})}
	go func() {
		t.p.serveSocket(w, r)
		server.Close()
		w.answered()
	}()
	select {
	case <-w.ready:
	case <-r.Context().Done():
		client.Close()
		return nil, r.Context().Err()
	}
	resp := w.Result()
	resp.Request = r
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = client
	} else {
		client.Close()
	}
	return resp, nil
}

// pipeWriter is the server's side of an upgrade.
type pipeWriter struct {
	*httptest.ResponseRecorder
	conn  net.Conn
	once  sync.Once
	ready chan struct{} // closed when the answer is complete
}

func (w *pipeWriter) answered() { w.once.Do(func() { close(w.ready) }) }

// Hijack hands out the pipe; the answer is complete with it.
func (w *pipeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.answered()
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}
