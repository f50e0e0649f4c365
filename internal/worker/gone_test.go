package worker

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

// TestDeploymentIsGone: with a deployment Prefect deletes its scheduled flow runs,
// but not those that wait for a concurrency slot. They are cancelled as by
// Prefect's own worker.
func TestDeploymentIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var id, deployment string
		s := simulate(t, 1, slog.New(slog.DiscardHandler), quiet, func(s *simulation) {
			s.plan.flowRuns = 1
			s.shape = func(run *simRun) { run.temper, run.fate = wellBehaved, leftAlone }
			s.also = func() {
				deployment = s.prefect.AddDeployment(testkit.DeploymentSpec{Name: "gone", Pool: simPool})
				id = s.prefect.Schedule(testkit.FlowRunSpec{Deployment: deployment})
				s.prefect.SetState(id, testkit.State{Type: prefect.StateScheduled, Name: "AwaitingConcurrencySlot"}, true)
				s.prefect.DeleteDeployment(deployment)
			}
		})
		fr, _ := s.prefect.FlowRun(id)
		want := fmt.Sprintf("Deployment %s no longer exists, cancelled run.", deployment)
		if fr.State.Type != prefect.StateCancelled || fr.State.Message != want {
			t.Errorf("flow run is %s %q, want CANCELLED %q", fr.State.Type, fr.State.Message, want)
		}
	})
}
