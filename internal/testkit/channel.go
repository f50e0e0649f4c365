package testkit

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// The worker channel (Prefect 3.8: server/api/workers.py, worker_channel_connect,
// and server/utilities/worker_channel.py).

const (
	channelRoute = "/work_pools/{work_pool_name}/workers/connect"
	// coalesced is how long the server waits for further changes of a pool before
	// it sends a snapshot.
	coalesced = 50 * time.Millisecond
	// cleanupEvery is how often the server looks for leases that are over.
	cleanupEvery = time.Second
	// maxChannelFrame is uvicorn's ws_max_size, in bytes.
	maxChannelFrame = 16 << 20
)

// The server's reasons to close a channel, for [Prefect.FailChannels] and
// [Prefect.CloseChannels].
const (
	AuthenticationFailed = "authentication_failed"
	AuthorizationFailed  = "authorization_failed"
	UnsupportedVersion   = "unsupported_version"
	ProtocolError        = "protocol_error"
	HeartbeatLost        = "heartbeat_persistence_failed"
	TransientServerError = "transient_server_error"
)

// closeCode is the code that goes with a reason.
func closeCode(reason string) websocket.StatusCode {
	switch reason {
	case ProtocolError:
		return websocket.StatusProtocolError
	case HeartbeatLost, TransientServerError:
		return websocket.StatusInternalError
	}
	return websocket.StatusPolicyViolation
}

// channel is one open websocket of a worker. What is below pool is set when the
// server is about to say ready; guarded by Prefect.mu.
type channel struct {
	cut     context.CancelFunc
	closing chan string   // reason to close it with
	changed chan string   // reason of a snapshot to be sent; of one
	outbox  chan []byte   // cleanups
	pool    *pool         // nil until then
	hello   *helloPayload // what the worker said
	queues  []string      // ids of its queues
	told    time.Time     // when the pool that it was told of was last updated
	sent    int           // snapshots
}

// RefuseChannels answers upgrades of worker channels with a status, as a proxy
// does that passes no websockets on, or an older server; 0 accepts them again.
// Open channels stay.
func (p *Prefect) RefuseChannels(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuseChannels = status
}

// FailChannels closes each new channel for a reason instead of saying ready; ""
// accepts them again. Open channels stay.
func (p *Prefect) FailChannels(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failChannels = reason
}

// CloseChannels closes all open channels for a reason.
func (p *Prefect) CloseChannels(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ch := range p.channels {
		offer(ch.closing, reason)
	}
}

// CutChannels ends all open channels without a word.
func (p *Prefect) CutChannels() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ch := range p.channels {
		ch.cut()
	}
}

// Channels returns how many worker channels are up.
func (p *Prefect) Channels() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, ch := range p.channels {
		if ch.pool != nil {
			n++
		}
	}
	return n
}

// offer puts the newest value into a channel of one.
func offer(c chan string, value string) {
	select {
	case <-c:
	default:
	}
	c <- value // only ever called under Prefect.mu
}

// channelPool returns the work pool that the upgrade of a worker channel names;
// "" when r is something else.
func channelPool(r *http.Request) string {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/api/work_pools/")
	name, end := strings.CutSuffix(path, "/workers/connect")
	name, err := url.PathUnescape(name)
	if !ok || !end || err != nil || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return ""
	}
	return name
}

// isUpgrade reports whether r asks for one of the server's websockets.
func isUpgrade(r *http.Request) bool { return isEventStream(r) || channelPool(r) != "" }

// serveSocket speaks with the client of a websocket until either side ends it.
func (p *Prefect) serveSocket(w http.ResponseWriter, r *http.Request) {
	if isEventStream(r) {
		p.serveEventStream(w, r)
		return
	}
	p.serveChannel(w, r, channelPool(r))
}

func (p *Prefect) serveChannel(w http.ResponseWriter, r *http.Request, pool string) {
	ctx, cut := context.WithCancel(context.Background())
	ch := &channel{cut: cut, closing: make(chan string, 1), changed: make(chan string, 1), outbox: make(chan []byte, 1<<10)}
	defer cut()
	if refusal := p.openChannel(ch, r); refusal != 0 {
		w.WriteHeader(refusal)
		return
	}
	defer p.endChannel(ch)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"prefect"}})
	if err != nil { // Accept has answered
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxChannelFrame)
	ready, reason := p.welcome(ctx, conn, ch, pool)
	if reason != "" {
		closeFor(conn, reason)
		return
	}
	if ready == nil || writeFrame(ctx, conn, ready) != nil {
		return
	}
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer cut()
	feeding.Go(func() {
		defer cut() // the reader is not to wait for a client that was told to go
		if reason := p.feedChannel(ctx, conn, ch); reason != "" {
			closeFor(conn, reason)
		}
	})
	if reason := p.hear(ctx, conn, ch); reason != "" {
		closeFor(conn, reason)
	}
}

func closeFor(conn *websocket.Conn, reason string) { conn.Close(closeCode(reason), reason) }

// openChannel enters a channel, or says with which status it is refused.
func (p *Prefect) openChannel(ch *channel, r *http.Request) (refusal int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byRoute["GET "+channelRoute]++
	switch {
	case p.closed:
		return http.StatusServiceUnavailable
	case p.refuseChannels != 0:
		return p.refuseChannels
	case !strings.Contains(r.Header.Get("Sec-WebSocket-Protocol"), "prefect"):
		return http.StatusForbidden
	}
	p.streaming.Add(1)
	p.channels = append(p.channels, ch)
	return 0
}

func (p *Prefect) endChannel(ch *channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.channels = slices.DeleteFunc(p.channels, func(other *channel) bool { return other == ch })
	p.streaming.Done()
}

// welcome takes the client's two frames. It returns the answer to the hello, or a
// reason to close the channel; neither when the client is gone.
func (p *Prefect) welcome(ctx context.Context, conn *websocket.Conn, ch *channel, pool string) (ready []byte, reason string) {
	var auth struct {
		Type string `json:"type"`
	}
	if readFrame(ctx, conn, &auth) != nil {
		return nil, ""
	}
	p.mu.Lock()
	fail := p.failChannels
	p.mu.Unlock()
	if auth.Type != "auth" || fail == AuthenticationFailed {
		return nil, AuthenticationFailed
	}
	if writeFrame(ctx, conn, []byte(`{"type":"auth_success"}`)) != nil {
		return nil, ""
	}
	timed, cancel := context.WithTimeout(ctx, socketTimeout)
	defer cancel()
	_, data, err := conn.Read(timed)
	if err != nil {
		return nil, ""
	}
	frame, err := parseWorkerFrame(data)
	hello, ok := frame.payload.(*helloPayload)
	switch {
	case err != nil || !ok:
		return nil, ProtocolError
	case fail != "":
		return nil, fail
	}
	return p.accept(ch, hello, pool)
}

// accept does what a hello asks for, in the server's order.
func (p *Prefect) accept(ch *channel, hello *helloPayload, name string) (ready []byte, reason string) {
	if !slices.Contains(hello.Versions, channelVersion) {
		return nil, UnsupportedVersion
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := p.pools[name]
	if pl == nil {
		if !hello.CreatePool || strings.HasPrefix(strings.ToLower(name), "prefect") {
			return nil, AuthorizationFailed
		}
		if !acceptable(hello.Template) {
			return nil, TransientServerError
		}
		// When a queue is missing, the server undoes this.
		pl = &pool{queues: []*queue{{name: defaultQueue}}}
	}
	queues, ok := pl.resolve(hello.WorkQueues)
	if !ok {
		return nil, AuthorizationFailed
	}
	switch fill := isEmptyObject(pl.template) && !isEmptyObject(hello.Template); {
	case pl.id == "":
		pl = p.createPool(PoolSpec{Name: name, Type: hello.WorkerType, Template: hello.Template})
		queues = pl.queues
	case fill && !acceptable(hello.Template):
		return nil, TransientServerError
	case fill:
		pl.template = hello.Template
		p.poolChanged(pl, "work_pool_updated")
		offer(ch.changed, "work_pool_updated") // the server does not spare the worker who did it
	}
	p.recordHeartbeat(pl, hello.WorkerName, hello.HeartbeatSeconds)
	ch.pool, ch.hello, ch.told, ch.sent = pl, hello, pl.updated, 1
	for _, q := range queues {
		ch.queues = append(ch.queues, q.id)
	}
	ready = p.readyFrame(ch, queues)
	p.dispatchCleanups(pl)
	return ready, ""
}

// resolve returns the queues of those names, or all of them.
func (pl *pool) resolve(names []string) (queues []*queue, ok bool) {
	if len(names) == 0 {
		queues = slices.Clone(pl.queues)
		slices.SortStableFunc(queues, func(a, b *queue) int { return a.priority - b.priority })
		return queues, true
	}
	for _, name := range names {
		q := pl.queue(name)
		if q == nil {
			return nil, false
		}
		if !slices.Contains(queues, q) {
			queues = append(queues, q)
		}
	}
	return queues, true
}

var placeholder = regexp.MustCompile(`{{\s*([\w.\-\[\]$]+)\s*}}`)

// acceptable checks a base job template. The server calls what it does not accept
// a transient error (Prefect 3.8: server/schemas/actions.py,
// validate_base_job_template).
func acceptable(template json.RawMessage) bool {
	if isEmptyObject(template) {
		return true
	}
	var t struct {
		JobConfiguration map[string]json.RawMessage `json:"job_configuration"`
		Variables        map[string]json.RawMessage `json:"variables"`
	}
	var properties map[string]json.RawMessage
	if json.Unmarshal(template, &t) != nil || len(t.JobConfiguration) == 0 || len(t.Variables) == 0 {
		return false
	}
	_ = json.Unmarshal(t.Variables["properties"], &properties)
	for _, value := range t.JobConfiguration {
		for _, match := range placeholder.FindAllSubmatch(value, -1) {
			if properties[string(match[1])] == nil {
				return false
			}
		}
	}
	return true
}

// isEmptyObject takes nothing for an empty object, too.
func isEmptyObject(text json.RawMessage) bool {
	var object map[string]json.RawMessage
	return len(text) == 0 || json.Unmarshal(text, &object) == nil && len(object) == 0
}

// poolChanged tells the pool's workers of a change that matters to them. Changes
// that do not matter only move the time of its last update; the next heartbeat
// finds out.
func (p *Prefect) poolChanged(pl *pool, reason string) {
	pl.updated = now()
	for _, ch := range p.channels {
		if ch.pool == pl {
			offer(ch.changed, reason)
		}
	}
}

// hear takes the worker's frames until the channel ends; it returns the reason to
// close it with, if there is one.
func (p *Prefect) hear(ctx context.Context, conn *websocket.Conn, ch *channel) (reason string) {
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return ""
		}
		frame, err := parseWorkerFrame(data)
		if err != nil {
			return ProtocolError
		}
		switch payload := frame.payload.(type) {
		case *heartbeatPayload:
			if reason := p.hearHeartbeat(ch, payload); reason != "" {
				return reason
			}
		case *operationPayload:
			if writeFrame(ctx, conn, p.operate(ch, frame, payload)) != nil {
				return ""
			}
			p.mu.Lock()
			p.dispatchCleanups(ch.pool)
			p.mu.Unlock()
		default:
			return ProtocolError
		}
	}
}

func (p *Prefect) hearHeartbeat(ch *channel, beat *heartbeatPayload) (reason string) {
	if beat.ConsumerID != ch.hello.ConsumerID || beat.WorkerName != ch.hello.WorkerName {
		return ProtocolError
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pools[ch.pool.name] != ch.pool {
		return HeartbeatLost
	}
	p.recordHeartbeat(ch.pool, beat.WorkerName, beat.HeartbeatSeconds)
	if !ch.pool.updated.Equal(ch.told) {
		offer(ch.changed, "heartbeat_reconciliation")
	}
	return ""
}

// feedChannel sends what the worker did not ask for, until the channel ends; it
// returns the reason to close it with, if there is one. Meanwhile the server's
// services do their work without anybody looking.
func (p *Prefect) feedChannel(ctx context.Context, conn *websocket.Conn, ch *channel) (reason string) {
	services := time.NewTimer(serviceEvery)
	defer services.Stop()
	var why string
	var due <-chan time.Time // for a snapshot
	for {
		var frame []byte
		select {
		case <-ctx.Done():
			return ""
		case reason := <-ch.closing:
			return reason
		case <-services.C:
			services.Reset(p.service(ch.pool))
		case frame = <-ch.outbox:
		case why = <-ch.changed:
			if due == nil {
				due = time.After(coalesced)
			}
		case <-due:
			due = nil
			if frame = p.snapshotFrame(ch, why); frame == nil {
				return AuthorizationFailed // the pool was deleted
			}
		}
		if frame != nil && writeFrame(ctx, conn, frame) != nil {
			return ""
		}
	}
}

// service lets time pass for a worker's pool, and says when to come again.
func (p *Prefect) service(pl *pool) time.Duration {
	p.passTimeForAll()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dispatchCleanups(pl)
	for _, c := range p.cleanups {
		if c.pool == pl && c.state == CleanupReserved {
			return cleanupEvery
		}
	}
	return serviceEvery
}
