package worker

import (
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

// dayFaults is the share of answers that fail at any time of the day, of either
// service.
const dayFaults = 0.03

// outages of a day, from its beginning: while one lasts nothing is answered.
var outages = []struct {
	from, length        time.Duration
	prefect, northflank bool
}{
	{2 * time.Hour, 8 * time.Minute, true, false},
	{5 * time.Hour, 20 * time.Minute, false, true},
	{9 * time.Hour, 5 * time.Minute, true, true},
	{15 * time.Hour, 3 * time.Minute, true, false},
	{20 * time.Hour, 40 * time.Minute, false, true},
}

// operate runs a worker for some hours, with a flow run of any temper and fate
// each while, faults on both sides, outages, and connections that break. It
// returns the history when all of it was found to be as it should, and how much
// memory the worker holds at its end, in bytes.
func operate(t *testing.T, d, every time.Duration) (s *simulation, held int64) {
	synctest.Test(t, func(t *testing.T) {
		s = simulate(t, 11, slog.New(slog.DiscardHandler), loaded, func(s *simulation) {
			s.plan.flowRuns, s.plan.faultsUntil = int(d/every), d
			s.plan.northflankFaults = dayFaults
			s.plan.sources = sources{heartbeats: true, loseEvents: 0.02, eventDelay: 100 * time.Millisecond}
			s.plan.linger, s.plan.startRetries = 2*time.Minute, 1
			s.query, s.horizon = 30*time.Second, d+6*time.Hour
			i := -1
			s.shape = func(run *simRun) {
				i++
				run.at = time.Duration(i) * every
				run.when += run.at
			}
			s.also = func() { s.disturb(d) }
		})
	})
	before := heap()
	s.workers = nil
	return s, before - heap()
}

// heap is what is in use after a collection, in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers and pools let go of in the first
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// disturb arranges the day's faults, but for those that simulate arranges.
func (s *simulation) disturb(d time.Duration) {
	rng := rand.New(rand.NewPCG(s.seed, 3))
	s.plan.prefectFaults = dayFaults
	usual := s.prefect.Fault
	s.prefect.Fault = func(n int, r *http.Request) testkit.FaultAction {
		for _, o := range outages {
			if since := time.Since(s.began); o.prefect && since >= o.from && since < o.from+o.length {
				return testkit.Fault503
			}
		}
		return usual(n, r)
	}
	for _, o := range outages {
		if !o.northflank || o.from >= d {
			continue
		}
		time.AfterFunc(o.from, func() {
			if _, err := s.nf.Faults().Add(emulator.Fault{Action: emulator.ActionStatus, Status: 503, For: o.length}); err != nil {
				s.Error(err)
			}
		})
	}
	for at := time.Duration(0); at < d; at += time.Duration(10+rng.IntN(60)) * time.Minute {
		time.AfterFunc(at, s.prefect.CutEventStreams)
		time.AfterFunc(at+time.Minute, s.prefect.CutChannels)
	}
	for at := time.Hour; at <= d; at += time.Hour {
		time.AfterFunc(at, func() { s.checkHealth(at) })
	}
}

// checkHealth checks that every loop comes round, and that no more is held than
// of the flow runs of the last minutes.
func (s *simulation) checkHealth(at time.Duration) {
	w := s.workers[0].engine
	for _, loop := range w.Loops() {
		if loop.Stalled {
			s.Errorf("after %s: loop %q has not come round since %s", at, loop.Name, loop.Round)
		}
	}
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	if rows, jobs := len(w.table.rows), len(w.table.jobs); rows > 100 || jobs > 4 {
		s.Errorf("after %s: the worker holds %d flow runs and %d jobs", at, rows, jobs)
	}
}

// TestDay: after a day full of faults every flow run is as it should be, every
// loop goes round, and the worker holds no more memory than after an hour.
func TestDay(t *testing.T) { // alone: the heap is measured
	every := 6 * time.Minute
	if full() {
		every = 30 * time.Second
	}
	_, hour := operate(t, time.Hour, every)
	s, day := operate(t, 24*time.Hour, every)
	failed := 0
	for status, n := range s.nf.Counters().Statuses {
		if status >= 500 || status == 0 {
			failed += n
		}
	}
	t.Logf("%d flow runs, %d requests to Northflank, of which %d failed; held after an hour %d kB, after a day %d kB",
		len(s.runs), s.nf.Counters().Total, failed, hour/1024, day/1024)
	if failed < 20 {
		t.Errorf("only %d of Northflank's answers failed", failed)
	}
	const most = 512 << 10 // bytes; its memory of outcomes and log lines is bounded, and filled by then
	if day-hour > most {
		t.Errorf("the worker holds %d kB after a day, %d kB after an hour", day/1024, hour/1024)
	}
}
