package testkit

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// flow is a Prefect flow.
type flow struct {
	id, name string
	created  time.Time
}

// deployment is a Prefect deployment.
type deployment struct {
	DeploymentSpec
	id               string
	flow             *flow
	queue            *queue // nil when its pool was deleted
	created, updated time.Time
}

// DeploymentSpec describes a deployment to [Prefect.AddDeployment].
type DeploymentSpec struct {
	Name         string // required
	Flow         string // name; "" is "flow"
	Pool         string // required, and must exist
	Queue        string // "" is "default"
	JobVariables map[string]any
	Parameters   map[string]any
	Tags         []string
	// ConcurrencyLimit: flow runs of it at a time; 0 is no limit. CancelNew is the
	// collision strategy of that name instead of waiting in line.
	ConcurrencyLimit int
	CancelNew        bool
	GracePeriod      time.Duration // for which a Pending flow run keeps its slot; 0 is the server's own
}

// AddDeployment makes a deployment, and its flow if need be, and returns its id.
func (p *Prefect) AddDeployment(spec DeploymentSpec) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.mustPool(spec.Pool)
	if spec.Queue == "" {
		spec.Queue = defaultQueue
	}
	queue := pool.queue(spec.Queue)
	if queue == nil {
		panic("no work queue " + spec.Queue + " in pool " + spec.Pool)
	}
	if spec.Flow == "" {
		spec.Flow = "flow"
	}
	f, ok := p.flows[spec.Flow]
	if !ok {
		f = &flow{id: p.newID(), name: spec.Flow, created: now()}
		p.flows[spec.Flow] = f
	}
	d := &deployment{DeploymentSpec: spec, id: p.newID(), flow: f, queue: queue, created: now(), updated: now()}
	p.deployments[d.id] = d
	return d.id
}

// DeleteDeployment deletes a deployment and those of its flow runs that are
// Scheduled and never ran, as the server does.
func (p *Prefect) DeleteDeployment(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.deployments, id)
	p.dropFlowRuns(func(r *flowRun) bool {
		return r.deploymentID == id && r.state.Type == prefect.StateScheduled && r.state.Name != awaitingSlot && r.runCount == 0
	})
}

// sortedDeployments returns the deployments, oldest first.
func (p *Prefect) sortedDeployments() []*deployment {
	return slices.SortedFunc(maps.Values(p.deployments), func(a, b *deployment) int { return strings.Compare(a.id, b.id) })
}

func (p *Prefect) readDeployment(c *call) {
	if d := p.deploymentOf(c); d != nil {
		c.reply(200, d.json())
	}
}

// deploymentOf returns the deployment that the path names; after nil the call
// has been answered.
func (p *Prefect) deploymentOf(c *call) *deployment {
	d, ok := p.deployments[c.args[0]]
	if !ok {
		c.fail(404, "Deployment not found")
		return nil
	}
	return d
}

func (p *Prefect) readDeploymentByName(c *call) {
	for _, d := range p.deployments {
		if d.flow.name == c.args[0] && d.Name == c.args[1] {
			c.reply(200, d.json())
			return
		}
	}
	c.fail(404, "Deployment not found")
}

func (p *Prefect) filterDeployments(c *call) {
	var body struct {
		page
		Pools struct {
			Name *anyOf[string] `json:"name"`
		} `json:"work_pools"`
	}
	if !c.decode(&body) {
		return
	}
	var found []json.RawMessage
	for _, d := range p.sortedDeployments() {
		if body.Pools.Name == nil || d.queue != nil && body.Pools.Name.allows(d.queue.pool.name) {
			found = append(found, d.json())
		}
	}
	if found, ok := pageOf(c, body.page, found); ok {
		c.reply(200, list(found))
	}
}

func (d *deployment) json() []byte {
	m := map[string]any{
		"id": d.id, "created": d.created, "updated": d.updated, "name": d.Name, "flow_id": d.flow.id,
		"tags": append([]string{}, d.Tags...), "job_variables": merge(d.JobVariables, nil), "parameters": merge(d.Parameters, nil),
		"work_pool_name": nil, "work_queue_name": d.Queue, "work_queue_id": nil, "paused": false, "version": nil, "status": "READY",
	}
	if d.ConcurrencyLimit != 0 {
		options := map[string]any{"collision_strategy": "ENQUEUE", "grace_period_seconds": nil}
		if d.CancelNew {
			options["collision_strategy"] = "CANCEL_NEW"
		}
		if d.GracePeriod != 0 {
			options["grace_period_seconds"] = int(d.GracePeriod.Seconds())
		}
		m["concurrency_options"] = options
	}
	if d.queue != nil {
		m["work_pool_name"], m["work_queue_id"] = d.queue.pool.name, d.queue.id
	}
	return raw(m)
}

func (f *flow) json() []byte {
	return raw(map[string]any{
		"id": f.id, "created": f.created, "updated": f.created, "name": f.name, "tags": []string{}, "labels": map[string]any{},
	})
}

func (p *Prefect) readFlow(c *call) {
	for _, f := range p.flows {
		if f.id == c.args[0] {
			c.reply(200, f.json())
			return
		}
	}
	c.fail(404, "Flow not found")
}

func (p *Prefect) filterFlows(c *call) {
	var body struct {
		page
		Flows struct {
			ID *anyOf[string] `json:"id"`
		} `json:"flows"`
	}
	if !c.decode(&body) {
		return
	}
	var found []json.RawMessage
	for _, name := range slices.Sorted(maps.Keys(p.flows)) {
		if f := p.flows[name]; body.Flows.ID.allows(f.id) {
			found = append(found, f.json())
		}
	}
	if found, ok := pageOf(c, body.page, found); ok {
		c.reply(200, list(found))
	}
}
