//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/localstack"
	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// scene is a fixture whose flow runs are executed by the stand-in for Prefect's
// program, and whose workers wait shortly: flow runs end in seconds, and many of
// them can be under way.
type scene struct {
	*fixture
	deployment string
	ledger     string // of executions, as the stand-in writes it
	runs       *runWatch
}

// runWatch keeps what is seen of job runs: they are gone once their job is deleted.
type runWatch struct {
	mu   sync.Mutex
	seen map[string]jobRun // by id, as last seen; guarded by mu
}

// watch looks at the local Northflank's job runs until the test ends. They are
// to be seen for seconds after their end: workers don't delete a job sooner.
func (w *runWatch) watch(ctx context.Context, admin localstack.API) {
	for ctx.Err() == nil {
		var runs []jobRun
		if err := admin.Call(ctx, http.MethodGet, "/job-runs", nil, &runs); err == nil {
			w.mu.Lock()
			for _, run := range runs {
				w.seen[run.ID] = run
			}
			w.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}

// all returns the job runs that there were so far, by id.
func (w *runWatch) all() map[string]jobRun {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.seen)
}

// scenes bounds how many are played at once: they share two cores.
var scenes = make(chan struct{}, 3)

func newScene(t *testing.T) *scene {
	t.Helper()
	return newSceneOn(t, shared.server)
}

func newSceneOn(t *testing.T, server *localstack.Prefect) *scene {
	t.Helper()
	scenes <- struct{}{}
	t.Cleanup(func() { <-scenes })
	s := &scene{
		fixture: newFixtureOn(t, server, localstack.API{URL: server.APIURL}, nil),
		runs:    &runWatch{seen: map[string]jobRun{}},
	}
	var watching sync.WaitGroup
	watching.Go(func() { s.runs.watch(t.Context(), s.northflank.Admin) })
	t.Cleanup(watching.Wait)
	folder := t.TempDir()
	s.ledger = filepath.Join(folder, "ledger")
	if err := standin.Install(folder); err != nil {
		t.Fatal(err)
	}
	// A sweep costs part of an hour's requests: with many to spend, sweeps are
	// as frequent as the worker's timing allows.
	s.admin(http.MethodPut, "/rate-limit", map[string]any{"limit": 1_000_000})
	s.deployment = s.deploy(deployment{Flow: "stand-in", JobVariables: map[string]any{"env": map[string]any{
		"PATH": folder + string(filepath.ListSeparator) + os.Getenv("PATH"), standin.LedgerVariable: s.ledger,
	}}})
	return s
}

// admin sends one request to the local Northflank's admin endpoints.
func (s *scene) admin(method, path string, body any) {
	s.Helper()
	if err := s.northflank.Admin.Call(s.Context(), method, path, body, nil); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) fault(f emulator.Fault) {
	s.Helper()
	s.admin(http.MethodPost, "/faults", f)
}

// awaitFaults waits until every fault has happened to something.
func (s *scene) awaitFaults() {
	s.Helper()
	var faults []emulator.Fault
	s.await("the faults to happen", func() bool {
		faults = nil
		if err := s.northflank.Admin.Call(s.Context(), http.MethodGet, "/faults", nil, &faults); err != nil {
			s.Fatal(err)
		}
		return !slices.ContainsFunc(faults, func(f emulator.Fault) bool { return f.Met == 0 })
	}, func() string { return fmt.Sprintf("they are %+v", faults) })
}

// work starts a worker with short waits; change may alter it first.
func (s *scene) work(name string, change ...func(*standin.Worker)) *localstack.Process {
	s.Helper()
	w := standin.Worker{
		Name: name, Pool: s.pool, NorthflankURL: s.northflank.URL, Token: s.northflank.Token,
		Query: time.Second, Heartbeat: 5 * time.Second, Timing: standin.Quick(),
	}
	// Prefect's client waits for seconds after a 503, which SQLite answers often.
	w.Timing.StartLease, w.Timing.StartSettle = 12*time.Second, 20*time.Second
	for _, c := range change {
		c(&w)
	}
	env, err := w.Environ()
	if err != nil {
		s.Fatal(err)
	}
	maps.Copy(env, s.settings)
	self, err := os.Executable()
	if err != nil {
		s.Fatal(err)
	}
	process, err := shared.stack.Start(s.Context(), localstack.ProcessSpec{
		Name: processName(s.T, fmt.Sprintf("worker-%d", len(s.workers)+1)), Path: self, Env: env,
	})
	if err != nil {
		s.Fatal(err)
	}
	s.workers = append(s.workers, process)
	s.Cleanup(func() { s.stop(process) })
	s.await("worker "+name+" to start", func() bool { return strings.Contains(process.Log(), " started!") }, process.Log)
	return process
}

// flow makes a flow run that does as f says, with job variables of its own.
func (s *scene) flow(f standin.Flow, variables map[string]any) string {
	s.Helper()
	return s.run(s.deployment, runRequest{Parameters: f, JobVariables: variables})
}

// propose sets a flow run's state, as a user of Prefect's pages does.
func (s *scene) propose(id, typ, message string, force bool) {
	s.Helper()
	call[any](s, s.api, http.MethodPost, "/flow_runs/"+id+"/set_state", map[string]any{
		"state": map[string]any{"type": typ, "message": message}, "force": force,
	})
}

func (s *scene) cancel(id string) {
	s.Helper()
	s.propose(id, "CANCELLING", "Cancelled by hand.", false)
}

// count returns how many requests of a route the local Northflank has received.
func (s *scene) count(route string) int {
	s.Helper()
	counters, err := s.northflank.Counters(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return counters.Routes[route]
}

// started returns the ids of the job runs that were started for a flow run.
func (s *scene) started(id string) []string {
	s.Helper()
	var runs []string
	for _, body := range s.bodies(routeStartRun) {
		if body.JobRunID != "" && strings.Contains(body.Body, id) {
			runs = append(runs, body.JobRunID)
		}
	}
	return runs
}

// executions returns the processes that executed each flow run.
func (s *scene) executions() map[string][]int {
	s.Helper()
	executed, err := standin.ReadLedger(s.ledger)
	if err != nil {
		s.Fatal(err)
	}
	return executed
}

// awaitBegun waits until the flow run's own code runs.
func (s *scene) awaitBegun(id string) {
	s.Helper()
	s.await("flow run "+id+" to begin", func() bool { return len(s.executions()[id]) > 0 }, func() string {
		return fmt.Sprintf("its states were %v", s.states(id))
	})
}

// awaitSettled waits until nothing is left in Northflank: no job run is active,
// and the workers, with nothing left to do about any, have deleted the jobs. It
// returns the job runs that there were, by id.
func (s *scene) awaitSettled() map[string]jobRun {
	s.Helper()
	var jobs []object
	s.await("the jobs to be deleted", func() bool {
		if err := s.northflank.Admin.Call(s.Context(), http.MethodGet, "/jobs", nil, &jobs); err != nil {
			s.Fatal(err)
		}
		return len(jobs) == 0
	}, func() string {
		return fmt.Sprintf("the job runs were %v, left are jobs %v", slices.Collect(maps.Values(s.runs.all())), jobs)
	})
	runs := s.runs.all()
	for _, run := range runs {
		if !run.Concluded {
			s.Errorf("job run %s was active when its job was deleted", run.ID)
		}
	}
	for id, processes := range s.executions() {
		for _, pid := range processes {
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				s.Errorf("process %d of flow run %s still lives", pid, id)
			}
		}
	}
	return runs
}

// checkExecuted checks that each of the flow runs, and no other, was executed once.
func (s *scene) checkExecuted(ids ...string) {
	s.Helper()
	executed := s.executions()
	for _, id := range ids {
		if n := len(executed[id]); n != 1 {
			s.Errorf("flow run %s was executed %d times, want once; its states were %v", id, n, s.states(id))
		}
		delete(executed, id)
	}
	if len(executed) > 0 {
		s.Errorf("executed besides: %v", executed)
	}
}

// checkState checks a flow run's last state: its type, and what its message holds.
func (s *scene) checkState(id, typ string, message ...string) {
	s.Helper()
	now := s.flowRun(id).State
	if now.Type != typ {
		s.Errorf("flow run %s is %s, want %s", id, now, typ)
	}
	for _, part := range message {
		if !strings.Contains(now.Message, part) {
			s.Errorf("flow run %s is %s, want a message that tells %q", id, now, part)
		}
	}
}

// on returns the scene for a subtest.
func (s *scene) on(t *testing.T) *scene {
	f := *s.fixture
	f.T = t
	sub := *s
	sub.fixture = &f
	return &sub
}
