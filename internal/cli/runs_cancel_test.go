package cli_test

import (
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

// Whoever cancels is told who ends the container, and what to do when nobody does.
func TestRunsCancelSaysWhatHappensNext(t *testing.T) {
	tests := []struct {
		name       string
		live       bool // a worker is online
		state      prefect.StateType
		pid        string
		stdout     string
		stderr     []string
		wantStatus int
		wantState  prefect.StateType
	}{
		{
			name: "running, with a worker", live: true, state: prefect.StateRunning, pid: "pf-my-pool:run-1",
			stdout:    "Flow run \"crazy-otter\" is being cancelled. The flow gets a minute to end itself; then the worker aborts job run run-1 of job pf-my-pool.\n",
			wantState: prefect.StateCancelling,
		},
		{
			name: "running, without a worker", state: prefect.StateRunning, pid: "pf-my-pool:run-1",
			stdout: "Flow run \"crazy-otter\" is being cancelled. The flow gets a minute to end itself; then the worker aborts job run run-1 of job pf-my-pool.\n",
			stderr: []string{
				`warning: no worker of work pool "my-pool" is online`, "prefect-northflank worker start --pool my-pool", "prefect-northflank runs cancel ID --abort",
			},
			wantState: prefect.StateCancelling,
		},
		{
			name: "being started, without a worker", state: prefect.StatePending,
			stdout:    "Flow run \"crazy-otter\" is being cancelled. Its job run is not known yet: the worker ends it as soon as it is.\n",
			stderr:    []string{`warning: no worker of work pool "my-pool" is online`, "prefect-northflank worker start --pool my-pool"},
			wantState: prefect.StateCancelling,
		},
		{
			name: "cancelling already", live: true, state: prefect.StateCancelling, pid: "pf-my-pool:run-1",
			stdout:    "Flow run \"crazy-otter\" is being cancelled. The flow gets a minute to end itself; then the worker aborts job run run-1 of job pf-my-pool.\n",
			wantState: prefect.StateCancelling,
		},
		{
			name: "to be aborted without credentials", live: true, state: prefect.StateRunning, pid: "pf-my-pool:run-1",
			stderr:     []string{`error: cancel flow run "crazy-otter": it is cancelling, but its job run could not be aborted: `, "hint:  "},
			wantStatus: 1, wantState: prefect.StateCancelling,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hermetic(t, nil)
			p, api := newServer(t)
			t.Setenv("PREFECT_API_URL", api)
			client, _ := newClient(t, api)
			deployment := p.AddDeployment(testkit.DeploymentSpec{Flow: "my-flow", Name: "my-deployment", Pool: "my-pool"})
			id := p.Schedule(testkit.FlowRunSpec{Deployment: deployment, Name: "crazy-otter"})
			for _, state := range []prefect.StateType{prefect.StatePending, tt.state} {
				p.SetState(id, testkit.State{Type: state}, false)
			}
			if tt.pid != "" {
				if err := client.SetInfrastructurePID(t.Context(), id, tt.pid); err != nil {
					t.Fatal(err)
				}
			}
			if tt.live {
				if err := client.Heartbeat(t.Context(), "my-pool", "worker-1", 30); err != nil {
					t.Fatal(err)
				}
			}
			args := []string{"runs", "cancel", "crazy-otter"}
			if tt.wantStatus != 0 {
				args = append(args, "--abort")
			}
			status, stdout, stderr := run(t, "", args...)
			if status != tt.wantStatus || stdout != tt.stdout {
				t.Errorf("exit status %d, stdout %q; want %d and %q; stderr:\n%s", status, stdout, tt.wantStatus, tt.stdout, stderr)
			}
			if len(tt.stderr) == 0 && stderr != "" {
				t.Errorf("stderr is %q, want nothing", stderr)
			}
			for _, want := range tt.stderr {
				if want = strings.ReplaceAll(want, " ID ", " "+id+" "); !strings.Contains(stderr, want) {
					t.Errorf("stderr does not say %q:\n%s", want, stderr)
				}
			}
			if fr, _ := p.FlowRun(id); fr.State.Type != tt.wantState {
				t.Errorf("the flow run is %s, want %s", fr.State.Type, tt.wantState)
			}
		})
	}
}
