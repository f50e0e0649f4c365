package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLiveTableGoesAsFarAsTheOriginal(t *testing.T) {
	t.Parallel()
	ours := liveLoad{levels: []liveness{
		{memory: 20e6, peak: 21e6, cpu: 40 * time.Millisecond, prefect: 5},
		{memory: 40e6, peak: 41e6, cpu: 100 * time.Millisecond, prefect: 6, northflank: 3},
	}}
	original := liveLoad{levels: []liveness{{memory: 160e6, peak: 170e6, cpu: time.Second, prefect: 2, northflank: 150}}}
	got := liveTable(pair[liveLoad]{ours: ours, original: &original}).rows
	want := [][]string{
		{"50", "ours", "20.0 MB", "21.0 MB", "40.0 ms", "5", "0", ""},
		{"50", "original", "160.0 MB", "170.0 MB", "1.00 s", "2", "150", "8.0"},
		{"300", "ours", "40.0 MB", "41.0 MB", "100 ms", "6", "3", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("liveTable (-want +got):\n%s", diff)
	}
}
