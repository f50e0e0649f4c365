//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// facts is what a worker sent, put so that two workers' can be compared: each
// fact has a name, such as "event prefect.worker.started follows", and a value
// without what differs between any two workers (ids, times, the pool's name).
type facts map[string]string

// add adds a value to those that a fact had so far.
func (f facts) add(name, value string) {
	values := strings.Split(f[name], " | ")
	if f[name] == "" {
		values = nil
	}
	if !slices.Contains(values, value) {
		values = append(values, value)
		slices.Sort(values)
	}
	f[name] = strings.Join(values, " | ")
}

// Routes whose bodies are compared field by field.
const (
	routePoll     = "POST /work_pools/{name}/get_scheduled_flow_runs"
	routeSetState = "POST /flow_runs/{id}/set_state"
	routeLogLines = "POST /logs/"
	routeChannel  = "WS /work_pools/{name}/workers/connect"
)

// factsOf puts what was sent into facts. Kind is the type of the worker.
func factsOf(sent []message, pool, kind string) facts {
	f := facts{}
	c := cleaner{pool: pool, kind: kind}
	events := map[string]string{} // name by id
	states := map[string]int{}    // proposals for each flow run so far
	for _, m := range sent {
		kindOf := func() string { return fmt.Sprint(field(m.body, "type")) }
		switch m.route {
		case routeSetState:
			states[m.path]++
			c.flatten(f, fmt.Sprintf("state %d", states[m.path]), m.body)
		case routePoll:
			f.add("sends "+m.route, "yes")
			c.headers(f, "header of a poll", m)
			c.flatten(f, "poll", m.body)
			if before, ok := parseTime(fmt.Sprint(field(m.body, "scheduled_before"))); ok {
				f.add("poll looks ahead", before.Sub(m.at).Round(10*time.Second).String())
			}
		case routeLogLines, "POST /events":
			for _, item := range m.body.([]any) {
				if m.route == "POST /events" {
					c.event(f, events, item)
					continue
				}
				c.flatten(f, "log line "+c.clean(fmt.Sprint(field(item, "message"))), item)
			}
		case "WS /events/in":
			if kindOf() != "auth" {
				c.event(f, events, m.body)
			}
			f.add("sends "+m.route, "yes")
		case routeChannel:
			f.add("sends "+m.route+" "+kindOf(), "yes")
			c.flatten(f, "frame "+kindOf(), m.body)
		case "GET /work_pools/{name}/workers/connect":
			c.headers(f, "header of the channel", m)
		default:
			f.add("sends "+m.route, "yes")
			if strings.HasPrefix(m.route, "PATCH") || strings.HasSuffix(m.route, "/heartbeat") {
				c.flatten(f, m.route, m.body)
			}
		}
	}
	return f
}

func field(v any, name string) any {
	object, _ := v.(map[string]any)
	return object[name]
}

// cleaner takes what differs between any two workers out of values.
type cleaner struct{ pool, kind string }

func (c cleaner) clean(text string) string {
	if _, ok := parseTime(text); ok {
		return "TIME"
	}
	text = uuids.ReplaceAllString(text, "ID")
	text = strings.ReplaceAll(text, c.pool, "POOL")
	if text == c.kind {
		return "TYPE"
	}
	return strings.ReplaceAll(text, "prefect.worker."+c.kind+".", "prefect.worker.TYPE.")
}

func parseTime(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999-07:00"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// flatten adds each value inside v under its path. The templates of the two types
// are not compared; the one that a test gives has a single property.
func (c cleaner) flatten(f facts, name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			f.add(name, "{}")
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if properties, _ := field(v[key], "job_configuration").(map[string]any); len(properties) > 1 {
				f.add(name+" "+key, "TEMPLATE")
				continue
			}
			c.flatten(f, name+" "+key, v[key])
		}
	case []any:
		if len(v) == 0 {
			f.add(name, "[]")
		}
		for i, item := range v {
			c.flatten(f, fmt.Sprint(name, " ", i), item)
		}
	default:
		f.add(name, c.clean(fmt.Sprint(v)))
	}
}

// event adds what an event tells, and which one it follows.
func (c cleaner) event(f facts, known map[string]string, v any) {
	event, _ := v.(map[string]any)
	name := fmt.Sprint(event["event"])
	known[fmt.Sprint(event["id"])] = name
	for _, key := range slices.Sorted(maps.Keys(event)) {
		switch key {
		case "event":
			continue
		case "follows":
			follows := "nothing"
			if event[key] != nil {
				follows = known[fmt.Sprint(event[key])]
			}
			f.add("event "+name+" follows", follows)
		default:
			c.flatten(f, "event "+name+" "+key, event[key])
		}
	}
}

// headers adds those that the worker chooses.
func (c cleaner) headers(f facts, name string, m message) {
	for header, values := range m.header {
		switch header {
		case "Connection", "Content-Length", "Sec-Websocket-Key", "Upgrade":
			continue // of the connection
		}
		f.add(name+": "+header, strings.Join(values, ", "))
	}
}
