package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Action is what goes wrong.
type Action string

// Faults of requests.
const (
	ActionStatus      Action = "status"       // answer Status (and Body), no effect
	ActionHang        Action = "hang"         // no effect, no answer until the client gives up
	ActionHangAfter   Action = "hang-after"   // effect, but no answer until the client gives up
	ActionResetBefore Action = "reset-before" // connection broken, no effect
	ActionResetAfter  Action = "reset-after"  // connection broken after the effect
	ActionCutBody     Action = "cut-body"     // effect, half an answer
	ActionSlow        Action = "slow"         // effect, answer after Delay
	ActionUnlisted    Action = "unlisted"     // job runs are missing from the list until Delay after their start
	ActionLogLag      Action = "log-lag"      // log lines become readable Delay after they were written
	ActionTailDrop    Action = "tail-drop"    // a log tail is broken Delay after it opened
	ActionTailRefuse  Action = "tail-refuse"  // a log tail refuses its token
)

// Faults of job runs.
const (
	ActionNeverPulls Action = "never-pulls" // the container stays TASK_STAGING
	ActionSlowStart  Action = "slow-start"  // the container stays TASK_STARTING for Delay
	ActionOOM        Action = "oom"         // killed with 137 Delay after its start
	ActionEvict      Action = "evict"       // TASK_KILLED Delay after its start
	ActionAbort      Action = "abort"       // aborted, as by hand in the UI, Delay after its start
)

// requestActions and runActions are what each kind of fault may do.
var (
	requestActions = []Action{
		ActionStatus, ActionHang, ActionHangAfter, ActionResetBefore, ActionResetAfter, ActionCutBody,
		ActionSlow, ActionUnlisted, ActionLogLag, ActionTailDrop, ActionTailRefuse,
	}
	runActions = []Action{ActionNeverPulls, ActionSlowStart, ActionOOM, ActionEvict, ActionAbort}
)

// Fault is a rule: which requests or job runs it meets, how often, and what
// happens to them. Empty fields match everything. Job, JobRun, Image and Token
// take the patterns of path.Match.
type Fault struct {
	ID string `json:"id,omitempty"` // given by Add when empty

	Method string `json:"method,omitempty"` // GET, PUT, ...
	Route  string `json:"route,omitempty"`  // such as RouteStartRun
	Token  string `json:"token,omitempty"`  // by name
	Job    string `json:"job,omitempty"`    // job id
	JobRun string `json:"jobRun,omitempty"` // id of the job run
	Image  string `json:"image,omitempty"`  // of a job run: the image that it names

	Skip        int           `json:"skip,omitempty"`        // the first n that match pass untouched
	Times       int           `json:"times,omitempty"`       // how many are met; 0: all
	For         time.Duration `json:"for,omitempty"`         // how long from Add on; 0: always
	Probability float64       `json:"probability,omitempty"` // of meeting one that matches; 0: 1

	Action Action        `json:"action"`
	Delay  time.Duration `json:"delay,omitempty"`
	// For ActionStatus: the answer. Without a Body it is Northflank's envelope.
	Status     int    `json:"status,omitempty"`
	Body       string `json:"body,omitempty"`
	RetryAfter int    `json:"retryAfter,omitempty"` // seconds; 0: no header

	// Set by the server.
	Added time.Time `json:"added"`
	Seen  int       `json:"seen"` // requests or job runs that matched
	Met   int       `json:"met"`  // those it happened to
}

// faultJSON lets durations be written as "10s".
type faultJSON struct {
	*faultAlias
	For   string `json:"for,omitempty"`
	Delay string `json:"delay,omitempty"`
}

type faultAlias Fault

// MarshalJSON writes durations as texts such as "10s".
func (f Fault) MarshalJSON() ([]byte, error) {
	out := faultJSON{faultAlias: (*faultAlias)(&f)}
	if f.For > 0 {
		out.For = f.For.String()
	}
	if f.Delay > 0 {
		out.Delay = f.Delay.String()
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *Fault) UnmarshalJSON(data []byte) error {
	in := faultJSON{faultAlias: (*faultAlias)(f)}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return err
	}
	for _, d := range []struct {
		name, text string
		to         *time.Duration
	}{{"for", in.For, &f.For}, {"delay", in.Delay, &f.Delay}} {
		if d.text == "" {
			continue
		}
		parsed, err := time.ParseDuration(d.text)
		if err != nil || parsed < 0 {
			return fmt.Errorf("%s %q: want a duration such as 10s", d.name, d.text)
		}
		*d.to = parsed
	}
	return nil
}

// Faults is the list of rules of a Server.
type Faults struct {
	mu    sync.Mutex
	rand  *rand.Rand
	rules []*Fault
	count int
}

// Faults returns the server's list of faults.
func (s *Server) Faults() *Faults { return s.faults }

// Add puts a rule at the end of the list and returns its id.
func (fs *Faults) Add(f Fault) (string, error) {
	if err := f.check(); err != nil {
		return "", err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.count++
	if f.ID == "" {
		f.ID = "fault-" + strconv.Itoa(fs.count)
	}
	f.Added, f.Seen, f.Met = time.Now(), 0, 0
	fs.rules = append(fs.rules, &f)
	return f.ID, nil
}

func (f Fault) check() error {
	switch {
	case !slices.Contains(requestActions, f.Action) && !slices.Contains(runActions, f.Action):
		return fmt.Errorf("unknown fault action %q: there are %v and %v", f.Action, requestActions, runActions)
	case f.Action == ActionStatus && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("fault status %d: want 200 to 599", f.Status)
	case f.Probability < 0 || f.Probability > 1:
		return fmt.Errorf("fault probability %g: want 0 to 1", f.Probability)
	}
	for _, pattern := range []string{f.Job, f.JobRun, f.Image, f.Token} {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("fault pattern %q: %w", pattern, err)
		}
	}
	if f.Route != "" && !slices.ContainsFunc(routes(), func(r *route) bool { return r.key() == f.Route }) {
		return fmt.Errorf("fault route %q: want a verb and a template such as %q", f.Route, RouteStartRun)
	}
	return nil
}

// Remove takes rules off the list, all of them without an id.
func (fs *Faults) Remove(ids ...string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.rules = slices.DeleteFunc(fs.rules, func(f *Fault) bool {
		return len(ids) == 0 || slices.Contains(ids, f.ID)
	})
}

// List returns the rules with what they met so far.
func (fs *Faults) List() []Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	list := make([]Fault, 0, len(fs.rules))
	for _, f := range fs.rules {
		list = append(list, *f)
	}
	return list
}

// meet counts a match and decides whether the fault happens; fs.mu must be held.
func (fs *Faults) meet(f *Fault, now time.Time) bool {
	if f.For > 0 && now.Sub(f.Added) >= f.For || f.Times > 0 && f.Met >= f.Times {
		return false
	}
	f.Seen++
	if f.Seen <= f.Skip || f.Probability > 0 && fs.rand.Float64() >= f.Probability {
		return false
	}
	f.Met++
	return true
}

// forRequest returns the faults that a request meets.
func (fs *Faults) forRequest(q *request, now time.Time) []Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var hits []Fault
	for _, f := range fs.rules {
		if slices.Contains(requestActions, f.Action) && f.matchesRequest(q) && fs.meet(f, now) {
			hits = append(hits, *f)
		}
	}
	q.hits = hits
	return hits
}

func (f *Fault) matchesRequest(q *request) bool {
	token := ""
	if q.token != nil {
		token = q.token.Name
	}
	key := q.route.key()
	switch f.Action { // these concern one kind of request each
	case ActionUnlisted:
		if key != RouteListRuns {
			return false
		}
	case ActionLogLag:
		if key != RouteLogs {
			return false
		}
	case ActionTailDrop, ActionTailRefuse:
		if !isTail(q) {
			return false
		}
	}
	run := q.params["run"]
	if run == "" {
		run = q.query.Get("runId")
	}
	return (f.Method == "" || f.Method == q.Method) && (f.Route == "" || f.Route == key) &&
		glob(f.Token, token) && glob(f.Job, q.params["job"]) && glob(f.JobRun, run)
}

// forContainer returns the faults that a container of a job run meets.
func (fs *Faults) forContainer(jobID, runID, image string, now time.Time) []Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var hits []Fault
	for _, f := range fs.rules {
		if slices.Contains(runActions, f.Action) && glob(f.Job, jobID) && glob(f.JobRun, runID) &&
			glob(f.Image, image) && fs.meet(f, now) {
			hits = append(hits, *f)
		}
	}
	return hits
}

// delayOf returns the delay of the first fault with the action; 0 is none.
func delayOf(hits []Fault, action Action) (time.Duration, bool) {
	for _, f := range hits {
		if f.Action == action {
			return f.Delay, true
		}
	}
	return 0, false
}

// glob matches with path.Match, where * does not stop at a slash: images have them.
func glob(pattern, value string) bool {
	if pattern == "" {
		return true
	}
	matched, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(value, "/", "\x00"))
	return err == nil && matched
}

// reply is the answer of ActionStatus.
func (f Fault) reply() reply {
	out := newReply(f.Status, "text/plain; charset=utf-8", []byte(f.Body))
	if f.Body == "" {
		e := &apiError{Status: f.Status, Message: http.StatusText(f.Status)}
		if f.Status == http.StatusTooManyRequests {
			e = errRateLimited()
		}
		out = jsonReply(f.Status, map[string]*apiError{"error": e})
	} else if json.Valid([]byte(f.Body)) {
		out.header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if f.RetryAfter > 0 {
		out.header.Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	return out
}
