package worker

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/testkit"
)

const renewRoute = "POST /v2/concurrency_limits/leases/{lease_id}/renew"

// slowStarts are two flow runs of a deployment that may run one at a time, whose
// containers take ten minutes to start: twice the time that Prefect keeps a slot
// for one that is Pending.
func slowStarts(s *simulation) {
	s.plan.flowRuns, s.plan.concurrency = 2, 1
	s.shape = func(run *simRun) {
		run.at, run.temper, run.fate, run.boot, run.length = 0, wellBehaved, leftAlone, 10*time.Minute, 20*time.Second
	}
}

// TestSlowStartKeepsItsSlot: the flow run that waits in line must not get the slot
// of the one whose container starts, which Prefect would cancel at its beginning.
func TestSlowStartKeepsItsSlot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		set    func(*simulation)
		renews int // of both flow runs together
	}{
		// 20 s after the claim, then every 225 s: at 20, 245 and 470 s.
		{name: "as the server is set", set: func(*simulation) {}, renews: 6},
		{name: "grace period of a minute", set: func(s *simulation) { s.plan.grace = time.Minute }, renews: 6},
		// At 675 s the flow runs already.
		{name: "grace period of 15 minutes", set: func(s *simulation) { s.plan.grace = 15 * time.Minute }},
		{name: "no events", set: func(s *simulation) { s.plan.noEvents, s.plan.noChannel = true, true }, renews: 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := simulate(t, 1, slog.New(slog.DiscardHandler), quiet, slowStarts, tt.set)
				if got := s.prefect.Requests()[renewRoute]; got != tt.renews {
					t.Errorf("%d leases renewed, want %d", got, tt.renews)
				}
			})
		})
	}
}

// TestSuccessorKeepsTheSlot: the worker dies while the container starts.
func TestSuccessorKeepsTheSlot(t *testing.T) {
	t.Parallel()
	for _, sameName := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			simulate(t, 1, slog.New(slog.DiscardHandler), quiet, slowStarts, func(s *simulation) {
				s.killAt, s.killHow = 1<<30, killBeforeEffect // by hand, below
				s.plan.successor, s.plan.sameName = true, sameName
				s.also = func() {
					go func() {
						time.Sleep(3 * time.Minute)
						s.mu.Lock()
						first := s.workers[0]
						s.mu.Unlock()
						first.die()
					}()
				}
			})
		})
	}
}

// TestLostSlotIsTold: Prefect does not answer to renewals for longer than the
// lease lasts. The flow run's log tells why Prefect may cancel it.
func TestLostSlotIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, 1, slog.New(slog.DiscardHandler), quiet, slowStarts, func(s *simulation) {
			s.plan.flowRuns = 1 // nobody else wants the slot: it begins nevertheless
			s.also = func() {
				s.prefect.Fault = func(_ int, r *http.Request) testkit.FaultAction {
					if strings.HasSuffix(r.URL.Path, "/renew") && time.Since(s.began) < 6*time.Minute {
						return testkit.Fault503
					}
					return testkit.FaultNone
				}
			}
		})
		told := 0
		for id := range s.runs {
			for _, line := range s.prefect.Logs(id) {
				if strings.Contains(line.Message, "lost the slot of its deployment's concurrency limit") {
					told++
				}
			}
		}
		if told != 1 {
			t.Errorf("told %d times, want once", told)
		}
	})
}
