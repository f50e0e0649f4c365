package prefect

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	authSuccess = `{"type":"auth_success"}`
	eventFrame  = `{"type":"event","event":{"id":"%ID%","event":"prefect.flow-run.Pending","occurred":"2026-11-23T23:26:09.425923Z",` +
		`"resource":{"prefect.resource.id":"prefect.flow-run.5f3bd7a0-2a7e-4d7b-9a43-0b7a2f3c4d5e"},"related":[],"payload":{},"follows":null,"received":"2026-11-23T23:26:10Z"}}`
)

func eventWithID(id string) string { return strings.Replace(eventFrame, "%ID%", id, 1) }

// socket is the server's side of an event stream in a test.
type socket struct {
	*testing.T
	ctx  context.Context
	conn *websocket.Conn
}

func (s *socket) read() string {
	_, data, err := s.conn.Read(s.ctx)
	if err != nil {
		s.Errorf("server reads: %v", err)
	}
	return string(data)
}

func (s *socket) write(frames ...string) {
	for _, f := range frames {
		if err := s.conn.Write(s.ctx, websocket.MessageText, []byte(f)); err != nil {
			s.Errorf("server writes: %v", err)
		}
	}
}

// welcome accepts the client and returns its filter.
func (s *socket) welcome() string {
	s.read()
	s.write(authSuccess)
	return s.read()
}

func (s *socket) close(code websocket.StatusCode, reason string) { _ = s.conn.Close(code, reason) }

// upgrading answers every request with an upgrade and goes on with talk.
func upgrading(t *testing.T, talk func(*socket, *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"prefect"}})
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer conn.CloseNow()
		talk(&socket{T: t, ctx: t.Context(), conn: conn}, r)
	})
}

// talking is a client of a server that upgrades and goes on with talk.
func talking(t *testing.T, edit func(*Settings), talk func(*socket, *http.Request)) *Client {
	t.Helper()
	server := httptest.NewServer(upgrading(t, talk))
	t.Cleanup(server.Close)
	return clientOf(t, server.URL+"/api", edit)
}

// inMemory serves a handler that upgrades, over net.Pipe instead of a socket.
type inMemory struct {
	http.Handler
	lost *atomic.Bool // what the client sends arrives nowhere
}

type pipeResponse struct {
	*httptest.ResponseRecorder
	conn  net.Conn
	ready chan struct{}
}

func (w *pipeResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	close(w.ready)
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

type lossyConn struct {
	net.Conn
	lost *atomic.Bool
}

func (c lossyConn) Write(p []byte) (int, error) {
	if c.lost.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	client, server := net.Pipe()
	w := &pipeResponse{httptest.NewRecorder(), server, make(chan struct{})}
	go m.ServeHTTP(w, r)
	<-w.ready
	return &http.Response{StatusCode: w.Code, Header: w.Header(), Body: lossyConn{client, m.lost}, Request: r}, nil
}

func inMemoryClient(t *testing.T, talk func(*socket, *http.Request)) (c *Client, lost *atomic.Bool) {
	t.Helper()
	lost = new(atomic.Bool)
	c, err := NewClient(ClientOptions{
		Settings: testSettings(), Logger: quiet(), HTTPClient: &http.Client{Transport: inMemory{upgrading(t, talk), lost}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, lost
}

func TestFollowEvents(t *testing.T) {
	t.Parallel()
	c := talking(t, nil, func(s *socket, _ *http.Request) {
		if got, want := s.read(), `{"token":null,"type":"auth"}`; got != want {
			t.Errorf("first frame = %s, want %s", got, want)
		}
		s.write(authSuccess)
		s.read()
		s.write(
			eventWithID("1"),
			`{"type":"news","text":"of a later Prefect"}`, `{"type":"event"}`, `{"type":"event","event":null}`, `not JSON`, ``, `[]`,
			`{"type":"event","event":{"id":5}}`,
			strings.Replace(eventWithID("2"), `"payload":{}`, `"payload":{"big":"`+strings.Repeat("x", 1_500_000)+`"},"novelty":[1]`, 1),
		)
		s.close(websocket.StatusGoingAway, "restart")
	})
	var log []string
	err := c.FollowEvents(t.Context(), EventFilter{},
		func() { log = append(log, "ready") },
		func(e StreamedEvent) { log = append(log, e.ID+" "+e.Event) })
	if diff := cmp.Diff([]string{"ready", "1 prefect.flow-run.Pending", "2 prefect.flow-run.Pending"}, log); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	const want = "follow events: GET /events/out: closed by the server, close code 1001: restart (prefect)"
	if err == nil || err.Error() != want || !errors.Is(err, ErrUnavailable) {
		t.Errorf("FollowEvents() = %v, want %s", err, want)
	}
}

func TestEventFilterFrame(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 22, 0, 0, 0, time.FixedZone("", 3600))
	const until = `"until":"2027-11-23T21:00:00Z"`
	tests := []struct {
		name   string
		filter EventFilter
		want   string
	}{
		{"nothing", EventFilter{}, `{"type":"filter","backfill":false,"filter":{"occurred":{` + until + `}}}`},
		{
			"everything",
			EventFilter{Prefixes: []string{"a.", "b."}, Resources: []string{"r"}, Since: at.Add(-time.Hour)},
			`{"type":"filter","backfill":true,"filter":{"event":{"prefix":["a.","b."]},"any_resource":{"id":["r"]},` +
				`"occurred":{"since":"2026-11-23T20:00:00Z",` + until + `}}}`,
		},
	}
	for _, test := range tests {
		got, err := encode(test.filter.frame(at))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(jsonValue(t, test.want), jsonValue(t, string(got))); diff != "" {
			t.Errorf("%s: frame (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestEventStreamHandshake(t *testing.T) {
	t.Parallel()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:secret"))
	cloud := func(s *Settings) { s.CloudAPIURL = s.APIURL }
	tests := []struct {
		name  string
		edit  func(*Settings)
		hello string
		want  http.Header // among others; nil values: not there
	}{
		{"server without authentication", func(*Settings) {}, `null`, http.Header{"Authorization": nil, "Prefect-Csrf-Token": nil}},
		{
			"server with an auth string", func(s *Settings) { s.AuthString, s.APIKey = secretValue("user:secret"), secretValue("pnu_k") },
			`"user:secret"`,
			http.Header{"Authorization": {basic}},
		},
		{
			"server in front of which a proxy wants a key", func(s *Settings) { s.APIKey = secretValue("pnu_k") },
			`null`,
			http.Header{"Authorization": {"Bearer pnu_k"}},
		},
		{
			"cloud", func(s *Settings) { cloud(s); s.APIKey = secretValue("pnu_k") },
			`"pnu_k"`,
			http.Header{"Authorization": {"Bearer pnu_k"}},
		},
		{
			"custom headers", func(s *Settings) {
				s.APIKey = secretValue("pnu_k")
				s.CustomHeaders = customHeaders("authorization", "Custom x", "X-Team", "t", "user-agent", "me", "Upgrade", "h2c", "connection", "keep-alive",
					"sec-websocket-extensions", "permessage-deflate", "SEC-WEBSOCKET-PROTOCOL", "other", "Sec-WebSocket-Key", "k", "Host", "elsewhere")
			}, `null`, http.Header{
				"Authorization": {"Custom x"}, "X-Team": {"t"}, "User-Agent": {userAgent}, "Upgrade": {"websocket"}, "Connection": {"Upgrade"},
				"Sec-Websocket-Extensions": nil, "Sec-Websocket-Protocol": {"prefect"},
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := talking(t, func(s *Settings) { s.CSRFEnabled = true; test.edit(s) }, func(s *socket, r *http.Request) {
				if r.URL.Path != "/api/events/out" || r.URL.RawQuery != "" {
					t.Errorf("address = %s, want /api/events/out", r.URL)
				}
				for name, want := range test.want {
					if diff := cmp.Diff(want, http.Header(r.Header)[name], cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("header %s (-want +got):\n%s", name, diff)
					}
				}
				if got, want := s.read(), `{"token":`+test.hello+`,"type":"auth"}`; got != want {
					t.Errorf("first frame = %s, want %s", got, want)
				}
				s.write(authSuccess)
				s.read()
				s.close(websocket.StatusNormalClosure, "")
			})
			err := c.FollowEvents(t.Context(), EventFilter{}, func() {}, func(StreamedEvent) {})
			if err == nil || !strings.Contains(err.Error(), "close code 1000 (prefect)") {
				t.Errorf("FollowEvents() = %v, want the server's normal close", err)
			}
		})
	}
}

func TestEventStreamEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		talk  func(*socket)
		ready bool
		is    error
		want  string
		hint  string
	}{
		{
			name: "token refused",
			talk: func(s *socket) { s.read(); s.close(websocket.StatusPolicyViolation, "Invalid token user:secret") },
			is:   ErrUnauthorized, want: "401 unauthorized: authentication refused, close code 1008: Invalid token *** (prefect)",
			hint: "PREFECT_API_AUTH_STRING",
		}, {
			name: "token refused by a frame",
			talk: func(s *socket) {
				s.read()
				s.write(`{"type":"auth_failure","reason":"no such key"}`)
				s.close(1000, "")
			},
			is: ErrUnauthorized, want: "401 unauthorized: authentication refused, auth_failure: no such key", hint: "PREFECT_API_KEY",
		}, {
			name: "unreadable verdict",
			talk: func(s *socket) { s.read(); s.write(`hello`); s.close(1000, "") },
			is:   ErrUnavailable, want: "the answer to the authentication cannot be read",
		}, {
			name: "closed instead of the verdict",
			talk: func(s *socket) { s.read(); s.close(websocket.StatusInternalError, "") },
			is:   ErrUnavailable, want: "closed by the server, close code 1011 (prefect)",
		}, {
			name: "filter refused", ready: true,
			talk: func(s *socket) { s.welcome(); s.close(websocket.StatusProtocolError, "Invalid filter: x") },
			is:   ErrUnavailable, want: "closed by the server, close code 1002: Invalid filter: x",
		}, {
			name: "closed without a reason", ready: true,
			talk: func(s *socket) { s.welcome(); s.close(websocket.StatusNoStatusRcvd, "") },
			is:   ErrUnavailable, want: "closed by the server, close code 1005",
		}, {
			name: "cut", ready: true,
			talk: func(s *socket) { s.welcome(); _ = s.conn.CloseNow() },
			is:   ErrUnavailable, want: "connection lost: ",
		}, {
			name: "frame too large", ready: true,
			talk: func(s *socket) {
				s.welcome()
				// The write may fail half-way, when the client has hung up.
				_ = s.conn.Write(s.ctx, websocket.MessageText, bytes.Repeat([]byte("x"), maxEventFrame+1))
				_, _, _ = s.conn.Read(s.ctx)
			},
			is: ErrUnavailable, want: "the server sent a frame larger than 4 MiB",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := talking(t, func(s *Settings) { s.AuthString = secretValue("user:secret") }, func(s *socket, _ *http.Request) { test.talk(s) })
			ready := false
			err := c.FollowEvents(t.Context(), EventFilter{}, func() { ready = true }, func(StreamedEvent) {})
			if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.is) {
				t.Fatalf("FollowEvents() = %v, want %q", err, test.want)
			}
			if ready != test.ready {
				t.Errorf("ready called: %v, want %v", ready, test.ready)
			}
			if hint := errorDetails(t, err).Hint(); !strings.Contains(hint, test.hint) || (hint == "") != (test.hint == "") {
				t.Errorf("hint = %q, want %q in it", hint, test.hint)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestEventStreamUpgradeRefused(t *testing.T) {
	t.Parallel()
	const notWebsockets = "may not pass websockets"
	tests := []struct {
		name        string
		status      int
		contentType string
		body        string
		is          error
		want        string // in the error
		hint        string
	}{
		{"proxy", 403, "text/html", "<html>pnu_k", ErrForbidden, "403 forbidden: the answer is not Prefect's (text/html) (prefect)", notWebsockets},
		{"proxy that takes the header away", 404, "application/json", `{"detail":"Not Found"}`, ErrUnavailable, "404 not found: Not Found", notWebsockets},
		{"gateway", 400, "text/plain", "no", ErrUnavailable, "400 bad request", notWebsockets},
		{"page", 200, "text/html", "<html>", ErrUnavailable, "the answer is not an upgrade to a websocket", notWebsockets},
		{"gateway without a server", 502, "text/html", "<html>", ErrUnavailable, "502 bad gateway", "PREFECT_API_URL"},
		{"wrong password", 401, "application/json", `{"exception_message":"Unauthorized"}`, ErrUnauthorized, "401 unauthorized: Unauthorized", "PREFECT_API_KEY"},
		{"elsewhere", 302, "text/html", "", ErrUnavailable, "302 found: redirected to https://login.test (prefect)", "PREFECT_API_URL"},
		{"busy", 503, "application/json", `{"exception_message":"Service Unavailable"}`, ErrUnavailable, "503 service unavailable", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.contentType)
				w.Header().Set("Location", "https://login.test/?token=pnu_k")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}))
			defer server.Close()
			var calls []Call
			settings := testSettings()
			settings.APIURL, settings.APIKey = server.URL, secretValue("pnu_k")
			c, err := NewClient(ClientOptions{Settings: settings, Logger: quiet(), Observe: func(call Call) { calls = append(calls, call) }})
			if err != nil {
				t.Fatal(err)
			}
			err = c.FollowEvents(t.Context(), EventFilter{}, func() { t.Error("ready called") }, nil)
			if err == nil || !strings.HasPrefix(err.Error(), "follow events: open websocket: GET /events/out: ") ||
				!strings.Contains(err.Error(), test.want) || !errors.Is(err, test.is) {
				t.Fatalf("FollowEvents() = %v, want %q", err, test.want)
			}
			if hint := errorDetails(t, err).Hint(); !strings.Contains(hint, test.hint) || (hint == "") != (test.hint == "") {
				t.Errorf("hint = %q, want %q in it", hint, test.hint)
			}
			if strings.Contains(err.Error(), "pnu_k") {
				t.Errorf("the error shows the key: %v", err)
			}
			want := []Call{{Method: "GET", Route: "/events/out", Status: test.status, Attempts: 1}}
			if test.status == 200 {
				want[0].Status = 0 // no answer to an upgrade
			}
			if diff := cmp.Diff(want, calls, cmpopts.IgnoreFields(Call{}, "Duration", "Err")); diff != "" {
				t.Errorf("observed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEventStreamToNobody(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	server.Close()
	err := clientOf(t, server.URL, nil).FollowEvents(t.Context(), EventFilter{}, func() {}, nil)
	if !errors.Is(err, ErrUnavailable) || errorDetails(t, err).Hint() == "" {
		t.Errorf("FollowEvents() = %v, want ErrUnavailable with a hint", err)
	}
}

// HTTP/2 knows no upgrade; whoever wants it for all else gets the stream still.
func TestEventStreamOverTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(upgrading(t, func(s *socket, r *http.Request) {
		if r.Proto != "HTTP/1.1" {
			t.Errorf("upgrade over %s", r.Proto)
		}
		s.welcome()
		s.close(websocket.StatusNormalClosure, "")
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	defer server.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authority, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		edit  func(*Settings)
		ready bool
		hint  string
	}{
		{"authority of the settings", func(s *Settings) { s.SSLCertFile, s.HTTP2 = authority, true }, true, ""},
		{"no check at all", func(s *Settings) { s.TLSInsecure, s.HTTP2 = true, true }, true, ""},
		{"unknown authority", func(*Settings) {}, false, "PREFECT_API_SSL_CERT_FILE"},
	} {
		ready := false
		err := clientOf(t, server.URL, test.edit).FollowEvents(t.Context(), EventFilter{}, func() { ready = true }, nil)
		if ready != test.ready || !strings.Contains(errorDetails(t, err).Hint(), test.hint) {
			t.Errorf("%s: FollowEvents() = %v, ready %v, want %v", test.name, err, ready, test.ready)
		}
	}
}

func TestEventStreamStopsWithTheContext(t *testing.T) {
	t.Parallel()
	cause := errors.New("the worker stops")
	tests := []struct {
		name string
		talk func(*socket)
	}{
		{"before the verdict", func(s *socket) { s.read(); _, _, _ = s.conn.Read(s.ctx) }},
		{"while events come", func(s *socket) { s.welcome(); s.write(eventWithID("1")); _, _, _ = s.conn.Read(s.ctx) }},
		{"while nothing comes", func(s *socket) { s.welcome(); _, _, _ = s.conn.Read(s.ctx) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, _ := inMemoryClient(t, func(s *socket, _ *http.Request) { test.talk(s) })
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(5*time.Second, func() { cancel(cause) })
				err := c.FollowEvents(ctx, EventFilter{}, func() {}, func(StreamedEvent) {})
				if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
					t.Errorf("FollowEvents() = %v, want context.Canceled", err)
				}
			})
		})
	}
}

func TestEventStreamSetupTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := inMemoryClient(t, func(s *socket, _ *http.Request) { s.read(); _, _, _ = s.conn.Read(s.ctx) })
		start := time.Now()
		err := c.FollowEvents(t.Context(), EventFilter{}, func() {}, nil)
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "GET /events/out: no answer within 1m0s") || time.Since(start) != time.Minute {
			t.Errorf("FollowEvents() = %v after %s, want no answer within a minute", err, time.Since(start))
		}
	})
}

// A server that is silent is alive as long as it answers pings.
func TestEventStreamPings(t *testing.T) {
	t.Parallel()
	for _, dies := range []time.Duration{0, 2*time.Hour + time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c, lost := inMemoryClient(t, func(s *socket, _ *http.Request) {
				s.welcome()
				_, _, _ = s.conn.Read(s.ctx)
			})
			start := time.Now()
			err := c.FollowEvents(t.Context(), EventFilter{}, func() { time.AfterFunc(dies, func() { lost.Store(true) }) }, nil)
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "connection lost: ping: no answer within 10s") {
				t.Errorf("FollowEvents() = %v, want a dead connection", err)
			}
			if took := time.Since(start) - dies; took <= 0 || took > pingEvery+pingTimeout {
				t.Errorf("noticed %s after it died", took)
			}
		})
	}
}
