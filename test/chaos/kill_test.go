//go:build e2e

package chaos

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/localstack"
	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// scene is a work pool, a local Northflank and its flow runs.
type scene struct {
	*testing.T
	api        localstack.API
	pool       string
	northflank *emulator.Server
	url        string // of the local Northflank
	ledger     string

	mu      sync.Mutex
	workers []*exec.Cmd
}

func newScene(t *testing.T) *scene {
	t.Helper()
	nf, err := emulator.New(emulator.Config{RateLimit: -1, Projects: []string{"chaos"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nf.Close() })
	site := httptest.NewServer(nf.Handler())
	t.Cleanup(site.Close)
	return &scene{
		T: t, api: localstack.API{URL: server.APIURL}, northflank: nf, url: site.URL,
		pool: strings.ReplaceAll(t.Name(), "/", "-"), ledger: filepath.Join(t.TempDir(), "ledger"),
	}
}

type object struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	StateType string `json:"state_type"`
	StateName string `json:"state_name"`
	State     struct {
		Message string `json:"message"`
	} `json:"state"`
}

func call[T any](s *scene, method, path string, body any) (answer T) {
	s.Helper()
	var err error
	for range 10 { // SQLite: busy
		if err = s.api.Call(s.Context(), method, path, body, &answer); err == nil {
			return answer
		}
		time.Sleep(300 * time.Millisecond)
	}
	s.Fatal(err)
	return answer
}

// schedule makes n flow runs of a second or more each.
func (s *scene) schedule(n int) (ids []string) {
	call[object](s, http.MethodPost, "/work_pools/", map[string]any{"name": s.pool, "type": "northflank"})
	flow := call[object](s, http.MethodPost, "/flows/", map[string]any{"name": s.pool})
	deployment := call[object](s, http.MethodPost, "/deployments/", map[string]any{
		"name": s.pool, "flow_id": flow.ID, "work_pool_name": s.pool, "entrypoint": "flows.py:f", "enforce_parameter_schema": false,
		"job_variables": map[string]any{"project_id": "chaos", "env": map[string]any{standin.LedgerVariable: s.ledger}},
	})
	for i := range n {
		run := call[object](s, http.MethodPost, "/deployments/"+deployment.ID+"/create_flow_run", map[string]any{
			"parameters": standin.Flow{Seconds: float64(1 + i%4)},
		})
		ids = append(ids, run.ID)
	}
	return ids
}

// start starts a worker process behind b.
func (s *scene) start(name string, b *boundary) *exec.Cmd {
	s.Helper()
	environ, err := standin.Worker{
		Name: name, Pool: s.pool, NorthflankURL: b.northflankURL, Token: emulator.DefaultToken, Timing: standin.Quick(),
	}.Environ()
	if err != nil {
		s.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		s.Fatal(err)
	}
	cmd := exec.CommandContext(s.Context(), self)
	cmd.Env = append(os.Environ(), "PREFECT_API_URL="+b.prefectURL, "PREFECT_HOME="+s.TempDir())
	for variable, value := range environ {
		cmd.Env = append(cmd.Env, variable+"="+value)
	}
	log := filepath.Join(s.TempDir(), "worker.log")
	file, err := os.Create(log)
	if err != nil {
		s.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.mu.Lock()
	s.workers = append(s.workers, cmd)
	s.mu.Unlock()
	s.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		file.Close()
		if s.Failed() {
			text, _ := os.ReadFile(log)
			s.Logf("worker %s (%d) wrote:\n%s", name, cmd.Process.Pid, text)
		}
	})
	return cmd
}

// settle waits until every flow run has ended and nothing of ours is left in
// Northflank, and checks that each was executed once.
func (s *scene) settle(ids []string, within time.Duration) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), within)
	defer cancel()
	var left string
	for {
		if left = s.left(ids); left == "" {
			break
		}
		select {
		case <-ctx.Done():
			s.Fatalf("after %s: %s", within, left)
		case <-time.After(300 * time.Millisecond):
		}
	}
	s.checkLedger(ids)
}

// left says what is still open; "" is nothing.
func (s *scene) left(ids []string) string {
	states := map[string]int{}
	open := 0
	var odd []string
	for _, run := range call[[]object](s, http.MethodPost, "/flow_runs/filter", map[string]any{"flow_runs": map[string]any{"id": map[string]any{"any_": ids}}}) {
		states[run.StateName]++
		switch run.StateType {
		case "COMPLETED":
		case "FAILED", "CRASHED", "CANCELLED":
			odd = append(odd, fmt.Sprintf("%s is %s: %s", run.ID, run.StateName, run.State.Message))
		default:
			open++
		}
	}
	if len(odd) > 0 {
		s.Fatalf("flow runs ended wrongly:\n%s", strings.Join(odd, "\n"))
	}
	if open > 0 {
		return fmt.Sprintf("flow runs are %v", states)
	}
	active := 0
	for _, run := range s.northflank.JobRuns() {
		if !run.Concluded {
			active++
		}
	}
	if jobs := s.northflank.Jobs(); active > 0 || len(jobs) > 0 {
		return fmt.Sprintf("%d job runs are active, %d jobs are left", active, len(jobs))
	}
	return ""
}

func (s *scene) checkLedger(ids []string) {
	s.Helper()
	executed, err := standin.ReadLedger(s.ledger)
	if err != nil {
		s.Fatal(err)
	}
	for _, id := range ids {
		if n := len(executed[id]); n != 1 {
			s.Errorf("flow run %s was executed %d times", id, n)
		}
		delete(executed, id)
	}
	if len(executed) > 0 {
		s.Errorf("unknown flow runs in the ledger: %v", slices.Collect(maps.Keys(executed)))
	}
}

// succession says who carries on after the kill.
type succession string

const (
	sameName  succession = "same-name"  // a new process under the same name
	otherName succession = "other-name" // the killed one never returns
	twoLive   succession = "two-live"   // another worker was there all the time
)

// flowRuns is how many flow runs a scene has. With every request as the place
// of the kill, and in virtual time, there are 20: see internal/worker.
func flowRuns() int {
	if everyRequest() {
		return 20
	}
	return 8
}

func everyRequest() bool { return os.Getenv("CHAOS") == "all" }

// TestKilledAtARequest kills the worker at its k-th request, or drops the
// request's answer, and expects every flow run to be executed exactly once.
func TestKilledAtARequest(t *testing.T) {
	t.Parallel()
	requests := countRequests(t)
	t.Logf("%d flow runs take %d requests", flowRuns(), requests)
	places := make(chan struct{}, 1) // SQLite stalls when more write at once
	events := []event{killBefore, killAfter, dropAnswer}
	for i, k := range sample(requests) {
		for j, what := range events {
			if !everyRequest() && j != i%len(events) {
				continue // a sample has one kind at each place
			}
			who := []succession{sameName, otherName, twoLive}[(i+j)%3]
			t.Run(fmt.Sprintf("%s-%d-%s", what, k, who), func(t *testing.T) {
				t.Parallel()
				places <- struct{}{}
				defer func() { <-places }()
				killAt(t, k, what, who)
			})
		}
	}
}

// sample picks the requests at which to kill: most of the interesting ones come
// early, when flow runs are claimed and started.
func sample(requests int) []int {
	if !everyRequest() {
		return []int{requests / 8, requests / 5, requests / 3, requests / 2}
	}
	var ks []int
	for k := 1; k <= requests; k++ {
		ks = append(ks, k)
	}
	return ks
}

// countRequests runs the scene undisturbed.
func countRequests(t *testing.T) int {
	t.Helper()
	s := newScene(t)
	ids := s.schedule(flowRuns())
	b := newBoundary(t, s.url, 0, nothing)
	cmd := s.start("w1", b)
	s.settle(ids, 2*time.Minute)
	_ = cmd.Process.Kill()
	n, _ := b.happened()
	return n
}

func killAt(t *testing.T, k int, what event, who succession) {
	s := newScene(t)
	ids := s.schedule(flowRuns())
	b := newBoundary(t, s.url, k, what)
	var victim *exec.Cmd
	killed := make(chan struct{})
	started := make(chan struct{})
	b.kill = func() {
		<-started
		_ = victim.Process.Kill()
		close(killed)
	}
	if who == twoLive {
		s.start("w2", b)
	}
	victim = s.start("w1", b)
	close(started)
	if what != dropAnswer {
		select {
		case <-killed:
		case <-time.After(90 * time.Second):
			t.Logf("the worker never made request %d", k)
			_ = victim.Process.Kill()
		}
		switch who {
		case sameName:
			s.start("w1", b)
		case otherName:
			s.start("w3", b)
		}
	}
	s.settle(ids, 3*time.Minute)
	_, route := b.happened()
	t.Logf("%s at request %d: %s", what, k, route)
}
