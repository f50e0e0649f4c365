//go:build e2e

package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFlowRunsComplete(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.startWorker()
	greet := f.deploy(deployment{Flow: "greet"})

	first := f.awaitFinal(f.run(greet, runRequest{Parameters: map[string]any{"name": "Northflank", "times": 2}}))
	if first.State.Type != "COMPLETED" {
		t.Fatalf("the first flow run ended %s, want Completed; log:\n%s", first.State, strings.Join(f.logs(first.ID), "\n"))
	}
	if diff := cmp.Diff(map[string]int{routePutJob: 1, routeStartRun: 1}, f.requests()); diff != "" {
		t.Errorf("requests of the first flow run besides sweeps (-want +got):\n%s", diff)
	}
	second := f.awaitFinal(f.run(greet, runRequest{}))
	if second.State.Type != "COMPLETED" {
		t.Fatalf("the second flow run ended %s, want Completed", second.State)
	}
	if diff := cmp.Diff(map[string]int{routePutJob: 1, routeStartRun: 2}, f.requests()); diff != "" {
		t.Errorf("requests of both flow runs besides sweeps (-want +got):\n%s", diff)
	}

	f.awaitLog(first.ID, "Hello, Northflank!")
	if got := countLines(f.logs(first.ID), "Hello, Northflank!"); got != 2 {
		t.Errorf("the first flow run greeted %d times, want 2 as its parameters say", got)
	}
	for _, want := range []string{"submitting flow run '" + first.ID + "'", "Flow run '" + first.Name + "' submitted to infrastructure"} {
		f.awaitLog(first.ID, want)
	}
	for name, want := range map[string]string{"prefect.worker.type": "northflank", "prefect.work-pool.name": f.pool} {
		if got := first.Labels[name]; got != want {
			t.Errorf("label %s = %v, want %s", name, got, want)
		}
	}
	starts := f.bodies(routeStartRun)
	for i, run := range []flowRun{first, second} {
		if want := starts[i].JobID + ":" + starts[i].JobRunID; run.InfrastructurePID != want {
			t.Errorf("infrastructure pid of flow run %d = %q, want %q", i+1, run.InfrastructurePID, want)
		}
	}
	f.awaitEvents(first.ID, "prefect.worker.submitted-flow-run")
}

func TestFailingFlowEndsFailed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.startWorker()
	run := f.awaitFinal(f.run(f.deploy(deployment{Flow: "broken"}), runRequest{}))
	if run.State.Type != "FAILED" || !strings.Contains(run.State.Message, "broken on purpose") {
		t.Errorf("the flow run ended %s, want Failed with the flow's own error", run.State)
	}
	// The container's end must not turn the flow's own Failed into a Crashed.
	f.awaitConcluded(1)
	if now := f.flowRun(run.ID); now.State != run.State {
		t.Errorf("after the end of its container the flow run is %s, want %s still", now.State, run.State)
	}
}

func TestCrashBeforeTheFlowStarts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		command string
		want    []string // in the message of the state
	}{
		{"exit status", "sh -c 'echo no such library >&2; exit 3'", []string{"before the flow began", "no such library"}},
		{"command not found", "no-such-command --now", []string{"could not be run", "no-such-command"}},
	}
	f := newFixture(t)
	f.startWorker()
	greet := f.deploy(deployment{Flow: "greet"})
	ids := make([]string, len(tests))
	for i, tt := range tests {
		ids[i] = f.run(greet, runRequest{JobVariables: map[string]any{"deployment_docker_custom_command": tt.command}})
	}
	for i, tt := range tests {
		run := f.awaitFinal(ids[i])
		for _, want := range tt.want {
			if run.State.Type != "CRASHED" || !strings.Contains(run.State.Message, want) {
				t.Errorf("%s: the flow run ended %s, want Crashed with a message that tells of %q", tt.name, run.State, want)
			}
		}
	}
}

// awaitLog waits until the flow run's log has a line that contains the text.
func (f *fixture) awaitLog(id, text string) {
	f.Helper()
	f.await("the log line "+text, func() bool { return countLines(f.logs(id), text) > 0 }, func() string {
		return "the log is:\n  " + strings.Join(f.logs(id), "\n  ")
	})
}

func countLines(lines []string, text string) int {
	n := 0
	for _, line := range lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// awaitEvents waits until the server shows the events of a flow run.
func (f *fixture) awaitEvents(id string, want ...string) {
	f.Helper()
	var got []string
	f.await("events of flow run "+id, func() bool {
		page := call[struct {
			Events []struct{ Event string }
		}](f, f.api, http.MethodPost, "/events/filter", map[string]any{"filter": map[string]any{
			"related": map[string]any{"id": []string{"prefect.flow-run." + id}},
		}})
		got = nil
		for _, e := range page.Events {
			got = append(got, e.Event)
		}
		return !slices.ContainsFunc(want, func(event string) bool { return !slices.Contains(got, event) })
	}, func() string { return "want " + strings.Join(want, ", ") + ", got " + strings.Join(got, ", ") })
}

// jobRun is a job run as the local Northflank knows it.
type jobRun struct {
	ID        string `json:"id"`
	Job       string `json:"job"`
	Status    string `json:"status"`
	Concluded bool   `json:"concluded"`
	Reason    string `json:"reason"`

	StartedAt   time.Time `json:"startedAt"`
	ConcludedAt time.Time `json:"concludedAt"`
}

func (f *fixture) jobRuns() []jobRun {
	f.Helper()
	var runs []jobRun
	if err := f.northflank.Admin.Call(f.Context(), http.MethodGet, "/job-runs", nil, &runs); err != nil {
		f.Fatal(err)
	}
	return runs
}

// awaitConcluded waits until there were n job runs and all have concluded.
func (f *fixture) awaitConcluded(n int) {
	f.Helper()
	var runs []jobRun
	f.await("the job runs to conclude", func() bool {
		runs = f.jobRuns()
		return len(runs) == n && !slices.ContainsFunc(runs, func(r jobRun) bool { return !r.Concluded })
	}, func() string { return strings.TrimSpace(cmp.Diff(nil, runs)) })
}
