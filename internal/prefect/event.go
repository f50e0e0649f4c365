package prefect

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// StreamedEvent is an event as [Client.FollowEvents] receives it. Resource and
// Related are labels by name; "prefect.resource.id" is among them.
type StreamedEvent struct {
	ID       string              `json:"id"`
	Event    string              `json:"event"` // its name
	Occurred time.Time           `json:"occurred"`
	Resource map[string]string   `json:"resource"`
	Related  []map[string]string `json:"related"`
	Follows  string              `json:"follows"` // id of the event before; "" when not told
	Payload  json.RawMessage     `json:"payload"`
}

const (
	resourceIDLabel = "prefect.resource.id"
	// flowRunPrefix starts the ids of flow runs as resources, and the names of
	// the events about them.
	flowRunPrefix = "prefect.flow-run."
)

// FlowRunID returns the UUID of the flow run that the event concerns; "" when it
// concerns something else.
func (e StreamedEvent) FlowRunID() string {
	text, ok := strings.CutPrefix(e.Resource[resourceIDLabel], flowRunPrefix)
	id, err := uuid.Parse(text)
	if !ok || err != nil {
		return ""
	}
	return id.String()
}

// State returns the state of the flow run that the event tells, as far as it
// tells it: all but the details. False for events that tell none, such as
// prefect.flow-run.heartbeat.
func (e StreamedEvent) State() (State, bool) {
	var payload struct {
		State struct {
			Type    StateType `json:"type"`
			Name    string    `json:"name"`
			Message string    `json:"message"`
		} `json:"validated_state"`
	}
	_ = json.Unmarshal(e.Payload, &payload) // the labels say it too
	told := payload.State
	state := State{
		ID:        e.ID, // Prefect 3.8: a state's id is that of its event
		Type:      cmp.Or(StateType(e.Resource["prefect.state-type"]), told.Type),
		Name:      cmp.Or(e.Resource["prefect.state-name"], told.Name),
		Message:   cmp.Or(e.Resource["prefect.state-message"], told.Message),
		Timestamp: e.Occurred,
	}
	if at, err := time.Parse(time.RFC3339, e.Resource["prefect.state-timestamp"]); err == nil {
		state.Timestamp = at.UTC()
	}
	if e.FlowRunID() == "" || state.Type == "" || !strings.HasPrefix(e.Event, flowRunPrefix) {
		return State{}, false
	}
	return state, true
}

// streamFrame is a message from the server.
type streamFrame struct {
	Type   string          `json:"type"`
	Reason string          `json:"reason"`
	Event  json.RawMessage `json:"event"`
}

func parseFrame(data []byte) (streamFrame, error) {
	var frame streamFrame
	err := json.Unmarshal(data, &frame)
	return frame, err
}

var errOtherFrame = errors.New("not an event")

// parseEvent takes the event out of a frame. errOtherFrame: the frame is
// readable and holds none.
func parseEvent(data []byte) (StreamedEvent, error) {
	frame, err := parseFrame(data)
	if err != nil {
		return StreamedEvent{}, err
	}
	if frame.Type != "event" {
		return StreamedEvent{}, fmt.Errorf("%w: type %q", errOtherFrame, clip(frame.Type))
	}
	var event StreamedEvent
	if err := json.Unmarshal(frame.Event, &event); err != nil {
		return StreamedEvent{}, err
	}
	if event.ID == "" || event.Event == "" || event.Occurred.IsZero() || event.Resource[resourceIDLabel] == "" {
		return StreamedEvent{}, errors.New("an event without id, name, time or resource")
	}
	return event, nil
}
