package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// flowProgram is the name under which this program acts as a flow run. It tells
// Prefect what a flow run tells, Running and Completed, and waits in between:
// `prefect flow-run execute` takes seconds of both processors to do so, and
// would measure the machine instead of the workers.
const flowProgram = "bench-flow"

// installFlowProgram puts this program into a folder under that name and
// returns the folder.
func installFlowProgram() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	folder, err := filepath.Abs(toolsDir)
	if err != nil {
		return "", err
	}
	link := filepath.Join(folder, flowProgram)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return "", err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return folder, os.Symlink(self, link)
}

// runFlow is the flow run: its argument is how long it runs.
func runFlow(args []string) int {
	err := func() error {
		if len(args) != 1 {
			return errors.New("usage: " + flowProgram + " DURATION")
		}
		duration, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		if err := enter("RUNNING"); err != nil {
			return err
		}
		time.Sleep(duration)
		return enter("COMPLETED")
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// enter proposes a state for the flow run that this process is.
func enter(state string) error {
	api := localstack.API{URL: os.Getenv("PREFECT_API_URL")}
	var answer struct{ Status string }
	err := api.Call(context.Background(), http.MethodPost, "/flow_runs/"+os.Getenv("PREFECT__FLOW_RUN_ID")+"/set_state",
		map[string]any{"state": map[string]any{"type": state}}, &answer)
	if err == nil && answer.Status != "ACCEPT" {
		err = fmt.Errorf("prefect answered %s to state %s", answer.Status, state)
	}
	return err
}

// deploy creates a deployment on the contender's pool, of flow runs that last
// for a time, and returns its id.
func (l *lab) deploy(ctx context.Context, c *contender, lasting time.Duration) (string, error) {
	var flow, deployment struct{ ID string }
	if err := l.call(ctx, http.MethodPost, "/flows/", map[string]any{"name": flowProgram}, &flow); err != nil {
		return "", err
	}
	err := l.call(ctx, http.MethodPost, "/deployments/", map[string]any{
		"name": fmt.Sprintf("%s-%s", c.name, lasting), "flow_id": flow.ID, "work_pool_name": c.name,
		"job_variables": map[string]any{
			"project_id":  project,
			"credentials": map[string]any{"api_token": l.northflank.Token, "base_url": c.northflank.url},
			"command":     fmt.Sprintf("%s %s", flowProgram, lasting),
		},
	}, &deployment)
	return deployment.ID, err
}

// flowRun is what the benchmark reads of one.
type flowRun struct {
	ID                string    `json:"id"`
	Name              string    `json:"name"`
	Scheduled         time.Time `json:"expected_start_time"`
	InfrastructurePID string    `json:"infrastructure_pid"`
	State             struct {
		Type    string `json:"type"`
		Name    string `json:"name"`
		Message string `json:"message"`
	} `json:"state"`
}

var finalTypes = []string{"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

func (r flowRun) final() bool { return slices.Contains(finalTypes, r.State.Type) }

// jobRun is the id of the flow run's job run: both workers store "job:job run".
func (r flowRun) jobRun() string {
	_, id, _ := strings.Cut(r.InfrastructurePID, ":")
	return id
}

// schedule triggers a flow run, to start now, and returns its id.
func (l *lab) schedule(ctx context.Context, deployment string) (string, error) {
	var r flowRun
	err := l.call(ctx, http.MethodPost, "/deployments/"+deployment+"/create_flow_run", map[string]any{"idempotency_key": rand.Text()}, &r)
	return r.ID, err
}

// endWithin bounds the wait for flow runs of a few seconds.
const endWithin = 3 * time.Minute

// awaitCompleted waits until the flow runs have ended, at most 200. Its error
// tells which ended otherwise than they should.
func (l *lab) awaitCompleted(ctx context.Context, ids []string) ([]flowRun, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, endWithin, fmt.Errorf("the flow runs have not all ended within %s", endWithin))
	defer cancel()
	for {
		var runs []flowRun
		err := l.call(ctx, http.MethodPost, "/flow_runs/filter", map[string]any{
			"flow_runs": map[string]any{"id": map[string]any{"any_": ids}},
		}, &runs)
		if err != nil {
			return nil, err
		}
		if len(runs) == len(ids) && !slices.ContainsFunc(runs, func(r flowRun) bool { return !r.final() }) {
			return runs, allCompleted(runs)
		}
		if err := wait(ctx, 500*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func allCompleted(runs []flowRun) error {
	var errs []error
	for _, r := range runs {
		if r.State.Type != "COMPLETED" {
			errs = append(errs, fmt.Errorf("flow run %s ended %s: %s", r.Name, r.State.Name, r.State.Message))
		}
	}
	return errors.Join(errs...)
}
