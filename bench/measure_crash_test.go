package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUnnoticed(t *testing.T) {
	t.Parallel()
	died := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	run := func(id, state string, after time.Duration) (r flowRun) {
		r.ID, r.Name, r.State.Type, r.State.Name, r.State.Timestamp = id, id, state, state, died.Add(after)
		return r
	}
	const deaths = "b 2026-11-24T12:00:00Z\na 2026-11-24T13:00:01.5+01:00\n"
	tests := []struct {
		name    string
		runs    []flowRun
		want    []time.Duration
		wantErr string
	}{
		{"each by its own death", []flowRun{run("a", "CRASHED", 4*time.Second), run("b", "CRASHED", 4*time.Second)}, []time.Duration{2500 * time.Millisecond, 4 * time.Second}, ""},
		{"one that did not die", []flowRun{run("c", "CRASHED", 0)}, nil, "flow run c died"},
		{"one that ended otherwise", []flowRun{run("a", "FAILED", 0)}, nil, "flow run a ended FAILED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := unnoticed(tt.runs, deaths)
			if (err != nil) != (tt.wantErr != "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Fatalf("unnoticed: error %v, want one with %q", err, tt.wantErr)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("unnoticed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCrashTable(t *testing.T) {
	t.Parallel()
	got := crashTable([]*way{
		{label: "ours", contender: &contender{name: "ours"}, found: []time.Duration{2 * time.Second, 3 * time.Second}, requests: 7},
		{label: "original", contender: &contender{name: "original"}, found: []time.Duration{5 * time.Second, 9 * time.Second}, requests: 100},
	})
	want := table{
		head: []string{"crash unnoticed for", "ours", "original"},
		rows: [][]string{
			{"median", "2.00 s", "5.00 s"},
			{"p95", "3.00 s", "9.00 s"},
			{"longest", "3.00 s", "9.00 s"},
			{"original : ours, median", "2.5", ""},
			{"requests to Northflank", "7", "100"},
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(table{})); diff != "" {
		t.Errorf("crashTable (-want +got):\n%s", diff)
	}
}
