package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBurstTable(t *testing.T) {
	t.Parallel()
	ours := burst{
		took: 30 * time.Second, requests: 1500, pattern: make([]request, 4),
		server: 24 * time.Second, worker: 3 * time.Second, machine: 45 * time.Second,
	}
	original := burst{took: 60 * time.Second, requests: 2100, server: 30 * time.Second, worker: 30 * time.Second, machine: 90 * time.Second}
	got := burstTable(pair[burst]{ours: ours, original: &original}, bare{rate: 20, server: 50 * time.Millisecond}).rows
	want := [][]string{
		{"first poll to last start", "30.0 s", "60.0 s", "2.0", ""},
		{"flow runs a second", "10.0", "5.0", "0.50", "20.0"},
		{"requests to Prefect for a flow run", "5.0", "7.0", "1.4", "4.0"},
		{"processor time of the Prefect server for a flow run", "80.0 ms", "100 ms", "1.2", "50.0 ms"},
		{"share of a core that the Prefect server used", "80%", "50%", "", "100%"},
		{"that the worker used", "10%", "50%", "", ""},
		{"that all on the machine used", "150%", "150%", "", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("burstTable (-want +got):\n%s", diff)
	}
}
