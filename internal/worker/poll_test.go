package worker

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

// A burst costs the Prefect server little more than the writes that each flow run
// needs: no more polls than batches, a deployment read once a batch, and no looks
// at what the worker itself has just written.
func TestBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		s := load(t, n, func(_ int, run *simRun) {
			run.at, run.length = 40*time.Second, 10*time.Minute
		}, func(s *simulation) {
			s.plan.rateLimit = -1
			s.also = func() {
				s.prefect.Fault = func(int, *http.Request) testkit.FaultAction {
					time.Sleep(10 * time.Millisecond) // what the server takes
					return testkit.FaultNone
				}
				var before map[string]int
				time.AfterFunc(25*time.Second, func() { before = s.prefect.Requests() })
				time.AfterFunc(50*time.Second, func() {
					requests := s.prefect.Requests()
					for route := range requests {
						requests[route] -= before[route]
					}
					t.Log(requests)
					if got := requests["POST /flow_runs/{id}/set_state"]; got != 2*n {
						t.Errorf("%d states were proposed, want %d: the burst took too long, or too much was done", got, 2*n)
					}
					batches := n/(pollBatch-submissionsAtOnce) + 3
					for route, most := range map[string]int{
						"POST /work_pools/{name}/get_scheduled_flow_runs": batches, "GET /deployments/{id}": batches,
						"POST /flow_runs/filter": 3, "GET /flow_runs/{id}": batches,
					} {
						if got := requests[route]; got > most {
							t.Errorf("%d requests %s, want %d at most", got, route, most)
						}
					}
				})
			}
		})
		s.checkBudget()
	})
}

// Flow runs that Northflank refuses, more than one poll asks for, do not keep
// back those that are due after them and meant for another account.
func TestRefusedDoNotHideOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := load(t, 1, func(_ int, run *simRun) { run.at, run.length = 2*time.Minute, time.Minute }, func(s *simulation) {
			s.also = func() {
				refused := s.prefect.AddDeployment(testkit.DeploymentSpec{Name: "refused", Pool: simPool, JobVariables: map[string]any{
					"project_id": emulator.DefaultProject, "credentials": map[string]any{"api_token": "not-the-token"},
				}})
				for range 3 * pollBatch {
					id := s.prefect.Schedule(testkit.FlowRunSpec{Deployment: refused, At: time.Now()})
					time.AfterFunc(10*time.Minute, func() { s.prefect.DeleteFlowRun(id) })
				}
			}
		})
		for _, run := range s.runs {
			for _, state := range s.prefect.StateHistory(run.id) {
				if late := state.Timestamp.Sub(s.began.Add(run.at)); state.Name == "Submitting" && late > 15*time.Second {
					t.Errorf("the flow run was started %s late", late)
				}
			}
		}
	})
}
