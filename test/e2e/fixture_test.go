//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// project is the project that every local Northflank of the tests holds.
const project = "e2e-project"

// fixture is what one test works with: a work pool of its own on a Prefect
// server, a local Northflank of its own, and the workers that it starts.
type fixture struct {
	*testing.T
	api        localstack.API
	northflank *localstack.Northflank
	pool       string

	settings map[string]string // environment of the test's commands and workers
	workers  []*localstack.Process
}

// newFixture sets a test up on the shared server.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureOn(t, shared.server, localstack.API{URL: shared.server.APIURL}, nil)
}

// newFixtureOn sets a test up on another server, which is seen through api and
// needs the settings of the test's commands and workers.
func newFixtureOn(t *testing.T, server *localstack.Prefect, api localstack.API, settings map[string]string) *fixture {
	t.Helper()
	f := &fixture{T: t, api: api, pool: processName(t, "pool")}
	var err error
	f.northflank, err = shared.stack.StartNorthflank(t.Context(), localstack.NorthflankOptions{Name: processName(t, "northflank"), Project: project})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.stop(f.northflank.Process) })
	f.settings = map[string]string{
		"PREFECT_API_URL":              server.APIURL,
		"PREFECT_WORKER_QUERY_SECONDS": "1", // 10 s is the default
		"NORTHFLANK_API_BASE_URL":      f.northflank.URL,
		"NORTHFLANK_API_TOKEN":         f.northflank.Token,
	}
	maps.Copy(f.settings, settings)
	f.program("", "pool", "create", f.pool)
	return f
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9]+`)

// processName names a process or object of a test after the test.
func processName(t *testing.T, what string) string {
	return notInNames.ReplaceAllString(t.Name(), "-") + "-" + what
}

// program runs prefect-northflank with the test's settings and returns what it
// printed.
func (f *fixture) program(input string, args ...string) string {
	f.Helper()
	out, err := f.tryProgram(input, args...)
	if err != nil {
		f.Fatal(err)
	}
	return out
}

func (f *fixture) tryProgram(input string, args ...string) (string, error) {
	return shared.stack.Program(f.Context(), localstack.ProgramOptions{Args: args, Input: input, Env: f.settings})
}

// startWorker starts a worker of the test's pool, with more options if given.
func (f *fixture) startWorker(args ...string) *localstack.Process {
	f.Helper()
	return f.startWorkerWith(nil, args...)
}

// startWorkerWith does so with more settings.
func (f *fixture) startWorkerWith(settings map[string]string, args ...string) *localstack.Process {
	f.Helper()
	env := maps.Clone(f.settings)
	maps.Copy(env, settings)
	worker, err := shared.stack.StartWorker(f.Context(), localstack.WorkerOptions{
		Name: processName(f.T, fmt.Sprintf("worker-%d", len(f.workers)+1)), Pool: f.pool, Args: args, Env: env,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.workers = append(f.workers, worker)
	f.Cleanup(func() { f.stop(worker) })
	return worker
}

// stop ends a process at the end of a test, without a word if it has ended.
func (f *fixture) stop(process *localstack.Process) {
	if err := process.Stop(5 * time.Second); err != nil {
		f.Errorf("%v; it wrote:\n%s", err, process.Log())
	}
}

// workerLogs returns what the test's workers wrote, for the report of a failure.
func (f *fixture) workerLogs() string {
	var text strings.Builder
	for _, worker := range f.workers {
		fmt.Fprintf(&text, "%s wrote:\n%s\n", worker.Name, worker.Log())
	}
	return text.String()
}

// deployment is what a test deploys; flows are those of testdata/flows.py.
type deployment struct {
	Flow         string // "wait-for": as Prefect names the function wait_for
	JobVariables map[string]any
}

// deploy creates a deployment on the test's pool and returns its id. The project
// is filled in.
func (f *fixture) deploy(d deployment) string {
	f.Helper()
	folder, err := filepath.Abs("testdata")
	if err != nil {
		f.Fatal(err)
	}
	variables := map[string]any{"project_id": project}
	maps.Copy(variables, d.JobVariables)
	flow := call[object](f, f.api, http.MethodPost, "/flows/", map[string]any{"name": d.Flow})
	created := call[object](f, f.api, http.MethodPost, "/deployments/", map[string]any{
		"name": f.pool, "flow_id": flow.ID, "work_pool_name": f.pool, "job_variables": variables,
		"entrypoint": "flows.py:" + strings.ReplaceAll(d.Flow, "-", "_"), "enforce_parameter_schema": false,
		"pull_steps": []any{map[string]any{"prefect.deployments.steps.set_working_directory": map[string]any{"directory": folder}}},
	})
	return created.ID
}

// requests returns how many requests of each route the local Northflank has
// received. Sweeps are left out: the lists of jobs and of their runs, each of
// which serves up to 100 at once, and the read of a single live run.
func (f *fixture) requests() map[string]int {
	f.Helper()
	counters, err := f.northflank.Counters(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	maps.DeleteFunc(counters.Routes, func(route string, _ int) bool {
		return route == routeListRuns || route == routeGetRun || route == routeListJobs
	})
	return counters.Routes
}

// bodies returns the writes that the local Northflank received on one route.
func (f *fixture) bodies(route string) []localstack.RecordedBody {
	f.Helper()
	all, err := f.northflank.Bodies(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	var some []localstack.RecordedBody
	for _, body := range all {
		if body.Route == route {
			some = append(some, body)
		}
	}
	return some
}

// Routes of the Northflank API, as the local one names them.
const (
	routePutJob     = "PUT /projects/{project}/jobs"
	routeStartRun   = "POST /projects/{project}/jobs/{job}/runs"
	routeListJobs   = "GET /projects/{project}/jobs"
	routeListRuns   = "GET /projects/{project}/jobs/{job}/runs"
	routeGetRun     = "GET /projects/{project}/jobs/{job}/runs/{run}"
	routeAbortRun   = "DELETE /projects/{project}/jobs/{job}/runs/{run}"
	routeContainers = "GET /projects/{project}/jobs/{job}/containers"
	routeLogs       = "GET /projects/{project}/jobs/{job}/logs"
)
