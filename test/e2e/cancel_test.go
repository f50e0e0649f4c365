//go:build e2e

package e2e

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/localstack"
	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// Flows that go on longer than any test waits: what ends them is what is tested.
var (
	endless = standin.Flow{Seconds: 600}
	deaf    = standin.Flow{Seconds: 600, Deaf: true}
	hung    = standin.Flow{Hangs: true}
)

// cancellation is a flow run that is cancelled, and what must become of it.
type cancellation struct {
	name      string
	flow      standin.Flow
	variables map[string]any
	faults    []emulator.Fault // met by this flow run's job and job runs alone

	moment func(s *scene, id string) // waits until it is to be cancelled
	cancel func(s *scene, id string) // nil is as a user does it

	ended   string // how its one job run ended, as the local Northflank tells it; "" when none was started
	state   string // "" when it does not exist any more
	message string
}

const aborted = "aborted"

var neverPulls = emulator.Fault{Action: emulator.ActionNeverPulls}

// cancellations are those of flow runs that can share a work pool.
var cancellations = []cancellation{
	{
		name: "claimed, its job being made", moment: faultsHappened,
		faults: []emulator.Fault{{Route: emulator.RoutePutJob, Action: emulator.ActionSlow, Delay: 2 * time.Second, Times: 1}},
		state:  "CANCELLED", message: "before anything was started",
	},
	{
		name: "being started", moment: startAsked, ended: aborted,
		faults: []emulator.Fault{{Route: emulator.RouteStartRun, Action: emulator.ActionSlow, Delay: 2 * time.Second, Times: 1}, neverPulls},
		state:  "CANCELLED", message: "its job run has ended",
	},
	{
		name: "the answer of its start lost", moment: startAsked, ended: aborted,
		faults: []emulator.Fault{{Route: emulator.RouteStartRun, Action: emulator.ActionHangAfter, Times: 1}, neverPulls},
		state:  "CANCELLED", message: "its job run has ended",
	},
	{
		name: "its image being pulled", moment: submitted, ended: aborted,
		faults: []emulator.Fault{neverPulls},
		state:  "CANCELLED", message: "its job run has ended",
	},
	{
		name: "waiting for a second start", moment: awaitingRetry, ended: "evicted",
		variables: map[string]any{"deployment_docker_custom_command": "sleep 600"},
		faults:    []emulator.Fault{{Action: emulator.ActionEvict}},
		state:     "CANCELLED",
	},
	{
		name: "running, co-operative", flow: endless, moment: begun, ended: "exit code 1",
		state: "CANCELLED", message: "The flow ended itself.",
	},
	{
		name: "running, hung", flow: hung, moment: begun, ended: aborted,
		variables: map[string]any{"settings_grace_period_seconds": 1},
		state:     "CANCELLED", message: "its job run has ended",
	},
	{
		name: "Cancelled directly", flow: deaf, moment: begun, cancel: cancelDirectly, ended: aborted,
		state: "CANCELLED", message: "Cancelled at once.",
	},
	{
		name: "Cancelled directly, its image being pulled", moment: submitted, cancel: cancelDirectly, ended: aborted,
		faults: []emulator.Fault{neverPulls},
		state:  "CANCELLED", message: "Cancelled at once.",
	},
	{name: "deleted", flow: endless, moment: begun, cancel: deleteFlowRun, ended: aborted},
	{
		name: "deleted, its image being pulled", moment: submitted, cancel: deleteFlowRun, ended: aborted,
		faults: []emulator.Fault{neverPulls},
	},
}

func faultsHappened(s *scene, _ string) { s.awaitFaults() }

func startAsked(s *scene, id string) {
	s.await("a start", func() bool { return len(s.started(id)) > 0 }, func() string {
		return "the flow run is " + s.flowRun(id).State.String()
	})
}

func submitted(s *scene, id string) {
	s.await("the job run to be known", func() bool { return s.flowRun(id).InfrastructurePID != "" }, func() string {
		return "the flow run is " + s.flowRun(id).State.String()
	})
}

func begun(s *scene, id string) { s.awaitBegun(id) }

func awaitingRetry(s *scene, id string) {
	s.await("the failed start to be noticed", func() bool { return s.flowRun(id).State.Name == "AwaitingRetry" }, func() string {
		return "the flow run is " + s.flowRun(id).State.String()
	})
}

func cancelDirectly(s *scene, id string) { s.propose(id, "CANCELLED", "Cancelled at once.", true) }

func deleteFlowRun(s *scene, id string) {
	call[any](s, s.api, http.MethodDelete, "/flow_runs/"+id, nil)
}

// Whenever and however a flow run is cancelled, its container ends, by one abort
// where it does not end by itself, and its state is true.
func TestCancellation(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	unclaimed := s.flow(standin.Flow{}, nil)
	s.cancel(unclaimed)
	s.work("w", func(w *standin.Worker) {
		w.NorthflankTimeout = 3 * time.Second
		w.Timing.RetryDelay = time.Hour
	})
	ids := map[string]string{}
	for _, c := range cancellations {
		ids[c.name] = s.startCancellation(c)
	}
	for _, c := range cancellations {
		if c.state != "" {
			s.awaitFinal(ids[c.name])
		}
	}
	runs := s.awaitSettled()
	aborts := 0
	for _, c := range cancellations {
		t.Run(c.name, func(t *testing.T) { s.on(t).checkCancellation(c, ids[c.name], runs) })
		if c.ended == aborted {
			aborts++
		}
	}
	// One more may be of the evicted job run, instead of a look at it.
	if got := s.count(routeAbortRun); got != aborts && got != aborts+1 {
		t.Errorf("%d aborts were sent for %d job runs that had to be aborted\n%s", got, aborts, s.workerLogs())
	}
	s.checkState(unclaimed, "CANCELLED")
	if got := s.started(unclaimed); len(got) > 0 {
		t.Errorf("job runs %v were started for the flow run that was cancelled before its claim", got)
	}
}

// startCancellation starts the flow run, and cancels it when its moment has come.
func (s *scene) startCancellation(c cancellation) string {
	s.Helper()
	// Faults of a container are met by image, those of a request by job.
	slug := strings.ToLower(notInNames.ReplaceAllString(c.name, "-"))
	image := "acme/" + slug + ":1"
	variables := map[string]any{"deployment_external_image_path": image, "name": slug}
	maps.Copy(variables, c.variables)
	for _, f := range c.faults {
		switch f.Route {
		case "":
			f.Image = image
		case emulator.RouteStartRun:
			f.Job = "pf-" + slug + "-*"
		}
		s.fault(f)
	}
	id := s.flow(c.flow, variables)
	c.moment(s, id)
	if c.cancel == nil {
		c.cancel = (*scene).cancel
	}
	c.cancel(s, id)
	return id
}

func (s *scene) checkCancellation(c cancellation, id string, runs map[string]jobRun) {
	s.Helper()
	if c.state != "" {
		s.checkState(id, c.state, c.message)
	} else if status := s.flowRunStatus(id); status != http.StatusNotFound {
		s.Errorf("reading the deleted flow run gives %d, want 404", status)
	}
	var ended []string
	for _, run := range s.started(id) {
		ended = append(ended, runs[run].Reason)
	}
	if got := strings.Join(ended, ", "); got != c.ended {
		s.Errorf("job runs ended by %q, want %q", got, c.ended)
	}
}

// flowRunStatus returns the HTTP status with which Prefect shows a flow run.
func (s *scene) flowRunStatus(id string) int {
	s.Helper()
	err := s.api.Call(s.Context(), http.MethodGet, "/flow_runs/"+id, nil, nil)
	if failed, ok := errors.AsType[*localstack.StatusError](err); ok {
		return failed.Status
	} else if err != nil {
		s.Fatal(err)
	}
	return http.StatusOK
}

// A flow run whose deployment, or work pool, is deleted while it runs is left
// alone, and can be cancelled as before.
func TestCancellationWithoutADeployment(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	first := s.work("w")
	cancelled, adopted, undisturbed := s.flow(deaf, nil), s.flow(deaf, nil), s.flow(standin.Flow{Seconds: 4}, nil)
	for _, id := range []string{cancelled, adopted, undisturbed} {
		s.awaitBegun(id)
	}
	call[any](s, s.api, http.MethodDelete, "/deployments/"+s.deployment, nil)
	s.cancel(cancelled)
	s.awaitFinal(cancelled)
	s.awaitFinal(undisturbed)
	// A successor cannot render such a flow run, and must know its job all the same.
	if err := first.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.Done()
	s.work("w")
	s.cancel(adopted)
	s.awaitFinal(adopted)
	s.checkDeletion(undisturbed, cancelled, adopted)
}

func TestCancellationWithoutAWorkPool(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.work("w")
	cancelled, undisturbed := s.flow(deaf, nil), s.flow(standin.Flow{Seconds: 4}, nil)
	for _, id := range []string{cancelled, undisturbed} {
		s.awaitBegun(id)
	}
	call[any](s, s.api, http.MethodDelete, "/work_pools/"+s.pool, nil)
	s.cancel(cancelled)
	s.awaitFinal(cancelled)
	s.awaitFinal(undisturbed)
	s.checkDeletion(undisturbed, cancelled)
}

// checkDeletion checks that one flow run ended by itself, and that the others
// were cancelled by one abort each.
func (s *scene) checkDeletion(undisturbed string, cancelled ...string) {
	s.Helper()
	s.awaitSettled()
	s.checkState(undisturbed, "COMPLETED")
	for _, id := range cancelled {
		s.checkState(id, "CANCELLED", "its job run has ended")
	}
	s.checkExecuted(slices.Concat(cancelled, []string{undisturbed})...)
	if got := s.count(routeAbortRun); got != len(cancelled) {
		s.Errorf("%d aborts were sent, want %d\n%s", got, len(cancelled), s.workerLogs())
	}
}
