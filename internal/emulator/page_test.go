package emulator

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newSocketTransport is an HTTP transport whose connections end with the test.
func newSocketTransport(t *testing.T) *http.Transport {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func listen(t *testing.T, s *Server) (http.RoundTripper, string) {
	t.Helper()
	url, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newSocketTransport(t), url
}

// The page shows jobs, job runs and logs, and whatever they hold stays text.
func TestPage(t *testing.T) {
	t.Parallel()
	const script = `<script>alert(1)</script>`
	s := start(t, Config{Runner: RunnerFunc(func(_ context.Context, task Task) int { fmt.Fprintln(task.Stdout, script); return 3 })})
	rt, base := listen(t, s)
	if empty, err := send(t, rt, "", "GET", base+"/", ""); err != nil || !strings.Contains(empty.text, "None yet") {
		t.Errorf("empty page: %v %s", err, empty.text)
	}
	id := startRun(t, s, overlay(t, simple, `{"description":"it's a 'job'"}`), "{}")
	await(t, s, id)
	page, err := send(t, rt, "", "GET", base+"/?run="+id, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`class="status FAILED">FAILED`, id[:8], "prefecthq/prefect:3", "nf-compute-20", "it&#39;s a &#39;job&#39;", "&lt;script&gt;alert(1)&lt;/script&gt;", `value="998"`} {
		if !strings.Contains(page.text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page.text, script) {
		t.Error("a log line became part of the page")
	}
	if csp := page.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("Content-Security-Policy %q", csp)
	}
	for _, asset := range []string{"/page.css", "/page.js"} {
		if res, err := send(t, rt, "", "GET", base+asset, ""); err != nil || res.status != 200 {
			t.Errorf("%s: %d %v", asset, res.status, err)
		}
	}
	if res, _ := send(t, rt, "", "GET", base+"/page.html", ""); res.status != 404 {
		t.Errorf("template served: %d", res.status)
	}
	if got := s.Counters().Total; got != 2 {
		t.Errorf("the page counted as requests: %d, want 2", got)
	}
}

// events reads server-sent events of a path and returns a function for the next one.
func events(t *testing.T, rt http.RoundTripper, url, lastID string) func() (id, data string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", lastID)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	scanner := bufio.NewScanner(resp.Body)
	return func() (id, data string) {
		for scanner.Scan() {
			name, value, _ := strings.Cut(scanner.Text(), ": ")
			switch name {
			case "id":
				id = value
			case "data":
				return id, value
			}
		}
		return "", "closed"
	}
}

func TestPageEvents(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Runner: RunnerFunc(func(_ context.Context, task Task) int { fmt.Fprint(task.Stdout, "a\nb\nc\n"); return 0 })})
	rt, base := listen(t, s)
	state := events(t, rt, base+"/events", "")
	if _, html := state(); !strings.Contains(html, "None yet") {
		t.Errorf("first state %s", html)
	}
	id := startRun(t, s, simple, "{}")
	await(t, s, id)
	for html := ""; !strings.Contains(html, "SUCCESS"); {
		if _, html = state(); html == "closed" {
			t.Fatal("stream ended before the job run showed")
		}
	}
	for from, want := range map[string][]string{"": {"a", "b", "c"}, "2": {"c"}} {
		next, data := events(t, rt, base+"/log?run="+id, from)()
		var lines []LogLine
		if err := json.Unmarshal([]byte(data), &lines); err != nil || next != "3" {
			t.Fatalf("event %q %s: %v", next, data, err)
		}
		var got []string
		for _, l := range lines {
			got = append(got, l.Text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from %q (-want +got):\n%s", from, diff)
		}
	}
	s.Close()
	for {
		if _, html := state(); html == "closed" {
			break
		}
	}
}

// Other machines are refused, and so are pages that let their name point here.
func TestListen(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0", "nonsense"} {
		if _, err := s.Listen(address); err == nil {
			t.Errorf("listened on %q", address)
		}
	}
	rt, base := listen(t, s)
	if _, err := s.Listen(strings.TrimPrefix(base, "http://")); err == nil {
		t.Error("listened twice on one port")
	}
	for host, want := range map[string]int{"localhost:80": 200, "127.0.0.1": 200, "[::1]:4280": 200, "evil.example:80": 421, "127.0.0.1.evil.example": 421} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", base+"/v1/plans", nil)
		req.Host = host
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Host %s: %d, want %d", host, resp.StatusCode, want)
		}
	}
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Runner: exits(0)})
	base, err := s.ListenAdmin("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rt := newSocketTransport(t)
	do := func(method, path, body string, status int) string {
		t.Helper()
		res, err := send(t, rt, "", method, base+path, body)
		if err != nil {
			t.Fatal(err)
		}
		return res.want(t, status).text
	}
	await(t, s, startRun(t, s, simple, "{}"))
	for path, want := range map[string]string{
		"/counters": RouteStartRun, "/bodies": `nf-compute-20`, "/jobs": `"id": "one"`, "/job-runs": `"reason": "completed"`,
		"/switches": `"aborted-run": "failed"`, "/rate-limit": `"remaining": 998`,
	} {
		if got := do("GET", path, "", 200); !strings.Contains(got, want) {
			t.Errorf("%s: %s lacks %s", path, got, want)
		}
	}
	do("POST", "/faults", `{"route":"GET /projects/{project}","action":"slow","delay":"1ms","for":"1h"}`, 200)
	if got := s.Faults().List(); len(got) != 1 || got[0].Delay != time.Millisecond || got[0].For != time.Hour || got[0].Route != RouteGetProject {
		t.Errorf("faults %+v", got)
	}
	if got := do("GET", "/faults", "", 200); !strings.Contains(got, `"delay": "1ms"`) {
		t.Errorf("faults: %s", got)
	}
	do("DELETE", "/faults/fault-1", "", 200)
	do("POST", "/faults", `{"action":"hang"}`, 200)
	do("DELETE", "/faults", "", 200)
	if got := s.Faults().List(); len(got) != 0 {
		t.Errorf("faults %+v", got)
	}
	for _, wrong := range []string{`{"action":"explode"}`, `{"action":"hang","delay":"soon"}`, `{"action":"hang","colour":"red"}`, `{`} {
		do("POST", "/faults", wrong, 400)
	}
	do("PUT", "/switches", `{"list-order":"oldest"}`, 200)
	do("PUT", "/switches", `{"list-order":"random"}`, 400)
	if got := s.Switches()[SwitchListOrder]; got != "oldest" {
		t.Errorf("switch %s", got)
	}
	do("PUT", "/rate-limit", `{"limit":10,"spend":3}`, 200)
	if b := s.Budget(); b.Limit != 10 || b.Remaining != 5 {
		t.Errorf("budget %+v", b)
	}
	do("POST", "/builds", `{"project":"local","service":"svc","id":"b1","branch":"main","status":"SUCCESS"}`, 200)
	do("POST", "/builds", `{"project":"none","service":"svc","id":"b1"}`, 404)
	if builds, _ := call(t, s, "GET", "/v1/projects/local/services/svc/build", "").get("builds").([]any); len(builds) != 1 {
		t.Errorf("builds %v", builds)
	}
	do("DELETE", "/counters", "", 200)
	if c := s.Counters(); c.Total != 0 {
		t.Errorf("counters %+v", c)
	}
	// A form on a foreign web page cannot send this media type.
	req, _ := http.NewRequestWithContext(t.Context(), "POST", base+"/faults", strings.NewReader(`{"action":"hang"}`))
	req.Header.Set("Content-Type", "text/plain")
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("text/plain: %d", resp.StatusCode)
	}
}

// BenchmarkNew is what a simulation pays for an emulator.
func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		s, err := New(Config{Runner: exits(0)})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
