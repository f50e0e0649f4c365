package worker

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

// The loads of an hour and more, in virtual time, within the requests that
// Northflank allows. SIMULATE=full runs the large ones.

// loaded is a history without faults, within Northflank's limit, with the waits
// that a worker has. Its containers look at their flow run rarely: nobody
// cancels them.
func loaded(s *simulation) {
	quiet(s)
	s.plan.rateLimit, s.plan.linger = emulator.DefaultRateLimit, 5*time.Minute
	s.timing = Timing{}
	s.tick, s.lookEvery, s.horizon = 10*time.Second, time.Minute, 6*time.Hour
}

// load runs a history of n flow runs, each as shape makes it.
func load(t *testing.T, n int, shape func(i int, run *simRun), changes ...func(*simulation)) *simulation {
	t.Helper()
	return simulate(t, 5, slog.New(slog.DiscardHandler), slices.Concat([]func(*simulation){loaded, func(s *simulation) {
		s.plan.flowRuns = n
		i := -1
		s.shape = func(run *simRun) {
			i++
			run.temper, run.fate, run.boot = wellBehaved, leftAlone, 10*time.Second
			shape(i, run)
		}
	}}, changes)...)
}

// checkBudget checks that nothing was asked for beyond the limit.
func (s *simulation) checkBudget() emulator.Counters {
	s.Helper()
	c := s.nf.Counters()
	if c.Limited > 0 {
		s.Errorf("%d requests were answered with 429, want none", c.Limited)
	}
	s.Logf("%d requests: %v", c.Total, c.Routes)
	return c
}

// crashDelays returns how long after its container's silent death each flow run
// was Crashed, shortest first.
func (s *simulation) crashDelays() []time.Duration {
	s.Helper()
	var delays []time.Duration
	for _, run := range s.runs {
		if run.temper != diesSilently {
			continue
		}
		for _, state := range s.prefect.StateHistory(run.id) {
			if state.Type == prefect.StateCrashed {
				delays = append(delays, state.Timestamp.Sub(run.diedAt))
			}
		}
	}
	slices.Sort(delays)
	return delays
}

// A flow run that goes well costs its start, and a share of the looks that serve
// all: everything from the first request to the deletion of the job is counted.
func TestRequestsAFlowRun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		n      int
		length time.Duration
		most   float64 // requests a flow run
	}{
		{"100 of a minute in an hour", 100, time.Minute, 1.3},
		{"900 of ten minutes in an hour", 900, 10 * time.Minute, 1.08},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.n > 100 && !full() {
				t.Skip("SIMULATE=full runs it")
			}
			synctest.Test(t, func(t *testing.T) {
				s := load(t, tt.n, func(i int, run *simRun) {
					run.at, run.length = time.Duration(i)*time.Hour/time.Duration(tt.n), tt.length
				})
				if got := float64(s.checkBudget().Total) / float64(tt.n); got > tt.most {
					t.Errorf("%.3f requests a flow run, want %g at most", got, tt.most)
				}
			})
		})
	}
}

// Hundreds of flow runs that run for an hour at once fit into an hour's requests,
// and each of them that dies without a word is noticed: with heartbeats within
// three of them.
func TestConcurrentForAnHour(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		n       int
		sources sources
		within  time.Duration // a crash is reported, at the latest
		long    bool          // only with SIMULATE=full
	}{
		{"300 with heartbeats", 300, sources{heartbeats: true}, 90 * time.Second, false},
		{"300 with webhook", 300, sources{webhooks: true}, 5 * time.Second, true},
		{"300 with sweeps alone", 300, sources{noEvents: true}, 5 * time.Minute, true},
		{"900 with heartbeats", 900, sources{heartbeats: true}, 90 * time.Second, true},
		{"900 with webhook", 900, sources{webhooks: true}, 5 * time.Second, true},
		{"900 with sweeps alone", 900, sources{noEvents: true}, time.Hour, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.long && !full() {
				t.Skip("SIMULATE=full runs it")
			}
			synctest.Test(t, func(t *testing.T) {
				s := load(t, tt.n, func(i int, run *simRun) {
					run.at, run.length = time.Duration(i%60)*time.Second, time.Hour
					if i%60 == 7 {
						run.temper, run.length = diesSilently, time.Duration(10+i%40)*time.Minute
					}
				}, func(s *simulation) { s.plan.sources, s.query = tt.sources, 30*time.Second })
				s.checkBudget()
				delays := s.crashDelays()
				if want := (tt.n + 52) / 60; len(delays) != want {
					t.Fatalf("%d crashes were noticed, want %d", len(delays), want)
				}
				t.Logf("crashes noticed after %v", delays)
				if last := delays[len(delays)-1]; last > tt.within {
					t.Errorf("a crash was noticed after %s, want %s at most", last, tt.within)
				}
			})
		})
	}
}

// Fifty deployments with a job each: what is left after the starts is shared
// between their jobs.
func TestManyJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const deployments, each = 50, 10
		s := load(t, 0, nil, func(s *simulation) {
			s.plan.scope = "deployment"
			s.also = func() {
				for d := range deployments {
					id := s.prefect.AddDeployment(testkit.DeploymentSpec{Name: fmt.Sprint("d", d), Pool: simPool, JobVariables: map[string]any{
						"project_id": emulator.DefaultProject, "job_scope": "deployment",
					}})
					for i := range each {
						run := &simRun{at: time.Duration(i) * 5 * time.Minute, length: 4 * time.Minute, boot: 10 * time.Second}
						run.id = s.prefect.Schedule(testkit.FlowRunSpec{Deployment: id, At: time.Now().Add(run.at)})
						s.runs[run.id] = run
					}
				}
			}
		})
		c := s.checkBudget()
		if got := c.Routes["POST /projects/{project}/jobs/{job}/runs"]; got != deployments*each {
			t.Errorf("%d job runs were started, want %d", got, deployments*each)
		}
		for _, run := range s.runs {
			for _, state := range s.prefect.StateHistory(run.id) {
				if state.Name == "Submitting" {
					if late := state.Timestamp.Sub(s.began.Add(run.at)); late > 15*time.Second {
						t.Errorf("flow run %s was started %s late: looks went before starts", run.id, late)
					}
				}
			}
		}
	})
}

// When Northflank cuts the limit in the middle of 50 flow runs, at most one
// request is refused; what cannot be started waits as Scheduled, nothing crashes,
// and an abort is let through at once.
func TestLimitIsCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const running, later = 50, 60
		cutAt, cancelAt := 10*time.Minute, 15*time.Minute
		s := load(t, running+later, func(i int, run *simRun) {
			run.length = 40 * time.Minute
			switch {
			case i == 0: // ignores its cancellation
				run.temper, run.fate, run.when = hangs, cancelled, cancelAt
			case i >= running:
				run.at = 12*time.Minute + time.Duration(i)*time.Second
			}
		}, func(s *simulation) {
			s.also = func() { time.AfterFunc(cutAt, func() { s.nf.SetRateLimit(100) }) }
		})
		c := s.nf.Counters()
		if c.Limited > 1 {
			t.Errorf("%d requests were answered with 429, want one at most", c.Limited)
		}
		delayed := 0
		for _, run := range s.runs {
			for _, state := range s.prefect.StateHistory(run.id) {
				late := state.Timestamp.Sub(s.began.Add(run.at))
				switch {
				case state.Type == prefect.StateCrashed:
					t.Errorf("flow run %s was Crashed: %s", run.id, state.Message)
				case state.Type == prefect.StateScheduled && state.Name == "Scheduled" && late > time.Second:
					t.Errorf("flow run %s was claimed and given back", run.id)
				case state.Name == "Submitting" && late > 20*time.Minute:
					delayed++
				case state.Type == prefect.StateCancelled:
					// The grace of a minute, and the container's own of 30 s.
					if took := state.Timestamp.Sub(s.began.Add(cancelAt)); took > 2*time.Minute {
						t.Errorf("the cancelled flow run was Cancelled after %s", took)
					}
				}
			}
		}
		if delayed == 0 {
			t.Error("no start was delayed: the limit did not matter")
		}
		t.Logf("%d requests, %d starts delayed", c.Total, delayed)
	})
}

// A worker that has run 10,000 flow runs holds no more than those of the last
// minutes. (The goroutines counted are those of the servers too.)
func TestSoak(t *testing.T) { // alone: the goroutines are counted
	n := 500
	if full() {
		n = 10_000
	}
	synctest.Test(t, func(t *testing.T) {
		type holding struct {
			goroutines, streams, rows, jobs, known int
		}
		var seen []holding
		load(t, n, func(i int, run *simRun) {
			run.at, run.length = time.Duration(i)*2*time.Second, time.Duration(20+i%40)*time.Second
			if i%50 == 0 {
				run.temper = diesSilently
			}
		}, func(s *simulation) {
			s.plan.rateLimit = -1
			s.tick, s.horizon = 20*time.Second, 12*time.Hour
			s.also = func() {
				for i := range 9 {
					time.AfterFunc(time.Duration(i+1)*time.Duration(n)*2*time.Second/10, func() {
						w := s.workers[0].engine
						w.table.mu.Lock()
						defer w.table.mu.Unlock()
						h := holding{goroutines: runtime.NumGoroutine(), streams: s.prefect.EventStreams(), rows: len(w.table.rows), jobs: len(w.table.jobs)}
						for _, j := range w.table.jobs {
							h.known += len(j.runs)
						}
						seen = append(seen, h)
					})
				}
			}
		})
		t.Logf("%+v", seen)
		if len(seen) != 9 {
			t.Fatalf("looked %d times, want 9", len(seen))
		}
		// Some 30 flow runs are under way, and 30 a minute have ended; those are held
		// for the four minutes until a look tells that their containers ended too.
		for _, h := range seen {
			if h.streams != 1 || h.jobs > 1 || h.rows > 250 || h.goroutines > 600 || h.known > maxKnownRuns {
				t.Errorf("the worker holds %+v", h)
			}
		}
	})
}

// Whatever the worker learns from, the outcomes are the same.
func TestEverySource(t *testing.T) {
	t.Parallel()
	for _, noEvents := range []bool{false, true} {
		for _, heartbeats := range []bool{false, true} {
			for _, webhooks := range []bool{false, true} {
				for _, rare := range []bool{false, true} {
					name := fmt.Sprintf("events=%t heartbeats=%t webhooks=%t often=%t", !noEvents, heartbeats, webhooks, !rare)
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							simulate(t, 3, slog.New(slog.DiscardHandler), quiet, everyTemper, func(s *simulation) {
								s.plan.sources = sources{noEvents: noEvents, heartbeats: heartbeats, webhooks: webhooks}
								if rare {
									s.timing.SweepMin, s.timing.SweepMax = time.Hour, time.Hour
								}
							})
						})
					})
				}
			}
		}
	}
}
