package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPurposeOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		method, path string
		want         purpose
	}{
		{"PUT", "/v1/projects/p/jobs", putJob},
		{"POST", "/v1/projects/p/jobs", putJob},
		{"POST", "/v1/projects/p/jobs/j/runs", startRun},
		{"GET", "/v1/projects/p/jobs/j/runs", look},
		{"GET", "/v1/projects/p/jobs/j/runs/r", look},
		{"DELETE", "/v1/projects/p/jobs/j", deleteJob},
		{"DELETE", "/v1/projects/p/jobs/j/runs/r", other},
		{"GET", "/v1/projects/p/jobs", listJobs},
		{"GET", "/v1/projects/p/jobs/j/logs", other},
		{"GET", "/v1/projects/p", other},
		{"GET", "/", other},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			t.Parallel()
			if got := purposeOf(request{method: tt.method, path: tt.path}); got != tt.want {
				t.Errorf("purposeOf(%s %s) = %d, want %d", tt.method, tt.path, got, tt.want)
			}
		})
	}
}

func TestSpendingTable(t *testing.T) {
	t.Parallel()
	ours := spent{
		rounds: []spending{{putJob: 1, startRun: 1, listJobs: 1}, {startRun: 5}, {startRun: 20}},
		all:    spending{putJob: 1, startRun: 26, look: 1, listJobs: 1},
	}
	original := spent{rounds: []spending{{1, 1, 2, 1, 0, 0}, {5, 5, 10, 5, 0, 0}, {20, 20, 40, 20, 0, 0}}, all: spending{26, 26, 52, 26, 0, 0}}
	got := spendingTable(pair[spent]{ours: ours, original: &original}).rows
	want := [][]string{
		{"1", "ours", "1", "1", "0", "0", "1", "0", "3", "3.00", ""},
		{"1", "original", "1", "1", "2", "1", "0", "0", "5", "5.00", "1.7"},
		{"5", "ours", "0", "5", "0", "0", "0", "0", "5", "1.00", ""},
		{"5", "original", "5", "5", "10", "5", "0", "0", "25", "5.00", "5.0"},
		{"20", "ours", "0", "20", "0", "0", "0", "0", "20", "1.00", ""},
		{"20", "original", "20", "20", "40", "20", "0", "0", "100", "5.00", "5.0"},
		{"all 26, and after", "ours", "1", "26", "1", "0", "1", "0", "29", "1.12", ""},
		{"all 26, and after", "original", "26", "26", "52", "26", "0", "0", "130", "5.00", "4.5"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spendingTable (-want +got):\n%s", diff)
	}
}
