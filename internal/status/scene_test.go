package status_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/status"
	"github.com/northflank/prefect-northflank/internal/testkit"
	"github.com/northflank/prefect-northflank/internal/worker"
)

const scenePool, sceneWorker = "my-pool", "w1"

// scene is a worker in front of a Prefect server and a Northflank in memory, in
// virtual time, with faults to be switched on and off.
type scene struct {
	*testing.T
	prefect *testkit.Prefect
	nf      *emulator.Server
	worker  *worker.Worker
	deploy  string

	prefectSays    atomic.Int64 // status of every answer; 0: its own
	northflankSays atomic.Int64
}

// play runs act in a bubble, with a worker that has found its pool.
func play(t *testing.T, pool testkit.PoolSpec, act func(*scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scene{T: t, prefect: testkit.NewPrefect()}
		var err error
		s.nf, err = emulator.New(emulator.Config{RateLimit: 1000, Seed: 1, Runner: emulator.RunnerFunc(s.container)})
		if err != nil {
			t.Fatal(err)
		}
		if pool.Name != "" {
			s.prefect.AddPool(pool)
			s.deploy = s.prefect.AddDeployment(testkit.DeploymentSpec{
				Name: "my-deployment", Pool: scenePool, JobVariables: map[string]any{"project_id": emulator.DefaultProject},
			})
		}
		s.start()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.worker.Run(ctx) }()
		time.Sleep(30 * time.Second)
		act(s)
		stop()
		if err := <-done; err != nil {
			t.Errorf("the worker ended: %v", err)
		}
		s.nf.Close()
		s.prefect.Close()
	})
}

func ourPool() testkit.PoolSpec {
	return testkit.PoolSpec{Name: scenePool, Template: jobspec.BaseJobTemplate()}
}

func (s *scene) start() {
	stats, log := worker.NewStats(), slog.New(slog.DiscardHandler)
	settings := prefect.DefaultSettings()
	settings.APIURL = testkit.BaseURL
	client, err := prefect.NewClient(prefect.ClientOptions{
		Settings: settings, WorkerName: sceneWorker, Logger: log, Observe: stats.PrefectCall, Maintenance: stats.Maintenance,
		HTTPClient: &http.Client{Transport: faulty{s.prefect.Transport(), &s.prefectSays}},
	})
	if err != nil {
		s.Fatal(err)
	}
	s.worker, err = worker.New(worker.Options{
		Prefect: client, Settings: settings, Logger: log, Stats: stats,
		Accounts: northflank.NewAccounts(northflank.Options{
			Logger: log, Observe: stats.NorthflankCall, HTTPClient: &http.Client{Transport: faulty{s.nf.Transport(), &s.northflankSays}},
		}),
		Account: jobspec.Account{BaseURL: "http://localhost", Token: secret.New(emulator.DefaultToken)},
		Name:    sceneWorker, Pool: scenePool, Prefetch: 10 * time.Second, Heartbeat: 30 * time.Second, Query: 10 * time.Second,
	})
	if err != nil {
		s.Fatal(err)
	}
}

// container is a flow of half a minute; one that is named to die dies instead.
func (s *scene) container(ctx context.Context, task emulator.Task) int {
	id := task.Env["PREFECT__FLOW_RUN_ID"]
	if !s.prefect.BeginRun(id, task.RunID).Runs {
		return 1
	}
	select {
	case <-time.After(30 * time.Second):
	case <-ctx.Done():
		return 143
	}
	if fr, _ := s.prefect.FlowRun(id); fr.Name == "dies" {
		return 1
	}
	s.prefect.Finish(id, testkit.State{Type: prefect.StateCompleted})
	return 0
}

// schedule makes a flow run that is due now.
func (s *scene) schedule(name string) string {
	return s.prefect.Schedule(testkit.FlowRunSpec{Deployment: s.deploy, Name: name, At: time.Now()})
}

// faulty answers in a server's place while status is set.
type faulty struct {
	next   http.RoundTripper
	status *atomic.Int64
}

func (f faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	code := int(f.status.Load())
	if code == 0 {
		return f.next.RoundTrip(r)
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return &http.Response{
		StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{"exception_message":"refused","error":{"message":"refused"}}`)),
	}, nil
}

// get asks the health checks, and returns the answer's code and its problems' names.
func get(t *testing.T, h http.Handler, path string) (code int, problems []string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	var answer struct {
		Status   string
		Problems []status.Problem
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%s answers %q: %v", path, w.Body, err)
	}
	if ok := answer.Status == "ok"; ok != (w.Code == http.StatusOK) {
		t.Errorf("%s answers %d with status %q", path, w.Code, answer.Status)
	}
	for _, p := range answer.Problems {
		if p.Detail == "" || strings.Contains(p.Detail, emulator.DefaultToken) {
			t.Errorf("%s: problem %q has the detail %q", path, p.Name, p.Detail)
		}
		problems = append(problems, p.Name)
	}
	return w.Code, problems
}

// wantReady checks what /readyz says; no problems mean that the worker is ready.
func (s *scene) wantReady(when string, problems ...string) {
	s.Helper()
	code, got := get(s.T, status.Health(s.worker), "/readyz")
	want := http.StatusOK
	if len(problems) > 0 {
		want = http.StatusServiceUnavailable
	}
	if code != want || strings.Join(got, " ") != strings.Join(problems, " ") {
		s.Errorf("%s: /readyz = %d %v, want %d %v", when, code, got, want, problems)
	}
}
