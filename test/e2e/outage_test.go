//go:build e2e

package e2e

import (
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/localstack"
	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// While the Prefect server restarts, some flow runs are under way, some end and
// want to say so, and some are not claimed yet. None is lost or run twice.
func TestPrefectServerRestarts(t *testing.T) {
	t.Parallel()
	database, err := shared.stack.StartDatabase(t.Context(), processName(t, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	options := localstack.PrefectOptions{Name: processName(t, "server"), Env: database}
	server, err := shared.stack.StartPrefect(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Kill() })
	s := newSceneOn(t, server)
	worker := s.work("w", func(w *standin.Worker) { w.Limit = 4 })
	var ids []string
	for _, seconds := range []float64{2, 4, 8, 25, 1, 1} {
		ids = append(ids, s.flow(standin.Flow{Seconds: seconds}, nil))
	}
	s.awaitBegun(ids[3])
	if err := server.Stop(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	options.Port = port(t, server.URL)
	if server, err = shared.stack.StartPrefect(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		s.awaitFinal(id)
	}
	s.awaitSettled()
	s.checkUndisturbed(worker, ids)
}

func port(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// checkUndisturbed checks that the flow runs completed as if nothing had happened.
func (s *scene) checkUndisturbed(worker *localstack.Process, ids []string) {
	s.Helper()
	for _, id := range ids {
		s.checkState(id, "COMPLETED")
	}
	s.checkExecuted(ids...)
	if got := s.count(routeAbortRun); got != 0 {
		s.Errorf("%d job runs were aborted, want none", got)
	}
	select {
	case <-worker.Done():
		s.Errorf("the worker ended with status %d", worker.ExitCode())
	default:
	}
	if s.Failed() {
		s.Log(s.workerLogs())
	}
}

// Northflank is down for a minute, in each of the ways that it can be in turn.
// Meanwhile flow runs are under way, some end and new ones come. The answers that
// are lost are of all requests.
func TestNorthflankDown(t *testing.T) {
	t.Parallel()
	const third = 20 * time.Second
	s := newScene(t)
	worker := s.work("w", func(w *standin.Worker) {
		w.NorthflankTimeout = 3 * time.Second
		w.Timing = standin.Quick()
	})
	long := s.flow(standin.Flow{Seconds: 75}, nil)
	s.awaitBegun(long)
	ids := []string{long, s.flow(standin.Flow{Seconds: 12}, nil)} // the second ends within the first third
	s.awaitBegun(ids[1])
	for _, faults := range [][]emulator.Fault{
		{{Action: emulator.ActionResetBefore, For: third}},
		{{Action: emulator.ActionHang, For: third}},
		{{Action: emulator.ActionResetAfter, Probability: 0.5, For: third}, {Action: emulator.ActionStatus, Status: 503, Probability: 0.5, For: third}},
	} {
		for _, f := range faults {
			s.fault(f)
		}
		over := time.Now().Add(third)
		ids = append(ids, s.flow(standin.Flow{Seconds: 3}, nil))
		s.await("the end of this kind of outage", func() bool { return time.Now().After(over) }, func() string { return "" })
	}
	for _, id := range ids {
		s.awaitFinal(id)
	}
	s.awaitSettled()
	s.awaitFaults()
	s.checkUndisturbed(worker, ids)
}
