//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// held is a flow run of the flow wait-for: it runs until it is released, and
// writes a line whenever it is executed.
type held struct {
	id, release, trace string
}

func (f *fixture) hold() held {
	f.Helper()
	folder := f.TempDir()
	h := held{release: filepath.Join(folder, "release"), trace: filepath.Join(folder, "trace")}
	h.id = f.run(f.deploy(deployment{Flow: "wait-for"}), runRequest{Parameters: map[string]any{"path": h.release, "trace": h.trace}})
	return h
}

func (h held) let(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(h.release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (h held) executions(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(h.trace)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// A worker that is stopped leaves its flow runs alone; one that is killed can't
// help it. Either way the next worker of the name carries on with them.
func TestWorkerRestart(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		signal syscall.Signal
		status int
	}{
		{"stopped by Ctrl-C", syscall.SIGINT, 0},
		{"stopped by SIGTERM", syscall.SIGTERM, 0},
		{"killed", syscall.SIGKILL, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			first := f.startWorker("--name", "stable")
			h := f.hold()
			f.awaitState(h.id, "RUNNING")

			began := time.Now()
			if err := first.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			if got := first.ExitCode(); got != tt.status {
				t.Errorf("exit status of the worker = %d, want %d; it wrote:\n%s", got, tt.status, first.Log())
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("the worker took %s to end, want at most 2 s", took)
			}
			if tt.status == 0 && !strings.Contains(first.Log(), "Worker 'stable' stopped!") {
				t.Errorf("the worker did not say that it stopped:\n%s", first.Log())
			}
			if now := f.flowRun(h.id); now.State.Type != "RUNNING" {
				t.Errorf("without a worker the flow run is %s, want Running still", now.State)
			}

			f.startWorker("--name", "stable")
			h.let(t)
			if run := f.awaitFinal(h.id); run.State.Type != "COMPLETED" {
				t.Errorf("the adopted flow run ended %s, want Completed", run.State)
			}
			f.awaitConcluded(1)
			if got := h.executions(t); got != 1 {
				t.Errorf("the flow was executed %d times, want once", got)
			}
		})
	}
}
