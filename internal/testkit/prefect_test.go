package testkit

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// newClient returns the real client, speaking to the fake.
func newClient(t *testing.T, p *Prefect) *prefect.Client {
	t.Helper()
	settings, err := prefect.LoadSettings(prefect.LoadOptions{
		Environ: []string{"PREFECT_API_URL=" + BaseURL}, Dir: t.TempDir(), HomeDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := prefect.NewClient(prefect.ClientOptions{Settings: settings, HTTPClient: &http.Client{Transport: p.Transport()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// seeded returns a server with a work pool "p" and a deployment in it.
func seeded() (p *Prefect, deployment string) {
	p = NewPrefect()
	p.AddPool(PoolSpec{Name: "p"})
	return p, p.AddDeployment(DeploymentSpec{Name: "d", Pool: "p"})
}

// The fake answers what the client asks, and nothing else.
func TestRoutesAreTheClients(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, r := range prefect.Routes() {
		want = append(want, r.Method+" "+r.Path)
	}
	for _, r := range routes {
		got = append(got, r.name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-client +fake):\n%s", diff)
	}
}

func (s State) label() string { return string(s.Type) + "/" + s.Name }

// Shorthands for states of the usual names.
var (
	pending    = State{Type: prefect.StatePending, Name: "Pending"}
	submitting = State{Type: prefect.StatePending, Name: "Submitting"}
	running    = State{Type: prefect.StateRunning}
	completed  = State{Type: prefect.StateCompleted}
	failed     = State{Type: prefect.StateFailed}
	crashed    = State{Type: prefect.StateCrashed}
	cancelling = State{Type: prefect.StateCancelling}
	cancelled  = State{Type: prefect.StateCancelled}
	scheduled  = State{Type: prefect.StateScheduled}
	paused     = State{Type: prefect.StatePaused}
)

func with(s State, change func(*State)) State {
	change(&s)
	return s
}

// Each row cites the class in Prefect 3.8's server/orchestration/core_policy.py
// that decides. The same rows are compared with a real server in test/e2e.
func TestRules(t *testing.T) {
	t.Parallel()
	id := func(n string) func(*State) { return func(s *State) { s.TransitionID = n } }
	tests := []struct {
		name     string // what Prefect does, and the rule that does it
		way      []State
		pid      bool
		spec     FlowRunSpec
		proposed State
		force    bool
		status   prefect.Answer
		want     string
		reason   string
	}{
		{name: "a scheduled run is claimed", proposed: pending, status: "ACCEPT", want: "PENDING/Pending"},
		{name: "claimed long before its time (WaitForScheduledTime looks at Running only)", spec: FlowRunSpec{At: time.Now().Add(time.Hour)}, proposed: pending, status: "ACCEPT", want: "PENDING/Pending"},
		{name: "claimed twice (PreventPendingTransitions)", way: []State{pending}, proposed: pending, status: "ABORT", want: "PENDING/Pending", reason: "This run is in a PENDING state and cannot transition to a PENDING state."},
		{name: "the answer to a claim was lost (PreventDuplicateTransitions)", way: []State{with(pending, id("x"))}, proposed: with(pending, id("x")), status: "REJECT", want: "PENDING/Pending", reason: "This run has already made this state transition."},
		{name: "an older transition id does not count", way: []State{with(pending, id("x")), with(submitting, id("y"))}, proposed: with(pending, id("x")), status: "ABORT", want: "PENDING/Submitting", reason: "This run is in a PENDING state and cannot transition to a PENDING state."},
		{name: "forced, the same transition id is written again (MinimalFlowPolicy)", way: []State{with(pending, id("x"))}, proposed: with(pending, id("x")), force: true, status: "ACCEPT", want: "PENDING/Pending"},
		{name: "a Pending run is renamed (PreventPendingTransitions)", way: []State{pending}, proposed: submitting, status: "ACCEPT", want: "PENDING/Submitting"},
		{name: "to the name that it has (PreventPendingTransitions)", way: []State{pending, submitting}, proposed: submitting, status: "ABORT", want: "PENDING/Submitting", reason: "This run is in a PENDING state and cannot transition to a PENDING state."},
		{name: "a running one is claimed (PreventPendingTransitions)", way: []State{pending, running}, proposed: pending, status: "ABORT", want: "RUNNING/Running", reason: "This run is in a RUNNING state and cannot transition to a PENDING state."},
		{name: "a cancelled one is claimed (PreventPendingTransitions)", way: []State{pending, cancelled}, proposed: pending, status: "ABORT", want: "CANCELLED/Cancelled", reason: "This run is in a CANCELLED state and cannot transition to a PENDING state."},
		{name: "a crashed one is claimed: nothing prevents it", way: []State{pending, crashed}, proposed: pending, status: "ACCEPT", want: "PENDING/Pending"},
		{name: "a failed one is claimed: nothing prevents it", way: []State{pending, running, failed}, proposed: pending, status: "ACCEPT", want: "PENDING/Pending"},
		{name: "a completed one without result is claimed: nothing prevents it", way: []State{pending, running, completed}, proposed: pending, status: "ACCEPT", want: "PENDING/Pending"},
		{name: "a completed one with result is claimed (HandleFlowTerminalStateTransitions)", way: []State{pending, running, with(completed, func(s *State) { s.PersistedResult = true })}, proposed: pending, status: "REJECT", want: "COMPLETED/Completed", reason: "Run is already COMPLETED."},
		{name: "a crashed one begins all the same", way: []State{pending, crashed}, proposed: running, status: "ACCEPT", want: "RUNNING/Running"},
		{name: "a completed one is reported as crashed (HandleFlowTerminalStateTransitions)", way: []State{pending, running, completed}, proposed: crashed, status: "ABORT", want: "COMPLETED/Completed", reason: "Run is already in terminal state COMPLETED."},
		{name: "a cancelled one is cancelled (HandleFlowTerminalStateTransitions)", way: []State{pending, cancelled}, proposed: cancelling, status: "ABORT", want: "CANCELLED/Cancelled", reason: "Run is already in terminal state CANCELLED."},
		{name: "a failed one completes: nothing prevents it", way: []State{pending, running, failed}, proposed: completed, status: "ACCEPT", want: "COMPLETED/Completed"},
		{name: "a crashed one is scheduled again", way: []State{pending, crashed}, proposed: scheduled, status: "ACCEPT", want: "SCHEDULED/Scheduled"},
		{name: "a claimed run is handed back", way: []State{pending}, proposed: scheduled, status: "ACCEPT", want: "SCHEDULED/Scheduled"},
		{name: "a running one is handed back: nothing prevents it", way: []State{pending, running}, proposed: scheduled, status: "ACCEPT", want: "SCHEDULED/Scheduled"},
		{name: "a scheduled one is scheduled anew", proposed: scheduled, status: "ACCEPT", want: "SCHEDULED/Scheduled"},
		{name: "a scheduled one is cancelled (BypassCancellingFlowRunsWithNoInfra)", proposed: cancelling, status: "REJECT", want: "CANCELLED/Cancelled", reason: "Scheduled flow run has no infrastructure to terminate."},
		{name: "a scheduled one with infrastructure is cancelled", pid: true, proposed: cancelling, status: "ACCEPT", want: "CANCELLING/Cancelling"},
		{name: "force does not change that (MinimalFlowPolicy)", proposed: cancelling, force: true, status: "REJECT", want: "CANCELLED/Cancelled", reason: "Scheduled flow run has no infrastructure to terminate."},
		{name: "a claimed one is cancelled", way: []State{pending}, proposed: cancelling, status: "ACCEPT", want: "CANCELLING/Cancelling"},
		{name: "a running one is cancelled", way: []State{pending, running}, proposed: cancelling, status: "ACCEPT", want: "CANCELLING/Cancelling"},
		{name: "a cancelling one is reported as crashed (EnforceCancellingToCancelledTransition)", way: []State{pending, cancelling}, proposed: crashed, status: "REJECT", want: "CANCELLING/Cancelling", reason: "Cannot transition flows that are cancelling to a state other than Cancelled."},
		{name: "a cancelling one is claimed: the same rule comes first", way: []State{pending, cancelling}, proposed: pending, status: "REJECT", want: "CANCELLING/Cancelling", reason: "Cannot transition flows that are cancelling to a state other than Cancelled."},
		{name: "a cancelling one completes (EnforceCancellingToCancelledTransition)", way: []State{pending, running, cancelling}, proposed: completed, status: "REJECT", want: "CANCELLING/Cancelling", reason: "Cannot transition flows that are cancelling to a state other than Cancelled."},
		{name: "a cancelling one is cancelled", way: []State{pending, cancelling}, proposed: cancelled, status: "ACCEPT", want: "CANCELLED/Cancelled"},
		{name: "force ends anything", way: []State{pending, running, completed}, proposed: cancelled, force: true, status: "ACCEPT", want: "CANCELLED/Cancelled"},
		{name: "begins before its time (WaitForScheduledTime)", spec: FlowRunSpec{At: time.Now().Add(time.Hour)}, way: []State{pending}, proposed: running, status: "WAIT", want: "PENDING/Pending", reason: "Scheduled time is in the future"},
		{name: "fails with retries left (RetryFailedFlows)", spec: FlowRunSpec{Retries: 1}, way: []State{pending, running}, proposed: failed, status: "REJECT", want: "SCHEDULED/AwaitingRetry", reason: "Retrying"},
		{name: "fails without retries left (RetryFailedFlows)", spec: FlowRunSpec{Retries: 1}, way: []State{pending, running, failed, running}, proposed: failed, status: "ACCEPT", want: "FAILED/Failed"},
		{name: "marked late while claimed (EnsureOnlyScheduledFlowsMarkedLate)", way: []State{pending}, proposed: State{Type: prefect.StateScheduled, Name: "Late"}, status: "REJECT", want: "PENDING/Pending", reason: "Only scheduled flows can be marked late."},
		{name: "paused while running", way: []State{pending, running}, proposed: paused, status: "ACCEPT", want: "PAUSED/Paused"},
		{name: "paused before it runs (HandlePausingFlows)", way: []State{pending}, proposed: paused, status: "REJECT", want: "PENDING/Pending", reason: "Cannot pause flows that are not currently running."},
		{name: "a paused one is claimed (HandleResumingPausedFlows)", way: []State{pending, running, paused}, proposed: pending, status: "REJECT", want: "PAUSED/Paused", reason: "This run cannot transition to the StateType.PENDING state from the StateType.PAUSED state."},
		{name: "a suspended one is cancelled (BypassCancellingFlowRunsWithNoInfra)", way: []State{pending, running, with(paused, func(s *State) { s.Suspended = true })}, proposed: cancelling, status: "REJECT", want: "CANCELLED/Cancelled", reason: "Suspended flow run has no infrastructure to terminate."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, d := seeded()
			tt.spec.Deployment = d
			run := p.Schedule(tt.spec)
			for _, s := range tt.way {
				p.SetState(run, s, false)
			}
			if tt.pid {
				if err := newClient(t, p).SetInfrastructurePID(t.Context(), run, "job:run"); err != nil {
					t.Fatal(err)
				}
			}
			before := len(p.StateHistory(run))
			got := p.SetState(run, tt.proposed, tt.force)
			if got.Status != tt.status || got.State.label() != tt.want || got.Reason != tt.reason {
				t.Errorf("%s %s (%q), want %s %s (%q)", got.Status, got.State.label(), got.Reason, tt.status, tt.want, tt.reason)
			}
			written := len(p.StateHistory(run)) - before
			if want := tt.status == "ACCEPT" || got.State.Type == prefect.StateCancelled && tt.proposed.Type == prefect.StateCancelling && tt.status == "REJECT" || tt.reason == "Retrying"; (written == 1) != want {
				t.Errorf("%d states written, want one: %v", written, want)
			}
		})
	}
}

// The rules seen through the client: status, state and times on the wire.
func TestStatesThroughTheClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := seeded()
		c := newClient(t, p)
		ctx := t.Context()
		at := time.Now().Add(5 * time.Second)
		run := p.Schedule(FlowRunSpec{Deployment: d, Name: "müde \"run\"", At: at, JobVariables: map[string]any{"a": 1.5}, Tags: []string{"t"}})

		proposal := prefect.StateProposal{Type: prefect.StatePending, Name: "Pending", TransitionID: "x", Message: "by w"}
		for _, want := range []prefect.Answer{prefect.Accept, prefect.Accept} { // the second finds the first
			r, err := c.SetState(ctx, run, proposal)
			if err != nil || r.Status != want || r.State.Message != "by w" || !r.State.StateDetails.ScheduledTime.Equal(at) {
				t.Fatalf("SetState(Pending) = %+v, %v", r, err)
			}
		}
		r, err := c.SetState(ctx, run, prefect.StateProposal{Type: prefect.StateRunning, Name: "Running"})
		if err != nil || r.Status != prefect.Wait || r.Delay != 5*time.Second || r.State.Type != prefect.StatePending {
			t.Errorf("SetState(Running) before its time = %+v, %v; want to wait 5s", r, err)
		}
		time.Sleep(r.Delay)
		if s := p.BeginRun(run, "c1"); !s.Runs {
			t.Errorf("BeginRun() = %+v, want it to run", s)
		}
		began := time.Now()
		time.Sleep(time.Minute)
		if r, ok := p.Finish(run, completed); !ok || r.Status != prefect.Accept {
			t.Errorf("Finish() = %+v, %v", r, ok)
		}
		if err := c.SetLabels(ctx, run, map[string]any{"l": "1"}); err != nil {
			t.Error(err)
		}
		if err := c.SetInfrastructurePID(ctx, run, "job:run"); err != nil {
			t.Error(err)
		}
		fr, err := c.FlowRun(ctx, run)
		if err != nil {
			t.Fatal(err)
		}
		if fr.Name != "müde \"run\"" || fr.StateType != prefect.StateCompleted || fr.State.Name != "Completed" || fr.WorkPoolName != "p" ||
			fr.WorkQueueName != "default" || fr.RunCount != 1 || !fr.StartTime.Equal(began) || !fr.EndTime.Equal(began.Add(time.Minute)) ||
			!fr.NextScheduledStart.IsZero() || !fr.ExpectedStartTime.Equal(at) || fr.InfrastructurePID != "job:run" ||
			fr.Labels["l"] != "1" || fr.Labels["prefect.flow.id"] == nil || len(fr.Tags) != 1 || fr.DeploymentID != d || len(fr.JobVariables) != 1 {
			t.Errorf("FlowRun() = %+v", fr)
		}
		if err := c.SetInfrastructurePID(ctx, run, ""); err != nil {
			t.Error(err)
		}
		if fr, err := c.FlowRun(ctx, run); err != nil || fr.InfrastructurePID != "" {
			t.Errorf("pid after taking it away = %q, %v", fr.InfrastructurePID, err)
		}
		p.DeleteFlowRun(run)
		if _, err := c.FlowRun(ctx, run); !errors.Is(err, prefect.ErrNotFound) {
			t.Errorf("FlowRun(deleted) = %v, want ErrNotFound", err)
		}
		for name, err := range map[string]error{
			"state": second(c.SetState(ctx, run, proposal)), "labels": c.SetLabels(ctx, run, nil), "pid": c.SetInfrastructurePID(ctx, run, "x"),
		} {
			if !errors.Is(err, prefect.ErrNotFound) {
				t.Errorf("%s of a deleted flow run: %v, want ErrNotFound", name, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestStateTimestampsAreUnique(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // in a bubble the clock stands still
		p, d := seeded()
		run := p.Schedule(FlowRunSpec{Deployment: d})
		p.SetState(run, pending, false)
		p.SetState(run, submitting, false)
		history := p.StateHistory(run)
		for i := 1; i < len(history); i++ {
			if !history[i].Timestamp.After(history[i-1].Timestamp) {
				t.Errorf("state %d at %v, the one before at %v", i, history[i].Timestamp, history[i-1].Timestamp)
			}
		}
	})
}

// A run that ended without running has a start time too (SetEndTime), so a start
// time does not prove that the flow ran.
func TestStartTimeOfACrash(t *testing.T) {
	t.Parallel()
	p, d := seeded()
	run := p.Schedule(FlowRunSpec{Deployment: d})
	p.SetState(run, pending, false)
	p.SetState(run, crashed, false)
	if fr, _ := p.FlowRun(run); fr.StartTime.IsZero() || !fr.StartTime.Equal(fr.EndTime) || fr.RunCount != 0 {
		t.Errorf("FlowRun() = %+v, want start time = end time", fr)
	}
	p.SetState(run, scheduled, false)
	if fr, _ := p.FlowRun(run); !fr.EndTime.IsZero() {
		t.Errorf("end time after a new start = %v, want none", fr.EndTime)
	}
}

func TestScheduledFlowRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewPrefect()
		one := 1
		p.AddPool(PoolSpec{Name: "p", Queues: []QueueSpec{{Name: "urgent", Priority: 1}, {Name: "narrow", Limit: &one}, {Name: "held", Paused: true}}})
		p.AddPool(PoolSpec{Name: "other"})
		in := func(pool, queue string) string {
			return p.AddDeployment(DeploymentSpec{Name: queue, Pool: pool, Queue: queue})
		}
		start := time.Now()
		add := func(name, deployment string, after time.Duration) string {
			return p.Schedule(FlowRunSpec{Name: name, Deployment: deployment, At: start.Add(after)})
		}
		def, urgent, narrow := in("p", "default"), in("p", "urgent"), in("p", "narrow")
		add("default 2s", def, 2*time.Second)
		add("default now", def, 0)
		add("default in an hour", def, time.Hour)
		add("urgent 5s", urgent, 5*time.Second)
		add("narrow 1", narrow, 0)
		add("narrow 2", narrow, time.Second)
		add("held", in("p", "held"), 0)
		add("other", in("other", "default"), 0)
		retried := p.Schedule(FlowRunSpec{Name: "retried in its process", Deployment: def, Retries: 1})
		for _, s := range []State{pending, running, failed} {
			p.SetState(retried, s, false)
		}

		c := newClient(t, p)
		names := func(queues ...string) []string {
			t.Helper()
			frs, err := c.ScheduledFlowRuns(t.Context(), "p", queues, start.Add(10*time.Second), 0)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, fr := range frs {
				if fr.State != nil || fr.WorkPoolName != "" || fr.WorkQueueName != "" {
					t.Errorf("%s carries state, pool or queue name; Prefect leaves them null here", fr.Name)
				}
				names = append(names, fr.Name)
			}
			return names
		}
		want := []string{"urgent 5s", "default now", "default 2s", "narrow 1"}
		if diff := cmp.Diff(want, names()); diff != "" {
			t.Errorf("all queues (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, names()); diff != "" {
			t.Errorf("asked again: polling claims nothing (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"narrow 1"}, names("narrow")); diff != "" {
			t.Errorf("one queue (-want +got):\n%s", diff)
		}
		if _, err := c.ScheduledFlowRuns(t.Context(), "p", []string{"nope"}, start, 0); !errors.Is(err, prefect.ErrNotFound) {
			t.Errorf("unknown queue: %v, want ErrNotFound", err)
		}
		limited, err := c.ScheduledFlowRuns(t.Context(), "p", nil, start.Add(10*time.Second), 2)
		if err != nil || len(limited) != 2 {
			t.Errorf("limit 2: %d flow runs, %v", len(limited), err)
		}
		p.PausePool("p", true)
		if got := names(); got != nil {
			t.Errorf("paused pool hands out %v", got)
		}
		p.PausePool("p", false)
		p.DeletePool("p")
		if _, err := c.ScheduledFlowRuns(t.Context(), "p", nil, start, 0); !errors.Is(err, prefect.ErrNotFound) {
			t.Errorf("deleted pool: %v, want ErrNotFound", err)
		}
	})
}

// Pending runs hold the slots of a pool's limit, abandoned ones too.
func TestPoolLimit(t *testing.T) {
	t.Parallel()
	p := NewPrefect()
	two := 2
	p.AddPool(PoolSpec{Name: "p", Limit: &two})
	d := p.AddDeployment(DeploymentSpec{Name: "d", Pool: "p"})
	first := p.Schedule(FlowRunSpec{Deployment: d})
	p.Schedule(FlowRunSpec{Deployment: d})
	p.Schedule(FlowRunSpec{Deployment: d})
	c := newClient(t, p)
	for _, want := range []int{2, 1} {
		got, err := c.ScheduledFlowRuns(t.Context(), "p", nil, time.Now(), 0)
		if err != nil || len(got) != want {
			t.Errorf("%d flow runs handed out, %v; want %d", len(got), err, want)
		}
		p.SetState(first, pending, false)
	}
}

func TestDeploymentLimit(t *testing.T) {
	t.Parallel()
	for _, cancelNew := range []bool{false, true} {
		p := NewPrefect()
		p.AddPool(PoolSpec{Name: "p"})
		d := p.AddDeployment(DeploymentSpec{Name: "d", Pool: "p", ConcurrencyLimit: 1, CancelNew: cancelNew})
		first, next := p.Schedule(FlowRunSpec{Deployment: d}), p.Schedule(FlowRunSpec{Deployment: d})
		if r := p.SetState(first, pending, false); r.State.LeaseID == "" {
			t.Error("no lease for the first flow run")
		}
		if r := p.SetState(first, submitting, false); r.State.LeaseID == "" {
			t.Error("the lease was lost when the Pending state was renamed")
		}
		want := "SCHEDULED/AwaitingConcurrencySlot"
		if cancelNew {
			want = "CANCELLED/Cancelled"
		}
		r := p.SetState(next, pending, false)
		if r.Status != prefect.Reject || r.State.label() != want || r.Reason != "Deployment concurrency limit reached." {
			t.Errorf("second flow run: %+v, want rejected into %s", r, want)
		}
		if cancelNew {
			continue
		}
		p.SetState(first, crashed, false)
		if r := p.SetState(next, pending, false); r.Status != prefect.Accept {
			t.Errorf("after the first ended: %+v, want ACCEPT", r)
		}
		p.DeleteDeployment(d)
		p.SetState(next, scheduled, false)
		if r := p.SetState(next, pending, false); r.Status != prefect.Abort || r.Reason != "Deployment not found." {
			t.Errorf("without its deployment: %+v, want ABORT", r)
		}
	}
}

// What the server's services do by themselves.
func TestPassingTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := seeded()
		run := p.Schedule(FlowRunSpec{Deployment: d})
		state := func() string {
			fr, _ := p.FlowRun(run)
			return fr.State.label()
		}
		time.Sleep(lateAfter - time.Second)
		if got := state(); got != "SCHEDULED/Scheduled" {
			t.Errorf("after 14 s: %s", got)
		}
		time.Sleep(time.Second)
		if got := state(); got != "SCHEDULED/Late" {
			t.Errorf("after 15 s: %s, want it to be late", got)
		}
		p.SetState(run, pending, false)
		p.Cancel(run)
		time.Sleep(cancellingTimeout - time.Second)
		if got := state(); got != "CANCELLING/Cancelling" {
			t.Errorf("after 299 s: %s", got)
		}
		time.Sleep(2 * time.Second)
		if fr, _ := p.FlowRun(run); fr.State.Type != prefect.StateCancelled || fr.State.Message != cancellingTimedOut {
			t.Errorf("after 301 s: %+v, want Cancelled", fr.State)
		}
	})
}

func TestWorkersGoOffline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := seeded()
		c := newClient(t, p)
		status := func() string {
			t.Helper()
			workers, err := c.Workers(t.Context(), "p")
			if err != nil || len(workers) != 1 {
				t.Fatalf("Workers() = %v, %v", workers, err)
			}
			return workers[0].Status
		}
		beat := func() {
			if err := c.Heartbeat(t.Context(), "p", "w 1", 10); err != nil {
				t.Fatal(err)
			}
		}
		beat()
		time.Sleep(5 * time.Second)
		beat()
		for _, step := range []struct {
			after time.Duration
			want  string
		}{{35 * time.Second, "ONLINE"}, {45 * time.Second, "OFFLINE"}} { // 5 + 30 s, seen at the round of 45 s
			time.Sleep(time.Until(p.began.Add(step.after)))
			if got := status(); got != step.want {
				t.Errorf("after %v: %s, want %s", step.after, got, step.want)
			}
		}
		if pool, err := c.WorkPool(t.Context(), "p"); err != nil || pool.Status != "NOT_READY" {
			t.Errorf("WorkPool() = %+v, %v; want NOT_READY", pool, err)
		}
		beat()
		if got := status(); got != "ONLINE" {
			t.Errorf("after a heartbeat: %s", got)
		}
		if pool, err := c.WorkPool(t.Context(), "p"); err != nil || pool.Status != "READY" {
			t.Errorf("WorkPool() = %+v, %v; want READY", pool, err)
		}
	})
}

func TestFilterFlowRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := seeded()
		p.AddPool(PoolSpec{Name: "q"})
		other := p.AddDeployment(DeploymentSpec{Name: "o", Pool: "q"})
		var ids []string
		for range 450 {
			ids = append(ids, p.Schedule(FlowRunSpec{Deployment: d}))
		}
		elsewhere := p.Schedule(FlowRunSpec{Deployment: other})
		p.SetState(ids[3], pending, false)
		p.SetState(ids[7], crashed, false)
		time.Sleep(time.Hour)
		p.SetState(ids[9], crashed, false)

		c := newClient(t, p)
		read := func(f prefect.FlowRunFilter) []string {
			t.Helper()
			var got []string
			for fr, err := range c.FlowRuns(t.Context(), f) {
				if err != nil {
					t.Fatal(err)
				}
				if fr.State == nil {
					t.Errorf("%s has no state", fr.ID)
				}
				got = append(got, fr.ID)
			}
			return got
		}
		all := read(prefect.FlowRunFilter{WorkPool: "p"})
		newest := slices.Clone(ids)
		slices.Reverse(newest)
		if diff := cmp.Diff(newest, all); diff != "" {
			t.Errorf("all of the pool, newest first (-want +got):\n%s", diff)
		}
		if n := p.Requests()["POST /flow_runs/filter"]; n != 3 {
			t.Errorf("450 flow runs read in %d requests, want 3", n)
		}
		for name, tt := range map[string]struct {
			f    prefect.FlowRunFilter
			want []string
		}{
			"ids":        {prefect.FlowRunFilter{IDs: []string{ids[1], elsewhere}}, []string{elsewhere, ids[1]}},
			"states":     {prefect.FlowRunFilter{WorkPool: "p", StateTypes: []prefect.StateType{"PENDING", "RUNNING"}}, []string{ids[3]}},
			"ended":      {prefect.FlowRunFilter{WorkPool: "p", EndedAfter: time.Now().Add(-time.Minute)}, []string{ids[9]}},
			"no such":    {prefect.FlowRunFilter{WorkPool: "none"}, nil},
			"none asked": {prefect.FlowRunFilter{IDs: []string{}}, nil},
		} {
			if diff := cmp.Diff(tt.want, read(tt.f)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		p.DeletePool("p")
		if got := read(prefect.FlowRunFilter{WorkPool: "p"}); got != nil {
			t.Errorf("flow runs of a deleted pool: %v", got)
		}
		if got := read(prefect.FlowRunFilter{IDs: ids[:1]}); len(got) != 1 {
			t.Errorf("by id after the pool was deleted: %v, want it", got)
		}
	})
}

func TestDeletions(t *testing.T) {
	t.Parallel()
	p, d := seeded()
	scheduledRun, claimed := p.Schedule(FlowRunSpec{Deployment: d}), p.Schedule(FlowRunSpec{Deployment: d})
	p.SetState(claimed, pending, false)
	p.DeleteDeployment(d)
	if _, ok := p.FlowRun(scheduledRun); ok {
		t.Error("a scheduled flow run outlived its deployment")
	}
	if fr, ok := p.FlowRun(claimed); !ok || fr.DeploymentID != d {
		t.Errorf("claimed flow run = %+v, %v; want it to stay, with the id of its deployment", fr, ok)
	}
	c := newClient(t, p)
	if _, err := c.Deployment(t.Context(), d); !errors.Is(err, prefect.ErrNotFound) {
		t.Errorf("Deployment(deleted) = %v", err)
	}
	p.DeletePool("p")
	if fr, _ := p.FlowRun(claimed); fr.Pool != "" {
		t.Errorf("pool of the flow run = %q, want none", fr.Pool)
	}
	if err := c.Heartbeat(t.Context(), "p", "w", 30); !errors.Is(err, prefect.ErrNotFound) {
		t.Errorf("Heartbeat(deleted pool) = %v", err)
	}
}

func TestLogsThroughTheClient(t *testing.T) {
	t.Parallel()
	p := NewPrefect()
	c := newClient(t, p)
	at := now()
	var lines []prefect.Log
	for _, second := range []int{2, 0, 1, 3} {
		for _, flowRun := range []string{"a", "b"} {
			lines = append(lines, prefect.Log{Message: string(rune('0' + second)), FlowRunID: flowRun, Timestamp: at.Add(time.Duration(second) * time.Second)})
		}
	}
	if err := c.SendLogs(t.Context(), lines); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		most int
		want string
	}{{10, "321"}, {2, "32"}} {
		got, err := c.Logs(t.Context(), "a", at.Add(time.Second), test.most)
		var text strings.Builder
		for _, l := range got {
			text.WriteString(l.Message)
		}
		if err != nil || text.String() != test.want {
			t.Errorf("Logs(%d) = %q, %v, want %q", test.most, text.String(), err, test.want)
		}
	}
}

func TestPoolsThroughTheClient(t *testing.T) {
	t.Parallel()
	p := NewPrefect()
	c := newClient(t, p)
	ctx := t.Context()
	made, err := c.CreateWorkPool(ctx, "a/b c", "northflank", nil)
	if err != nil || made.Type != "northflank" || string(made.BaseJobTemplate) != "{}" {
		t.Fatalf("CreateWorkPool() = %+v, %v", made, err)
	}
	if _, err := c.CreateWorkPool(ctx, "a/b c", "northflank", nil); !errors.Is(err, prefect.ErrConflict) {
		t.Errorf("CreateWorkPool(again) = %v, want ErrConflict", err)
	}
	if _, err := c.CreateWorkPool(ctx, "Prefect-x", "northflank", nil); !errors.Is(err, prefect.ErrForbidden) {
		t.Errorf("CreateWorkPool(reserved) = %v, want ErrForbidden", err)
	}
	if err := c.UpdateWorkPoolTemplate(ctx, "a/b c", []byte(`{"z":1,"a":2}`)); err != nil {
		t.Error(err)
	}
	if pool, err := c.WorkPool(ctx, "a/b c"); err != nil || string(pool.BaseJobTemplate) != `{"z":1,"a":2}` {
		t.Errorf("template = %s, %v; want it in the order given", pool.BaseJobTemplate, err)
	}
	if queues, err := c.WorkQueues(ctx, "a/b c", nil); err != nil || len(queues) != 1 || queues[0].Name != "default" {
		t.Errorf("WorkQueues() = %+v, %v", queues, err)
	}
	if _, err := c.WorkPool(ctx, "none"); !errors.Is(err, prefect.ErrNotFound) {
		t.Errorf("WorkPool(none) = %v", err)
	}
}

func TestDeploymentsThroughTheClient(t *testing.T) {
	t.Parallel()
	p := NewPrefect()
	p.AddPool(PoolSpec{Name: "p"})
	d := p.AddDeployment(DeploymentSpec{Name: "nightly", Flow: "etl", Pool: "p", JobVariables: map[string]any{"image": "a:1"}, Tags: []string{"t"}})
	c := newClient(t, p)
	ctx := t.Context()
	byName, err := c.DeploymentByName(ctx, "etl/nightly")
	if err != nil || byName.ID != d || byName.WorkPoolName != "p" || byName.JobVariables["image"] != "a:1" {
		t.Errorf("DeploymentByName() = %+v, %v", byName, err)
	}
	if flow, err := c.Flow(ctx, byName.FlowID); err != nil || flow.Name != "etl" {
		t.Errorf("Flow() = %+v, %v", flow, err)
	}
	made, err := c.CreateFlowRun(ctx, d, prefect.NewFlowRun{Name: "r", Tags: []string{"u"}, IdempotencyKey: "k"})
	if err != nil || made.StateType != prefect.StateScheduled || len(made.Tags) != 2 {
		t.Errorf("CreateFlowRun() = %+v, %v", made, err)
	}
	if again, err := c.CreateFlowRun(ctx, d, prefect.NewFlowRun{IdempotencyKey: "k"}); err != nil || again.ID != made.ID {
		t.Errorf("CreateFlowRun(same key) = %s, %v; want %s", again.ID, err, made.ID)
	}
	n := 0
	for _, err := range c.Deployments(ctx, "p") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d deployments in the pool, want 1", n)
	}
}

func TestBlocksAndVariables(t *testing.T) {
	t.Parallel()
	p := NewPrefect()
	c := newClient(t, p)
	ctx := t.Context()
	id := p.AddBlock("northflank", "creds", map[string]any{"api_token": "t", "team_id": "x"}, "api_token")
	if b, err := c.Block(ctx, id); err != nil || b.Data["api_token"] != "t" {
		t.Errorf("Block() = %+v, %v", b, err)
	}
	if b, err := c.BlockByName(ctx, "northflank", "creds"); err != nil || b.ID != id {
		t.Errorf("BlockByName() = %+v, %v", b, err)
	}
	if bs, err := c.BlockDocuments(ctx, "northflank"); err != nil || len(bs) != 1 || bs[0].Data["api_token"] == "t" || bs[0].Data["team_id"] != "x" {
		t.Errorf("BlockDocuments() = %+v, %v; want the token masked", bs, err)
	}
	if _, err := c.BlockByName(ctx, "northflank", "none"); !errors.Is(err, prefect.ErrNotFound) {
		t.Errorf("BlockByName(none) = %v", err)
	}
	def := prefect.BlockDefinition{
		Type:   prefect.BlockTypeDefinition{Name: "Other", Slug: "other"},
		Schema: prefect.BlockSchemaDefinition{Fields: []byte(`{"secret_fields":["k"]}`), Version: "1"},
	}
	first, err := c.SaveBlock(ctx, def, "b", map[string]any{"k": "1", "l": "2"})
	if err != nil {
		t.Fatal(err)
	}
	def.Type.Description = "new"
	again, err := c.SaveBlock(ctx, def, "b", map[string]any{"k": "3"})
	if err != nil || again != first {
		t.Fatalf("SaveBlock(again) = %s, %v; want %s", again, err, first)
	}
	if b, err := c.Block(ctx, first); err != nil || b.Data["k"] != "3" || b.Data["l"] != "2" {
		t.Errorf("Block() = %+v, %v; want the new key merged in", b, err)
	}
	p.SetVariable("v", []any{"x"})
	if v, found, err := c.Variable(ctx, "v"); err != nil || !found || len(v.([]any)) != 1 {
		t.Errorf("Variable() = %v, %v, %v", v, found, err)
	}
	if _, found, err := c.Variable(ctx, "none"); err != nil || found {
		t.Errorf("Variable(none) found %v, %v", found, err)
	}
}

func TestLogsAndEvents(t *testing.T) {
	t.Parallel()
	p := NewPrefect()
	c := newClient(t, p)
	ctx := t.Context()
	line := prefect.Log{Name: "prefect.flow_runs.worker", Level: 20, Message: "hi", Timestamp: time.Now().UTC(), FlowRunID: "unknown is fine"}
	if err := c.SendLogs(ctx, []prefect.Log{line, line}); err != nil || len(p.Logs("unknown is fine")) != 2 {
		t.Errorf("SendLogs() = %v, %d lines", err, len(p.Logs("unknown is fine")))
	}
	e := prefect.Event{ID: "1", Occurred: time.Now(), Event: "prefect.worker.started", Resource: map[string]string{"prefect.resource.id": "w"}}
	for range 2 {
		if err := c.SendEvents(ctx, []prefect.Event{e}); err != nil {
			t.Error(err)
		}
	}
	if got := p.Events(); len(got) != 1 || got[0].Event != e.Event {
		t.Errorf("Events() = %+v, want the event once", got)
	}

	// One foreign field spoils the batch (seen: Prefect Cloud's worker_id).
	resp := post(t, p, "/logs/", `[{"name":"n","level":20,"message":"a","timestamp":"2026-01-01T00:00:00Z","flow_run_id":"x"},{"name":"n","level":20,"message":"b","timestamp":"2026-01-01T00:00:00Z","worker_id":"w"}]`)
	if resp != 422 || len(p.Logs("x")) != 0 {
		t.Errorf("logs with worker_id: %d, %d lines stored; want 422 and none", resp, len(p.Logs("x")))
	}
}

// post sends a raw body and returns the status.
func post(t *testing.T, p *Prefect, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, BaseURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.Transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func TestStrictBodies(t *testing.T) {
	t.Parallel()
	p, _ := seeded()
	for path, want := range map[string]int{
		"/flow_runs/filter": 200, "/work_pools/p/workers/filter": 200, "/nowhere": 404, "/health": 404,
	} {
		if got := post(t, p, path, `{}`); got != want {
			t.Errorf("POST %s = %d, want %d", path, got, want)
		}
	}
	for path, body := range map[string]string{
		"/flow_runs/filter":                     `{"limit":201}`,
		"/work_pools/p/workers/filter":          `{"nonsense":1}`,
		"/work_pools/p/workers/heartbeat":       `not JSON`,
		"/work_pools/p/get_scheduled_flow_runs": `{"limit":-1}`,
		"/flow_runs/x/set_state":                `{"state":{"type":"NONSENSE"}}`,
	} {
		if got := post(t, p, path, body); got != 422 {
			t.Errorf("POST %s %s = %d, want 422", path, body, got)
		}
	}
}

func TestContainers(t *testing.T) {
	t.Parallel()
	p, d := seeded()
	run := p.Schedule(FlowRunSpec{Deployment: d})
	p.SetState(run, pending, false)
	for _, container := range []string{"a", "b"} { // nothing in Prefect stops the second
		if s := p.BeginRun(run, container); !s.Runs {
			t.Errorf("BeginRun(%s) = %+v", container, s)
		}
	}
	if e := p.Executions(run); len(e) != 2 || e[0].Container != "a" || e[1].Container != "b" {
		t.Errorf("Executions() = %+v, want a and b", e)
	}
	p.Cancel(run)
	if r, ok := p.Finish(run, completed); !ok || r.Status != prefect.Reject {
		t.Errorf("Finish(completed) while cancelling = %+v, %v; want REJECT", r, ok)
	}
	if r, ok := p.FinishCancelled(run); !ok || r.State.Type != prefect.StateCancelled {
		t.Errorf("FinishCancelled() = %+v, %v", r, ok)
	}
	if s := p.BeginRun(run, "c"); s.Runs {
		t.Error("a container of a cancelled flow run ran it")
	}

	late := p.Schedule(FlowRunSpec{Deployment: d})
	p.SetState(late, pending, false)
	p.Cancel(late)
	if s := p.BeginRun(late, "a"); s.Runs {
		t.Error("a container of a cancelling flow run ran it")
	}
	if fr, _ := p.FlowRun(late); fr.State.Type != prefect.StateCancelled {
		t.Errorf("state = %s, want the container to have ended it", fr.State.label())
	}

	p.DeleteFlowRun(late)
	if s := p.BeginRun(late, "a"); s.Runs {
		t.Error("a container of a deleted flow run ran it")
	}
	if _, ok := p.Finish(late, completed); ok {
		t.Error("Finish() of a deleted flow run found it")
	}

	retried := p.Schedule(FlowRunSpec{Deployment: d, Retries: 1})
	p.SetState(retried, pending, false)
	p.BeginRun(retried, "a")
	if r, _ := p.Finish(retried, failed); r.State.Name != awaitingRetry {
		t.Errorf("Finish(failed) = %+v, want AwaitingRetry", r)
	}
	if s := p.BeginRun(retried, "a"); !s.Runs {
		t.Errorf("BeginRun() of a retry = %+v", s)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		action FaultAction
		effect bool
		maybe  bool // the client cannot know
	}{
		{"refuse", FaultRefuse, false, false},
		{"drop before", FaultDropBefore, false, true},
		{"drop after", FaultDropAfter, true, true},
		{"hang", FaultHang, false, true},
		{"hang after", FaultHangAfter, true, true},
		{"500", Fault500, false, true},
		{"503", Fault503, false, true},
		{"429", Fault429, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, d := seeded()
				run := p.Schedule(FlowRunSpec{Deployment: d})
				c := newClient(t, p)
				var seen []int
				p.Fault = func(n int, r *http.Request) FaultAction {
					seen = append(seen, n)
					if strings.HasSuffix(r.URL.Path, "/set_state") {
						return tt.action
					}
					return FaultNone
				}
				ctx, cancel := context.WithTimeout(prefect.WithoutRetry(t.Context()), 10*time.Second)
				defer cancel()
				_, err := c.SetState(ctx, run, prefect.StateProposal{Type: prefect.StatePending, Name: "Pending"})
				if err == nil {
					t.Fatal("SetState() = nil error")
				}
				if got := prefect.MayHaveHappened(err); got != tt.maybe {
					t.Errorf("MayHaveHappened(%v) = %v, want %v", err, got, tt.maybe)
				}
				if got := len(p.StateHistory(run)) == 2; got != tt.effect {
					t.Errorf("effect %v, want %v", got, tt.effect)
				}
				if _, err := c.FlowRun(t.Context(), run); err != nil {
					t.Errorf("the next request: %v", err)
				}
				if diff := cmp.Diff([]int{1, 2, 3}, seen); diff != "" {
					t.Errorf("requests counted: CSRF token, state, flow run (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A hook may end the caller's context: the request takes effect, its answer is
// lost. So a test kills a worker at its k-th request.
func TestFaultHookMayCancel(t *testing.T) {
	t.Parallel()
	p, d := seeded()
	run := p.Schedule(FlowRunSpec{Deployment: d})
	ctx, cancel := context.WithCancel(t.Context())
	p.Fault = func(_ int, r *http.Request) FaultAction {
		if strings.HasSuffix(r.URL.Path, "/set_state") {
			cancel()
		}
		return FaultNone
	}
	_, err := newClient(t, p).SetState(ctx, run, prefect.StateProposal{Type: prefect.StatePending, Name: "Pending"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("SetState() = %v, want context.Canceled", err)
	}
	if n := len(p.StateHistory(run)); n != 2 {
		t.Errorf("%d states, want the request to have had its effect", n)
	}
}

// The same handler behind a real socket drops connections too.
func TestServeHTTP(t *testing.T) {
	t.Parallel()
	p, d := seeded()
	run := p.Schedule(FlowRunSpec{Deployment: d})
	actions := map[string]FaultAction{"/api/flow_runs/none": FaultDropAfter}
	p.Fault = func(_ int, r *http.Request) FaultAction { return actions[r.URL.Path] }
	s := newServer(t, p)
	resp, err := s.Client().Get(s.URL + "/api/flow_runs/" + run) //nolint:noctx // a test against a local server
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("GET flow run = %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	if resp, err := s.Client().Get(s.URL + "/api/flow_runs/none"); err == nil { //nolint:noctx // as above
		resp.Body.Close()
		t.Errorf("dropped request answered with %d", resp.StatusCode)
	}
}
