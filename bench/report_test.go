package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type sample struct{ wait time.Duration }

func TestComparison(t *testing.T) {
	t.Parallel()
	wait := func(s sample) time.Duration { return s.wait }
	measured := pair[sample]{ours: sample{40 * time.Millisecond}, original: &sample{10 * time.Second}}
	missing := pair[sample]{ours: sample{1500 * time.Microsecond}}
	got := comparison(
		figure(measured, "both", showDuration, wait),
		figure(missing, "ours alone", showDuration, wait),
		words(measured, "words", func(s sample) string { return s.wait.String() }),
	).markdown()
	want := strings.Join([]string{
		"|            | ours    | original     | original : ours |",
		"| ---------- | ------- | ------------ | --------------- |",
		"| both       | 40.0 ms | 10.0 s       | 250             |",
		"| ours alone | 1.50 ms | not measured |                 |",
		"| words      | 40ms    | 10s          |                 |",
		"",
	}, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("comparison (-want +got):\n%s", diff)
	}
}

func TestReportSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := report{
		machine:  table{head: []string{"machine", ""}, rows: [][]string{{"cores", "2"}}},
		versions: table{head: []string{"versions", ""}},
		sections: []section{{title: "Start", text: "How.", table: comparison([]string{"a", "1", "not measured", ""}), note: "no Python 3.12"}},
		took:     time.Minute,
	}
	got := r.markdown()
	for _, want := range []string{"\n## Start\n\nHow.\n\n|", "| cores   | 2 |", "The original could not be measured: no Python 3.12\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("report lacks %q:\n%s", want, got)
		}
	}
}

func TestRatio(t *testing.T) {
	t.Parallel()
	tests := []struct {
		a, b float64
		want string
	}{
		{5, 2, "2.5"},
		{1, 4, "0.25"},
		{253.4, 1, "253"},
		{3, 0, ""},
	}
	for _, tt := range tests {
		if got := ratio(tt.a, tt.b); got != tt.want {
			t.Errorf("ratio(%g, %g) = %q, want %q", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	got := spread([]time.Duration{12 * time.Second, 250 * time.Millisecond, 123 * time.Second})
	if want := "250 ms to 123 s, of 3"; got != want {
		t.Errorf("spread = %q, want %q", got, want)
	}
}

func TestPostgresName(t *testing.T) {
	t.Parallel()
	tests := []struct{ version, want string }{
		{"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", "PostgreSQL 15.18"},
		{"postgres (PostgreSQL) 17.2\n", "PostgreSQL 17.2"},
		{"postgres\n", ""},
	}
	for _, tt := range tests {
		if got := postgresName(tt.version); got != tt.want {
			t.Errorf("postgresName(%q) = %q, want %q", tt.version, got, tt.want)
		}
	}
}
