package status_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/status"
	"github.com/northflank/prefect-northflank/internal/worker"
)

var update = flag.Bool("update", false, "rewrite the reference page")

// scrape returns what /metrics shows of ours: "name{labels}" and its value.
func (s *scene) scrape() series {
	s.Helper()
	return scrape(s.T, status.ServeMetrics(s.worker, s.worker.Stats, "1.2.3"))
}

type series map[string]float64

func scrape(t *testing.T, h http.Handler) series {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("/metrics answers %d: %s", w.Code, w.Body)
	}
	found := series{}
	for line := range strings.Lines(w.Body.String()) {
		key, value, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "prefect_northflank_")), "} ")
		if ok {
			key += "}"
		} else {
			key, value, ok = strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "prefect_northflank_")), " ")
		}
		if !ok || !strings.HasPrefix(line, "prefect_northflank_") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		found[key] = v
	}
	return found
}

// moved returns the series of a metric that differ between two scrapes, as
// "name{labels} +2", sorted.
func moved(before, after series, names ...string) []string {
	var out []string
	for key, v := range after {
		name, _, _ := strings.Cut(key, "{")
		if slices.Contains(names, name) && v != before[key] {
			out = append(out, fmt.Sprintf("%s %+g", key, v-before[key]))
		}
	}
	slices.Sort(out)
	return out
}

// TestSeriesMove: flow runs that go well, that die, and that find Northflank
// shut move the series that tell of it.
func TestSeriesMove(t *testing.T) {
	t.Parallel()
	play(t, ourPool(), func(s *scene) {
		before := s.scrape()
		s.schedule("lives")
		s.schedule("dies")
		running := 0.0
		for range 60 {
			time.Sleep(time.Second)
			running = max(running, s.scrape()[`flow_runs{phase="running"}`])
		}
		if running != 2 {
			s.Errorf("%g flow runs were seen running, want 2", running)
		}
		time.Sleep(10 * time.Minute)
		after := s.scrape()
		want := []string{
			`crash_detection_seconds_count +1`,
			`dispatch_seconds_count +2`,
			`outcomes_total{reason="error",state="crashed"} +1`,
			`outcomes_total{reason="reported",state="completed"} +1`,
			`starts_total{result="started"} +2`,
		}
		if diff := cmp.Diff(want, moved(before, after, "outcomes_total", "starts_total", "dispatch_seconds_count", "crash_detection_seconds_count", "aborts_total", "adoptions_total", "hand_backs_total")); diff != "" {
			s.Errorf("series that moved (-want +got):\n%s", diff)
		}
		if left := after[`request_budget_remaining{api="http://localhost",team=""}`]; left >= 1000 || left < 950 {
			s.Errorf("%g requests are left, want a few less than 1000", left)
		}
		for _, key := range []string{
			`northflank_requests_total{class="start",method="POST",route="/jobs/{job}/runs",status="200"}`,
			`prefect_requests_total{method="POST",route="/work_pools/{name}/get_scheduled_flow_runs",status="200"}`,
			`event_stream_up`, `last_success_timestamp_seconds{of="poll"}`, `loop_timestamp_seconds{loop="sweep"}`, `build_info{go_version="` + runtime.Version() + `",version="1.2.3"}`,
		} {
			if after[key] == 0 {
				s.Errorf("%s is missing or 0", key)
			}
		}
	})
}

// TestSeriesUnderFaults: each fault shows in its own series, and is gone after it.
func TestSeriesUnderFaults(t *testing.T) {
	t.Parallel()
	play(t, ourPool(), func(s *scene) {
		problem := func(name string) float64 { return s.scrape()[`problems{problem="`+name+`"}`] }
		before := s.scrape()
		s.prefectSays.Store(http.StatusUnauthorized)
		time.Sleep(time.Minute)
		if problem(status.ProblemPrefectCredentials) != 1 {
			s.Error("refused credentials of Prefect do not show")
		}
		s.prefectSays.Store(0)
		s.northflankSays.Store(http.StatusForbidden)
		s.schedule("waits")
		time.Sleep(3 * time.Minute)
		during := s.scrape()
		if during[`problems{problem="northflank_credentials"}`] != 1 || during["refusing_projects"] != 1 || during["flow_runs_waiting"] != 1 || during["troubles"] == 0 {
			s.Errorf("refused starts do not show: %v", moved(before, during, "problems", "refusing_projects", "flow_runs_waiting", "troubles"))
		}
		if during[`problems{problem="prefect_credentials"}`] != 0 {
			s.Error("Prefect takes the credentials again, but that does not show")
		}
		s.northflankSays.Store(0)
		time.Sleep(5 * time.Minute)
		after := s.scrape()
		if got := moved(before, after, "problems", "refusing_projects", "flow_runs_waiting"); got != nil {
			s.Errorf("after all faults: %v", got)
		}
		if after[`starts_total{result="refused"}`] == 0 || after[`starts_total{result="started"}`] != 1 {
			s.Errorf("starts: %v, want some refused and one started", moved(before, after, "starts_total"))
		}
	})
}

// TestMetricsOfScriptedWorker scrapes a worker that has seen nothing, and one
// with two accounts of one team.
func TestMetricsOfScriptedWorker(t *testing.T) {
	t.Parallel()
	s := readyStatus()
	s.Limit, s.Waiting = 5, 3
	s.Accounts = []worker.Account{{API: "https://api.northflank.com", Team: "acme"}}
	stats := worker.NewStats()
	got := scrape(t, status.ServeMetrics(scripted{status: s}, stats, "1.2.3"))
	if got["flow_run_limit"] != 5 || got["flow_runs_waiting"] != 3 || got["start_timestamp_seconds"] != float64(s.Since.Unix()) {
		t.Errorf("scrape: %v", got)
	}
	for key := range got {
		if strings.HasPrefix(key, "request_budget") {
			t.Errorf("%s is shown, but no answer told it yet", key)
		}
	}
	s.Accounts[0].Budget.Limit, s.Accounts[0].Budget.Remaining, s.Accounts[0].Budget.ResetAt = 1000, 400, s.Now.Add(time.Minute)
	left := `request_budget_remaining{api="https://api.northflank.com",team="acme"}`
	if got := scrape(t, status.ServeMetrics(scripted{status: s}, stats, "1.2.3")); got[left] != 400 {
		t.Errorf("%s = %g, want 400", left, got[left])
	}
	s.Now = s.Now.Add(2 * time.Minute)
	if got := scrape(t, status.ServeMetrics(scripted{status: s}, stats, "1.2.3")); got[left] != 1000 {
		t.Errorf("%s = %g in a new hour, want 1000", left, got[left])
	}
}

const (
	referencePage = "../../docs/reference/metrics.md"
	referenceHead = `<!-- Produced from the metrics' declarations by: go test ./internal/status -update -->

# Metrics

A worker that is started with ` + "`--with-healthcheck`" + ` serves these at ` + "`/metrics`" + `, beside those of Go (` + "`go_*`" + `) and of
the process (` + "`process_*`" + `). Counters begin at 0 with the process. No label holds an id. [Monitor](../how-to/monitor.md) shows
what to do with them.

| Metric | Type | Labels | |
|---|---|---|---|
`
)

// TestReferencePage keeps the page as the declarations are.
func TestReferencePage(t *testing.T) {
	t.Parallel()
	var page strings.Builder
	page.WriteString(referenceHead)
	for _, m := range status.Metrics() {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", m.FullName(), m.Kind, labels, m.Help)
	}
	page.WriteString(labelValues())
	if *update {
		if err := os.WriteFile(referencePage, []byte(page.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), page.String()); diff != "" {
		t.Errorf("%s is stale, renew it with -update (-page +code):\n%s", referencePage, diff)
	}
}

// labelValues is the page's table of labels; every label must be explained, and
// no explanation may be left over.
func labelValues() string {
	var names []string
	for _, m := range status.Metrics() {
		names = append(names, m.Labels...)
	}
	slices.Sort(names)
	var table strings.Builder
	table.WriteString("\n| Label | Values |\n|---|---|\n")
	for _, name := range slices.Compact(names) {
		fmt.Fprintf(&table, "| `%s` | %s |\n", name, status.LabelHelp(name))
	}
	return table.String()
}

// TestNamesFollowConventions: base units, and _total for what only grows.
func TestNamesFollowConventions(t *testing.T) {
	t.Parallel()
	for _, m := range status.Metrics() {
		if total := strings.HasSuffix(m.Name, "_total"); total != (m.Kind == status.Count) {
			t.Errorf("%s is a %s", m.Name, m.Kind)
		}
		if m.Kind == status.Histogram && !strings.HasSuffix(m.Name, "_seconds") {
			t.Errorf("%s does not name its unit", m.Name)
		}
		for _, label := range m.Labels {
			if status.LabelHelp(label) == "" {
				t.Errorf("label %s of %s is not explained", label, m.Name)
			}
		}
	}
}
