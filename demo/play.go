package main

import (
	"context"
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

// What the seed's example names: its prefect.yaml is deployed as it is.
const (
	pool    = "my-northflank-pool"
	block   = "northflank-creds"
	project = "your-northflank-project-id"
)

// scene is one flow run of the demo and how it must end.
type scene struct {
	deployment string
	parameters []string
	want       string // type of the final state
	why        string
}

var scenes = []scene{
	{deployment: "my-flow/my-northflank-deployment", want: "COMPLETED", why: "the example of the README"},
	{deployment: "greet/greet-northflank", parameters: []string{"name=Northflank", "times=3"}, want: "COMPLETED", why: "with parameters"},
	{deployment: "fail-on-purpose/fail-northflank", want: "FAILED", why: "fails on purpose"},
}

// patience bounds the wait for the flow runs; they take 15 s on two cores.
const patience = 2 * time.Minute

type demo struct {
	stack *localstack.Stack
	dir   string
	began time.Time

	server     *localstack.Prefect
	northflank *localstack.Northflank
	folder     string // copy of the example
}

// play starts everything, runs the scenes and reports. Its error says what did
// not go as it should.
func (d *demo) play(ctx context.Context) error {
	for _, step := range []func(context.Context) error{d.startServers, d.setUpPool, d.startWorker, d.deploy} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	runs, err := d.runScenes(ctx)
	if err != nil {
		return err
	}
	return d.report(ctx, runs)
}

func (d *demo) startServers(ctx context.Context) (err error) {
	d.say("starting a Prefect server and a local Northflank")
	if d.northflank, err = d.stack.StartNorthflank(ctx, localstack.NorthflankOptions{Name: "northflank", Project: project}); err != nil {
		return err
	}
	if d.server, err = d.stack.StartPrefect(ctx, localstack.PrefectOptions{Name: "prefect"}); err != nil {
		return err
	}
	d.folder = filepath.Join(d.stack.WorkDir(), "basic")
	return os.CopyFS(d.folder, os.DirFS(example))
}

func (d *demo) setUpPool(ctx context.Context) error {
	if err := d.ours(ctx, d.northflank.Token+"\n", "credentials", "save", block, "--base-url", d.northflank.URL); err != nil {
		return err
	}
	return d.ours(ctx, "", "pool", "create", pool)
}

func (d *demo) startWorker(ctx context.Context) error {
	d.show("prefect-northflank worker start --pool " + pool)
	_, err := d.stack.StartWorker(ctx, localstack.WorkerOptions{
		Name: "worker", Pool: pool,
		Env: map[string]string{"PREFECT_API_URL": d.server.APIURL, "PREFECT_WORKER_QUERY_SECONDS": "1"}, // 10 s is the default
	})
	return err
}

func (d *demo) deploy(ctx context.Context) error {
	d.show("prefect deploy --all   # in a copy of " + example)
	_, err := d.stack.Prefect(ctx, d.server, d.folder, "--no-prompt", "deploy", "--all")
	return err
}

// runScenes triggers the flow runs, watches them meanwhile, and returns them when
// all have ended.
func (d *demo) runScenes(ctx context.Context) ([]flowRun, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	triggered := make(chan struct{})
	go func() {
		defer close(triggered)
		if err := d.trigger(ctx); err != nil {
			cancel(err)
		}
	}()
	runs, err := d.watch(ctx)
	cancel(nil)
	<-triggered
	return runs, err
}

func (d *demo) trigger(ctx context.Context) error {
	for _, s := range scenes {
		args := []string{"deployment", "run", s.deployment}
		for _, p := range s.parameters {
			args = append(args, "--param", p)
		}
		d.show("prefect " + strings.Join(args, " ") + "   # " + s.why)
		if _, err := d.stack.Prefect(ctx, d.server, d.folder, args...); err != nil {
			return err
		}
	}
	return nil
}

// ours runs a command of prefect-northflank and shows it.
func (d *demo) ours(ctx context.Context, input string, args ...string) error {
	d.show("prefect-northflank " + strings.Join(args, " "))
	_, err := d.stack.Program(ctx, localstack.ProgramOptions{
		Args: args, Input: input, Env: map[string]string{"PREFECT_API_URL": d.server.APIURL},
	})
	return err
}

// flowRun is what the demo reads of one.
type flowRun struct {
	ID                string       `json:"id"`
	Name              string       `json:"name"`
	DeploymentID      string       `json:"deployment_id"`
	InfrastructurePID string       `json:"infrastructure_pid"`
	Created           time.Time    `json:"created"`
	State             flowRunState `json:"state"`
	scene             scene
}

type flowRunState struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Message string `json:"message"`
}

var finalTypes = []string{"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

func (r flowRun) final() bool { return slices.Contains(finalTypes, r.State.Type) }

// watch prints each change of the flow runs until all have ended, and returns
// them in the order of the scenes.
func (d *demo) watch(ctx context.Context) ([]flowRun, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the flow runs have not all ended within %s", patience))
	defer cancel()
	shown := make(map[string]string)
	for {
		runs, err := d.flowRuns(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		} else if err != nil {
			return nil, err
		}
		ended := 0
		for _, r := range runs {
			if now := r.State.Name; shown[r.ID] != now {
				shown[r.ID] = now
				d.say("  %-24s %s", r.Name, now)
			}
			if r.final() {
				ended++
			}
		}
		if ended == len(scenes) {
			return runs, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// flowRuns reads the pool's flow runs, oldest first, and joins them to their scenes.
func (d *demo) flowRuns(ctx context.Context) ([]flowRun, error) {
	var runs []flowRun
	api := localstack.API{URL: d.server.APIURL}
	err := api.Call(ctx, http.MethodPost, "/flow_runs/filter", map[string]any{
		"work_pools": map[string]any{"name": map[string]any{"any_": []string{pool}}},
	}, &runs)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(runs, func(a, b flowRun) int { return a.Created.Compare(b.Created) })
	if len(runs) > len(scenes) {
		return nil, fmt.Errorf("the work pool holds %d flow runs, want the %d that were triggered", len(runs), len(scenes))
	}
	for i := range runs {
		runs[i].scene = scenes[i] // they were triggered one after another
	}
	return runs, nil
}

// report prints the table and the log of one flow run. Its error tells which
// flow runs ended in another state than they should.
func (d *demo) report(ctx context.Context, runs []flowRun) error {
	counters, err := d.northflank.Counters(ctx)
	if err != nil {
		return err
	}
	bodies, err := d.northflank.Bodies(ctx)
	if err != nil {
		return err
	}
	fmt.Print("\n", table(runs, bodies, counters.Total), "\n")
	if err := d.printLog(ctx, runs[1]); err != nil {
		return err
	}
	var errs []error
	for _, r := range runs {
		if r.State.Type != r.scene.want {
			errs = append(errs, fmt.Errorf("flow run %s of %s ended %s (%s), want %s", r.Name, r.scene.deployment, r.State.Name, r.State.Message, r.scene.want))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w\nthe logs are in %s/log", err, d.dir)
	}
	d.say("all flow runs ended as they should")
	return nil
}

func (d *demo) printLog(ctx context.Context, r flowRun) error {
	var lines []struct {
		Timestamp time.Time `json:"timestamp"`
		Name      string    `json:"name"`
		Message   string    `json:"message"`
	}
	api := localstack.API{URL: d.server.APIURL}
	err := api.Call(ctx, http.MethodPost, "/logs/filter", map[string]any{
		"logs": map[string]any{"flow_run_id": map[string]any{"any_": []string{r.ID}}}, "sort": "TIMESTAMP_ASC",
	}, &lines)
	if err != nil {
		return err
	}
	fmt.Printf("Log of %s (%s), from the Prefect server:\n", r.Name, r.scene.deployment)
	for _, line := range lines {
		fmt.Printf("  %s  %-28s %s\n", line.Timestamp.Local().Format("15:04:05"), line.Name, line.Message)
	}
	fmt.Println()
	return nil
}

func (d *demo) sayWhereThingsAre() {
	fmt.Printf(`
Everything is still running:
  Prefect server    %s
  local Northflank  %s
  logs              %s/log

To use it from a shell:
  export PREFECT_API_URL=%s
  %s deployment run my-flow/my-northflank-deployment

make stop ends it, and so does the next make demo.
`, d.server.URL, d.northflank.URL, d.dir, d.server.APIURL, filepath.Join(pythonDir, "bin", "prefect"))
}

// show prints a command as a user would type it.
func (d *demo) show(command string) { d.say("$ %s", command) }

func (d *demo) say(format string, args ...any) {
	fmt.Printf("%5.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}
