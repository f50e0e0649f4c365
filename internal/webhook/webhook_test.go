package webhook_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/webhook"
)

const (
	testSecret = "0123456789abcdef-webhook"
	header     = "X-Northflank-Notification-Integration-"
)

// receiver is a handler with what it received.
type receiver struct {
	http.Handler
	mu  sync.Mutex
	all []webhook.Notification
}

func newReceiver(change ...func(*webhook.Options)) *receiver {
	rc := &receiver{}
	o := webhook.Options{Secret: secret.New(testSecret), Path: "/hook", Receive: func(n webhook.Notification) {
		rc.mu.Lock()
		defer rc.mu.Unlock()
		rc.all = append(rc.all, n)
	}}
	for _, f := range change {
		f(&o)
	}
	rc.Handler = webhook.NewHandler(o)
	return rc
}

// request is a notification as Northflank sends it; headers are name, value
// pairs without the common prefix.
func request(body string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(body))
	r.Header.Set(header+"Token", testSecret)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(header+headers[i], headers[i+1])
	}
	return r
}

func (rc *receiver) post(r *http.Request) int {
	w := httptest.NewRecorder()
	rc.ServeHTTP(w, r)
	return w.Code
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	whole := webhook.Notification{Event: "job-run:failure", ProjectID: "data", JobID: "pf-x", RunID: "r-1"}
	without := func(change func(*webhook.Notification)) []webhook.Notification {
		n := whole
		change(&n)
		return []webhook.Notification{n}
	}
	ids := func(event string) string {
		return `{"event":"` + event + `","data":{"project":{"id":"data","name":"Data"},"job":{"id":"pf-x","name":"pf x"},"run":{"id":"r-1","status":"FAILED"}}}`
	}
	tests := []struct {
		name    string
		body    string
		headers []string
		status  int
		want    []webhook.Notification
	}{
		{"whole", ids("job-run:failure"), nil, 200, []webhook.Notification{whole}},
		{"event with trigger", ids("trigger:job-run:failure"), nil, 200, []webhook.Notification{whole}},
		{"event in the header alone", strings.Replace(ids(""), `"event":"",`, "", 1), []string{"Event-Type", "job-run:failure"}, 200, []webhook.Notification{whole}},
		{"event in the header alone, with trigger", strings.Replace(ids(""), `"event":"",`, "", 1), []string{"Event-Type", "trigger:job-run:failure"}, 200, []webhook.Notification{whole}},
		{"body wins over the header", ids("job-run:failure"), []string{"Event-Type", "job-run:abort"}, 200, []webhook.Notification{whole}},
		{"run under another name", strings.Replace(ids("job-run:failure"), `"run"`, `"jobRun"`, 1), nil, 200, []webhook.Notification{whole}},
		{"success", ids("job-run:success"), nil, 200, without(func(n *webhook.Notification) { n.Event = "job-run:success" })},
		{"abort", ids("job-run:abort"), nil, 200, without(func(n *webhook.Notification) { n.Event = "job-run:abort" })},
		{"terminate", ids("job-run:terminate"), nil, 200, without(func(n *webhook.Notification) { n.Event = "job-run:terminate" })},
		{"crash", ids("infrastructure:job:container-crash"), nil, 200, without(func(n *webhook.Notification) { n.Event = "infrastructure:job:container-crash" })},
		{"eviction", ids("infrastructure:job:container-eviction"), nil, 200, without(func(n *webhook.Notification) { n.Event = "infrastructure:job:container-eviction" })},
		{"without the run", `{"event":"job-run:failure","data":{"job":{"id":"pf-x"},"project":{"id":"data"}}}`, nil, 200, without(func(n *webhook.Notification) { n.RunID = "" })},
		{"without any id", `{"event":"job-run:failure"}`, nil, 200, []webhook.Notification{{Event: "job-run:failure"}}},
		{"ids of other kinds", `{"event":"job-run:failure","data":{"job":"pf-x","project":{"id":7},"run":[1],"jobRun":{"id":null}}}`, nil, 200, []webhook.Notification{{Event: "job-run:failure"}}},
		{"id that is none", `{"event":"job-run:failure","data":{"job":{"id":"` + strings.Repeat("x", 1000) + `"}}}`, nil, 200, []webhook.Notification{{Event: "job-run:failure"}}},
		{"unknown fields", `{"version":2,"event":"job-run:failure","data":{"new":{},"job":{"id":"pf-x","uid":1},"project":{"id":"data"},"run":{"id":"r-1"}}}`, nil, 200, []webhook.Notification{whole}},

		{"start", ids("job-run:start"), nil, 200, nil},
		{"event of something else", ids("build:start"), nil, 200, nil},
		{"no event", `{}`, nil, 200, nil},
		{"event that is no text", `{"event":{}}`, nil, 200, nil},
		{"list", `[]`, nil, 200, nil},
		{"null", `null`, nil, 200, nil},
		{"no JSON", `event=job-run:failure`, nil, 400, nil},
		{"half a body", ids("job-run:failure")[:40], nil, 400, nil},
		{"two bodies", `{} {}`, nil, 400, nil},
		{"empty", ``, nil, 400, nil},
		{"1 MiB", `{"event":"job-run:failure","data":"` + strings.Repeat("x", 1<<20-37) + `"}`, nil, 200, []webhook.Notification{{Event: "job-run:failure"}}},
		{"more than 1 MiB", `{"event":"job-run:failure","data":"` + strings.Repeat("x", 1<<20-36) + `"}`, nil, 413, nil},

		{"wrong token", ids("job-run:failure"), []string{"Token", "0123456789abcdef-webhooK"}, 401, nil},
		{"beginning of the token", ids("job-run:failure"), []string{"Token", testSecret[:16]}, 401, nil},
		{"token and more", ids("job-run:failure"), []string{"Token", testSecret + "x"}, 401, nil},
		{"no token", ids("job-run:failure"), []string{"Token", ""}, 401, nil},
		{"wrong token and no JSON", `x`, []string{"Token", "x"}, 401, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rc := newReceiver()
			if status := rc.post(request(tt.body, tt.headers...)); status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			if diff := cmp.Diff(tt.want, rc.all); diff != "" {
				t.Errorf("notifications (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path, method, url string
		status                  int
	}{
		{"its path", "/hook", "POST", "/hook", 400},
		{"its path with a query", "/hook", "POST", "/hook?a=b", 400},
		{"another path", "/hook", "POST", "/", 404},
		{"below its path", "/hook", "POST", "/hook/", 404},
		{"no path", "", "POST", "/", 400},
		{"GET", "/hook", "GET", "/hook", 405},
		{"PUT", "/hook", "PUT", "/hook", 405},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rc := newReceiver(func(o *webhook.Options) { o.Path = tt.path })
			r := httptest.NewRequest(tt.method, tt.url, strings.NewReader("no JSON"))
			r.Header.Set(header+"Token", testSecret)
			w := httptest.NewRecorder()
			rc.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			if allow := w.Header().Get("Allow"); (allow == "POST") != (tt.status == 405) {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
}

// Without a secret nobody gets in, not even who sends none.
func TestWithoutSecret(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"", "x"} {
		rc := newReceiver(func(o *webhook.Options) { o.Secret = secret.Value{} })
		if status := rc.post(request(`{"event":"job-run:failure"}`, "Token", token)); status != 401 || len(rc.all) > 0 {
			t.Errorf("token %q: status %d, %d notifications, want 401 and none", token, status, len(rc.all))
		}
	}
}

// unread is a body that must not be looked at.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read before the token was compared")
	return 0, io.EOF
}

func TestTokenComesBeforeBody(t *testing.T) {
	t.Parallel()
	r := request("", "Token", "wrong")
	r.Body = io.NopCloser(unread{t})
	if status := newReceiver().post(r); status != 401 {
		t.Errorf("status %d, want 401", status)
	}
}

func TestDoubled(t *testing.T) {
	t.Parallel()
	const body = `{"event":"job-run:failure"}`
	const kept = 10_000
	rc := newReceiver()
	post := func(id string) {
		t.Helper()
		if status := rc.post(request(body, "Event-Id", id)); status != 200 {
			t.Fatalf("event %s: status %d, want 200", id, status)
		}
	}
	count := func(want int, what string) {
		t.Helper()
		if got := len(rc.all); got != want {
			t.Errorf("%s: %d notifications, want %d", what, got, want)
		}
	}
	post("a")
	post("a")
	count(1, "the same event twice")
	for i := range kept - 1 {
		post(fmt.Sprint(i))
	}
	post("a")
	count(kept, "the oldest that is remembered")
	post("one more")
	post("a")
	count(kept+2, "one that is forgotten")
	for range 2 {
		post("")
		post(strings.Repeat("x", 1000))
	}
	count(kept+6, "events without a sensible id")
}

// broken is a body whose sender goes away in the middle.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestBodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	r := request("")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"event":"job-run:failure"}`), broken{}))
	rc := newReceiver()
	if status := rc.post(r); status != 400 || len(rc.all) > 0 {
		t.Errorf("status %d, %d notifications, want 400 and none", status, len(rc.all))
	}
}

// A malformed notification does not make its repetition a doubled one.
func TestMalformedIsNotRemembered(t *testing.T) {
	t.Parallel()
	rc := newReceiver()
	rc.post(request(`{"event":`, "Event-Id", "a"))
	rc.post(request(`{"event":"job-run:failure"}`, "Event-Id", "a"))
	if len(rc.all) != 1 {
		t.Errorf("%d notifications, want 1", len(rc.all))
	}
}

func TestDoubledAtOnce(t *testing.T) {
	t.Parallel()
	rc := newReceiver()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { rc.post(request(`{"event":"job-run:failure"}`, "Event-Id", "a")) })
	}
	all.Wait()
	if len(rc.all) != 1 {
		t.Errorf("%d notifications, want 1", len(rc.all))
	}
}

// Wrong tokens are told of once a minute, with where they came from and without
// what they were.
func TestRefusalsAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		rc := newReceiver(func(o *webhook.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		for range 130 { // one a second
			rc.post(request("{}", "Token", "guess-0123456789"))
			time.Sleep(time.Second)
		}
		var got []string
		for line := range strings.Lines(log.String()) {
			_, rest, _ := strings.Cut(line, "level=")
			rest, _, _ = strings.Cut(rest, " hint=")
			got = append(got, rest)
		}
		const refused = `WARN msg="webhook notification refused: wrong or missing token" remote=192.0.2.1:1234 refused=`
		if diff := cmp.Diff([]string{refused + "1", refused + "60", refused + "60"}, got); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		if strings.Contains(log.String(), "guess") || strings.Contains(log.String(), testSecret) {
			t.Errorf("a token is shown:\n%s", &log)
		}
	})
}

func TestEvents(t *testing.T) {
	t.Parallel()
	want := map[string]bool{
		"trigger:job-run:success": true, "trigger:job-run:failure": true, "trigger:job-run:abort": true, "trigger:job-run:terminate": true,
		"trigger:infrastructure:job:container-crash": true, "trigger:infrastructure:job:container-eviction": true,
	}
	if diff := cmp.Diff(want, webhook.Events()); diff != "" {
		t.Errorf("Events() (-want +got):\n%s", diff)
	}
}

func TestCheckSecret(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, secret string
		want         bool
	}{
		{"16 characters", "0123456789abcdef", true},
		{"every sign", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", true},
		{"15 characters", "0123456789abcde", false},
		{"none", "", false},
		{"line break", "0123456789abcdef\n", false},
		{"space", "0123456789 abcdef", false},
		{"letter outside ASCII", "0123456789abcdeß", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := webhook.CheckSecret(secret.New(tt.secret))
			if (err == nil) != tt.want {
				t.Errorf("CheckSecret() = %v, want taken %v", err, tt.want)
			}
			if err != nil && tt.secret != "" && strings.Contains(err.Error(), tt.secret) {
				t.Errorf("the secret is shown: %v", err)
			}
		})
	}
}
