package status_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/status"
	"github.com/northflank/prefect-northflank/internal/worker"
)

const statusToken = "0123456789abcdef-status"

// ask gets a path of the page as a browser on this machine would.
func ask(t *testing.T, h http.Handler, path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:8081"+path, nil)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// busyStatus is a worker with a live flow run, an ended one, and troubles.
func busyStatus() worker.Status { return busyStatusAt(readyStatus().Now) }

func busyStatusAt(now time.Time) worker.Status {
	s := readyStatusAt(now)
	s.Limit, s.Full, s.Waiting, s.Pool.Paused = 1, true, 7, true
	s.Accounts = []worker.Account{{API: "https://api.northflank.com", Team: "acme", Budget: northflank.Budget{Limit: 1000, Remaining: 412, ResetAt: s.Now.Add(30 * time.Minute)}}}
	s.FlowRuns = []worker.LiveFlowRun{{
		ID: "id-1", Name: "<script>alert(1)</script>", Phase: worker.PhaseRunning, Since: s.Now.Add(-time.Minute),
		API: "https://api.northflank.com", Team: "acme", Project: "data", Job: "pf-job", JobRun: "run-1",
	}}
	s.Outcomes = []worker.Outcome{{At: s.Now, ID: "id-0", Name: "first", State: "crashed", Reason: "out_of_memory", Text: "The container ran out of memory."}}
	s.Troubles = []worker.Trouble{
		{Subject: "polling", Text: "503", Last: s.Now},
		{Subject: "starting job runs", Text: "403 forbidden", Last: s.Now},
		{Subject: "forgotten", Text: "500", Last: s.Now.Add(-time.Hour)},
	}
	s.Refusals = []worker.Refusal{{Project: "data", Text: "403 forbidden", Cause: "forbidden", Denied: true, Since: s.Now, Until: s.Now.Add(time.Minute)}}
	return s
}

func TestPage(t *testing.T) {
	t.Parallel()
	stats := worker.NewStats()
	stats.NorthflankCalls.Add(40, "start", "POST", "/jobs", "200")
	stats.NorthflankCalls.Add(2, "start", "POST", "/jobs", worker.CallHeldBack)
	page := status.Page(status.PageOptions{Source: scripted{status: busyStatus()}, Stats: stats, Version: "1.2.3", UI: "http://prefect.test/"})
	w := ask(t, page, "/")
	text := w.Body.String()
	for _, want := range []string{
		"not ready", "my-pool", "version 1.2.3", "<b class=\"big\">412</b> of 1000 left", `<rect width="41" height="6"/><line x1="50"`, "40 start",
		`href="http://prefect.test/runs/flow-run/id-1"`, `href="https://app.northflank.com/t/acme/project/data/jobs/pf-job"`, `href="http://prefect.test/work-pools/work-pool/my-pool"`,
		"&lt;script&gt;alert(1)", "The container ran out of memory.", "The work pool is paused.", "The limit of 1 flow runs is reached.", "Project data takes no job runs", "polling",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	for _, unwanted := range []string{"<script>alert", "forgotten", "42 start"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("the page shows %q", unwanted)
		}
	}
	if n := strings.Count(text, "403 forbidden"); n != 1 {
		t.Errorf("the refusal is told %d times, want once", n)
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", w.Header())
	}
	for _, path := range []string{"/page.css", "/page.js"} {
		if w := ask(t, page, path); w.Code != http.StatusOK {
			t.Errorf("%s = %d", path, w.Code)
		}
	}
	if w := ask(t, page, "/page.html"); w.Code != http.StatusNotFound {
		t.Errorf("the template itself is served: %d", w.Code)
	}
}

func TestPageLeavesOutManyRows(t *testing.T) {
	t.Parallel()
	s := readyStatus()
	for i := range 120 {
		s.FlowRuns = append(s.FlowRuns, worker.LiveFlowRun{ID: fmt.Sprint("id-", i), Name: fmt.Sprint("name-", i), Phase: worker.PhaseBooting})
	}
	text := ask(t, status.Page(status.PageOptions{Source: scripted{status: s}, Stats: worker.NewStats()}), "/").Body.String()
	if !strings.Contains(text, "name-99<") || strings.Contains(text, "name-100<") || !strings.Contains(text, "20 younger ones") || !strings.Contains(text, "120 booting") {
		t.Error("want the 100 oldest flow runs, and how many are not shown")
	}
}

func TestPageAdmits(t *testing.T) {
	t.Parallel()
	host := func(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }
	password := func(p string) func(*http.Request) { return func(r *http.Request) { r.SetBasicAuth("me", p) } }
	bearer := func(p string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+p) }
	}
	tests := []struct {
		name    string
		token   string
		request func(*http.Request)
		want    int
	}{
		{"this machine", "", host("127.0.0.1:8081"), http.StatusOK},
		{"this machine by name", "", host("localhost:8081"), http.StatusOK},
		{"this machine by IPv6", "", host("[::1]:8081"), http.StatusOK},
		{"a website's name for this machine", "", host("evil.example:8081"), http.StatusForbidden},
		{"no password", statusToken, host("worker.example"), http.StatusUnauthorized},
		{"a wrong password", statusToken, password("0123456789abcdef-other"), http.StatusUnauthorized},
		{"the password", statusToken, password(statusToken), http.StatusOK},
		{"a wrong bearer token", statusToken, bearer(""), http.StatusUnauthorized},
		{"the bearer token", statusToken, bearer(statusToken), http.StatusOK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			page := status.Page(status.PageOptions{Source: scripted{status: busyStatus()}, Stats: worker.NewStats(), Token: secret.New(tt.token)})
			for _, path := range []string{"/", "/page.js"} {
				w := ask(t, page, path, tt.request)
				if w.Code != tt.want {
					t.Errorf("%s = %d, want %d", path, w.Code, tt.want)
				}
				if asks := w.Header().Get("WWW-Authenticate") != ""; asks != (tt.want == http.StatusUnauthorized) || strings.Contains(w.Body.String(), statusToken) {
					t.Errorf("%s: WWW-Authenticate %t, body %q", path, asks, w.Body)
				}
			}
		})
	}
}

// changing is a worker whose status changes.
type changing struct {
	scripted
	mu sync.Mutex
}

func (c *changing) Status() worker.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Now = time.Now() // as time passes
	return s
}

// watch follows the page until stop is called, which returns what was sent.
func watch(t *testing.T, page http.Handler) (stop func() (events []string, alive int)) {
	ctx, cancel := context.WithCancel(t.Context())
	w, done := httptest.NewRecorder(), make(chan struct{})
	go func() {
		defer close(done)
		page.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/events", nil))
	}()
	return func() (events []string, alive int) {
		cancel()
		<-done
		if w.Code != http.StatusOK {
			t.Errorf("/events = %d %s", w.Code, w.Body)
		}
		for message := range strings.SplitSeq(w.Body.String(), "\n\n") {
			if message == ":" {
				alive++
			}
			var html string
			if data, ok := strings.CutPrefix(message, "event: state\ndata: "); ok && json.Unmarshal([]byte(data), &html) == nil {
				events = append(events, html)
			}
		}
		return events, alive
	}
}

// TestPageEvents: what changes is sent, what does not is not, and there is a
// sign of life in between.
func TestPageEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := &changing{}
		source.status = busyStatus()
		source.status.Accounts, source.status.Troubles = nil, nil
		page := status.Page(status.PageOptions{Source: source, Stats: worker.NewStats()})
		stop := watch(t, page)
		time.Sleep(time.Minute + time.Millisecond)
		source.mu.Lock()
		source.status.FlowRuns = []worker.LiveFlowRun{{ID: "id-1", Phase: worker.PhaseSettling}}
		source.mu.Unlock()
		time.Sleep(2 * time.Second)
		events, alive := stop()
		if len(events) != 2 || !strings.Contains(events[0], "1 running") || !strings.Contains(events[1], "1 settling") {
			t.Errorf("%d events, want one with the flow run running and one with it settling", len(events))
		}
		if alive < 3 {
			t.Errorf("%d signs of life in a minute, want 3 or more", alive)
		}
		var stops []func() ([]string, int)
		for range 32 {
			stops = append(stops, watch(t, page))
		}
		synctest.Wait()
		if w := ask(t, page, "/events"); w.Code != http.StatusServiceUnavailable {
			t.Errorf("browser 33 is answered with %d, want 503", w.Code)
		}
		for _, stop := range stops {
			stop()
		}
	})
}

// TestPageUnderFaults: the page tells what /readyz and the metrics tell.
func TestPageUnderFaults(t *testing.T) {
	t.Parallel()
	play(t, ourPool(), func(s *scene) {
		page := status.Page(status.PageOptions{Source: s.worker, Stats: s.worker.Stats})
		show := func() string { return ask(s.T, page, "/").Body.String() }
		if text := show(); !strings.Contains(text, ">ready<") {
			s.Error("the page is not ready when all is well")
		}
		s.northflankSays.Store(http.StatusForbidden)
		s.schedule("waits")
		time.Sleep(30 * time.Second)
		if text := show(); !strings.Contains(text, ">not ready<") || !strings.Contains(text, "Project local takes no job runs") || !strings.Contains(text, "<b>1</b><span class=\"soft\">scheduled") {
			s.Errorf("the page does not tell of the refusal:\n%s", text)
		}
		s.northflankSays.Store(0)
		time.Sleep(10 * time.Minute)
		if text := show(); !strings.Contains(text, ">ready<") || !strings.Contains(text, `<span title="`) || !strings.Contains(text, "completed") {
			s.Errorf("the page does not tell of the end:\n%s", text)
		}
	})
}
