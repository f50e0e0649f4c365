package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/testkit"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// stage is a worker between a Prefect server and a Northflank in memory, for
// use inside a synctest bubble: no socket, and hours pass in no time.
type stage struct {
	prefect    *testkit.Prefect
	northflank *emulator.Server
	wayThere   http.RoundTripper // to Northflank
	client     *prefect.Client
	settings   *prefect.Settings
	log        *lockedBuffer
}

func newStage(t *testing.T, config emulator.Config) *stage {
	t.Helper()
	s := &stage{prefect: testkit.NewPrefect(), log: &lockedBuffer{}}
	furnish(s.prefect)
	config.Projects = []string{"my-project"}
	config.Runner = emulator.RunnerFunc(s.runFlow)
	var err error
	if s.northflank, err = emulator.New(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.northflank.Close)
	s.wayThere = s.northflank.Transport()
	s.settings, err = prefect.LoadSettings(prefect.LoadOptions{
		Environ: []string{"PREFECT_API_URL=" + testkit.BaseURL}, Dir: t.TempDir(), HomeDir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.client, err = prefect.NewClient(prefect.ClientOptions{
		Settings: s.settings, HTTPClient: &http.Client{Transport: s.prefect.Transport()}, Logger: s.logger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stage) logger() *slog.Logger { return slog.New(slog.NewTextHandler(s.log, nil)) }

// runFlow is the container of a flow run whose flow returns at once.
func (s *stage) runFlow(_ context.Context, task emulator.Task) int {
	id := task.Env["PREFECT__FLOW_RUN_ID"]
	if s.prefect.BeginRun(id, task.Container).Runs {
		s.prefect.Finish(id, testkit.State{Type: prefect.StateCompleted})
	}
	return 0
}

// RoundTrip makes the stage the way to Northflank, which may change meanwhile.
func (s *stage) RoundTrip(r *http.Request) (*http.Response, error) { return s.wayThere.RoundTrip(r) }

// options are those of a worker whose environment holds a token.
func (s *stage) options(account jobspec.Account) worker.Options {
	return worker.Options{
		Prefect: s.client, Settings: s.settings, Account: account,
		Accounts: northflank.NewAccounts(northflank.Options{HTTPClient: &http.Client{Transport: s}}),
		Name:     "worker-1", Pool: "my-pool",
		Prefetch: 10 * time.Second, Heartbeat: 30 * time.Second, Query: 10 * time.Second, Logger: s.logger(),
	}
}

// work runs a worker for a while, or until a run-once worker is done.
func (s *stage) work(t *testing.T, o worker.Options, d time.Duration) {
	t.Helper()
	w, err := worker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// lines returns the lines that hold all the texts.
func (b *lockedBuffer) lines(texts ...string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []string
lines:
	for line := range strings.Lines(b.b.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		found = append(found, line)
	}
	return found
}

// A flow run whose own configuration is wrong ends Crashed with the message that
// render shows, and Northflank hears nothing of it.
func TestWorkerEndsWrongConfigurations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, emulator.Config{})
		ids := map[string]string{}
		for i, c := range wrongConfigurations {
			deployment := s.prefect.AddDeployment(testkit.DeploymentSpec{
				Flow: "my-flow", Name: fmt.Sprint("wrong-", i), Pool: "my-pool", JobVariables: c.variables(),
			})
			ids[c.name] = s.prefect.Schedule(testkit.FlowRunSpec{Deployment: deployment, JobVariables: c.flowRun})
		}
		s.work(t, s.options(jobspec.Account{}), time.Minute)

		for route, n := range s.northflank.Counters().Routes {
			if route != emulator.RouteListJobs { // the worker looks for jobs that others left behind
				t.Errorf("Northflank received %d times %s, want nothing about these flow runs", n, route)
			}
		}
		for _, c := range wrongConfigurations {
			id := ids[c.name]
			fr, _ := s.prefect.FlowRun(id)
			want := "Failed to submit flow run to infrastructure: " + s.fault(t, id)
			if fr.State.Type != prefect.StateCrashed || fr.State.Message != want {
				t.Errorf("%s: state %s with message\n%s\nwant CRASHED with\n%s", c.name, fr.State.Type, fr.State.Message, want)
			}
			told := false
			for _, line := range s.prefect.Logs(id) {
				told = told || strings.Contains(line.Message, s.fault(t, id))
			}
			if !told {
				t.Errorf("%s: the flow run's log does not say why: %v", c.name, s.prefect.Logs(id))
			}
		}
		s.wantNoSecret(t)
	})
}

// fault is what is wrong with a flow run, in the words of render.
func (s *stage) fault(t *testing.T, id string) string {
	t.Helper()
	fr, err := s.client.FlowRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := s.client.WorkPool(t.Context(), "my-pool")
	if err != nil {
		t.Fatal(err)
	}
	preparer := worker.Preparer{Prefect: s.client, SettingsEnv: s.settings.Environment(), WorkerName: "worker-1"}
	_, err = preparer.Prepare(t.Context(), pool, fr)
	if _, ok := errors.AsType[*worker.ConfigurationError](err); !ok {
		t.Fatalf("Prepare error = %v, want a *ConfigurationError", err)
	}
	var hint interface{ Hint() string }
	if !errors.As(err, &hint) {
		t.Fatalf("%v has no next step", err)
	}
	return err.Error() + "\n" + hint.Hint()
}

func (s *stage) wantNoSecret(t *testing.T) {
	t.Helper()
	for _, planted := range []string{plantedToken, plantedPassword} {
		if lines := s.log.lines(planted); len(lines) > 0 {
			t.Errorf("a secret is in the worker's log: %s", lines)
		}
		for _, fr := range s.prefect.FlowRuns() {
			if strings.Contains(fr.State.Message, planted) || strings.Contains(fmt.Sprint(s.prefect.Logs(fr.ID)), planted) {
				t.Errorf("a secret is in flow run %s: %s", fr.Name, fr.State.Message)
			}
		}
	}
}

// Where the worker or the platform is at fault, flow runs are left Scheduled or
// given back, the worker says why once, and when the fault is over they run.
func TestWorkerSparesFlowRunsOfOthersFaults(t *testing.T) {
	t.Parallel()
	const outage = 4 * time.Minute
	account := jobspec.Account{Token: secret.New(plantedToken)}
	accepted := []emulator.Token{{Name: "good", Value: plantedToken}}
	during := func(a emulator.Action, status int) func(*stage) {
		return func(s *stage) {
			if _, err := s.northflank.Faults().Add(emulator.Fault{Action: a, Status: status, For: outage}); err != nil {
				panic(err)
			}
		}
	}
	tests := []struct {
		name   string
		tokens []emulator.Token
		limit  int
		begin  func(*stage)
		why    string // in the worker's log
	}{
		{name: "token refused", tokens: accepted, begin: during(emulator.ActionStatus, 401), why: "401 unauthorized"},
		{name: "permission missing", tokens: accepted, begin: during(emulator.ActionStatus, 403), why: "403 forbidden"},
		{name: "out of order", tokens: accepted, begin: during(emulator.ActionStatus, 500), why: "500 internal server error"},
		{name: "in maintenance", tokens: accepted, begin: during(emulator.ActionStatus, 503), why: "503 service unavailable"},
		{name: "too many requests", tokens: accepted, begin: during(emulator.ActionStatus, 429), why: "429 too many requests"},
		{name: "unreachable", tokens: accepted, begin: func(s *stage) {
			s.wayThere = refusing{until: time.Now().Add(outage), next: s.wayThere}
		}, why: "connection refused"},
		{name: "budget spent by others", tokens: append(accepted, emulator.Token{Name: "other", Value: "other"}), limit: 20, begin: func(s *stage) {
			for range 20 {
				r, _ := http.NewRequest(http.MethodGet, "http://northflank.test/v1/projects", nil)
				r.Header.Set("Authorization", "Bearer other")
				if resp, err := s.northflank.Transport().RoundTrip(r); err == nil {
					resp.Body.Close()
				}
			}
		}, why: "429"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, emulator.Config{Tokens: tt.tokens, RateLimit: tt.limit, RateWindow: outage})
				deployment := s.prefect.AddDeployment(testkit.DeploymentSpec{
					Flow: "my-flow", Name: "spared", Pool: "my-pool",
					JobVariables: vars{"project_id": "my-project", "billing_deployment_plan": "nf-compute-50"},
				})
				var ids []string
				for range 3 {
					ids = append(ids, s.prefect.Schedule(testkit.FlowRunSpec{Deployment: deployment}))
				}
				tt.begin(s)
				s.work(t, s.options(account), outage-time.Second)

				for _, id := range ids {
					if fr, _ := s.prefect.FlowRun(id); fr.State.Type != prefect.StateScheduled {
						t.Errorf("flow run is %s (%s) during the outage, want SCHEDULED", fr.State.Type, fr.State.Message)
					}
				}
				if told := s.log.lines("level=WARN", "starting job runs"); len(told) != 1 || !strings.Contains(told[0], tt.why) {
					t.Errorf("the worker told %d times why, want once, with %q:\n%s", len(told), tt.why, told)
				}
				s.work(t, s.options(account), 2*outage)
				for _, id := range ids {
					fr, _ := s.prefect.FlowRun(id)
					if n := len(s.prefect.Executions(id)); fr.State.Type != prefect.StateCompleted || n != 1 {
						t.Errorf("after the outage the flow run is %s (%s) and was executed %d times, want COMPLETED and once", fr.State.Type, fr.State.Message, n)
					}
				}
				s.wantNoSecret(t)
			})
		})
	}
}

// refusing is a way on which no connection comes about for a while.
type refusing struct {
	until time.Time
	next  http.RoundTripper
}

func (r refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	if time.Now().Before(r.until) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return r.next.RoundTrip(req)
}
