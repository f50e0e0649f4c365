//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// call sends one request to a Prefect server and returns the answer.
func call[T any](t testing.TB, api localstack.API, method, path string, body any) T {
	t.Helper()
	var answer T
	if err := api.Call(t.Context(), method, path, body, &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

type object struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// runRequest says how a deployment is run; all of it may be left out.
type runRequest struct {
	Name         string         `json:"name,omitempty"`
	Parameters   any            `json:"parameters,omitempty"`
	JobVariables map[string]any `json:"job_variables,omitempty"`
}

// run creates a flow run of a deployment and returns its id.
func (f *fixture) run(deploymentID string, r runRequest) string {
	f.Helper()
	return call[object](f, f.api, http.MethodPost, "/deployments/"+deploymentID+"/create_flow_run", r).ID
}

type state struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Message string `json:"message"`
}

func (s state) String() string {
	if s.Message == "" {
		return s.Name
	}
	return s.Name + ": " + s.Message
}

type flowRun struct {
	ID                string         `json:"id"`
	Name              string         `json:"name"`
	State             state          `json:"state"`
	InfrastructurePID string         `json:"infrastructure_pid"`
	Labels            map[string]any `json:"labels"`
	RunCount          int            `json:"run_count"`
}

func (f *fixture) flowRun(id string) flowRun {
	f.Helper()
	return call[flowRun](f, f.api, http.MethodGet, "/flow_runs/"+id, nil)
}

// states returns every state that a flow run has been in, oldest first.
func (f *fixture) states(id string) []state {
	f.Helper()
	return call[[]state](f, f.api, http.MethodGet, "/flow_run_states/?flow_run_id="+id, nil)
}

// logs returns the lines of a flow run's log, oldest first.
func (f *fixture) logs(id string) []string {
	f.Helper()
	lines := call[[]struct{ Message string }](f, f.api, http.MethodPost, "/logs/filter", map[string]any{
		"logs": map[string]any{"flow_run_id": map[string]any{"any_": []string{id}}}, "sort": "TIMESTAMP_ASC",
	})
	var messages []string
	for _, line := range lines {
		messages = append(messages, line.Message)
	}
	return messages
}

// patience bounds every wait for a flow run. A real flow process takes 6 s of
// one core to start, and several share the machine; a server on SQLite may stand
// still for a minute.
const patience = 3 * time.Minute

// lookEvery is the time between two looks at what is waited for. Each costs a
// Prefect server, which flow runs need too, some hundredths of a second.
const lookEvery = 250 * time.Millisecond

var final = []string{"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

// awaitFinal waits until the flow run has ended.
func (f *fixture) awaitFinal(id string) flowRun {
	f.Helper()
	return f.awaitState(id, final...)
}

// awaitState waits until the flow run is in a state of one of the types.
func (f *fixture) awaitState(id string, types ...string) flowRun {
	f.Helper()
	var last flowRun
	f.await("flow run "+id+" to be "+strings.Join(types, " or "), func() bool {
		last = f.flowRun(id)
		return slices.Contains(types, last.State.Type)
	}, func() string {
		return fmt.Sprintf("its states were: %v\nits log:\n  %s", f.states(id), strings.Join(f.logs(id), "\n  "))
	})
	return last
}

// await waits until done. When it takes too long the test ends with what was
// last seen and what the test's worker wrote.
func (f *fixture) await(what string, done func() bool, seen func() string) {
	f.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			f.Fatalf("waited %s in vain for %s; %s\n%s", patience, what, seen(), f.workerLogs())
		}
		select {
		case <-f.Context().Done():
			f.Fatal(context.Cause(f.Context()))
		case <-time.After(lookEvery):
		}
	}
}
