//go:build e2e

package e2e

import (
	"net/http"
	"testing"

	"github.com/northflank/prefect-northflank/internal/localstack"
	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// A deployment allows one flow run at a time, and the container of the first takes
// longer to start than the server keeps its slot. It keeps it all the same: the
// second waits until the first has ended.
func TestSlowStartKeepsItsSlot(t *testing.T) {
	t.Parallel()
	server, err := shared.stack.StartPrefect(t.Context(), localstack.PrefectOptions{Name: processName(t, "prefect"), Env: map[string]string{
		"PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "30", // the least; 300 otherwise
		"PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS":             "1",  // 15 otherwise
		"PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS":     "5",  // 30 otherwise: the second asks again and again
	}})
	if err != nil {
		t.Fatal(err)
	}
	s := newSceneOn(t, server)
	t.Cleanup(func() { s.stop(server.Process) })
	call[any](s, s.api, http.MethodPatch, "/deployments/"+s.deployment, map[string]any{"concurrency_limit": 1})
	s.work("w")
	slow := s.flow(standin.Flow{Seconds: 1}, map[string]any{command: "sh -c 'sleep 50; exec prefect flow-run execute'"})
	s.awaitState(slow, "PENDING")
	next := s.flow(standin.Flow{Seconds: 1}, nil)
	s.awaitState(slow, "RUNNING", "COMPLETED", "CANCELLED")
	if got := s.executions()[next]; len(got) > 0 {
		t.Errorf("flow run %s was executed while the first held the deployment's only slot; the first: %v", next, s.states(slow))
	}
	for _, id := range []string{slow, next} {
		s.awaitFinal(id)
		s.checkState(id, "COMPLETED")
	}
	s.checkExecuted(slow, next)
	if t.Failed() {
		t.Log(s.workerLogs())
	}
}
