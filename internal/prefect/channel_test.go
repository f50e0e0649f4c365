package prefect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

const (
	consumerID = "01234567-89ab-7def-8123-456789abcdef"
	poolJSON   = `{"id":"5f3bd7a0-2a7e-4d7b-9a43-0b7a2f3c4d5e","created":"2026-11-23T23:26:09.425923Z","name":"p","type":"northflank",` +
		`"base_job_template":{"job_configuration":{"b":1,"a":2}},"is_paused":%PAUSED%,"concurrency_limit":null,"status":"READY","active_slots":null}`
)

func poolFrame(paused string) string { return strings.Replace(poolJSON, "%PAUSED%", paused, 1) }

// serverFrame is a frame as the server sends it.
func serverFrame(kind, payload string) string {
	return fmt.Sprintf(`{"type":%q,"id":"0199f1aa-0000-7000-8000-000000000000","sent_at":%q,"payload":%s}`,
		kind, time.Now().UTC().Format(time.RFC3339Nano), payload)
}

func readyFrame(edits ...string) string {
	const payload = `{"consumer_id":"` + consumerID + `","worker_id":null,"selected_channel_version":"work_pool_worker_channel.v1",` +
		`"effective_heartbeat_interval_seconds":30,"accepted_capabilities":["worker_heartbeat.v1","work_pool_snapshot.v1"],` +
		`"rejected_capabilities":[],"effective_max_cleanup_concurrency":0,"resolved_work_queues":[{"id":"q1","name":"default"}],` +
		`"initial_snapshot":{"snapshot_sequence":1,"reason":"initial","work_pool":%POOL%}}`
	return serverFrame("worker.ready.v1", strings.NewReplacer(slices.Concat(edits, []string{"%POOL%", poolFrame("false")})...).Replace(payload))
}

var readyForCleanups = []string{`"work_pool_snapshot.v1"]`, `"work_pool_snapshot.v1","cleanup_delivery.v1"]`, `concurrency":0`, `concurrency":1`}

func snapshotFrame(sequence int, paused string) string {
	return serverFrame("work_pool.snapshot.v1", fmt.Sprintf(`{"snapshot_sequence":%d,"reason":"work_pool_updated","work_pool":%s}`, sequence, poolFrame(paused)))
}

// hello authenticates a client and returns its hello.
func (s *socket) hello() string {
	s.read()
	s.write(authSuccess)
	return s.read()
}

// welcomeWorker does all until the channel is up.
func (s *socket) welcomeWorker(edits ...string) {
	s.hello()
	s.write(readyFrame(edits...))
}

// channelOptions are of a worker that notes down in log what it is told.
func channelOptions(log *[]string) ChannelOptions {
	return ChannelOptions{
		Pool: "my pool/1", ConsumerID: consumerID, WorkerName: "w1", WorkerType: "northflank", Heartbeat: 30 * time.Second,
		Ready:    func(r ChannelReady) { *log = append(*log, fmt.Sprintf("ready %s %s", r.Heartbeat, r.WorkQueues)) },
		Snapshot: func(p WorkPool) { *log = append(*log, fmt.Sprint("paused ", p.IsPaused)) },
		Beat:     func(time.Time) { *log = append(*log, "beat") },
	}
}

func channelError(t *testing.T, err error) *ChannelError {
	t.Helper()
	e, ok := errors.AsType[*ChannelError](err)
	if !ok {
		t.Fatalf("WorkerChannel() = %v, want a *ChannelError", err)
	}
	return e
}

// plainFrame takes what differs each time out of a frame of the client.
func plainFrame(t *testing.T, frame string) any {
	t.Helper()
	v, ok := jsonValue(t, frame).(map[string]any)
	if !ok {
		t.Fatalf("frame = %s, want an object", frame)
	}
	text, _ := v["id"].(string)
	if id, err := uuid.Parse(text); err != nil || id.Version() != 7 {
		t.Errorf("id of a frame = %q, want a UUIDv7", text)
	}
	sent, _ := v["sent_at"].(string)
	if _, err := time.Parse(time.RFC3339Nano, sent); err != nil || !strings.HasSuffix(sent, "Z") {
		t.Errorf("sent_at = %q, want UTC in RFC 3339", sent)
	}
	v["id"], v["sent_at"] = "", ""
	return v
}

func TestWorkerChannel(t *testing.T) {
	t.Parallel()
	c := talking(t, nil, func(s *socket, r *http.Request) {
		if got, want := r.URL.EscapedPath(), "/api/work_pools/my%20pool%2F1/workers/connect"; got != want {
			t.Errorf("path = %s, want %s", got, want)
		}
		s.hello()
		s.write(
			`{"type":"worker.greeting.v7"}`,
			readyFrame(`{"consumer_id"`, `{"novelty":[1],"consumer_id"`, `"worker_id":null`, `"worker_id":"cloud-1"`, `"id":"q1"`, `"id":"q1","new":1`),
			snapshotFrame(3, "true"), snapshotFrame(2, "false"), snapshotFrame(3, "false"),
			`{"type":"news","payload":"of a later Prefect"}`, `{}`, `{"payload":5}`,
			serverFrame("cleanup.message.v1", `{"message_id":"m","reservation_token":"t","lease_expires_at":"2026-11-23T23:26:09Z"}`), // not asked for
			serverFrame("cleanup.operation_result.v1", `{"request_frame_id":"r","status":"accepted"}`),
			readyFrame(), // once more
			snapshotFrame(4, "false"),
		)
		s.close(websocket.StatusGoingAway, "restart")
	})
	var log []string
	o := channelOptions(&log)
	before := time.Now()
	o.Ready = func(r ChannelReady) {
		if r.Beat.Before(before) || time.Since(r.Beat) < 0 {
			t.Errorf("the hello was sent at %s, it is %s", r.Beat, time.Now())
		}
		template := string(r.Pool.BaseJobTemplate)
		r.Beat, r.Pool.BaseJobTemplate = time.Time{}, nil
		want := ChannelReady{
			WorkerID: "cloud-1", Heartbeat: 30 * time.Second, WorkQueues: []string{"default"},
			Pool: WorkPool{ID: "5f3bd7a0-2a7e-4d7b-9a43-0b7a2f3c4d5e", Name: "p", Type: "northflank", Status: "READY"},
		}
		if diff := cmp.Diff(want, r); diff != "" {
			t.Errorf("ready (-want +got):\n%s", diff)
		}
		if want := `{"job_configuration":{"b":1,"a":2}}`; template != want {
			t.Errorf("template = %s, want %s", template, want)
		}
		log = append(log, "ready")
	}
	err := c.WorkerChannel(t.Context(), o)
	if diff := cmp.Diff([]string{"ready", "paused true", "paused false"}, log); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	const want = "worker channel: GET /work_pools/my%20pool%2F1/workers/connect: closed by the server, close code 1001: restart (prefect)"
	if e := channelError(t, err); err.Error() != want || e.Reason != ChannelConnectionLost || e.Refused || !errors.Is(err, ErrUnavailable) {
		t.Errorf("WorkerChannel() = %v, %s, refused %v, want %s", err, e.Reason, e.Refused, want)
	}
}

func TestChannelHello(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		edit  func(*Settings)
		o     func(*ChannelOptions)
		token string
		want  string
	}{
		{
			"least", nil, func(*ChannelOptions) {}, `null`,
			`{"consumer_id":"` + consumerID + `","worker_name":"w1","worker_type":"northflank","heartbeat_interval_seconds":30,` +
				`"supported_channel_versions":["work_pool_worker_channel.v1"],"requested_capabilities":["worker_heartbeat.v1","work_pool_snapshot.v1"],` +
				`"work_queue_names":[],"handled_cleanup_kinds":[],"max_cleanup_concurrency":0,"create_pool_if_not_found":false,` +
				`"default_base_job_template":{},"worker_metadata":null}`,
		},
		{
			"all", func(s *Settings) { s.AuthString, s.APIKey = secretValue("user:secret"), secretValue("pnu_k") }, func(o *ChannelOptions) {
				o.Heartbeat, o.WorkQueues, o.CreatePool = 500*time.Millisecond, []string{"a", "b"}, true
				o.BaseJobTemplate, o.Metadata = json.RawMessage(`{"variables":{}}`), json.RawMessage(`{"integrations":[]}`)
				o.Cleanup, o.CleanupLimit = func(context.Context, CleanupMessage) CleanupRelease { return CleanupDone }, 5
			},
			`"user:secret"`,
			`{"consumer_id":"` + consumerID + `","worker_name":"w1","worker_type":"northflank","heartbeat_interval_seconds":1,` +
				`"supported_channel_versions":["work_pool_worker_channel.v1"],` +
				`"requested_capabilities":["worker_heartbeat.v1","work_pool_snapshot.v1","cleanup_delivery.v1"],` +
				`"work_queue_names":["a","b"],"handled_cleanup_kinds":["cancelling_timeout_teardown.v1"],"max_cleanup_concurrency":5,` +
				`"create_pool_if_not_found":true,"default_base_job_template":{"variables":{}},"worker_metadata":{"integrations":[]}}`,
		},
		{
			"cleanups one at a time, with a key", func(s *Settings) { s.APIKey = secretValue("pnu_k") }, func(o *ChannelOptions) {
				o.Cleanup = func(context.Context, CleanupMessage) CleanupRelease { return CleanupDone }
			},
			`"pnu_k"`,
			`{"consumer_id":"` + consumerID + `","worker_name":"w1","worker_type":"northflank","heartbeat_interval_seconds":30,` +
				`"supported_channel_versions":["work_pool_worker_channel.v1"],` +
				`"requested_capabilities":["worker_heartbeat.v1","work_pool_snapshot.v1","cleanup_delivery.v1"],` +
				`"work_queue_names":[],"handled_cleanup_kinds":["cancelling_timeout_teardown.v1"],"max_cleanup_concurrency":1,` +
				`"create_pool_if_not_found":false,"default_base_job_template":{},"worker_metadata":null}`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := talking(t, test.edit, func(s *socket, _ *http.Request) {
				if got, want := s.read(), `{"token":`+test.token+`,"type":"auth"}`; got != want {
					t.Errorf("first frame = %s, want %s", got, want)
				}
				s.write(authSuccess)
				want := jsonValue(t, `{"type":"worker.hello.v1","id":"","sent_at":"","payload":`+test.want+`}`)
				if diff := cmp.Diff(want, plainFrame(t, s.read())); diff != "" {
					t.Errorf("hello (-want +got):\n%s", diff)
				}
				s.close(websocket.StatusNormalClosure, "")
			})
			var log []string
			o := channelOptions(&log)
			test.o(&o)
			if e := channelError(t, c.WorkerChannel(t.Context(), o)); e.Reason != ChannelConnectionLost || len(log) > 0 {
				t.Errorf("WorkerChannel() = %v after %q, want the server's normal close", e, log)
			}
		})
	}
}

func TestChannelEnds(t *testing.T) {
	t.Parallel()
	closes := func(code websocket.StatusCode, reason string) func(*socket) {
		return func(s *socket) { s.hello(); s.close(code, reason) }
	}
	answers := func(frame string) func(*socket) {
		return func(s *socket) { s.hello(); s.write(frame); _, _, _ = s.conn.Read(s.ctx) }
	}
	later := func(do func(*socket)) func(*socket) {
		return func(s *socket) { s.welcomeWorker(); do(s); _, _, _ = s.conn.Read(s.ctx) }
	}
	tests := []struct {
		name    string
		talk    func(*socket)
		ready   bool
		reason  ChannelReason
		refused bool
		is      error
		want    string // in the error
		hint    string
	}{
		{"token refused", func(s *socket) { s.read(); s.close(1008, "authentication_failed") }, false, ChannelAuthentication, true, ErrUnauthorized, "401 unauthorized: authentication refused, close code 1008: authentication_failed", "PREFECT_API_AUTH_STRING"},
		{"token refused in other words", func(s *socket) { s.read(); s.close(1008, "Invalid token user:secret") }, false, ChannelAuthentication, true, ErrUnauthorized, "Invalid token ***", "PREFECT_API_AUTH_STRING"},
		{"closed instead of the verdict", func(s *socket) { s.read(); s.close(1011, "") }, false, ChannelServerError, false, ErrUnavailable, "close code 1011", "base job template"},
		{"authentication later", later(func(s *socket) { s.close(1008, "authentication_failed") }), true, ChannelAuthentication, true, ErrUnauthorized, "401", ""},
		{"pool missing", closes(1008, "authorization_failed"), false, ChannelAuthorization, true, ErrForbidden, "403 forbidden: closed by the server, close code 1008: authorization_failed", "work pool is missing"},
		{"pool deleted", later(func(s *socket) { s.close(1008, "authorization_failed") }), true, ChannelAuthorization, true, ErrForbidden, "authorization_failed", "just deleted"},
		{"no common version", closes(1008, "unsupported_version"), false, ChannelUnsupportedVersion, true, ErrInvalid, "unsupported_version", "releases"},
		{"hello refused", closes(1002, "protocol_error"), false, ChannelProtocolError, true, ErrInvalid, "protocol_error", "releases"},
		{"hello too large", closes(1009, ""), false, ChannelProtocolError, true, ErrInvalid, "close code 1009", "releases"},
		{"heartbeat refused", later(func(s *socket) { s.close(1002, "protocol_error") }), true, ChannelProtocolError, true, ErrInvalid, "protocol_error", "releases"},
		{"heartbeat not stored", later(func(s *socket) { s.close(1011, "heartbeat_persistence_failed") }), true, ChannelHeartbeatLost, false, ErrUnavailable, "heartbeat_persistence_failed", ""},
		{"server error", closes(1011, "transient_server_error"), false, ChannelServerError, false, ErrUnavailable, "transient_server_error", "base job template"},
		{"unknown 1008", later(func(s *socket) { s.close(1008, "nope user:secret") }), true, ChannelAuthorization, true, ErrForbidden, "close code 1008: nope ***", "missing"},
		{"unknown 1002", later(func(s *socket) { s.close(1002, "") }), true, ChannelProtocolError, true, ErrInvalid, "close code 1002", "releases"},
		{"unknown 1011", later(func(s *socket) { s.close(1011, "oops") }), true, ChannelServerError, false, ErrUnavailable, "close code 1011: oops", ""},
		{"reason against code", later(func(s *socket) { s.close(1008, "transient_server_error") }), true, ChannelServerError, false, ErrUnavailable, "transient", ""},
		{"service restart", later(func(s *socket) { s.close(1012, "") }), true, ChannelConnectionLost, false, ErrUnavailable, "close code 1012", ""},
		{"cut", later(func(s *socket) { _ = s.conn.CloseNow() }), true, ChannelConnectionLost, false, ErrUnavailable, "connection lost: ", ""},
		{"no JSON", answers(`hello`), false, ChannelProtocolError, true, ErrUnavailable, "unreadable answer to the hello", "releases"},
		{"snapshot instead of ready", answers(snapshotFrame(1, "true")), false, ChannelProtocolError, true, ErrUnavailable, "the answer to the hello is work_pool.snapshot.v1", "releases"},
		{"another consumer", answers(readyFrame(consumerID, "x")), false, ChannelProtocolError, true, ErrUnavailable, "for another consumer", "releases"},
		{"another version", answers(readyFrame("channel.v1", "channel.v2")), false, ChannelProtocolError, true, ErrUnavailable, "work_pool_worker_channel.v2", "releases"},
		{"heartbeats refused", answers(readyFrame(`["worker_heartbeat.v1",`, "[")), false, ChannelProtocolError, true, ErrUnavailable, "not accepted", "releases"},
		{"heartbeats without an interval", answers(readyFrame(`seconds":30`, `seconds":0`)), false, ChannelProtocolError, true, ErrUnavailable, "a heartbeat each 0 s", "releases"},
		{"heartbeats once in a lifetime", answers(readyFrame(`seconds":30`, `seconds":9999999`)), false, ChannelProtocolError, true, ErrUnavailable, "out of range", "releases"},
		{"later snapshot first", answers(readyFrame(`sequence":1`, `sequence":2`)), false, ChannelProtocolError, true, ErrUnavailable, "not the initial one", "releases"},
		{"cleanups unasked", answers(readyFrame(readyForCleanups...)), false, ChannelProtocolError, true, ErrUnavailable, "nobody asked for", "releases"},
		{"cleanups, none at once", answers(readyFrame(readyForCleanups[:2]...)), false, ChannelProtocolError, true, ErrUnavailable, "limit of 0 cleanups", "releases"},
		{"pool without a template", answers(readyFrame("%POOL%", `{"id":"i","name":"p","base_job_template":null}`)), false, ChannelProtocolError, true, ErrUnavailable, "without a base job template", "releases"},
		{"unreadable frame", later(func(s *socket) { s.write(`{"type":`) }), true, ChannelProtocolError, true, ErrUnavailable, "unreadable frame", "releases"},
		{"unreadable snapshot", later(func(s *socket) {
			s.write(serverFrame("work_pool.snapshot.v1", `{"snapshot_sequence":"user:secret"}`))
		}), true, ChannelProtocolError, true, ErrUnavailable, "unreadable frame: work_pool.snapshot.v1", "releases"},
		{"snapshot without a pool", later(func(s *socket) { s.write(serverFrame("work_pool.snapshot.v1", `{"snapshot_sequence":2}`)) }), true, ChannelProtocolError, true, ErrUnavailable, "without a base job template", "releases"},
		{"frame too large", later(func(s *socket) {
			// The write may fail half-way, when the client has hung up.
			_ = s.conn.Write(s.ctx, websocket.MessageText, bytes.Repeat([]byte(" "), maxChannelFrame+1))
		}), true, ChannelProtocolError, true, ErrUnavailable, "larger than 16 MiB", "releases"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := talking(t, func(s *Settings) { s.AuthString = secretValue("user:secret") }, func(s *socket, _ *http.Request) { test.talk(s) })
			var log []string
			err := c.WorkerChannel(t.Context(), channelOptions(&log))
			e := channelError(t, err)
			if e.Reason != test.reason || e.Refused != test.refused || !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("WorkerChannel() = %v, %s, refused %v, want %q, %s, %v", err, e.Reason, e.Refused, test.want, test.reason, test.refused)
			}
			if ready := slices.Contains(log, "ready 30s [default]"); ready != test.ready {
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

func TestChannelUpgradeRefused(t *testing.T) {
	t.Parallel()
	const notWebsockets = "may not pass websockets"
	tests := []struct {
		status  int
		body    string // HTML unless it is JSON
		reason  ChannelReason
		refused bool
		is      error
		hint    string
	}{
		{401, `{"exception_message":"Unauthorized"}`, ChannelAuthentication, true, ErrUnauthorized, "PREFECT_API_KEY"},
		{403, "", ChannelAuthorization, true, ErrForbidden, "an older Prefect server has no worker channel; if yours has one: a proxy"},
		{404, `{"detail":"Not Found"}`, ChannelUnavailable, true, ErrUnavailable, notWebsockets},
		{405, "<html>", ChannelUnavailable, true, ErrUnavailable, notWebsockets},
		{400, "<html>", ChannelUnavailable, true, ErrUnavailable, notWebsockets},
		{200, "<html>", ChannelUnavailable, true, ErrUnavailable, notWebsockets},
		{302, "", ChannelUnavailable, true, ErrUnavailable, "PREFECT_API_URL"},
		{429, `{}`, ChannelServerError, false, ErrUnavailable, ""},
		{502, "<html>", ChannelServerError, false, ErrUnavailable, "PREFECT_API_URL"},
		{503, `{"exception_message":"Service Unavailable"}`, ChannelServerError, false, ErrUnavailable, ""},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.status), func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				if strings.HasPrefix(test.body, "{") {
					w.Header().Set("Content-Type", "application/json")
				}
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
			var log []string
			err = c.WorkerChannel(t.Context(), channelOptions(&log))
			if e := channelError(t, err); e.Reason != test.reason || e.Refused != test.refused || !errors.Is(err, test.is) || len(log) > 0 {
				t.Errorf("WorkerChannel() = %v, %s, refused %v after %q, want %s, %v", err, e.Reason, e.Refused, log, test.reason, test.refused)
			}
			if hint := errorDetails(t, err).Hint(); !strings.Contains(hint, test.hint) || (hint == "") != (test.hint == "") {
				t.Errorf("hint = %q, want %q in it", hint, test.hint)
			}
			if strings.Contains(err.Error(), "pnu_k") {
				t.Errorf("the error shows the key: %v", err)
			}
			if len(calls) != 1 || calls[0].Route != "/work_pools/{work_pool_name}/workers/connect" || calls[0].Attempts != 1 {
				t.Errorf("observed %+v, want one call of the channel", calls)
			}
		})
	}
}

func TestChannelToNobody(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	server.Close()
	var log []string
	err := clientOf(t, server.URL, nil).WorkerChannel(t.Context(), channelOptions(&log))
	if e := channelError(t, err); e.Reason != ChannelConnectionLost || e.Refused || errorDetails(t, err).Hint() == "" {
		t.Errorf("WorkerChannel() = %v, %s, refused %v, want a lost connection with a hint", err, e.Reason, e.Refused)
	}
}

// What Prefect would not take is not sent.
func TestChannelHelloIsTooLarge(t *testing.T) {
	t.Parallel()
	for name, template := range map[string]string{
		"too large": `{"x":"` + strings.Repeat("x", maxChannelFrame) + `"}`,
		"no JSON":   `{"x":`,
	} {
		c := talking(t, nil, func(s *socket, _ *http.Request) {
			s.read()
			s.write(authSuccess)
			if _, data, err := s.conn.Read(s.ctx); err == nil {
				t.Errorf("%s: the hello was sent, %d bytes", name, len(data))
			}
		})
		var log []string
		o := channelOptions(&log)
		o.BaseJobTemplate = json.RawMessage(template)
		if e := channelError(t, c.WorkerChannel(t.Context(), o)); e.Reason != ChannelProtocolError || !e.Refused || len(e.Error()) > 500 {
			t.Errorf("%s: WorkerChannel() = %v, %s, refused %v, want a short refusal", name, e, e.Reason, e.Refused)
		}
	}
}

func TestChannelHeartbeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c, _ := inMemoryClient(t, func(s *socket, _ *http.Request) {
			s.welcomeWorker(`seconds":30`, `seconds":45`)
			for i := range 100 {
				want := jsonValue(t, `{"type":"worker.heartbeat.v1","id":"","sent_at":"","payload":`+
					`{"consumer_id":"`+consumerID+`","worker_name":"w1","heartbeat_interval_seconds":45}}`)
				if diff := cmp.Diff(want, plainFrame(t, s.read())); diff != "" {
					t.Errorf("heartbeat (-want +got):\n%s", diff)
				}
				if at := time.Since(began); at != time.Duration(i+1)*45*time.Second {
					t.Errorf("heartbeat %d came after %s", i, at)
				}
			}
			s.close(websocket.StatusGoingAway, "")
		})
		var log []string
		o := channelOptions(&log)
		o.Beat = func(sent time.Time) { log = append(log, sent.Sub(began).String()) }
		if e := channelError(t, c.WorkerChannel(t.Context(), o)); e.Reason != ChannelConnectionLost {
			t.Errorf("WorkerChannel() = %v, want the server's close", e)
		}
		if len(log) < 100 || log[0] != "ready 45s [default]" || log[1] != "45s" || log[99] != "1h14m15s" {
			t.Errorf("calls = %q, want ready and 99 heartbeats or one more", log)
		}
	})
}

func TestChannelStopsWithTheContext(t *testing.T) {
	t.Parallel()
	for name, talk := range map[string]func(*socket){
		"before the verdict": func(s *socket) { s.read(); _, _, _ = s.conn.Read(s.ctx) },
		"before ready":       func(s *socket) { s.hello(); _, _, _ = s.conn.Read(s.ctx) },
		"when up":            func(s *socket) { s.welcomeWorker(); _, _, _ = s.conn.Read(s.ctx) },
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := inMemoryClient(t, func(s *socket, _ *http.Request) { talk(s) })
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(5*time.Second, func() { cancel(errors.New("the worker stops")) })
			var log []string
			err := c.WorkerChannel(ctx, channelOptions(&log))
			if e := channelError(t, err); e.Reason != ChannelStopped || e.Refused || !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: WorkerChannel() = %v, %s, want it stopped", name, err, e.Reason)
			}
		})
	}
}

func TestChannelSetupTakesTooLong(t *testing.T) {
	t.Parallel()
	for name, talk := range map[string]func(*socket){
		"no verdict": func(s *socket) { s.read(); _, _, _ = s.conn.Read(s.ctx) },
		"not ready":  func(s *socket) { s.hello(); _, _, _ = s.conn.Read(s.ctx) },
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := inMemoryClient(t, func(s *socket, _ *http.Request) { talk(s) })
			start := time.Now()
			var log []string
			err := c.WorkerChannel(t.Context(), channelOptions(&log))
			if e := channelError(t, err); e.Reason != ChannelSetupTimeout || e.Refused || time.Since(start) != channelSetupTimeout {
				t.Errorf("%s: WorkerChannel() = %v, %s after %s, want no answer within 10 s", name, err, e.Reason, time.Since(start))
			}
		})
	}
}

// A server that is silent is alive as long as it answers pings.
func TestChannelPings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const dies = 2*time.Hour + time.Second
		c, lost := inMemoryClient(t, func(s *socket, _ *http.Request) {
			s.welcomeWorker()
			for {
				if _, _, err := s.conn.Read(s.ctx); err != nil {
					return
				}
			}
		})
		start := time.Now()
		time.AfterFunc(dies, func() { lost.Store(true) })
		var log []string
		err := c.WorkerChannel(t.Context(), channelOptions(&log))
		if e := channelError(t, err); e.Reason != ChannelConnectionLost || !strings.Contains(err.Error(), "connection lost: ping: no answer within 10s") {
			t.Errorf("WorkerChannel() = %v, %s, want a dead connection", err, e.Reason)
		}
		if took := time.Since(start) - dies; took <= 0 || took > pingEvery+pingTimeout {
			t.Errorf("noticed %s after it died", took)
		}
	})
}
