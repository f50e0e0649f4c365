package emulator

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What Northflank's docs say of the five requests: who tells what, and that
// nobody tells the secret.
func TestNotificationIntegrations(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	const body = `{"name":"Prefect worker","type":"RAW_WEBHOOK","webhook":"https://w.example","secret":"s3cret","restricted":true,"projects":["local"],"events":{"trigger:job-run:failure":true}}`
	brief := []string{"createdAt", "id", "name", "status", "type", "updatedAt", "webhook"}
	full := []string{"createdAt", "events", "id", "name", "projects", "restricted", "status", "type", "updatedAt", "webhook"}
	created := call(t, s, "POST", hooksPath, body).want(t, 200)
	if diff := cmp.Diff(brief, keysOf(created.data)); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	call(t, s, "POST", hooksPath, body).want(t, 409)
	listed := call(t, s, "GET", hooksPath, "").want(t, 200)
	if list, _ := listed.get("notificationIntegrations").([]any); len(list) != 1 || !cmp.Equal(brief, keysOf(list[0])) {
		t.Errorf("listed: %s", listed.text)
	}
	const one = hooksPath + "/prefect-worker"
	if updated := call(t, s, "POST", one, `{"webhook":"https://x.example"}`).want(t, 200); len(keysOf(updated.data)) > 0 {
		t.Errorf("updated: %s", updated.text)
	}
	read := call(t, s, "GET", one, "").want(t, 200)
	if diff := cmp.Diff(full, keysOf(read.data)); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	if read.get("webhook") != "https://x.example" || read.get("name") != "Prefect worker" || read.get("restricted") != true {
		t.Errorf("read: %s", read.text)
	}
	for _, r := range []result{created, listed, read} {
		if strings.Contains(r.text, "s3cret") {
			t.Errorf("the secret is shown: %s", r.text)
		}
	}
	call(t, s, "DELETE", one, "").want(t, 200)
	call(t, s, "GET", one, "").want(t, 404)
	call(t, s, "POST", one, "{}").want(t, 404)
	call(t, s, "DELETE", one, "").want(t, 404)
}

func keysOf(object any) []string {
	members, _ := object.(map[string]any)
	return slices.Sorted(maps.Keys(members))
}

func TestNotificationBodies(t *testing.T) {
	t.Parallel()
	const valid = `{"name":"hook","type":"RAW_WEBHOOK","webhook":"https://w.example","events":{"trigger:job-run:failure":true}}`
	s := start(t, Config{})
	call(t, s, "POST", hooksPath, overlay(t, valid, `{"name":"known"}`)).want(t, 200)
	tests := []struct{ name, path, body, field string }{
		{"name of 39", hooksPath, overlay(t, valid, `{"name":"`+strings.Repeat("a", 39)+`"}`), ""},
		{"name of 40", hooksPath, overlay(t, valid, `{"name":"`+strings.Repeat("a", 40)+`"}`), "name"},
		{"name with dot", hooksPath, overlay(t, valid, `{"name":"a.b"}`), "name"},
		{"no webhook", hooksPath, overlay(t, valid, `{"webhook":null}`), "webhook"},
		{"no events", hooksPath, overlay(t, valid, `{"events":null}`), "events"},
		{"unknown event", hooksPath, overlay(t, valid, `{"events":{"trigger:job-run:crash":true}}`), "events.trigger:job-run:crash"},
		{"event without trigger", hooksPath, overlay(t, valid, `{"events":{"job-run:failure":true}}`), "events.job-run:failure"},
		{"event that is no boolean", hooksPath, overlay(t, valid, `{"events":{"trigger:job-run:failure":"yes"}}`), "events.trigger:job-run:failure"},
		{"type that only the UI can make", hooksPath, overlay(t, valid, `{"type":"SLACK"}`), "type"},
		{"project with underscore", hooksPath, overlay(t, valid, `{"projects":["a_b"]}`), "projects.0"},
		{"update of nothing", hooksPath + "/known", `{}`, ""},
		{"update of the type", hooksPath + "/known", `{"type":"RAW_WEBHOOK"}`, "type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res := call(t, s, "POST", tt.path, tt.body)
			if tt.field == "" {
				res.want(t, 200)
				return
			}
			if diff := cmp.Diff([]string{tt.field}, keysOf(map[string]any(res.want(t, 400).details()))); diff != "" {
				t.Errorf("fields at fault (-want +got):\n%s", diff)
			}
		})
	}
}
