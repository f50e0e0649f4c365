package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseUsage(t *testing.T) {
	t.Parallel()
	const status = "Name:\tprefect\nVmPeak:\t  999999 kB\nVmHWM:\t    2000 kB\nVmRSS:\t    1500 kB\nThreads:\t9\n"
	tests := []struct {
		name, status, stat string
		want               usage
		wantErr            bool
	}{
		{"a process", status, "42 (prefect) S 1 42 42 0 -1 4194560 100 0 0 0 123 77 0 0 20 0 9 0 555 1 2", usage{memory: 1500 * 1024, peak: 2000 * 1024, cpu: 2 * time.Second}, false},
		{"brackets and spaces in the command", status, "42 (a) b) 1 2 (c) S 1 42 42 0 -1 4194560 100 0 0 0 1 0 0 0 20 0", usage{memory: 1500 * 1024, peak: 2000 * 1024, cpu: 10 * time.Millisecond}, false},
		{"a zombie has no memory", "Name:\tprefect\n", "42 (prefect) Z 1 42 42 0 -1 0 0 0 0 0 1 1 0 0", usage{}, true},
		{"cut short", status, "42 (prefect) S 1", usage{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseUsage(tt.status, tt.stat)
			if (err != nil) != tt.wantErr {
				t.Fatalf("parseUsage: error %v, want one: %t", err, tt.wantErr)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(usage{})); diff != "" {
				t.Errorf("parseUsage (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseMachineCPU(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, stat string
		want       time.Duration
		wantErr    bool
	}{
		{"idle and waiting are no work", "cpu  100 20 3 5000 700 40 5 0 0 0\ncpu0 1 1 1 1 1 1 1\n", 1680 * time.Millisecond, false},
		{"an old kernel", "cpu 1 2 3 4\n", 0, true},
		{"no number", "cpu a 2 3 4 5 6 7\n", 0, true},
		{"something else", "intr 1 2 3 4 5 6 7\n", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseMachineCPU(tt.stat)
			if got != tt.want || (err != nil) != tt.wantErr {
				t.Errorf("parseMachineCPU(%q) = %s, %v, want %s and an error: %t", tt.stat, got, err, tt.want, tt.wantErr)
			}
		})
	}
}
