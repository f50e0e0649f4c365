package webhook

import (
	"encoding/json"
	"errors"
	"strings"
)

// maxID bounds an id, in bytes; Northflank's have below 60.
const maxID = 200

var errNotJSON = errors.New("its body is not JSON")

// parse reads a notification, {"event":…,"data":{…}}. Whatever it does not know
// it passes over; only what is no JSON is an error. eventType is the header of
// that name, in case the body names no event.
func parse(raw []byte, eventType string) (Notification, error) {
	if !json.Valid(raw) {
		return Notification{}, errNotJSON
	}
	body := members(raw)
	event := text(body["event"])
	if event == "" {
		event = eventType
	}
	data := members(body["data"])
	n := Notification{
		Event: strings.TrimPrefix(event, trigger),
		// Documented for builds.
		ProjectID: idOf(data["project"]),
		// Not documented, and named like it.
		JobID: idOf(data["job"]),
		RunID: idOf(data["run"]),
	}
	if n.RunID == "" {
		n.RunID = idOf(data["jobRun"])
	}
	return n, nil
}

// members returns the members of a JSON object; of anything else there are none.
func members(raw json.RawMessage) map[string]json.RawMessage {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		return nil
	}
	return object
}

// text returns a JSON string; anything else is "".
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// idOf returns the id of a JSON object.
func idOf(raw json.RawMessage) string {
	id := text(members(raw)["id"])
	if len(id) > maxID {
		return ""
	}
	return id
}
