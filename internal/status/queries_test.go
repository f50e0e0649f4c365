package status_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/northflank/prefect-northflank/internal/status"
)

// TestDashboardQueries reads every query of the Grafana board.
func TestDashboardQueries(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../deploy/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			checkQuery(t, p.Title, target.Expr, used)
		}
	}
	if len(used) < 20 {
		t.Errorf("the board shows %d metrics, want 20 at least", len(used))
	}
}

// TestAlertQueries reads every alert rule.
func TestAlertQueries(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../deploy/prometheus-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(raw, &rules); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			checkQuery(t, r.Alert, r.Expr, used)
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("alert %s does not say how bad it is, what it is, and what to do", r.Alert)
			}
		}
	}
	if len(used) < 5 {
		t.Errorf("the alerts watch %d metrics, want 5 at least", len(used))
	}
}

func checkQuery(t *testing.T, where, query string, used map[string]bool) {
	t.Helper()
	metrics, err := readQuery(query)
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, query)
	}
	for _, m := range metrics {
		used[m] = true
	}
}

// The library that parses PromQL brings half of Prometheus along, so this reads
// of the language what can go wrong here: brackets, names of metrics, functions
// and labels.
var (
	tokenPattern = regexp.MustCompile(`^(?:\s+|"(?:[^"\\]|\\.)*"|\$?[A-Za-z_][A-Za-z0-9_]*|[0-9.]+[a-z]*|=~|!~|!=|==|>=|<=|[-+*/%^<>=(){}\[\],])`)
	namePattern  = regexp.MustCompile(`^[A-Za-z_]`)

	queryFunctions = []string{"sum", "min", "max", "avg", "count", "rate", "increase", "histogram_quantile", "min_over_time", "max_over_time", "time"}
	queryKeywords  = []string{"and", "or", "unless"}
	queryGroupings = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
	targetLabels   = []string{"job", "instance"} // Prometheus' own
)

func tokens(query string) ([]string, error) {
	var out []string
	for query != "" {
		token := tokenPattern.FindString(query)
		if token == "" {
			return nil, fmt.Errorf("cannot read %q", query)
		}
		query = query[len(token):]
		if token = strings.TrimSpace(token); token != "" {
			out = append(out, token)
		}
	}
	return append(out, ""), nil
}

// readQuery returns the metrics of ours that a query reads.
func readQuery(query string) (metrics []string, err error) {
	all, err := tokens(query)
	if err != nil {
		return nil, err
	}
	var open []string   // brackets
	var labels []string // that the metrics read so far have
	grouping, metric := false, ""
	for i, token := range all[:len(all)-1] {
		next := all[i+1]
		switch {
		case strings.Contains("([{", token):
			open = append(open, token)
		case strings.Contains(")]}", token):
			if len(open) == 0 || open[len(open)-1] != map[string]string{")": "(", "]": "[", "}": "{"}[token] {
				return nil, fmt.Errorf("bracket %s closes nothing", token)
			}
			open, grouping = open[:len(open)-1], false
		case !namePattern.MatchString(token):
		case len(open) > 0 && open[len(open)-1] == "{":
			if !slices.Contains(append(labelsOf(metric), targetLabels...), token) {
				return nil, fmt.Errorf("metric %s has no label %s", metric, token)
			}
		case slices.Contains(queryGroupings, token):
			grouping = true
		case grouping: // before or behind what it groups, so checked at the end
			labels = append(labels, token)
		case slices.Contains(queryKeywords, token):
		case next == "(" || next == "by" || next == "without":
			if !slices.Contains(queryFunctions, token) {
				return nil, fmt.Errorf("unknown function %s", token)
			}
		default:
			metric = token
			if !isMetric(token) {
				return nil, fmt.Errorf("unknown metric %s", token)
			}
			metrics = append(metrics, token)
		}
	}
	if len(open) > 0 {
		return nil, fmt.Errorf("bracket %s stays open", open[len(open)-1])
	}
	known := targetLabels
	for _, m := range metrics {
		known = append(slices.Clip(known), labelsOf(m)...)
	}
	for _, label := range labels {
		if !slices.Contains(known, label) {
			return nil, fmt.Errorf("no metric has the label %s", label)
		}
	}
	return metrics, nil
}

// metricOf returns our metric behind a series' name.
func metricOf(series string) (status.Metric, bool) {
	for _, m := range status.Metrics() {
		rest, ok := strings.CutPrefix(series, m.FullName())
		if ok && (rest == "" && m.Kind != status.Histogram || m.Kind == status.Histogram && slices.Contains([]string{"_bucket", "_sum", "_count"}, rest)) {
			return m, true
		}
	}
	return status.Metric{}, false
}

func isMetric(series string) bool {
	_, ours := metricOf(series)
	return ours || slices.Contains([]string{"process_resident_memory_bytes", "process_cpu_seconds_total", "go_goroutines"}, series)
}

func labelsOf(series string) []string {
	m, _ := metricOf(series)
	if strings.HasSuffix(series, "_bucket") {
		return append(slices.Clone(m.Labels), "le")
	}
	return slices.Clone(m.Labels)
}

func TestReadQuery(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, query, want string }{
		{"good", `sum by (state) (increase(prefect_northflank_outcomes_total{reason!="x"}[5m])) > 3`, ""},
		{"unknown metric", `prefect_northflank_outcome_total`, "unknown metric prefect_northflank_outcome_total"},
		{"histogram without its suffix", `prefect_northflank_dispatch_seconds`, "unknown metric prefect_northflank_dispatch_seconds"},
		{"unknown label", `prefect_northflank_outcomes_total{phase="running"}`, "metric prefect_northflank_outcomes_total has no label phase"},
		{"unknown label in a grouping", `sum by (le) (prefect_northflank_flow_runs)`, "no metric has the label le"},
		{"unknown function", `summ(prefect_northflank_flow_runs)`, "unknown function summ"},
		{"bracket that stays open", `sum(prefect_northflank_flow_runs`, "bracket ( stays open"},
		{"bracket that closes nothing", `sum(prefect_northflank_flow_runs])`, "bracket ] closes nothing"},
		{"string that stays open", `prefect_northflank_flow_runs{phase="a}`, "cannot read \"\\\"a}\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if _, err := readQuery(tt.query); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("readQuery(%s) = %q, want %q", tt.query, got, tt.want)
			}
		})
	}
}
