package worker

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
)

// full reports whether the long forms are asked for: SIMULATE=full.
func full() bool { return os.Getenv("SIMULATE") == "full" }

// quiet is a history without random faults, kills and fates.
func quiet(s *simulation) {
	s.plan.faultsUntil, s.plan.prefectFaults, s.plan.northflankFaults = 0, 0, 0
	s.plan.switches, s.plan.scope, s.plan.workers, s.plan.startRetries = nil, "pool", 1, 1
	s.killAt, s.plan.successor, s.plan.sameName = 0, false, false
	s.plan.sources, s.query = sources{heartbeats: true}, 10*time.Second
}

// twenty are 20 well-behaved flow runs of 1 to 10 seconds.
func twenty(s *simulation) {
	s.plan.flowRuns = 20
	n := 0
	s.shape = func(run *simRun) {
		n++
		run.temper, run.fate, run.boot, run.length = wellBehaved, leftAlone, 2*time.Second, time.Duration(1+n%10)*time.Second
	}
}

// TestKillAtEveryRequest kills the worker at its k-th request, before or after
// its effect, or drops the request's answer, with 20 flow runs under way. The
// long form takes every k, `go test` a sample.
func TestKillAtEveryRequest(t *testing.T) {
	t.Parallel()
	requests := 0
	synctest.Test(t, func(t *testing.T) {
		requests = simulate(t, 1, slog.New(slog.DiscardHandler), quiet, twenty).calls
	})
	t.Logf("20 flow runs take %d requests", requests)
	successions := []struct {
		name string
		set  func(*simulation)
	}{
		{"same name", func(s *simulation) { s.plan.successor, s.plan.sameName = true, true }},
		{"other name", func(s *simulation) { s.plan.successor = true }},
		{"two workers, never returning", func(s *simulation) { s.plan.workers = 2 }},
	}
	step := 1
	if !full() {
		step = max(requests/12, 1)
	}
	const lanes = 2
	for lane := range lanes {
		t.Run(fmt.Sprint("lane-", lane), func(t *testing.T) {
			t.Parallel()
			for i, k := 0, 1; k <= requests && !t.Failed(); i, k = i+1, k+step {
				for how := range 3 {
					who := successions[(i+how)%len(successions)]
					if (i+how)%lanes != lane {
						continue
					}
					synctest.Test(t, func(t *testing.T) {
						simulate(t, uint64(k), slog.New(slog.DiscardHandler), quiet, twenty, who.set, func(s *simulation) { s.killAt, s.killHow = k, how })
					})
					if t.Failed() {
						t.Logf("at request %d of %d, how %d, %s", k, requests, how, who.name)
					}
				}
			}
		})
	}
}

// TestNorthflankFalters lets 30 % of Northflank's answers fail for ten minutes
// in every way, while 50 flow runs are live: nothing may come of it.
func TestNorthflankFalters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, 7, slog.New(slog.DiscardHandler), quiet, func(s *simulation) {
			s.plan.flowRuns, s.plan.faultsUntil, s.plan.northflankFaults = 50, 10*time.Minute, 0.3
			s.shape = func(run *simRun) {
				run.temper, run.fate, run.boot, run.length = wellBehaved, leftAlone, 5*time.Second, 15*time.Minute
			}
		})
		met := 0
		for status, n := range s.nf.Counters().Statuses {
			if status >= 500 || status == 0 || status == 429 {
				met += n
			}
		}
		if met < 10 {
			t.Errorf("only %d answers failed", met)
		}
	})
}

// everyTemper are 12 flow runs of every temper and fate.
func everyTemper(s *simulation) {
	s.plan.flowRuns = 12
	n := 0
	s.shape = func(run *simRun) {
		n++
		run.boot, run.length = 10*time.Second, 20*time.Second
		run.temper = []temper{wellBehaved, failsItself, diesSilently, diesEarly, hangs}[n%5]
		run.fate, run.when = []fate{leftAlone, cancelled, cancelledDirectly, deleted}[n%4], 25*time.Second
		if run.temper == hangs && run.fate == leftAlone {
			run.fate = cancelled
		}
	}
}

// TestEverySwitch runs the same flow runs with each undocumented answer of
// Northflank's in each of its positions.
func TestEverySwitch(t *testing.T) {
	t.Parallel()
	for _, sw := range emulator.SwitchTable() {
		positions := sw.Values
		if positions == nil {
			positions = []string{"0s", "5s", "25s"}
		}
		for _, position := range positions {
			t.Run(sw.Name+"="+position, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					simulate(t, 3, slog.New(slog.DiscardHandler), quiet, everyTemper, func(s *simulation) {
						s.plan.switches = map[string]string{sw.Name: position}
					})
				})
			})
		}
	}
}
