//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// wire stands between one worker and a Prefect server and notes what the worker
// sends: requests, and frames of its websockets.
type wire struct {
	url  string // for PREFECT_API_URL
	host string // of the server, as ws://host:port

	mu   sync.Mutex
	sent []message // guarded by mu; in the order of arrival
}

// message is a request or a frame.
type message struct {
	at     time.Time
	route  string // method and path, ids left out; WS and path for a frame
	path   string
	header http.Header
	body   any // JSON; nil when there is none
}

func newWire(t *testing.T, apiURL string) *wire {
	t.Helper()
	target, err := url.Parse(apiURL)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{host: "ws://" + target.Host}
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: target.Scheme, Host: target.Host})
	// Prefect's server closes connections that were idle for 5 s: ours close first.
	forward.Transport = &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Second, DisableCompression: true}
	forward.ErrorLog = log.New(io.Discard, "", 0) // a worker that is stopped breaks its requests off
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			w.note("GET", r, nil)
			w.relay(rw, r)
			return
		}
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return // the worker is gone
		}
		w.note(r.Method, r, text)
		r.Body = io.NopCloser(bytes.NewReader(text))
		forward.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	w.url = server.URL + target.Path
	return w
}

func (w *wire) note(method string, r *http.Request, text []byte) {
	m := message{at: time.Now(), route: method + " " + routeOf(r.URL.Path), path: r.URL.Path, header: r.Header.Clone()}
	_ = json.Unmarshal(text, &m.body) // nothing stays nil
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, m)
}

// routeOf takes ids and names out of a path.
func routeOf(path string) string {
	segments := strings.Split(strings.TrimPrefix(path, "/api"), "/")
	for i := range segments {
		if i > 0 && (segments[i-1] == "work_pools" || segments[i-1] == "name") && segments[i] != "" {
			segments[i] = "{name}"
		}
		segments[i] = uuids.ReplaceAllString(segments[i], "{id}")
	}
	return strings.Join(segments, "/")
}

// relay connects a worker's websocket to the server's.
func (w *wire) relay(rw http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	header := r.Header.Clone()
	for name := range header {
		if name == "Connection" || name == "Upgrade" || strings.HasPrefix(name, "Sec-Websocket-") {
			header.Del(name)
		}
	}
	protocols := r.Header.Values("Sec-WebSocket-Protocol")
	server, answer, err := websocket.Dial(ctx, w.host+r.URL.RequestURI(), &websocket.DialOptions{HTTPHeader: header, Subprotocols: protocols})
	if err != nil {
		status := http.StatusBadGateway
		if answer != nil {
			status = answer.StatusCode
		}
		http.Error(rw, err.Error(), status)
		return
	}
	defer server.CloseNow() //nolint:errcheck // nothing is left to do with a failure
	worker, err := websocket.Accept(rw, r, &websocket.AcceptOptions{Subprotocols: protocols, InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer worker.CloseNow() //nolint:errcheck // nothing is left to do with a failure
	var both sync.WaitGroup
	both.Go(func() {
		defer cancel()
		pump(ctx, worker, server, func(text []byte) { w.note("WS", r, text) })
	})
	both.Go(func() {
		defer cancel()
		pump(ctx, server, worker, func([]byte) {})
	})
	both.Wait()
}

// pump hands on messages, and how the connection was closed.
func pump(ctx context.Context, from, to *websocket.Conn, note func([]byte)) {
	from.SetReadLimit(16 << 20)
	for {
		kind, text, err := from.Read(ctx)
		if err != nil {
			if code := websocket.CloseStatus(err); code != -1 && code != websocket.StatusNoStatusRcvd {
				_ = to.Close(code, "")
			}
			return
		}
		note(text)
		if to.Write(ctx, kind, text) != nil {
			return
		}
	}
}

// all returns what was sent so far.
func (w *wire) all() []message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sent)
}
