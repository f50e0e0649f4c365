package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/worker"
)

const renderHelp = `Shows what a worker would send to Northflank for a flow run, or for the next flow
run of a deployment, and where each value comes from. Nothing is sent. Secrets
are masked.

Settings and NORTHFLANK_* variables are those of this shell: run it where the
worker runs, or with the same --profile. The job's name depends on the worker's.

Examples:
  prefect-northflank render --deployment my-flow/my-deployment
  prefect-northflank render --flow-run 6f1f3f2e-0c5b-4d43-9c57-4f5c2b6f9d10
  prefect-northflank render --deployment my-flow/my-deployment --output json`

func renderCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "render",
		Usage:       "show what would be sent to Northflank for a flow run, and why",
		Description: renderHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "deployment", Aliases: []string{"d"}, Usage: "`FLOW/DEPLOYMENT` to show the next flow run of"},
			&cli.StringFlag{Name: "flow-run", Usage: "`ID` of the flow run to show"},
			&cli.StringFlag{Name: "name", Aliases: []string{"n"}, Usage: "name of the `WORKER` (default: the one that is online)"},
			outputFlag(), profileFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return render(ctx, cmd, io) },
	}
}

// What stands for the values that only a flow run and its worker have.
const (
	placeholderFlowRunID   = "FLOW-RUN-ID"
	placeholderFlowRunName = "FLOW-RUN-NAME"
	placeholderWorker      = "WORKER-NAME"
)

func render(ctx context.Context, cmd *cli.Command, io Streams) error {
	asJSON, err := wantsJSON(cmd)
	if err == nil {
		err = checkRenderFlags(cmd)
	}
	if err != nil {
		return err
	}
	client, settings, err := connect(cmd, io)
	if err != nil {
		return err
	}
	t, err := renderTarget(ctx, client, cmd)
	if err != nil {
		return err
	}
	workerName, err := workerName(ctx, client, cmd, t.pool.Name)
	if err != nil {
		return err
	}
	preparer := &worker.Preparer{
		Prefect: client, SettingsEnv: settings.Environment(), Account: environmentAccount(), WorkerName: workerName,
		Secrets: settings.Secrets(),
	}
	prepared, err := preparer.Prepare(ctx, t.pool, t.flowRun)
	if err != nil {
		return t.explain(err)
	}
	r, err := newRendered(t, prepared, secret.NewScrubber(append(settings.Secrets(), prepared.Spec.Secrets...)...))
	if err != nil {
		return err
	}
	r.Warnings = append(r.Warnings, cautions(prepared, workerName)...)
	if asJSON {
		return printJSON(io.Out, r)
	}
	return r.print(io)
}

func checkRenderFlags(cmd *cli.Command) error {
	deployment, flowRun := cmd.String("deployment"), cmd.String("flow-run")
	switch {
	case deployment == "" && flowRun == "":
		return usagef("for example: prefect-northflank render --deployment my-flow/my-deployment", "render needs --deployment or --flow-run")
	case deployment != "" && flowRun != "":
		return usagef("leave one of them out", "render takes --deployment or --flow-run, not both")
	case flowRun != "" && uuid.Validate(flowRun) != nil:
		return usagef("prefect flow-run ls shows the IDs", "--flow-run %q is not the ID of a flow run", flowRun)
	}
	if name := cmd.String("name"); strings.ContainsAny(name, "/%") {
		return usagef("the name is on the page of the work pool and in the worker's first line of output", "--name %q: no worker can have / or %% in its name", name)
	}
	return noArguments(cmd)
}

// target is what is to be rendered.
type target struct {
	what    string // "deployment flow/name" or "flow run name"
	pool    prefect.WorkPool
	flowRun prefect.FlowRun
}

func renderTarget(ctx context.Context, client *prefect.Client, cmd *cli.Command) (target, error) {
	var t target
	var poolName string
	if name := cmd.String("deployment"); name != "" {
		deployment, err := findDeployment(ctx, client, name)
		if err != nil {
			return t, err
		}
		t.what, poolName = fmt.Sprintf("deployment %q", name), deployment.WorkPoolName
		t.flowRun, err = nextFlowRun(deployment)
		if err != nil {
			return t, err
		}
	} else {
		var err error
		if t.flowRun, err = findFlowRun(ctx, client, cmd.String("flow-run")); err != nil {
			return t, err
		}
		t.what, poolName = fmt.Sprintf("flow run %q", t.flowRun.Name), t.flowRun.WorkPoolName
	}
	if poolName == "" {
		return t, hinted{fmt.Errorf("%s belongs to no work pool", t.what), "deploy the flow to a work pool of type northflank: prefect deploy --pool NAME"}
	}
	var err error
	t.pool, err = findPool(ctx, client, poolName)
	return t, err
}

// nextFlowRun is a flow run as the deployment would make it.
func nextFlowRun(d prefect.Deployment) (prefect.FlowRun, error) {
	fr := prefect.FlowRun{ID: placeholderFlowRunID, Name: placeholderFlowRunName, FlowID: d.FlowID, DeploymentID: d.ID}
	var err error
	fr.Raw, err = json.Marshal(fr)
	return fr, err
}

func findDeployment(ctx context.Context, client *prefect.Client, name string) (prefect.Deployment, error) {
	deployment, err := client.DeploymentByName(ctx, name)
	if errors.Is(err, prefect.ErrNotFound) {
		names, _ := client.DeploymentNames(ctx) // only makes the hint better
		return deployment, hinted{
			fmt.Errorf("there is no deployment %q", name),
			nearest(name, names, "prefect deployment ls shows them"),
		}
	}
	return deployment, err
}

func findFlowRun(ctx context.Context, client *prefect.Client, id string) (prefect.FlowRun, error) {
	flowRun, err := client.FlowRun(ctx, id)
	if errors.Is(err, prefect.ErrNotFound) {
		return flowRun, hinted{fmt.Errorf("there is no flow run %s", id), "prefect flow-run ls shows the newest ones with their IDs"}
	}
	return flowRun, err
}

// workerName is the given name, else that of the pool's only live worker.
func workerName(ctx context.Context, client *prefect.Client, cmd *cli.Command, pool string) (string, error) {
	if name := cmd.String("name"); name != "" {
		return name, nil
	}
	workers, err := client.Workers(ctx, pool)
	if err != nil {
		return "", err
	}
	online := ""
	for _, w := range workers {
		switch {
		case w.Status != "ONLINE":
		case online != "":
			return placeholderWorker, nil // which of them would take it, nobody knows
		default:
			online = w.Name
		}
	}
	if online == "" {
		return placeholderWorker, nil
	}
	return online, nil
}

// cautions are about what a user may not have thought of, and no single job
// variable.
func cautions(p *worker.Prepared, workerName string) []string {
	var all []string
	if warning := worker.UnreachableAPI(p.Spec.Run.RuntimeEnvironment["PREFECT_API_URL"], p.Spec.Account.BaseURL); warning != "" {
		all = append(all, warning)
	}
	if workerName == placeholderWorker {
		all = append(all, "the job's name depends on the worker's name, which is not known here; give it with --name")
	}
	return all
}

// explain says what an error of [worker.Preparer] means for whoever renders.
func (t target) explain(err error) error {
	err = fmt.Errorf("%s: %w", t.what, err)
	if _, ok := errors.AsType[*jobspec.InvalidError](err); ok {
		// Its own next step is this command.
		return hinted{err, "correct it where it was set: in the flow run, in prefect.yaml (and run prefect deploy again) or in the work pool; until then such flow runs end Crashed with this message"}
	}
	return err
}
