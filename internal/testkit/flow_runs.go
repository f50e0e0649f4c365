package testkit

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// flowRun is a flow run as the server holds it.
type flowRun struct {
	id, name          string
	flowID            string
	deploymentID      string
	queue             *queue // nil when it has none, or its pool was deleted
	state             State
	history           []State
	jobVariables      map[string]any
	parameters        map[string]any
	tags              []string
	labels            map[string]any
	idempotencyKey    string
	infrastructurePID string
	retries           int
	retryDelay        time.Duration
	retryType         string
	runCount          int

	created, updated         time.Time
	expectedStart, nextStart time.Time
	startTime, endTime       time.Time
	runTime                  time.Duration // spent in RUNNING states that are over
	leaseEnds                time.Time     // of its concurrency slot, while it is Pending

	encoded []byte // of appendFlowRun; nil after a change
}

// touch records a change.
func (r *flowRun) touch() {
	r.updated = now()
	r.encoded = nil
}

// FlowRun is a flow run as a test sees it.
type FlowRun struct {
	ID, Name          string
	DeploymentID      string
	Pool              string // "" when its pool was deleted
	State             State
	Labels            map[string]any
	InfrastructurePID string
	RunCount          int // times it was Running
	StartTime         time.Time
	EndTime           time.Time
}

// FlowRunSpec describes a flow run to [Prefect.Schedule].
type FlowRunSpec struct {
	Deployment   string // id; required
	Name         string // "" makes one
	JobVariables map[string]any
	Parameters   map[string]any
	Tags         []string
	At           time.Time // when it is due; zero is now
	Retries      int       // by the flow's own process
	RetryDelay   time.Duration

	idempotencyKey string
}

// Schedule makes a flow run of a deployment and returns its id.
func (p *Prefect) Schedule(spec FlowRunSpec) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.deployments[spec.Deployment]
	if !ok {
		panic("no deployment " + spec.Deployment)
	}
	return p.createFlowRun(d, spec).id
}

// Ran makes a flow run that has ended just now, after having been Running for so
// long.
func (p *Prefect) Ran(spec FlowRunSpec, took time.Duration) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.deployments[spec.Deployment]
	if !ok {
		panic("no deployment " + spec.Deployment)
	}
	r := p.createFlowRun(d, spec)
	p.write(r, State{Type: prefect.StateRunning, Name: "Running"})
	p.write(r, State{Type: prefect.StateCompleted, Name: "Completed"})
	r.startTime, r.runTime = r.endTime.Add(-took), took
	r.touch()
	return r.id
}

func (p *Prefect) createFlowRun(d *deployment, spec FlowRunSpec) *flowRun {
	id := p.newID()
	r := &flowRun{
		id: id, name: cmp.Or(spec.Name, "run-"+id[len(id)-6:]),
		flowID: d.flow.id, deploymentID: d.id, queue: d.queue,
		jobVariables: spec.JobVariables, tags: union(d.Tags, spec.Tags),
		parameters: merge(d.Parameters, spec.Parameters),
		labels:     map[string]any{"prefect.flow.id": d.flow.id, "prefect.deployment.id": d.id},
		retries:    spec.Retries, retryDelay: spec.RetryDelay,
		idempotencyKey: spec.idempotencyKey,
		created:        now(),
	}
	at := spec.At
	if at.IsZero() {
		at = now()
	}
	p.write(r, State{Type: prefect.StateScheduled, Name: "Scheduled", ScheduledTime: at.UTC().Truncate(time.Microsecond)})
	p.flowRuns[r.id] = r
	p.order = append(p.order, r)
	return r
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func merge(under, over map[string]any) map[string]any {
	all := make(map[string]any, len(under)+len(over))
	maps.Copy(all, under)
	maps.Copy(all, over)
	return all
}

// flowRun returns a flow run as it is now; nil when there is none.
func (p *Prefect) flowRun(id string) *flowRun {
	r := p.flowRuns[id]
	if r != nil {
		p.passTime(r)
	}
	return r
}

// FlowRun returns a flow run; false when it does not exist (any more).
func (p *Prefect) FlowRun(id string) (FlowRun, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.flowRun(id)
	if r == nil {
		return FlowRun{}, false
	}
	return r.view(), true
}

// FlowRuns returns all flow runs, oldest first.
func (p *Prefect) FlowRuns() []FlowRun {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]FlowRun, 0, len(p.order))
	for _, r := range p.order {
		p.passTime(r)
		all = append(all, r.view())
	}
	return all
}

func (r *flowRun) view() FlowRun {
	v := FlowRun{
		ID: r.id, Name: r.name, DeploymentID: r.deploymentID, State: r.state, Labels: maps.Clone(r.labels),
		InfrastructurePID: r.infrastructurePID, RunCount: r.runCount, StartTime: r.startTime, EndTime: r.endTime,
	}
	if r.queue != nil {
		v.Pool = r.queue.pool.name
	}
	return v
}

// StateHistory returns every state that a flow run has been in, oldest first.
func (p *Prefect) StateHistory(id string) []State {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.flowRun(id)
	if r == nil {
		return nil
	}
	return slices.Clone(r.history)
}

// Cancel cancels a flow run as Prefect's web page does: one without
// infrastructure is Cancelled at once, any other becomes Cancelling.
func (p *Prefect) Cancel(id string) Result {
	return p.SetState(id, State{Type: prefect.StateCancelling, Message: "Set via the Prefect UI"}, false)
}

// SetState proposes a state as any client of the API may. It panics when there
// is no such flow run.
func (p *Prefect) SetState(id string, s State, force bool) Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.flowRun(id)
	if r == nil {
		panic("no flow run " + id)
	}
	return p.setState(r, s, force)
}

// DeleteFlowRun deletes a flow run.
func (p *Prefect) DeleteFlowRun(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropFlowRuns(func(r *flowRun) bool { return r.id == id })
}

func (p *Prefect) dropFlowRuns(drop func(*flowRun) bool) {
	p.order = slices.DeleteFunc(p.order, func(r *flowRun) bool {
		if !drop(r) {
			return false
		}
		delete(p.flowRuns, r.id)
		return true
	})
}

// flowRunFilter is the part of the body of POST /flow_runs/filter that our
// client sends; anything else in it is refused.
type flowRunFilter struct {
	Sort     string `json:"sort"`
	Limit    *int   `json:"limit"`
	Offset   int    `json:"offset"`
	FlowRuns struct {
		ID    *anyOf[string] `json:"id"`
		Name  *anyOf[string] `json:"name"`
		State *struct {
			Type *anyOf[prefect.StateType] `json:"type"`
			Name *anyOf[string]            `json:"name"`
		} `json:"state"`
		EndTime           *span `json:"end_time"`
		ExpectedStartTime *span `json:"expected_start_time"`
	} `json:"flow_runs"`
	WorkPools struct {
		Name *anyOf[string] `json:"name"`
	} `json:"work_pools"`
}

// span is a filter of times, bounds included.
type span struct {
	After  *time.Time `json:"after_"`
	Before *time.Time `json:"before_"`
}

// allows reports whether t passes; a flow run without the time does not.
func (s *span) allows(t time.Time) bool {
	if s == nil {
		return true
	}
	return !t.IsZero() && (s.After == nil || !t.Before(*s.After)) && (s.Before == nil || !t.After(*s.Before))
}

type anyOf[T comparable] struct {
	Any []T `json:"any_"`
}

// allows reports whether v passes; without a filter everything does.
func (f *anyOf[T]) allows(v T) bool { return f == nil || slices.Contains(f.Any, v) }

func (f *flowRunFilter) matches(r *flowRun) bool {
	if !f.FlowRuns.ID.allows(r.id) || !f.FlowRuns.Name.allows(r.name) {
		return false
	}
	if s := f.FlowRuns.State; s != nil && (!s.Type.allows(r.state.Type) || !s.Name.allows(r.state.Name)) {
		return false
	}
	if !f.FlowRuns.EndTime.allows(r.endTime) || !f.FlowRuns.ExpectedStartTime.allows(r.expectedStart) {
		return false
	}
	if f.WorkPools.Name != nil {
		return r.queue != nil && f.WorkPools.Name.allows(r.queue.pool.name)
	}
	return true
}

// filterFlowRuns answers POST /flow_runs/filter.
func (p *Prefect) filterFlowRuns(c *call) {
	var f flowRunFilter
	if !c.decode(&f) {
		return
	}
	if f.Sort != "" && f.Sort != "ID_DESC" {
		c.invalid("sort", "the fake sorts by ID_DESC only")
		return
	}
	limit, ok := c.limit(f.Limit)
	if !ok {
		return
	}
	b := append(c.buf, '[')
	for i := len(p.order) - 1; i >= 0 && limit > 0; i-- {
		r := p.order[i]
		p.passTime(r)
		if !f.matches(r) {
			continue
		}
		if f.Offset > 0 {
			f.Offset--
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, r.json()...)
		limit--
	}
	c.reply(200, append(b, ']'))
}

func (p *Prefect) readFlowRun(c *call) {
	if r := p.flowRunOf(c); r != nil {
		c.reply(200, r.json())
	}
}

// flowRunOf returns the flow run that the path names; after nil the call has
// been answered.
func (p *Prefect) flowRunOf(c *call) *flowRun {
	r := p.flowRun(c.args[0])
	if r == nil {
		c.fail(404, "Flow run not found")
	}
	return r
}

// updateFlowRun answers PATCH /flow_runs/{id}.
func (p *Prefect) updateFlowRun(c *call) {
	var body struct {
		InfrastructurePID json.RawMessage `json:"infrastructure_pid"`
	}
	if !c.decode(&body) {
		return
	}
	r := p.flowRunOf(c)
	if r == nil {
		return
	}
	if len(body.InfrastructurePID) > 0 { // null takes the pid away, absence keeps it
		var pid *string
		if json.Unmarshal(body.InfrastructurePID, &pid) != nil {
			c.invalid("infrastructure_pid", "Input should be a valid string")
			return
		}
		if pid == nil {
			pid = new(string)
		}
		r.infrastructurePID = *pid
	}
	r.touch()
	c.reply(204, nil)
}

// setLabels answers PATCH /flow_runs/{id}/labels: labels are merged.
func (p *Prefect) setLabels(c *call) {
	var labels map[string]any
	if !c.decode(&labels) {
		return
	}
	r := p.flowRun(c.args[0])
	if r == nil {
		c.exception(404, "Flow run with id "+c.args[0]+" not found")
		return
	}
	maps.Copy(r.labels, labels)
	r.touch()
	c.reply(204, nil)
}

// proposal is the body of POST /flow_runs/{id}/set_state.
type proposal struct {
	State struct {
		Type    prefect.StateType `json:"type"`
		Name    string            `json:"name"`
		Message string            `json:"message"`
		Data    json.RawMessage   `json:"data"`
		Details struct {
			FlowRunID       string    `json:"flow_run_id"`
			TransitionID    string    `json:"transition_id"`
			ScheduledTime   time.Time `json:"scheduled_time"`
			LeaseID         string    `json:"deployment_concurrency_lease_id"`
			PauseReschedule bool      `json:"pause_reschedule"`
		} `json:"state_details"`
	} `json:"state"`
	Force bool `json:"force"`
}

// proposeState answers POST /flow_runs/{id}/set_state.
func (p *Prefect) proposeState(c *call) {
	var body proposal
	if !c.decode(&body) {
		return
	}
	switch body.State.Type {
	case prefect.StateScheduled, prefect.StatePending, prefect.StateRunning, prefect.StateCompleted, prefect.StateFailed,
		prefect.StateCancelled, prefect.StateCancelling, prefect.StateCrashed, prefect.StatePaused:
	default:
		c.invalid("state.type", "Input should be a state type")
		return
	}
	r := p.flowRun(c.args[0])
	if r == nil {
		c.exception(404, "Flow run with id "+c.args[0]+" not found")
		return
	}
	s := body.State
	before := r.state.ID
	result := p.setState(r, State{
		Type: s.Type, Name: s.Name, Message: s.Message, TransitionID: s.Details.TransitionID,
		ScheduledTime: s.Details.ScheduledTime.UTC(), LeaseID: s.Details.LeaseID, Suspended: s.Details.PauseReschedule,
		PersistedResult: persisted(s.Data),
	}, body.Force)
	status := 200
	if r.state.ID != before {
		status = 201
	}
	c.reply(status, appendResult(c.buf, r, result))
}

// persisted reports whether a state's data tells of a stored result.
func persisted(data json.RawMessage) bool {
	var result struct {
		Type string `json:"type"`
	}
	return len(data) > 0 && json.Unmarshal(data, &result) == nil && string(data) != "null" && result.Type != "unpersisted"
}

// createFlowRunOf answers POST /deployments/{id}/create_flow_run.
func (p *Prefect) createFlowRunOf(c *call) {
	var body struct {
		Name           string         `json:"name"`
		Parameters     map[string]any `json:"parameters"`
		JobVariables   map[string]any `json:"job_variables"`
		Tags           []string       `json:"tags"`
		IdempotencyKey string         `json:"idempotency_key"`
		Policy         struct {
			Retries    int     `json:"retries"`
			RetryDelay float64 `json:"retry_delay"` // seconds
		} `json:"empirical_policy"`
		State struct {
			Type    prefect.StateType `json:"type"`
			Name    string            `json:"name"`
			Details struct {
				ScheduledTime time.Time `json:"scheduled_time"`
			} `json:"state_details"`
		} `json:"state"`
	}
	if !c.decode(&body) {
		return
	}
	d := p.deploymentOf(c)
	if d == nil {
		return
	}
	for _, r := range p.order {
		if body.IdempotencyKey != "" && r.idempotencyKey == body.IdempotencyKey && r.flowID == d.flow.id {
			c.reply(200, r.json())
			return
		}
	}
	r := p.createFlowRun(d, FlowRunSpec{
		Name: body.Name, Parameters: body.Parameters, JobVariables: body.JobVariables, Tags: body.Tags,
		At: body.State.Details.ScheduledTime, idempotencyKey: body.IdempotencyKey,
		Retries: body.Policy.Retries, RetryDelay: time.Duration(body.Policy.RetryDelay * float64(time.Second)),
	})
	c.reply(201, r.json())
}
