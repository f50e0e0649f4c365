package main

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestSpreadMoments(t *testing.T) {
	t.Parallel()
	const part = dispatchWindow / dispatches
	for i, moment := range spreadMoments(rand.New(rand.NewPCG(3, 4))) {
		if first, end := time.Duration(i)*part, time.Duration(i+1)*part; moment < first || moment >= end {
			t.Errorf("moment %d = %s, want one in [%s, %s)", i, moment, first, end)
		}
	}
}

func TestFirstPoll(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	const poll = "/api/work_pools/p/get_scheduled_flow_runs"
	requests := []request{{at(1), "POST", poll}, {at(3), "POST", "/api/logs/"}, {at(5), "POST", poll}, {at(9), "POST", poll}}
	tests := []struct {
		name  string
		after time.Time
		want  time.Time
	}{
		{"the next one", at(2), at(5)},
		{"not one at the same time", at(5), at(9)},
		{"none", at(9), time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := firstPoll(requests, tt.after); !got.Equal(tt.want) {
				t.Errorf("firstPoll(after %s) = %s, want %s", tt.after, got, tt.want)
			}
		})
	}
}
