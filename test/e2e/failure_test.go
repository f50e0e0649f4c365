//go:build e2e

package e2e

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// failing is a flow run that fails, and what Prefect must show of it.
type failing struct {
	name      string
	flow      standin.Flow
	variables map[string]any
	fault     emulator.Fault // met by this flow run's containers alone

	state    string
	message  []string // what the state's message tells: what happened, the evidence, what to do
	log      []string // of the container's output, in the flow run's log
	starts   int
	evidence int // failed job runs that are looked into
}

const command = "deployment_docker_custom_command"

var failures = []failing{
	{
		name: "exit by the flow", flow: standin.Flow{Fails: true}, starts: 1,
		state: "FAILED", message: []string{"The flow failed on purpose."},
	},
	{
		name: "exit status before the flow began", variables: map[string]any{command: "sh -c 'echo no such library >&2; exit 3'"}, starts: 1, evidence: 1,
		state: "CRASHED", message: []string{"ended with an error before the flow began", "no such library", "check imports"}, log: []string{"no such library"},
	},
	{
		name: "image cannot be pulled", fault: neverPulls, variables: map[string]any{"start_timeout_seconds": 10}, starts: 1, evidence: 1,
		state: "CRASHED", message: []string{"did not begin within 10s", "TASK_STAGING", "Check that the image exists"},
	},
	{
		name: "bad command", variables: map[string]any{command: "no-such-command --now"}, starts: 1, evidence: 1,
		state: "CRASHED", message: []string{"command could not be run", "no-such-command", "Check the command"}, log: []string{"no-such-command"},
	},
	{
		name: "out of memory", flow: deaf, fault: emulator.Fault{Action: emulator.ActionOOM, Delay: 4 * time.Second}, starts: 1, evidence: 1,
		state: "CRASHED", message: []string{"while the flow was running", "memory"},
	},
	{
		name: "out of memory, by its own words", starts: 1, evidence: 1,
		variables: map[string]any{command: "sh -c 'echo MemoryError: cannot allocate 3 GiB; exit 1'", "billing_deployment_plan": "nf-compute-50"},
		state:     "CRASHED", message: []string{"ran out of memory before the flow began", "nf-compute-50", "a deployment plan with more memory"}, log: []string{"cannot allocate"},
	},
	{
		name: "deadline", flow: deaf, variables: map[string]any{"settings_active_deadline_seconds": 4}, starts: 1, evidence: 1,
		state: "CRASHED", message: []string{"deadline of 4s", "Raise job variable settings_active_deadline_seconds"},
	},
	{
		name: "aborted by hand", flow: deaf, fault: emulator.Fault{Action: emulator.ActionAbort, Delay: 4 * time.Second}, starts: 1, evidence: 1,
		state: "CRASHED", message: []string{"killed from outside while the flow was running", "aborted in Northflank"},
	},
	{
		name: "aborted by hand before the flow began", fault: emulator.Fault{Action: emulator.ActionAbort, Delay: 4 * time.Second}, starts: 1, evidence: 1,
		variables: map[string]any{command: "sh -c 'echo loading the model; sleep 600'"},
		state:     "CRASHED", message: []string{"killed from outside before the flow began", "loading the model"}, log: []string{"loading the model"},
	},
	{
		name: "evicted", flow: deaf, fault: emulator.Fault{Action: emulator.ActionEvict, Delay: 4 * time.Second}, starts: 1, evidence: 1,
		state: "CRASHED", message: []string{"killed from outside while the flow was running", "evicted", "deployment_storage_ephemeral_size_mb"},
	},
	{
		name: "plan unknown", variables: map[string]any{"billing_deployment_plan": "nf-compute-7"},
		state: "CRASHED", message: []string{"start job run", "nf-compute-7", "billing_deployment_plan"},
	},
	{
		name: "no image built yet", variables: map[string]any{"deployment_external_image_path": nil, "deployment_internal_id": "flows", "deployment_internal_branch": "main"},
		state: "CRASHED", message: []string{"409", "build"},
	},
}

// startFailing starts the flow run.
func (s *scene) startFailing(f failing) string {
	s.Helper()
	image := "acme/" + strings.ToLower(notInNames.ReplaceAllString(f.name, "-")) + ":1"
	variables := map[string]any{"deployment_external_image_path": image, "start_retries": 0}
	maps.Copy(variables, f.variables)
	if f.fault.Action != "" {
		f.fault.Image = image
		s.fault(f.fault)
	}
	return s.flow(f.flow, variables)
}

func (s *scene) checkFailing(f failing, id string) {
	s.Helper()
	s.checkState(id, f.state, f.message...)
	if got := len(s.started(id)); got != f.starts {
		s.Errorf("%d job runs were started, want %d", got, f.starts)
	}
	const heading = "lines of the container's output"
	if len(f.log) == 0 {
		if n := countLines(s.logs(id), heading); n != 0 && len(s.executions()[id]) > 0 {
			s.Errorf("the log of a flow run that reports by itself repeats its container's output:\n%s", strings.Join(s.logs(id), "\n"))
		}
		return
	}
	for _, want := range append(f.log, heading) {
		s.awaitLog(id, want)
	}
}

// Why a flow run failed is told in its state, and, where the flow itself could
// not, its log has the container's last lines. That costs two requests at most.
func TestFailures(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.admin(http.MethodPut, "/switches", map[string]string{"builds": "declared"})
	s.work("w")
	ids := map[string]string{}
	for _, f := range failures {
		ids[f.name] = s.startFailing(f)
	}
	for _, f := range failures {
		s.awaitFinal(ids[f.name])
	}
	s.awaitSettled()
	evidence := 0
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) { s.on(t).checkFailing(f, ids[f.name]) })
		evidence += f.evidence
	}
	got := map[string]int{"containers": s.count(routeContainers), "logs": s.count(routeLogs)}
	if diff := cmp.Diff(map[string]int{"containers": evidence, "logs": evidence}, got); diff != "" {
		t.Errorf("requests for evidence (-want +got):\n%s", diff)
	}
}

// What fails before the flow began, through no fault of the flow's, is started
// again, a bounded number of times. A flow that began never is.
func TestStartRetries(t *testing.T) {
	t.Parallel()
	once := emulator.Fault{Action: emulator.ActionNeverPulls, Times: 1}
	quickly := map[string]any{"start_timeout_seconds": 10, "start_retries": 1}
	retries := []failing{
		{name: "never comes up", fault: neverPulls, variables: quickly, starts: 2, state: "CRASHED", message: []string{"did not begin within 10s"}},
		{name: "comes up the second time", fault: once, variables: quickly, starts: 2, state: "COMPLETED"},
		{
			name: "evicted once it began", flow: deaf, starts: 1, variables: map[string]any{"start_retries": 3},
			fault: emulator.Fault{Action: emulator.ActionEvict, Delay: 4 * time.Second}, state: "CRASHED", message: []string{"while the flow was running"},
		},
		{
			name: "its own fault", starts: 1, variables: map[string]any{command: "sh -c 'exit 3'", "start_retries": 3},
			state: "CRASHED", message: []string{"ended with an error before the flow began"},
		},
	}
	s := newScene(t)
	s.work("w")
	ids := map[string]string{}
	for _, f := range retries {
		ids[f.name] = s.startFailing(f)
	}
	for _, f := range retries {
		s.awaitFinal(ids[f.name])
	}
	s.awaitSettled()
	for _, f := range retries {
		t.Run(f.name, func(t *testing.T) { s.on(t).checkFailing(f, ids[f.name]) })
	}
	for _, name := range []string{"never comes up", "comes up the second time"} {
		s.awaitLog(ids[name], "Starting again in 1s (start 2 of 2)")
	}
	s.checkExecuted(ids["comes up the second time"], ids["evicted once it began"])
	if got := s.count(routeAbortRun); got != 3 {
		t.Errorf("%d aborts were sent, want one for each of the 3 starts that never came up", got)
	}
}
