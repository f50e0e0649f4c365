//go:build e2e

package chaos

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// event is what happens at one of the worker's requests.
type event string

const (
	nothing    event = "nothing"
	killBefore event = "kill-before" // killed before the request takes effect
	killAfter  event = "kill-after"  // killed after the effect, before the answer
	dropAnswer event = "drop"        // effect, but no answer; the worker lives on
)

// victim is the name of the worker whose requests are counted.
const victim = "w1"

// boundary stands between the workers of a scene and both of their APIs, and
// counts the requests that the victim makes of either.
type boundary struct {
	t    *testing.T
	at   int // the request, from 1, at which it happens
	what event
	kill func() // kills the worker

	prefectURL, northflankURL string // for the workers

	mu    sync.Mutex
	seen  int
	route string // of the request at which it happened
}

func newBoundary(t *testing.T, northflank string, at int, what event) *boundary {
	b := &boundary{t: t, at: at, what: what}
	b.prefectURL = b.before(server.APIURL, "X-Prefect-Worker-Name")
	b.northflankURL = b.before(northflank, "User-Agent")
	return b
}

// before gives the address of a stand-in for target; header names the worker
// that makes a request.
func (b *boundary) before(target, header string) string {
	u, err := url.Parse(target)
	if err != nil {
		b.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: u.Scheme, Host: u.Host}) },
		ErrorLog: nil,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			cut(w)
		},
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(header) != victim {
			proxy.ServeHTTP(w, r)
			return
		}
		switch b.next(r) {
		case killBefore:
			b.kill()
			cut(w)
		case killAfter:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			b.kill()
			cut(w)
		case dropAnswer:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			cut(w)
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	b.t.Cleanup(site.Close)
	return site.URL + u.Path
}

// next counts a request and says what happens at it.
func (b *boundary) next(r *http.Request) event {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen++
	if b.seen != b.at {
		return nothing
	}
	b.route = r.Method + " " + r.URL.Path
	return b.what
}

// happened returns how many requests were made, and at which it happened.
func (b *boundary) happened() (requests int, route string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen, b.route
}

// cut breaks the connection without an answer.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}
