package prefect

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/northflank/prefect-northflank/internal/hostile"
)

const testFlowRun = "5f3bd7a0-2a7e-4d7b-9a43-0b7a2f3c4d5e"

// cancellingFrame is one that a Prefect 3.8.8 server sent, ids shortened.
const cancellingFrame = `{"type":"event","event":{"occurred":"2026-11-23T23:26:09.425923Z","event":"prefect.flow-run.Cancelling",` +
	`"resource":{"prefect.resource.id":"prefect.flow-run.` + testFlowRun + `","prefect.resource.name":"red-ox","prefect.run-count":"0",` +
	`"prefect.state-message":"Set via the UI","prefect.state-name":"Cancelling","prefect.state-timestamp":"2026-11-23T23:26:09.418118+00:00","prefect.state-type":"CANCELLING"},` +
	`"related":[{"prefect.resource.id":"prefect.flow.f","prefect.resource.role":"flow","prefect.resource.name":"ff"},` +
	`{"prefect.resource.id":"prefect.work-pool.p","prefect.resource.role":"work-pool","prefect.resource.name":"pool","prefect.work-pool.type":"northflank"}],` +
	`"payload":{"intended":{"from":"PENDING","to":"CANCELLING"},"initial_state":{"type":"PENDING","name":"Pending"},` +
	`"validated_state":{"type":"CANCELLING","name":"Cancelling","message":"Set via the UI"}},"id":"s-2","follows":"s-1","received":"2026-11-23T23:26:09.5Z"}}`

func TestParseEvent(t *testing.T) {
	t.Parallel()
	got, err := parseEvent([]byte(cancellingFrame))
	if err != nil {
		t.Fatal(err)
	}
	if got.Payload == nil || got.Resource["prefect.run-count"] != "0" {
		t.Errorf("parseEvent() = %+v, want the payload and every label", got)
	}
	got.Payload, got.Resource = nil, nil
	want := StreamedEvent{
		ID: "s-2", Event: "prefect.flow-run.Cancelling", Occurred: time.Date(2026, 11, 23, 23, 26, 9, 425923000, time.UTC), Follows: "s-1",
		Related: []map[string]string{
			{"prefect.resource.id": "prefect.flow.f", "prefect.resource.role": "flow", "prefect.resource.name": "ff"},
			{"prefect.resource.id": "prefect.work-pool.p", "prefect.resource.role": "work-pool", "prefect.resource.name": "pool", "prefect.work-pool.type": "northflank"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parseEvent() (-want +got):\n%s", diff)
	}
}

func TestParseEventRefuses(t *testing.T) {
	t.Parallel()
	without := func(part string) string { return strings.Replace(cancellingFrame, part, "", 1) }
	tests := []struct {
		name, frame string
		other       bool
	}{
		{"another type", `{"type":"heartbeat","event":7}`, true},
		{"no type", `{}`, true},
		{"no JSON", `event`, false},
		{"two values", cancellingFrame + cancellingFrame, false},
		{"no event", `{"type":"event"}`, false},
		{"null", `{"type":"event","event":null}`, false},
		{"a list", `{"type":"event","event":[]}`, false},
		{"no id", without(`"id":"s-2",`), false},
		{"no name", without(`"event":"prefect.flow-run.Cancelling",`), false},
		{"no time", without(`"occurred":"2026-11-23T23:26:09.425923Z",`), false},
		{"no resource", without(`"prefect.resource.id":"prefect.flow-run.` + testFlowRun + `",`), false},
		{"no such time", strings.Replace(cancellingFrame, "2026-11-23T23:26:09.425923Z", "now", 1), false},
		{"a label that is a list", strings.Replace(cancellingFrame, `"red-ox"`, `["red-ox"]`, 1), false},
	}
	for _, test := range tests {
		event, err := parseEvent([]byte(test.frame))
		if err == nil || errors.Is(err, errOtherFrame) != test.other {
			t.Errorf("%s: parseEvent() = %+v, %v, want an error, of another frame: %v", test.name, event, err, test.other)
		}
	}
}

func TestStreamedEventState(t *testing.T) {
	t.Parallel()
	occurred, changed := time.Date(2026, 11, 23, 1, 0, 5, 0, time.UTC), time.Date(2026, 11, 23, 1, 0, 4, 500_000_000, time.UTC)
	flowRun := func(labels ...string) map[string]string {
		m := map[string]string{"prefect.resource.id": "prefect.flow-run." + testFlowRun}
		for i := 0; i < len(labels); i += 2 {
			m["prefect.state-"+labels[i]] = labels[i+1]
		}
		return m
	}
	tests := []struct {
		name  string
		event StreamedEvent
		want  State // zero: none
	}{
		{
			"labels alone",
			StreamedEvent{Event: "prefect.flow-run.Late", Resource: flowRun("type", "SCHEDULED", "name", "Late", "message", "m", "timestamp", "2026-11-23T02:00:04.5+01:00")},
			State{ID: "e", Type: StateScheduled, Name: "Late", Message: "m", Timestamp: changed},
		},
		{
			"payload alone",
			StreamedEvent{
				Event: "prefect.flow-run.Failed", Resource: flowRun("message", "", "timestamp", "yesterday"),
				Payload: json.RawMessage(`{"validated_state":{"type":"FAILED","name":"Failed","message":"m"}}`),
			},
			State{ID: "e", Type: StateFailed, Name: "Failed", Message: "m", Timestamp: occurred},
		},
		{
			"odd payload",
			StreamedEvent{Event: "prefect.flow-run.Odd", Resource: flowRun("type", "ODD"), Payload: json.RawMessage(`{"validated_state":"x"}`)},
			State{ID: "e", Type: "ODD", Timestamp: occurred},
		},
		{"heartbeat", StreamedEvent{Event: "prefect.flow-run.heartbeat", Resource: flowRun(), Payload: json.RawMessage(`{}`)}, State{}},
		{"no payload", StreamedEvent{Event: "prefect.flow-run.x", Resource: flowRun()}, State{}},
		{"an event of others about a flow run", StreamedEvent{Event: "mine.alert", Resource: flowRun("type", "RUNNING")}, State{}},
		{
			"task run", StreamedEvent{
				Event:    "prefect.task-run.Running",
				Resource: map[string]string{"prefect.resource.id": "prefect.task-run." + testFlowRun, "prefect.state-type": "RUNNING"},
			}, State{},
		},
	}
	for _, test := range tests {
		test.event.ID, test.event.Occurred = "e", occurred
		got, ok := test.event.State()
		if diff := cmp.Diff(test.want, got); diff != "" || ok != (test.want != State{}) {
			t.Errorf("%s: State() = %v (-want +got):\n%s", test.name, ok, diff)
		}
	}
}

func TestFlowRunID(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"prefect.flow-run." + testFlowRun:                  testFlowRun,
		"prefect.flow-run." + strings.ToUpper(testFlowRun): testFlowRun,
		"prefect.flow-run.../../admin":                     "",
		"prefect.flow-run.":                                "",
		"prefect.task-run." + testFlowRun:                  "",
		testFlowRun:                                        "",
		"":                                                 "",
	} {
		if got := (StreamedEvent{Resource: map[string]string{"prefect.resource.id": id}}).FlowRunID(); got != want {
			t.Errorf("FlowRunID() of %q = %q, want %q", id, got, want)
		}
	}
}

// FuzzParseEvent: no frame makes it panic, and what passes is whole.
func FuzzParseEvent(f *testing.F) { fuzzParseEvent(f) }

func fuzzParseEvent(f hostile.F) {
	for _, frame := range []string{
		cancellingFrame, eventWithID("1"), authSuccess, `{"type":"event","event":null}`, `{"type":"event","event":{"resource":{"a":null}}}`, `[`, ``,
		strings.Replace(cancellingFrame, `"validated_state":{`, `"validated_state":{"x":[`, 1),
	} {
		f.Add([]byte(frame))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		event, err := parseEvent(data)
		if err != nil {
			if !reflect.DeepEqual(event, StreamedEvent{}) {
				t.Errorf("parseEvent() = %+v with error %v", event, err)
			}
			return
		}
		if event.ID == "" || event.Event == "" || event.Occurred.IsZero() {
			t.Errorf("parseEvent() = %+v, want it whole", event)
		}
		state, ok := event.State()
		if ok && (state.Type == "" || state.ID != event.ID || state.Timestamp.IsZero() || len(event.FlowRunID()) != len(testFlowRun)) {
			t.Errorf("State() = %+v of flow run %q", state, event.FlowRunID())
		}
	})
}
