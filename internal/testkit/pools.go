package testkit

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

const defaultQueue = "default"

// Rhythm of the server's Foreman, which notices silent workers.
const (
	foremanPeriod     = 15 * time.Second
	missedHeartbeats  = 3
	fallbackHeartbeat = 30 * time.Second
)

type pool struct {
	id, name, kind   string
	description      *string
	template         json.RawMessage
	paused           bool
	limit            *int
	queues           []*queue
	workers          []*worker
	created, updated time.Time
}

type queue struct {
	pool     *pool
	id, name string
	paused   bool
	limit    *int
	priority int
	created  time.Time
}

type worker struct {
	id, name      string
	lastHeartbeat time.Time
	interval      int // seconds; 0: not told
	created       time.Time
}

// PoolSpec describes a work pool to [Prefect.AddPool].
type PoolSpec struct {
	Name     string
	Type     string          // "" is "northflank"
	Template json.RawMessage // base job template; nil is {}
	Paused   bool
	Limit    *int        // concurrency limit
	Queues   []QueueSpec // besides "default", which is always there, with priority 1
}

// QueueSpec describes a work queue.
type QueueSpec struct {
	Name     string
	Paused   bool
	Limit    *int
	Priority int // 1 is the most urgent, and pushes the others back; 0 is after all queues so far
}

// AddPool makes a work pool and returns its id.
func (p *Prefect) AddPool(spec PoolSpec) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.createPool(spec).id
}

func (p *Prefect) createPool(spec PoolSpec) *pool {
	pl := &pool{
		id: p.newID(), name: spec.Name, kind: cmp.Or(spec.Type, "northflank"), template: spec.Template,
		paused: spec.Paused, limit: spec.Limit, created: now(), updated: now(),
	}
	if len(pl.template) == 0 {
		pl.template = json.RawMessage("{}")
	}
	for _, q := range append([]QueueSpec{{Name: defaultQueue}}, spec.Queues...) {
		if q.Priority == 0 {
			q.Priority = len(pl.queues) + 1
		}
		for _, other := range pl.queues {
			if other.priority >= q.Priority {
				other.priority++
			}
		}
		pl.queues = append(pl.queues, &queue{pool: pl, id: p.newID(), name: q.Name, paused: q.Paused, limit: q.Limit, priority: q.Priority, created: now()})
	}
	p.pools[pl.name] = pl
	return pl
}

// PausePool pauses a work pool or resumes it.
func (p *Prefect) PausePool(name string, paused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := p.mustPool(name)
	pl.paused = paused
	p.poolChanged(pl, "work_pool_updated")
}

// DeletePool deletes a work pool with its queues and workers. Its deployments
// and flow runs stay, without a pool.
func (p *Prefect) DeletePool(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gone := p.mustPool(name)
	delete(p.pools, name)
	p.poolChanged(gone, "work_pool_deleted")
	for _, d := range p.deployments {
		if d.queue != nil && d.queue.pool == gone {
			d.queue = nil
		}
	}
	for _, r := range p.order {
		if r.queue != nil && r.queue.pool == gone {
			r.queue = nil
			r.touch()
		}
	}
}

func (p *Prefect) mustPool(name string) *pool {
	pl, ok := p.pools[name]
	if !ok {
		panic("no work pool " + name)
	}
	return pl
}

func (pl *pool) queue(name string) *queue {
	for _, q := range pl.queues {
		if q.name == name {
			return q
		}
	}
	return nil
}

// poolOf returns the pool that the path names; after nil the call has been answered.
func (p *Prefect) poolOf(c *call) *pool {
	pl, ok := p.pools[c.args[0]]
	if !ok {
		c.fail(404, `Work pool "`+c.args[0]+`" not found.`)
		return nil
	}
	return pl
}

// offline reports whether the Foreman has noticed that the worker is silent.
func (p *Prefect) offline(w *worker) bool {
	interval := fallbackHeartbeat
	if w.interval > 0 {
		interval = time.Duration(w.interval) * time.Second
	}
	silent := w.lastHeartbeat.Add(missedHeartbeats * interval).Sub(p.began)
	rounds := (silent + foremanPeriod - 1) / foremanPeriod
	return !now().Before(p.began.Add(rounds * foremanPeriod))
}

func (p *Prefect) appendPool(b []byte, pl *pool) []byte {
	status := "NOT_READY"
	for _, w := range pl.workers {
		if !p.offline(w) {
			status = "READY"
		}
	}
	if pl.paused {
		status = "PAUSED"
	}
	return append(b, raw(map[string]any{
		"id": pl.id, "created": pl.created, "updated": pl.updated, "name": pl.name, "description": pl.description, "type": pl.kind,
		"base_job_template": pl.template, "is_paused": pl.paused, "concurrency_limit": pl.limit, "status": status,
		"active_slots": p.activeSlots(pl), "default_queue_id": pl.queues[0].id,
		"storage_configuration": map[string]any{"bundle_upload_step": nil, "bundle_execution_step": nil, "default_result_storage_block_id": nil},
	})...)
}

func (p *Prefect) readPool(c *call) {
	if pl := p.poolOf(c); pl != nil {
		c.reply(200, p.appendPool(c.buf, pl))
	}
}

func (p *Prefect) filterPools(c *call) {
	var body page
	if !c.decode(&body) {
		return
	}
	var found []json.RawMessage
	for _, name := range slices.Sorted(maps.Keys(p.pools)) {
		found = append(found, p.appendPool(nil, p.pools[name]))
	}
	if found, ok := pageOf(c, body, found); ok {
		c.reply(200, list(found))
	}
}

func (p *Prefect) createPoolRoute(c *call) {
	var body struct {
		Name     string          `json:"name"`
		Type     string          `json:"type"`
		Template json.RawMessage `json:"base_job_template"`
		Paused   bool            `json:"is_paused"`
	}
	if !c.decode(&body) {
		return
	}
	switch _, taken := p.pools[body.Name]; {
	case body.Name == "":
		c.invalid("name", "Field required")
	case strings.HasPrefix(strings.ToLower(body.Name), "prefect"):
		c.fail(403, "Work pools starting with 'Prefect' are reserved for internal use.")
	case taken:
		c.fail(409, "A work pool with this name already exists.")
	default:
		pl := p.createPool(PoolSpec{Name: body.Name, Type: body.Type, Template: body.Template, Paused: body.Paused})
		c.reply(201, p.appendPool(c.buf, pl))
	}
}

func (p *Prefect) updatePool(c *call) {
	var body struct {
		Template    json.RawMessage `json:"base_job_template"`
		Paused      *bool           `json:"is_paused"`
		Limit       *int            `json:"concurrency_limit"`
		Description *string         `json:"description"`
	}
	if !c.decode(&body) {
		return
	}
	pl := p.poolOf(c)
	if pl == nil {
		return
	}
	if body.Description != nil {
		pl.description, pl.updated = body.Description, now()
	}
	if body.Template != nil || body.Paused != nil || body.Limit != nil {
		pl.limit = cmp.Or(body.Limit, pl.limit)
		if body.Template != nil {
			pl.template = body.Template
		}
		if body.Paused != nil {
			pl.paused = *body.Paused
		}
		p.poolChanged(pl, "work_pool_updated")
	}
	c.reply(204, nil)
}

// activeSlots is null without a limit.
func (p *Prefect) activeSlots(pl *pool) any {
	if pl.limit == nil {
		return nil
	}
	n := 0
	for _, r := range p.order {
		if r.queue != nil && r.queue.pool == pl && (r.state.Type == prefect.StatePending || r.state.Type == prefect.StateRunning) {
			n++
		}
	}
	return n
}

// page is the part of a filter's body that pages have in common.
type page struct {
	Limit  *int `json:"limit"`
	Offset int  `json:"offset"`
}

// pageOf returns the page's part of items; after false the call has been answered.
func pageOf[T any](c *call, pg page, items []T) ([]T, bool) {
	limit, ok := c.limit(pg.Limit)
	if !ok {
		return nil, false
	}
	items = items[min(max(pg.Offset, 0), len(items)):]
	return items[:min(limit, len(items))], true
}

func (p *Prefect) filterQueues(c *call) {
	var body struct {
		page
		Queues struct {
			Name *anyOf[string] `json:"name"`
		} `json:"work_queues"`
	}
	if !c.decode(&body) {
		return
	}
	pl := p.poolOf(c)
	if pl == nil {
		return
	}
	var found []map[string]any
	for _, q := range pl.queues {
		if body.Queues.Name.allows(q.name) {
			found = append(found, map[string]any{
				"id": q.id, "created": q.created, "updated": q.created, "name": q.name, "description": "", "is_paused": q.paused,
				"concurrency_limit": q.limit, "priority": q.priority, "work_pool_id": pl.id, "work_pool_name": pl.name, "status": "READY",
			})
		}
	}
	if found, ok := pageOf(c, body.page, found); ok {
		c.reply(200, list(found))
	}
}

func (p *Prefect) heartbeat(c *call) {
	var body struct {
		Name     string `json:"name"`
		Interval int    `json:"heartbeat_interval_seconds"`
	}
	if !c.decode(&body) {
		return
	}
	pl := p.poolOf(c)
	if pl == nil {
		return
	}
	p.recordHeartbeat(pl, body.Name, body.Interval)
	c.reply(204, nil)
}

func (p *Prefect) recordHeartbeat(pl *pool, name string, seconds int) {
	i := slices.IndexFunc(pl.workers, func(w *worker) bool { return w.name == name })
	if i < 0 {
		i = len(pl.workers)
		pl.workers = append(pl.workers, &worker{id: p.newID(), name: name, created: now()})
	}
	pl.workers[i].lastHeartbeat, pl.workers[i].interval = now(), seconds
}

func (p *Prefect) filterWorkers(c *call) {
	var body page
	if !c.decode(&body) {
		return
	}
	pl := p.poolOf(c)
	if pl == nil {
		return
	}
	workers, ok := pageOf(c, body, pl.workers)
	if !ok {
		return
	}
	b := append(c.buf, '[')
	for i, w := range workers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = str(b, "id", w.id)
		b = moment(b, "created", w.created)
		b = moment(b, "updated", w.lastHeartbeat)
		b = str(b, "name", w.name)
		b = str(b, "work_pool_id", pl.id)
		b = moment(b, "last_heartbeat_time", w.lastHeartbeat)
		b = append(append(append(b, `"heartbeat_interval_seconds":`...), raw(w.interval)...), ',')
		status := "ONLINE"
		if p.offline(w) {
			status = "OFFLINE"
		}
		b = str(b, "status", status)
		b[len(b)-1] = '}'
	}
	c.reply(200, append(b, ']'))
}

// scheduled answers POST /work_pools/{name}/get_scheduled_flow_runs. It claims
// nothing (server/database/sql/sqlite/get-runs-from-worker-queues.sql.jinja).
func (p *Prefect) scheduled(c *call) {
	var body struct {
		Queues []string   `json:"work_queue_names"`
		Before *time.Time `json:"scheduled_before"`
		After  *time.Time `json:"scheduled_after"`
		Limit  *int       `json:"limit"`
	}
	if !c.decode(&body) {
		return
	}
	limit, ok := c.limit(body.Limit)
	if !ok {
		return
	}
	pl := p.poolOf(c)
	if pl == nil {
		return
	}
	for _, name := range body.Queues {
		if pl.queue(name) == nil {
			c.fail(404, "Work pool queue '"+pl.name+"/"+name+"' not found.")
			return
		}
	}
	due := p.dueFlowRuns(pl, func(r *flowRun) bool {
		return (len(body.Queues) == 0 || slices.Contains(body.Queues, r.queue.name)) &&
			(body.Before == nil || !r.nextStart.After(*body.Before)) && (body.After == nil || !r.nextStart.Before(*body.After))
	})
	b := append(c.buf, '[')
	for i, r := range due[:min(limit, len(due))] {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = str(b, "work_pool_id", pl.id)
		b = str(b, "work_queue_id", r.queue.id)
		b = append(b, `"flow_run":`...)
		b = append(appendFlowRun(b, r, false), '}')
	}
	c.reply(200, append(b, ']'))
}

// dueFlowRuns returns the Scheduled flow runs of a pool in the order in which
// they are handed out, as many as the limits of pool and queues leave room for.
func (p *Prefect) dueFlowRuns(pl *pool, wanted func(*flowRun) bool) []*flowRun {
	if pl.paused {
		return nil
	}
	var due []*flowRun
	taken, takenIn := 0, map[*queue]int{} // slots in use
	for _, r := range p.order {
		if r.queue == nil || r.queue.pool != pl {
			continue
		}
		p.passTime(r)
		switch r.state.Type {
		case prefect.StatePending, prefect.StateRunning:
			taken++
			takenIn[r.queue]++
		case prefect.StateScheduled:
			if !r.queue.paused && r.retryType != inProcess && wanted(r) {
				due = append(due, r)
			}
		}
	}
	slices.SortStableFunc(due, func(a, b *flowRun) int {
		return cmp.Or(cmp.Compare(a.queue.priority, b.queue.priority), a.nextStart.Compare(b.nextStart))
	})
	room := due[:0]
	for _, r := range due {
		if pl.limit != nil && taken >= *pl.limit || r.queue.limit != nil && takenIn[r.queue] >= *r.queue.limit {
			continue
		}
		taken++
		takenIn[r.queue]++
		room = append(room, r)
	}
	return room
}
