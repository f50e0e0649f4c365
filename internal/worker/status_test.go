package worker

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// TestStatusOfHistory looks at the worker every second while flow runs of every
// temper come and go, and compares what it counted with what there was.
func TestStatusOfHistory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seen := map[Phase]bool{}
		stopped := make(chan struct{})
		s := simulate(t, 3, slog.New(slog.DiscardHandler), quiet, everyEnd, func(s *simulation) {
			s.also = func() { go watchPhases(s, seen, stopped) }
		})
		close(stopped)
		for _, want := range []Phase{PhaseBooting, PhaseRunning, PhaseCancelling, PhaseStopping, PhaseConcluding, PhaseSettling} {
			if !seen[want] {
				t.Errorf("no flow run was ever seen %s", want)
			}
		}
		for phase := range seen {
			if !slices.Contains(Phases(), phase) {
				t.Errorf("phase %q is not in the list", phase)
			}
		}
		checkCounts(s)
	})
}

// everyEnd are 10 flow runs that between them end in every way.
func everyEnd(s *simulation) {
	s.plan.flowRuns = 10
	n := 0
	s.shape = func(run *simRun) {
		n++
		run.boot, run.length = 10*time.Second, 20*time.Second
		run.temper = []temper{wellBehaved, failsItself, diesSilently, diesEarly, hangs}[n%5]
		run.fate, run.when = leftAlone, run.at+25*time.Second
		switch {
		case run.temper == hangs:
			run.fate = cancelled
		case n > 8:
			run.fate, run.when = deleted, run.at+12*time.Second // it may begin to boot before it is due
		}
	}
}

func watchPhases(s *simulation, seen map[Phase]bool, stopped <-chan struct{}) {
	for {
		select {
		case <-stopped:
			return
		case <-time.After(time.Second):
		}
		s.mu.Lock()
		workers := slices.Clone(s.workers)
		s.mu.Unlock()
		for _, w := range workers {
			for _, fr := range w.engine.Status().FlowRuns {
				seen[fr.Phase] = true
			}
		}
	}
}

// checkCounts compares what the worker counted with what became of the flow runs.
func checkCounts(s *simulation) {
	w := s.workers[0].engine
	status, stats := w.Status(), w.Stats
	outcomes, total := map[string]int{}, 0
	for key, n := range stats.Outcomes.Counts() {
		outcomes[key[0]] += int(n)
		total += int(n)
	}
	want := map[string]int{"deleted": len(s.runs) - len(s.prefect.FlowRuns())}
	for _, fr := range s.prefect.FlowRuns() {
		want[map[prefect.StateType]string{
			prefect.StateCompleted: "completed", prefect.StateFailed: "failed", prefect.StateCrashed: "crashed", prefect.StateCancelled: "cancelled",
		}[fr.State.Type]]++
	}
	if diff := cmp.Diff(want, outcomes); diff != "" {
		s.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if len(status.Outcomes) != total || len(status.FlowRuns) > 0 || status.Waiting > 0 {
		s.Errorf("%d outcomes, %d live, %d waiting flow runs, want %d, 0 and 0", len(status.Outcomes), len(status.FlowRuns), status.Waiting, total)
	}
	for _, o := range status.Outcomes {
		if o.State == "crashed" && (o.Reason == "reported" || o.Text == "" || o.JobRun == "") {
			s.Errorf("outcome %+v does not say why", o)
		}
	}
	started := stats.Starts.Counts()[[maxLabels]string{startDone}]
	dispatched, _, _ := stats.Dispatch.Read()
	detected, _, _ := stats.Detection.Read()
	if jobRuns := len(s.nf.JobRuns()); started == 0 || dispatched != started || int(started) < jobRuns {
		s.Errorf("%d starts, %d dispatched, %d job runs", started, dispatched, jobRuns)
	}
	if detected == 0 || stats.Aborts.Counts()[[maxLabels]string{"cancelled"}] == 0 || stats.Sweeps.Counts()[[maxLabels]string{"asked", "done"}] == 0 {
		s.Errorf("%d detections, aborts %v, sweeps %v: want some of each", detected, stats.Aborts.Counts(), stats.Sweeps.Counts())
	}
	for _, at := range []time.Time{status.Polled, status.Heartbeat, status.Observed, status.Swept} {
		if at.IsZero() {
			s.Errorf("something never succeeded: %+v", status)
		}
	}
}

// TestStalledLoop: a loop that does not come round is stalled, unless Prefect
// asked for the wait.
func TestStalledLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &Worker{Options: Options{Stats: NewStats()}}
		stalled := func() (names []string) {
			for _, l := range w.Loops() {
				if l.Stalled {
					names = append(names, l.Name)
				}
			}
			return names
		}
		time.Sleep(time.Hour)
		if got := stalled(); got != nil {
			t.Errorf("before they began, %v stalled", got)
		}
		w.pulse.beat(loopPoll)
		w.pulse.beat(loopSweep)
		time.Sleep(stallAfter)
		w.pulse.beat(loopSweep)
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"poll"}, stalled()); diff != "" {
			t.Errorf("stalled (-want +got):\n%s", diff)
		}
		w.Stats.Maintenance(time.Now().Add(time.Hour))
		if got := stalled(); got != nil {
			t.Errorf("during Prefect's maintenance, %v stalled", got)
		}
	})
}

func TestGateList(t *testing.T) {
	t.Parallel()
	accounts := northflank.NewAccounts(northflank.Options{HTTPClient: &http.Client{}})
	client, _, err := accounts.Client("https://nf.test", "team", secret.New("nf-test"))
	if err != nil {
		t.Fatal(err)
	}
	g, now := newGate(), time.Unix(1e9, 0)
	bad, good, old := place{client, "bad"}, place{client, "good"}, place{client, "old"}
	g.passed(old, now.Add(-2*tookMemory))
	g.passed(good, now)
	g.passed(bad, now)
	g.refused(bad, errors.New("no route"), now)
	denied := &northflank.Error{Status: http.StatusForbidden}
	g.refused(bad, denied, now.Add(time.Minute))
	want := []Refusal{{
		API: "https://nf.test", Team: "team", Project: "bad", Since: now, Until: now.Add(time.Minute + 10*time.Second),
		Cause: "forbidden", Text: denied.Error(), Denied: true,
	}}
	refusals, takers := g.list(now.Add(time.Minute))
	if diff := cmp.Diff(want, refusals); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
	if takers != 1 {
		t.Errorf("%d places take job runs, want 1", takers)
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	h := newHistogram(1, 10)
	for _, d := range []time.Duration{-time.Second, time.Second, 2 * time.Second, time.Minute} {
		h.Observe(d)
	}
	n, sum, atMost := h.Read()
	if diff := cmp.Diff(map[float64]uint64{1: 2, 10: 3}, atMost); n != 4 || sum != 63 || diff != "" {
		t.Errorf("Read() = %d, %g, want 4, 63; buckets (-want +got):\n%s", n, sum, diff)
	}
}

// TestSaidForgets: troubles that nobody meets any more do not pile up.
func TestSaidForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s said
		log := slog.New(slog.DiscardHandler)
		s.trouble(t.Context(), log, "looking at job a", errors.New("gone"))
		time.Sleep(saidMemory / 2)
		s.trouble(t.Context(), log, "polling", &northflank.Error{Status: http.StatusUnauthorized})
		began := time.Now()
		for range int(saidMemory / 2 / saidRow) {
			time.Sleep(saidRow)
			s.trouble(t.Context(), log, "polling", &northflank.Error{Status: http.StatusUnauthorized})
		}
		time.Sleep(time.Second)
		s.trouble(t.Context(), log, "polling", &northflank.Error{Status: http.StatusUnauthorized})
		got := s.list()
		if len(got) != 1 || got[0].Cause != CauseNorthflankRefuses || !got[0].Since.Equal(began) || !got[0].Last.Equal(time.Now()) {
			t.Errorf("troubles %+v, want the one that is still met, since %s", got, began)
		}
		time.Sleep(saidRow + time.Second)
		s.trouble(t.Context(), log, "polling", errors.New("another one"))
		if got := s.list(); !got[0].Since.Equal(time.Now()) {
			t.Errorf("trouble that came back counts since %s, want since now", got[0].Since)
		}
	})
}
