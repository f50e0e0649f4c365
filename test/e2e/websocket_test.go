//go:build e2e

package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// middleman stands between a worker and the Prefect server. It forbids
// websockets, or breaks them off.
type middleman struct {
	url     string
	forbids atomic.Bool
	opened  atomic.Int32 // websockets

	mu    sync.Mutex
	conns []net.Conn // guarded by mu
}

func newMiddleman(t *testing.T, apiURL string) *middleman {
	t.Helper()
	target, err := url.Parse(apiURL)
	if err != nil {
		t.Fatal(err)
	}
	m := new(middleman)
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: target.Scheme, Host: target.Host})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			if m.forbids.Load() {
				http.Error(w, "no websockets here", http.StatusForbidden)
				return
			}
			m.opened.Add(1)
		}
		forward.ServeHTTP(w, r)
	}))
	server.Listener = &watchedListener{server.Listener, m}
	server.Start()
	t.Cleanup(func() {
		m.cut()
		server.Close()
	})
	m.url = server.URL + target.Path
	return m
}

// cut breaks off all connections of the worker.
func (m *middleman) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		c.Close()
	}
	m.conns = nil
}

type watchedListener struct {
	net.Listener
	m *middleman
}

func (l *watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.m.mu.Lock()
		l.m.conns = append(l.m.conns, c)
		l.m.mu.Unlock()
	}
	return c, err
}

// awaitStream waits until the worker follows the events over the n-th websocket,
// and the server has had time to read what it wants.
func (s *scene) awaitStream(m *middleman, n int32) {
	s.Helper()
	s.await("the worker to follow the events", func() bool { return m.opened.Load() >= n }, s.workerLogs)
	settled := time.Now().Add(2 * time.Second)
	s.await("the server to be ready", func() bool { return time.Now().After(settled) }, s.workerLogs)
}

// A worker that polls every hour lives on events alone: they tell it of flow runs
// to start, of a cancellation and of ends, also after they broke off.
func TestEventsWakeTheWorker(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	m := newMiddleman(t, s.settings["PREFECT_API_URL"])
	s.settings["PREFECT_API_URL"] = m.url
	s.work("w", func(w *standin.Worker) { w.Query = time.Hour })
	s.awaitStream(m, 1)
	long := s.flow(standin.Flow{Seconds: 600}, nil)
	s.awaitBegun(long)
	short := s.flow(standin.Flow{Seconds: 1}, nil)
	s.awaitFinal(short)
	m.cut()
	s.awaitStream(m, 2)
	again := s.flow(standin.Flow{Seconds: 1}, nil)
	s.awaitFinal(again)
	s.cancel(long)
	s.awaitFinal(long)
	s.checkState(long, "CANCELLED")
	s.awaitSettled()
	s.checkExecuted(long, short, again)
	if t.Failed() {
		t.Log(s.workerLogs())
	}
}

// Where a proxy forbids websockets everything works by polling, and the worker
// says so once.
func TestWithoutWebsockets(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	m := newMiddleman(t, s.settings["PREFECT_API_URL"])
	m.forbids.Store(true)
	s.settings["PREFECT_API_URL"] = m.url
	s.work("w")
	first, long := s.flow(standin.Flow{Seconds: 1}, nil), s.flow(standin.Flow{Seconds: 600}, nil)
	s.awaitFinal(first)
	s.awaitBegun(long)
	s.cancel(long)
	s.awaitFinal(long)
	s.checkState(first, "COMPLETED")
	s.checkState(long, "CANCELLED")
	s.awaitSettled()
	if got := strings.Count(s.workerLogs(), "following Prefect's events"); got != 1 {
		t.Errorf("the worker told %d times that it cannot follow the events, want once", got)
	}
	if t.Failed() {
		t.Log(s.workerLogs())
	}
}
