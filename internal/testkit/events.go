package testkit

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// Times of the server about events, in its default settings.
const (
	// replayable is how far a replay reaches back, and how long events are kept here.
	replayable = 15 * time.Minute
	// storedAfter is how long an event may be streamed and not yet be replayed:
	// events are stored in batches. Here it always takes that long.
	storedAfter = 5 * time.Second
	// followsWithin is how old a state may be for its successor's event to name it.
	followsWithin = 5 * time.Minute
)

// Events returns the events that clients sent, each id once. The server's own
// are to be had by the event stream alone.
func (p *Prefect) Events() []prefect.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]prefect.Event(nil), p.events...)
}

// createEvents answers POST /events; an event that is there is not stored again.
func (p *Prefect) createEvents(c *call) {
	var body []prefect.Event
	if !c.decode(&body) {
		return
	}
	for _, e := range body {
		if e.ID == "" || e.Event == "" || e.Occurred.IsZero() || e.Resource["prefect.resource.id"] == "" || e.Related == nil || e.Payload == nil {
			c.invalid("event", "Field required")
			return
		}
	}
	for _, e := range body {
		if !p.eventIDs[e.ID] {
			p.eventIDs[e.ID] = true
			p.events = append(p.events, e)
			p.emit(e)
		}
	}
	c.reply(204, nil)
}

// Heartbeat emits the event that a flow's process sends at its start and then
// every 180 s, 30 s at the least (Prefect 3.8: PREFECT_FLOWS_HEARTBEAT_FREQUENCY).
func (p *Prefect) Heartbeat(flowRunID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.flowRuns[flowRunID]
	if r == nil {
		return
	}
	p.emit(prefect.Event{
		ID: p.newID(), Occurred: now(), Event: "prefect.flow-run.heartbeat",
		Resource: map[string]string{
			"prefect.resource.id": "prefect.flow-run." + r.id, "prefect.resource.name": r.name, "prefect.version": ServerVersion,
		},
		Related: p.related(r), Payload: map[string]any{},
	})
}

// stateChanged emits the event of a flow run's new state (Prefect 3.8:
// server/models/events.py, flow_run_state_change_event). was is zero for the
// first one.
func (p *Prefect) stateChanged(r *flowRun, was State) {
	s := r.state
	e := prefect.Event{
		ID: s.ID, Occurred: s.Timestamp, Event: "prefect.flow-run." + s.Name,
		Resource: map[string]string{
			"prefect.resource.id": "prefect.flow-run." + r.id, "prefect.resource.name": r.name,
			"prefect.run-count": strconv.Itoa(r.runCount), "prefect.state-message": s.Message, "prefect.state-name": s.Name,
			"prefect.state-timestamp": s.Timestamp.Format("2006-01-02T15:04:05.000000-07:00"), "prefect.state-type": string(s.Type),
		},
		Related: p.related(r),
		Payload: map[string]any{
			"intended":      map[string]any{"from": nil, "to": s.Type},
			"initial_state": nil, "validated_state": statePayload(s),
		},
	}
	if was.ID != "" {
		e.Payload["intended"] = map[string]any{"from": was.Type, "to": s.Type}
		e.Payload["initial_state"] = statePayload(was)
		if s.Timestamp.Sub(was.Timestamp) < followsWithin {
			e.Follows = &was.ID
		}
	}
	p.emit(e)
}

func statePayload(s State) map[string]string {
	told := map[string]string{"type": string(s.Type), "name": s.Name}
	if s.Message != "" {
		told["message"] = s.Message
	}
	if s.Type == prefect.StatePaused {
		told["pause_reschedule"] = strconv.FormatBool(s.Suspended)
	}
	return told
}

// related lists what a flow run's events relate to.
func (p *Prefect) related(r *flowRun) []map[string]string {
	related := []map[string]string{}
	add := func(role, id, name string) {
		related = append(related, map[string]string{
			"prefect.resource.id": "prefect." + role + "." + id, "prefect.resource.role": role, "prefect.resource.name": name,
		})
	}
	if d := p.deployments[r.deploymentID]; d != nil {
		add("flow", d.flow.id, d.flow.name)
		add("deployment", d.id, d.Name)
	}
	if r.queue != nil {
		add("work-queue", r.queue.id, r.queue.name)
		add("work-pool", r.queue.pool.id, r.queue.pool.name)
		related[len(related)-1]["prefect.work-pool.type"] = r.queue.pool.kind
	}
	for _, tag := range r.tags {
		related = append(related, map[string]string{"prefect.resource.id": "prefect.tag." + tag, "prefect.resource.role": "tag"})
	}
	return related
}

// streamFilter is Prefect's EventFilter as far as our client uses it; anything
// else in it is refused.
type streamFilter struct {
	Occurred struct {
		Since *time.Time `json:"since"`
		Until *time.Time `json:"until"`
	} `json:"occurred"`
	Event struct {
		Prefix []string `json:"prefix"`
	} `json:"event"`
	AnyResource struct {
		ID []string `json:"id"`
	} `json:"any_resource"`
}

// clamp fills in what the filter leaves out: it looks back no further than
// replayable, and ends now.
func (f *streamFilter) clamp() {
	at := now()
	earliest := at.Add(-replayable)
	if f.Occurred.Since == nil || f.Occurred.Since.Before(earliest) {
		f.Occurred.Since = &earliest
	}
	if f.Occurred.Until == nil {
		f.Occurred.Until = &at
	}
}

func (f *streamFilter) matches(e prefect.Event) bool {
	if e.Occurred.Before(*f.Occurred.Since) || e.Occurred.After(*f.Occurred.Until) {
		return false
	}
	starts := func(prefix string) bool { return strings.HasPrefix(e.Event, prefix) }
	if len(f.Event.Prefix) > 0 && !slices.ContainsFunc(f.Event.Prefix, starts) {
		return false
	}
	concerned := func(resource map[string]string) bool {
		return slices.Contains(f.AnyResource.ID, resource["prefect.resource.id"])
	}
	return len(f.AnyResource.ID) == 0 || concerned(e.Resource) || slices.ContainsFunc(e.Related, concerned)
}

// receivedEvent is an event as it is stored and streamed.
type receivedEvent struct {
	prefect.Event
	Received time.Time `json:"received"`
}

func (e receivedEvent) frame() []byte {
	return raw(map[string]any{"type": "event", "event": e})
}
