package cli_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

var update = flag.Bool("update", false, "write golden files anew")

// TestScripts runs the stories in testdata/script. Each has a Prefect server in
// memory at $PREFECT_API_URL, a local Northflank at $NORTHFLANK_URL, and these
// commands:
//
//	new-pool NAME [TYPE] [TEMPLATE]       make a work pool
//	original-pool NAME                    make a work pool as 1.0.1 does, and edit its template
//	new-deployment FLOW/NAME POOL [VARS]  make a deployment with job variables
//	new-flow-run VAR FLOW/NAME [VARS] [NAME]  make a flow run; its id is in $VAR
//	ran FLOW/NAME DURATION                make a flow run that was Running for so long
//	taken ID                              let a worker have taken the flow run
//	new-block TYPE NAME DATA              make a block
//	live-worker POOL NAME                 let a worker be online
//	template POOL FILE                    write a work pool's template to a file
//	bodies JOB RUN                        write the last bodies that Northflank received to files
//	as-rendered JSON JOB RUN              the bodies are those that render showed
//	requests N                            Northflank received N requests
//	integration FILE                      make a notification integration, as another program does
//	lose-answer METHOD ROUTE              break the connection after the next such request took effect
//	await-job                             wait until there is a job in Northflank
//	no-jobs                               no job is in Northflank
//	await ID STATE                        wait until the flow run is in this state
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUpScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"new-pool":       inWorld(newPool),
			"original-pool":  inWorld(originalPool),
			"new-deployment": inWorld(newDeployment),
			"new-flow-run":   inWorld(newFlowRun),
			"ran":            inWorld(ranFlowRun),
			"taken":          inWorld(takenFlowRun),
			"new-block":      inWorld(newBlock),
			"live-worker":    inWorld(liveWorker),
			"template":       inWorld(storedTemplate),
			"bodies":         inWorld(sentBodies),
			"as-rendered":    inWorld(asRendered),
			"requests":       inWorld(sentRequests),
			"integration":    inWorld(foreignIntegration),
			"lose-answer":    inWorld(loseAnswer),
			"await-job":      inWorld(awaitJob),
			"no-jobs":        inWorld(noJobs),
			"await":          inWorld(awaitState),
		},
	})
}

// world is what the scripts' programs speak to.
type world struct {
	prefect     *testkit.Prefect
	northflank  *emulator.Server
	deployments map[string]string // id by "flow/name"
	url         string            // of the Prefect API
}

type worldKey struct{}

func setUpScript(env *testscript.Env) error {
	w := &world{prefect: testkit.NewPrefect(), deployments: map[string]string{}}
	server := httptest.NewServer(w.prefect)
	env.Defer(server.Close)
	var err error
	if w.northflank, err = emulator.New(emulator.Config{
		Prices: map[string]float64{"nf-compute-20": 0.0075, "nf-compute-50": 0.0167, "nf-compute-400-16": 0.2, "l4-24": 0.8, "h100-80": 2.74},
	}); err != nil {
		return err
	}
	env.Defer(w.northflank.Close)
	url, err := w.northflank.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	env.Values[worldKey{}] = w
	w.url = server.URL + "/api"
	env.Setenv("PREFECT_API_URL", w.url)
	env.Setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
	env.Setenv("NORTHFLANK_URL", url)
	env.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's second of rest at the end of each program
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	return nil
}

// inWorld makes a command of a function; scripts never expect it to fail.
func inWorld(run func(ts *testscript.TestScript, w *world, args []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command is never expected to fail")
		}
		run(ts, ts.Value(worldKey{}).(*world), append(args, make([]string, 4)...)) // missing ones are ""
	}
}

// object reads a JSON object from a file of the script, with $NORTHFLANK_URL
// filled in; "" is no file.
func object(ts *testscript.TestScript, file string) map[string]any {
	if file == "" {
		return nil
	}
	var o map[string]any
	text := strings.ReplaceAll(ts.ReadFile(file), "$NORTHFLANK_URL", ts.Getenv("NORTHFLANK_URL"))
	ts.Check(json.Unmarshal([]byte(text), &o))
	return o
}

func newPool(ts *testscript.TestScript, w *world, args []string) {
	spec := testkit.PoolSpec{Name: args[0], Type: args[1]}
	if args[2] != "" {
		spec.Template = json.RawMessage(ts.ReadFile(args[2]))
	}
	w.prefect.AddPool(spec)
}

func originalPool(ts *testscript.TestScript, w *world, args []string) {
	template, err := editedOriginal()
	ts.Check(err)
	w.prefect.AddPool(testkit.PoolSpec{Name: args[0], Template: template})
}

func newDeployment(ts *testscript.TestScript, w *world, args []string) {
	flow, name, _ := strings.Cut(args[0], "/")
	w.deployments[args[0]] = w.prefect.AddDeployment(testkit.DeploymentSpec{
		Flow: flow, Name: name, Pool: args[1], JobVariables: object(ts, args[2]),
	})
}

func newFlowRun(ts *testscript.TestScript, w *world, args []string) {
	ts.Setenv(args[0], w.prefect.Schedule(testkit.FlowRunSpec{
		Deployment: w.deployments[args[1]], Name: cmp.Or(args[3], "crazy-otter"), JobVariables: object(ts, args[2]),
	}))
}

func ranFlowRun(ts *testscript.TestScript, w *world, args []string) {
	took, err := time.ParseDuration(args[1])
	ts.Check(err)
	w.prefect.Ran(testkit.FlowRunSpec{Deployment: w.deployments[args[0]]}, took)
}

func takenFlowRun(_ *testscript.TestScript, w *world, args []string) {
	w.prefect.SetState(args[0], testkit.State{Type: prefect.StatePending}, true)
}

func newBlock(ts *testscript.TestScript, w *world, args []string) {
	w.prefect.AddBlock(args[0], args[1], object(ts, args[2]), "api_token", "value")
}

func liveWorker(ts *testscript.TestScript, w *world, args []string) {
	ts.Check(w.client(ts).Heartbeat(context.Background(), args[0], args[1], 30))
}

func storedTemplate(ts *testscript.TestScript, w *world, args []string) {
	pool, err := w.client(ts).WorkPool(context.Background(), args[0])
	ts.Check(err)
	var indented bytes.Buffer
	ts.Check(json.Indent(&indented, pool.BaseJobTemplate, "", "  "))
	unescaped := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(indented.String())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(unescaped+"\n"), 0o600))
}

func sentBodies(ts *testscript.TestScript, w *world, args []string) {
	for _, b := range w.northflank.Bodies() {
		file := args[0]
		if b.Route == emulator.RouteStartRun {
			file = args[1]
		}
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(b.Body), 0o600))
	}
}

func asRendered(ts *testscript.TestScript, _ *world, args []string) {
	var rendered struct{ Job, Run json.RawMessage }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &rendered))
	for file, want := range map[string]json.RawMessage{args[1]: rendered.Job, args[2]: rendered.Run} {
		if got := ts.ReadFile(file); got != string(want) {
			ts.Fatalf("Northflank received\n%s\nrender showed\n%s", got, want)
		}
	}
}

func sentRequests(ts *testscript.TestScript, w *world, args []string) {
	if got := fmt.Sprint(w.northflank.Counters().Total); got != args[0] {
		ts.Fatalf("Northflank received %s requests, want %s: %v", got, args[0], w.northflank.Counters().Routes)
	}
}

func foreignIntegration(ts *testscript.TestScript, w *world, args []string) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://northflank.test/v1/integrations/notifications", strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+emulator.DefaultToken)
	req.Header.Set("Content-Type", "application/json")
	answer, err := w.northflank.Transport().RoundTrip(req)
	ts.Check(err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		ts.Fatalf("make the integration: %s", answer.Status)
	}
}

func loseAnswer(ts *testscript.TestScript, w *world, args []string) {
	_, err := w.northflank.Faults().Add(emulator.Fault{Route: args[0] + " " + args[1], Action: emulator.ActionResetAfter, Times: 1})
	ts.Check(err)
}

func awaitJob(ts *testscript.TestScript, w *world, _ []string) {
	patience := time.NewTimer(20 * time.Second)
	defer patience.Stop()
	for {
		changed := w.northflank.Changed()
		if len(w.northflank.Jobs()) > 0 {
			return
		}
		select {
		case <-changed:
		case <-patience.C:
			ts.Fatalf("no job appeared in Northflank")
		}
	}
}

func noJobs(ts *testscript.TestScript, w *world, _ []string) {
	if jobs := w.northflank.Jobs(); len(jobs) > 0 {
		ts.Fatalf("%d jobs are in Northflank", len(jobs))
	}
}

func awaitState(ts *testscript.TestScript, w *world, args []string) {
	const patience = 20 * time.Second
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); ; <-look.C {
		fr, _ := w.prefect.FlowRun(args[0])
		switch {
		case string(fr.State.Type) == args[1]:
			return
		case fr.State.Type.Terminal() || time.Now().After(deadline):
			ts.Fatalf("flow run %s is in state %s (%s), want %s", args[0], fr.State.Type, fr.State.Message, args[1])
		}
	}
}

func (w *world) client(ts *testscript.TestScript) *prefect.Client {
	settings := prefect.DefaultSettings()
	settings.APIURL, settings.MaxRetries, settings.RequestTimeout = w.url, 0, 10*time.Second
	client, err := prefect.NewClient(prefect.ClientOptions{Settings: settings, Logger: slog.New(slog.DiscardHandler)})
	ts.Check(err)
	return client
}
