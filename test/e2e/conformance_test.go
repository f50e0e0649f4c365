//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// contender is one of two workers that do the same: Prefect's own process worker,
// or ours. Each has a work pool of its own.
type contender struct {
	*fixture
	wire  *wire
	stock bool
	runs  map[string]string // names of flow runs, by id
	found facts             // besides what was sent
}

func newContender(t *testing.T, stock bool) *contender {
	t.Helper()
	f := newFixture(t)
	c := &contender{fixture: f, stock: stock, wire: newWire(t, shared.server.APIURL), runs: map[string]string{}, found: facts{}}
	f.pool = processName(t, "contended")
	maps.Copy(f.settings, map[string]string{
		"PREFECT_API_URL":                  c.wire.url,
		"PREFECT_WORKER_HEARTBEAT_SECONDS": "3", // 30 s otherwise
	})
	return c
}

// kind is the type of worker and work pool.
func (c *contender) kind() string {
	if c.stock {
		return "process"
	}
	return "northflank"
}

// workerName is the same for both; it is told in a different spelling here and there.
const workerName = "My Worker_2"

func (c *contender) start(args ...string) *localstack.Process {
	c.Helper()
	path := shared.binary
	if c.stock {
		path = shared.python.Program("prefect")
	}
	worker, err := shared.stack.Start(c.Context(), localstack.ProcessSpec{
		Name: processName(c.T, fmt.Sprint("contender-", len(c.workers))), Path: path, Env: c.settings,
		Args: append([]string{"worker", "start", "--type", c.kind(), "--pool", c.pool, "--name", workerName}, args...),
	})
	if err != nil {
		c.Fatal(err)
	}
	c.workers = append(c.workers, worker)
	c.Cleanup(func() { c.stop(worker) })
	return worker
}

// once lets a worker poll once, and waits until it has ended.
func (c *contender) once(args ...string) {
	c.Helper()
	worker := c.start(append(args, "--run-once")...)
	c.awaitEnd(worker)
	c.found.add("exit status after --run-once", fmt.Sprint(worker.ExitCode()))
}

func (c *contender) awaitEnd(worker *localstack.Process) {
	c.Helper()
	c.await("the worker to end", func() bool {
		select {
		case <-worker.Done():
			return true
		default:
			return false
		}
	}, func() string { return "" })
}

// makePool makes the work pool, with more fields if given.
func (c *contender) makePool(fields map[string]any) {
	c.Helper()
	body := map[string]any{"name": c.pool, "type": c.kind()}
	maps.Copy(body, fields)
	call[object](c, c.api, http.MethodPost, "/work_pools/", body)
}

// schedule makes a flow run. The requests of its flow go past the wire.
func (c *contender) schedule(name, deployment string) {
	c.Helper()
	c.scheduleIn("default", name, deployment)
}

// scheduleIn makes one in a work queue.
func (c *contender) scheduleIn(queue, name, deployment string) {
	c.Helper()
	made := call[object](c, c.api, http.MethodPost, "/deployments/"+deployment+"/create_flow_run", map[string]any{
		"name": name, "work_queue_name": queue, "tags": []string{"second", "first"},
	})
	c.runs[made.ID] = name
}

// greeting deploys a flow that completes.
func (c *contender) greeting() string {
	return c.deploy(deployment{Flow: "greet", JobVariables: map[string]any{"env": map[string]any{"PREFECT_API_URL": shared.server.APIURL}}})
}

// crashing deploys a flow whose command ends with an error before it begins.
func (c *contender) crashing() string {
	variable := command
	if c.stock {
		variable = "command"
	}
	return c.deploy(deployment{Flow: "greet", JobVariables: map[string]any{variable: "sh -c 'exit 3'"}})
}

// facts are those of all that the contender's workers did.
func (c *contender) facts() facts {
	sent := c.wire.all()
	f := factsOf(sent, c.pool, c.kind())
	maps.Copy(f, c.found)
	for _, m := range sent {
		if id, claims := strings.CutSuffix(m.path, "/set_state"); claims && field(field(m.body, "state"), "name") == "Pending" {
			f.add("claims", c.runs[filepath.Base(id)])
		}
	}
	return f
}

// conformance are the things that both workers do.
var conformance = []struct {
	name string
	play func(c *contender)
}{
	{"life", func(c *contender) { // a new pool, heartbeats, a stop; then a flow run from its claim to its end
		worker := c.start()
		const heartbeat = "frame worker.heartbeat.v1 type"
		c.await("a poll and a heartbeat", func() bool {
			f := c.facts()
			return f["sends "+routePoll] != "" && f[heartbeat] != "" && f["event prefect.worker.started id"] != ""
		}, c.workerLogs)
		if err := worker.Stop(10 * time.Second); err != nil {
			c.Error(err)
		}
		c.found.add("exit status after SIGTERM", fmt.Sprint(worker.ExitCode()))
		c.schedule("greeting", c.greeting())
		c.once()
	}},
	{"crash", func(c *contender) {
		c.makePool(nil)
		c.schedule("crashing", c.crashing())
		c.once()
	}},
	{"prefetch", func(c *contender) {
		c.makePool(nil)
		c.once("--prefetch-seconds", "50")
	}},
	{"queue", func(c *contender) {
		c.makePool(nil)
		call[object](c, c.api, http.MethodPost, "/work_pools/"+c.pool+"/queues", map[string]any{"name": "q1"})
		id := c.crashing()
		c.schedule("of the default queue", id)
		c.scheduleIn("q1", "of q1", id)
		c.once("--work-queue", "q1")
	}},
	{"limit", func(c *contender) {
		c.makePool(nil)
		id := c.crashing()
		c.schedule("first", id)
		c.schedule("second", id)
		c.once("--limit", "1")
	}},
	{"paused pool", func(c *contender) {
		c.makePool(map[string]any{"is_paused": true})
		c.schedule("kept", c.crashing())
		c.once()
	}},
	{"paused queue", func(c *contender) {
		c.makePool(nil)
		id := c.crashing()
		call[any](c, c.api, http.MethodPatch, "/work_pools/"+c.pool+"/queues/default", map[string]any{"is_paused": true})
		c.schedule("kept", id)
		c.once()
	}},
	{"no pool", func(c *contender) { c.once("--no-create-pool-if-not-found") }},
	{"pool of another type", func(c *contender) {
		c.makePool(map[string]any{"type": "other"})
		c.once()
	}},
	{"pool without a template", func(c *contender) {
		c.makePool(map[string]any{"base_job_template": map[string]any{}})
		c.once()
	}},
	{"given template", func(c *contender) {
		path := filepath.Join(c.TempDir(), "template.json")
		if err := os.WriteFile(path, []byte(`{"job_configuration":{"command":"{{ command }}"},"variables":{"properties":{"command":{"type":"string"}}}}`), 0o600); err != nil {
			c.Fatal(err)
		}
		c.once("--base-job-template", path)
		pool := call[map[string]any](c, c.api, http.MethodGet, "/work_pools/"+c.pool, nil)
		cleaner{}.flatten(c.found, "pool's template", pool["base_job_template"])
	}},
}

// TestConformance lets Prefect's own process worker and ours do the same on one
// server, and compares what they send. What differs must be in the list of what
// is meant to, with its reason; and all of the list must be met.
func TestConformance(t *testing.T) {
	var mu sync.Mutex
	met := map[int]bool{} // guarded by mu
	t.Run("scenes", func(t *testing.T) {
		for _, scene := range conformance {
			t.Run(scene.name, func(t *testing.T) {
				t.Parallel()
				scenes <- struct{}{}
				defer func() { <-scenes }()
				both := map[bool]facts{}
				for _, stock := range []bool{true, false} {
					t.Run(map[bool]string{true: "stock", false: "ours"}[stock], func(t *testing.T) {
						c := newContender(t, stock)
						scene.play(c)
						both[stock] = c.facts()
						if t.Failed() {
							t.Log(c.workerLogs())
						}
					})
				}
				if t.Failed() {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				compareFacts(t, scene.name, both[true], both[false], met)
			})
		}
	})
	if t.Failed() {
		return
	}
	for i, d := range differences {
		if !met[i] && d.perhaps == "" {
			t.Errorf("no scene shows the difference %q any more: %s", d.fact, d.why)
		}
	}
}

func compareFacts(t *testing.T, scene string, stock, ours facts, met map[int]bool) {
	t.Helper()
	names := slices.Sorted(maps.Keys(ours))
	for name := range stock {
		if _, both := ours[name]; !both {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if stock[name] == ours[name] {
			continue
		}
		i := slices.IndexFunc(differences, func(d difference) bool { return d.covers(scene, name, stock[name], ours[name]) })
		if i < 0 {
			t.Errorf("%s:\n  stock %q\n  ours  %q", name, stock[name], ours[name])
			continue
		}
		met[i] = true
	}
}
