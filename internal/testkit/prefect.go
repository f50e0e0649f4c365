package testkit

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// BaseURL is what PREFECT_API_URL must be for clients that use
// [Prefect.Transport].
const BaseURL = "http://prefect.test/api"

// ServerVersion is the release of Prefect whose rules are followed.
const ServerVersion = "3.8.8"

// pageLimit is PREFECT_SERVER_API_DEFAULT_LIMIT: the most items in one answer.
const pageLimit = 200

// Prefect is a Prefect server in memory. It answers the routes that
// [prefect.Routes] lists and follows the rules of Prefect 3.8 for changes of
// state (see rules.go), for what is handed out to workers, and for who is
// offline. What happens by the passing of time alone (a flow run becomes Late, a
// cancellation times out, a worker goes offline) happens when somebody looks.
//
// Of the websockets it serves the event stream (see event_stream.go) and the
// worker channel (see channel.go). While one of them is open, time passes for all.
//
// It does not imitate: other websockets, authentication, JSON schemas of job
// variables and parameters, schedules, task runs, subflows.
//
// It is safe for concurrent use. Ids are numbered, so that a history is the same
// in each replay.
type Prefect struct {
	// Fault, when set, decides the fate of each request: n counts them from 1. It
	// is called without locks, so it may do what it likes: stop a worker, wait,
	// cancel a flow run. Set it before the first request.
	Fault func(n int, r *http.Request) FaultAction
	// EventDelay passes before the event stream sends an event. LoseEvents is the
	// share of events, 0 to 1, that it does not send, without a word; a replay has
	// them. Set them before the first request.
	EventDelay time.Duration
	LoseEvents float64
	// CleanupLease is for how long a cleanup is reserved; 0 is the server's default
	// of 30 s. Set it before the first request.
	CleanupLease time.Duration

	mu          sync.Mutex
	began       time.Time
	lastID      uint64
	requests    int
	byRoute     map[string]int
	pools       map[string]*pool
	flows       map[string]*flow
	deployments map[string]*deployment
	flowRuns    map[string]*flowRun
	order       []*flowRun // oldest first; deleted ones are dropped
	executions  []Execution
	logs        []prefect.Log
	events      []prefect.Event
	eventIDs    map[string]bool
	blocks      blockStore
	variables   map[string]any

	recent        []receivedEvent // for replays, the oldest first
	streams       []*stream
	refuseStreams int // status; 0 accepts them
	closed        bool
	streaming     sync.WaitGroup // open websockets
	passed        time.Time      // when time last passed for all

	channels       []*channel
	refuseChannels int    // status; 0 accepts them
	failChannels   string // reason; "" does not
	cleanups       []*cleanup
}

// NewPrefect returns an empty server.
func NewPrefect() *Prefect {
	return &Prefect{
		began:       now(),
		byRoute:     map[string]int{},
		pools:       map[string]*pool{},
		flows:       map[string]*flow{},
		deployments: map[string]*deployment{},
		flowRuns:    map[string]*flowRun{},
		eventIDs:    map[string]bool{},
		blocks:      newBlockStore(),
		variables:   map[string]any{},
	}
}

// now is the time as Prefect stores it: UTC, in microseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// newID returns the next id, in the form of a UUID. Like Prefect's (UUIDv7) they
// sort by age.
func (p *Prefect) newID() string {
	p.lastID++
	const template = "00000000-0000-7000-8000-000000000000"
	id := []byte(template)
	digits := strconv.AppendUint(make([]byte, 0, 12), p.lastID, 16)
	copy(id[len(id)-len(digits):], digits)
	return string(id)
}

// Requests returns how many requests were answered, by method and route as in
// "POST /flow_runs/{id}/set_state". Those that a fault kept away are counted too.
func (p *Prefect) Requests() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := make(map[string]int, len(p.byRoute))
	maps.Copy(counts, p.byRoute)
	return counts
}

// Logs returns the lines written for a flow run, in order of arrival.
func (p *Prefect) Logs(flowRunID string) []prefect.Log {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []prefect.Log
	for _, l := range p.logs {
		if l.FlowRunID == flowRunID {
			lines = append(lines, l)
		}
	}
	return lines
}

// SetVariable stores a Prefect variable.
func (p *Prefect) SetVariable(name string, value any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.variables[name] = value
}

// AddBlock stores a block document under type and name, with a type and schema
// for it, and returns its id. Of its data, secret names the fields to be masked.
func (p *Prefect) AddBlock(typeSlug, name string, data map[string]any, secret ...string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blocks.add(p.newID, typeSlug, name, data, secret)
}

// raw encodes values that came as JSON or are made by tests.
func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a test put something in that JSON cannot hold
	}
	return b
}

// createLogs answers POST /logs/. One record with an unknown field, such as
// Prefect Cloud's worker_id, spoils the whole batch.
func (p *Prefect) createLogs(c *call) {
	var body []struct {
		prefect.Log
		TaskRunID *string `json:"task_run_id"`
	}
	if !c.decode(&body) {
		return
	}
	for _, l := range body {
		if l.WorkerID != "" {
			c.invalid("worker_id", "Extra inputs are not permitted")
			return
		}
	}
	for _, l := range body {
		p.logs = append(p.logs, l.Log)
	}
	c.reply(201, []byte("null"))
}

// filterLogs answers POST /logs/filter.
func (p *Prefect) filterLogs(c *call) {
	var body struct {
		page
		Sort string `json:"sort"`
		Logs struct {
			FlowRunID *anyOf[string] `json:"flow_run_id"`
			Timestamp struct {
				After time.Time `json:"after_"`
			} `json:"timestamp"`
		} `json:"logs"`
	}
	if !c.decode(&body) {
		return
	}
	var found []prefect.Log
	for _, l := range p.logs {
		if body.Logs.FlowRunID.allows(l.FlowRunID) && !l.Timestamp.Before(body.Logs.Timestamp.After) {
			found = append(found, l)
		}
	}
	slices.SortStableFunc(found, func(a, b prefect.Log) int {
		if body.Sort == "TIMESTAMP_DESC" {
			a, b = b, a
		}
		return a.Timestamp.Compare(b.Timestamp)
	})
	if found, ok := pageOf(c, body.page, found); ok {
		c.reply(200, list(found))
	}
}

func (p *Prefect) readVariable(c *call) {
	value, ok := p.variables[c.args[0]]
	if !ok {
		c.fail(404, "Variable not found.")
		return
	}
	c.reply(200, raw(map[string]any{"name": c.args[0], "value": value, "tags": []string{}}))
}
