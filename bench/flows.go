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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

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

// runFlow is the flow run. Its argument is how long it runs. With two more, the id
// of its work pool and a file, it tells that it lives, as often as its environment
// says, and ends without a word to Prefect, as a container that is killed; the
// moment is added to the file.
func runFlow(args []string) int {
	err := func() error {
		if len(args) != 1 && len(args) != 3 {
			return errors.New("usage: " + flowProgram + " DURATION [WORK_POOL_ID FILE]")
		}
		lasting, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		api, id := localstack.API{URL: os.Getenv("PREFECT_API_URL")}, os.Getenv("PREFECT__FLOW_RUN_ID")
		if err := propose(context.Background(), api, id, "RUNNING"); err != nil {
			return err
		}
		if len(args) == 3 {
			return liveAndDie(api, id, lasting, args[1], args[2])
		}
		time.Sleep(lasting)
		return propose(context.Background(), api, id, "COMPLETED")
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// liveAndDie sends heartbeats, if it is to, and kills its own process.
func liveAndDie(api localstack.API, id string, lasting time.Duration, pool, deaths string) error {
	ctx, cancel := context.WithTimeout(context.Background(), lasting)
	defer cancel()
	if seconds, err := strconv.Atoi(os.Getenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY")); err == nil && seconds > 0 {
		for ctx.Err() == nil {
			if err := sendEvents(ctx, api, heartbeat(id, pool)); err != nil && ctx.Err() == nil {
				return err
			}
			_ = wait(ctx, time.Duration(seconds)*time.Second)
		}
	}
	<-ctx.Done()
	file, err := os.OpenFile(deaths, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(file, "%s %s\n", id, time.Now().Format(time.RFC3339Nano)); err != nil {
		return err
	}
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// propose proposes a state for a flow run and insists on it.
func propose(ctx context.Context, api localstack.API, flowRun, state string) error {
	var answer struct{ Status string }
	err := api.Call(ctx, http.MethodPost, "/flow_runs/"+flowRun+"/set_state", map[string]any{"state": map[string]any{"type": state}}, &answer)
	if err == nil && answer.Status != "ACCEPT" {
		err = fmt.Errorf("prefect answered %s to state %s", answer.Status, state)
	}
	return err
}

// event is one of Prefect's, as POST /events takes it.
type event struct {
	ID       string              `json:"id"`
	Occurred time.Time           `json:"occurred"`
	Event    string              `json:"event"`
	Resource map[string]string   `json:"resource"`
	Related  []map[string]string `json:"related"`
	Payload  struct{}            `json:"payload"`
}

// heartbeat is the event by which Prefect's flow engine tells that a flow run of
// a work pool lives.
func heartbeat(flowRun, poolID string) event {
	return event{
		ID: uuid.NewString(), Occurred: time.Now().UTC(), Event: "prefect.flow-run.heartbeat",
		Resource: map[string]string{"prefect.resource.id": "prefect.flow-run." + flowRun},
		Related:  []map[string]string{{"prefect.resource.id": "prefect.work-pool." + poolID, "prefect.resource.role": "work-pool"}},
	}
}

func sendEvents(ctx context.Context, api localstack.API, events ...event) error {
	return api.Call(ctx, http.MethodPost, "/events", events, nil)
}

// deploy creates a deployment on the contender's pool, of flow runs whose
// container runs a command, and returns its id.
func (l *lab) deploy(ctx context.Context, c *contender, command string) (string, error) {
	var flow, deployment struct{ ID string }
	if err := l.call(ctx, http.MethodPost, "/flows/", map[string]any{"name": flowProgram}, &flow); err != nil {
		return "", err
	}
	err := l.call(ctx, http.MethodPost, "/deployments/", map[string]any{
		"name": c.pool + " " + command, "flow_id": flow.ID, "work_pool_name": c.pool,
		"job_variables": map[string]any{
			"project_id":  project,
			"credentials": map[string]any{"api_token": c.platform.Token, "base_url": c.northflank.url},
			"command":     command,
		},
	}, &deployment)
	return deployment.ID, err
}

// command is that of flow runs that last for a time.
func command(lasting time.Duration) string { return flowProgram + " " + lasting.String() }

// flowRun is what the benchmark reads of one.
type flowRun struct {
	ID                string    `json:"id"`
	Name              string    `json:"name"`
	Scheduled         time.Time `json:"expected_start_time"`
	InfrastructurePID string    `json:"infrastructure_pid"`
	State             struct {
		Type      string    `json:"type"`
		Name      string    `json:"name"`
		Message   string    `json:"message"`
		Timestamp time.Time `json:"timestamp"`
	} `json:"state"`
}

var finalTypes = []string{"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

func (r flowRun) final() bool { return slices.Contains(finalTypes, r.State.Type) }

// jobRun is the id of the flow run's job run: both workers store "job:job run".
func (r flowRun) jobRun() string {
	_, id, _ := strings.Cut(r.InfrastructurePID, ":")
	return id
}

// schedule triggers a flow run, to start now, and returns its id. Job variables of
// its own, if it has any, go over those of the deployment.
func (l *lab) schedule(ctx context.Context, deployment string, jobVariables map[string]any) (string, error) {
	var r flowRun
	body := map[string]any{"idempotency_key": rand.Text()}
	if jobVariables != nil {
		body["job_variables"] = jobVariables
	}
	err := l.call(ctx, http.MethodPost, "/deployments/"+deployment+"/create_flow_run", body, &r)
	return r.ID, err
}

// endWithin bounds the wait for flow runs of a few seconds.
const endWithin = 3 * time.Minute

// awaitCompleted waits until the flow runs have ended, at most 200. Its error
// tells which ended otherwise than they should.
func (l *lab) awaitCompleted(ctx context.Context, ids []string) ([]flowRun, error) {
	runs, err := l.awaitEnded(ctx, ids, endWithin)
	if err != nil {
		return nil, err
	}
	return runs, allCompleted(runs)
}

// awaitEnded waits until the flow runs have ended, at most 200.
func (l *lab) awaitEnded(ctx context.Context, ids []string, within time.Duration) ([]flowRun, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("the flow runs have not all ended within %s", within))
	defer cancel()
	for {
		var runs []flowRun
		err := l.call(ctx, http.MethodPost, "/flow_runs/filter", map[string]any{
			"flow_runs": map[string]any{"id": map[string]any{"any_": ids}},
		}, &runs)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		if len(runs) == len(ids) && !slices.ContainsFunc(runs, func(r flowRun) bool { return !r.final() }) {
			return runs, nil
		}
		if err := wait(ctx, time.Second); err != nil {
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
