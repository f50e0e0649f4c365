package main

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSpreadMoments(t *testing.T) {
	t.Parallel()
	const n = 40
	const part = time.Minute / n
	for i, moment := range spreadMoments(rand.New(rand.NewPCG(3, 4)), n, time.Minute) {
		if first, end := time.Duration(i)*part, time.Duration(i+1)*part; moment < first || moment >= end {
			t.Errorf("moment %d = %s, want one in [%s, %s)", i, moment, first, end)
		}
	}
}

func TestDispatchTable(t *testing.T) {
	t.Parallel()
	of := func(ms ...time.Duration) (w waits) {
		for _, d := range ms {
			w.all, w.own = append(w.all, d*time.Millisecond), append(w.own, d*time.Millisecond/2)
		}
		return w
	}
	original := of(4000, 2000)
	got := dispatchTable(dispatched{events: of(100, 200), polling: pair[waits]{ours: of(6000, 3000), original: &original}}).rows
	want := []string{"scheduled to started, median", "100 ms", "3.00 s", "2.00 s", "20"}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("first row (-want +got):\n%s", diff)
	}
	want = []string{"polled to started, longest", "100 ms", "3.00 s", "2.00 s", "20"}
	if diff := cmp.Diff(want, got[len(got)-1]); diff != "" {
		t.Errorf("last row (-want +got):\n%s", diff)
	}
}
