//go:build e2e

package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/localstack"
	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// end sends signals to a worker, one after the other, and returns its exit status
// and how long it took.
func end(t *testing.T, worker *localstack.Process, signals ...os.Signal) (status int, took time.Duration) {
	t.Helper()
	began := time.Now()
	for _, signal := range signals {
		if err := worker.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	status = worker.ExitCode()
	return status, time.Since(began)
}

// A worker that is stopped while Northflank does not answer ends in time all the
// same. What runs lives on, what was being started is given back, and the next
// worker executes each flow run once.
func TestStopWhileNorthflankHangs(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			first := s.startWorker("--name", "stable")
			running := s.flow(standin.Flow{Seconds: 20}, nil)
			s.awaitBegun(running)
			s.fault(emulator.Fault{Route: emulator.RoutePutJob, Action: emulator.ActionHang, Times: 1})
			starting := s.flow(standin.Flow{}, map[string]any{"name": "another-job"})
			s.awaitFaults()

			if status, took := end(t, first, signal); status != 0 || took > 2*time.Second {
				t.Errorf("the worker ended with status %d after %s, want 0 within 2 s; it wrote:\n%s", status, took, first.Log())
			}
			if now := s.flowRun(running); now.State.Type != "RUNNING" {
				t.Errorf("without a worker the flow run is %s, want Running still", now.State)
			}
			later := s.flow(standin.Flow{}, nil)
			s.work("stable")
			for _, id := range []string{running, starting, later} {
				s.awaitFinal(id)
			}
			s.awaitSettled()
			s.checkExecuted(running, starting, later)
			if got := s.count(routeAbortRun); got != 0 {
				t.Errorf("%d aborts were sent, want none", got)
			}
		})
	}
}

// A second signal does not wait for what the first one leaves some time.
func TestSecondSignalEndsTheWorkerAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	worker := s.startWorker()
	s.fault(emulator.Fault{Route: emulator.RoutePutJob, Action: emulator.ActionHang, Times: 1})
	s.flow(standin.Flow{}, nil)
	s.awaitFaults()
	// Two of one kind could merge; of two kinds the lower number arrives first.
	if status, took := end(t, worker, syscall.SIGINT, syscall.SIGTERM); status != 128+int(syscall.SIGTERM) || took > time.Second {
		t.Errorf("the worker ended with status %d after %s, want 143 at once; it wrote:\n%s", status, took, worker.Log())
	}
}

func TestRunOnceWaitsForItsFlowRuns(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	short, long := s.flow(standin.Flow{}, nil), s.flow(standin.Flow{Seconds: 4}, nil)
	worker := s.startWorker("--run-once")
	s.awaitBegun(long)
	later := s.flow(standin.Flow{}, nil)
	select {
	case <-worker.Done():
	case <-time.After(patience):
		t.Fatalf("the worker did not end within %s; it wrote:\n%s", patience, worker.Log())
	}
	if got := worker.ExitCode(); got != 0 {
		t.Errorf("exit status = %d, want 0", got)
	}
	for _, id := range []string{short, long} {
		s.checkState(id, "COMPLETED")
	}
	if now := s.flowRun(later); now.State.Type != "SCHEDULED" {
		t.Errorf("the flow run that was made after the poll is %s, want Scheduled", now.State)
	}
	s.checkExecuted(short, long)
	if !strings.Contains(worker.Log(), "stopped!") {
		t.Errorf("the worker did not say that it stopped:\n%s", worker.Log())
	}
}
