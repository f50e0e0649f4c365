//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// eventLog is what a subscriber to the event stream has received.
type eventLog struct {
	mu     sync.Mutex
	events []prefect.StreamedEvent // guarded by mu
}

// followEvents subscribes until the test ends.
func followEvents(t *testing.T, client *prefect.Client, filter prefect.EventFilter) *eventLog {
	t.Helper()
	log := new(eventLog)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- client.FollowEvents(ctx, filter, func() { close(ready) }, func(e prefect.StreamedEvent) {
			log.mu.Lock()
			defer log.mu.Unlock()
			log.events = append(log.events, e)
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("FollowEvents() = %v, want it to go on until the end", err)
		}
	})
	return log
}

// of returns the events about a flow run so far.
func (l *eventLog) of(flowRunID string) []prefect.StreamedEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	var some []prefect.StreamedEvent
	for _, e := range l.events {
		if e.FlowRunID() == flowRunID {
			some = append(some, e)
		}
	}
	return some
}

// names returns what happened to a flow run so far, in short.
func (l *eventLog) names(flowRunID string) []string {
	var names []string
	for _, e := range l.of(flowRunID) {
		names = append(names, strings.TrimPrefix(e.Event, "prefect.flow-run."))
	}
	return names
}

// awaitNames waits until the log tells of a flow run all of want, in its order.
func (f *fixture) awaitNames(l *eventLog, flowRunID string, want ...string) {
	f.Helper()
	f.await("the events "+strings.Join(want, ", "), func() bool {
		left := want
		for _, name := range l.names(flowRunID) {
			if len(left) > 0 && left[0] == name {
				left = left[1:]
			}
		}
		return len(left) == 0
	}, func() string { return fmt.Sprintf("there were %q", l.names(flowRunID)) })
}

// client returns our client of Prefect with the test's settings.
func (f *fixture) client() *prefect.Client {
	f.Helper()
	var environ []string
	for name, value := range f.settings {
		environ = append(environ, name+"="+value)
	}
	settings, err := prefect.LoadSettings(prefect.LoadOptions{Environ: environ, Dir: f.TempDir(), HomeDir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	return newClient(f.T, settings, nil)
}

func newClient(t *testing.T, settings *prefect.Settings, transport http.RoundTripper) *prefect.Client {
	t.Helper()
	o := prefect.ClientOptions{Settings: settings, Logger: slog.New(slog.DiscardHandler)}
	if transport != nil {
		o.HTTPClient = &http.Client{Transport: transport}
	}
	client, err := prefect.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// poolEvents selects what a worker of the test's pool wants to hear.
func (f *fixture) poolEvents(client *prefect.Client) prefect.EventFilter {
	f.Helper()
	pool, err := client.WorkPool(f.Context(), f.pool)
	if err != nil {
		f.Fatal(err)
	}
	return prefect.EventFilter{Prefixes: []string{"prefect.flow-run."}, Resources: []string{"prefect.work-pool." + pool.ID}}
}

func TestEventStream(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	client := f.client()
	filter := f.poolEvents(client)
	log := followEvents(t, client, filter)
	greet := f.deploy(deployment{Flow: "greet"})

	cancelled := f.run(greet, runRequest{})
	f.awaitNames(log, cancelled, "Scheduled")
	for _, s := range []stateStep{{Type: "PENDING"}, {Type: "CANCELLING"}} {
		call[any](f, f.api, http.MethodPost, "/flow_runs/"+cancelled+"/set_state", s.body())
	}
	f.awaitNames(log, cancelled, "Scheduled", "Pending", "Cancelling")
	flowRun, err := client.FlowRun(t.Context(), cancelled)
	if err != nil {
		t.Fatal(err)
	}
	events := log.of(cancelled)
	last := events[len(events)-1]
	told, _ := last.State()
	if flowRun.State.StateDetails = (prefect.StateDetails{}); told != *flowRun.State {
		t.Errorf("the event tells of %+v, the flow run is in %+v", told, *flowRun.State)
	}

	// A replay has what was stored, after some seconds.
	filter.Since = events[0].Occurred
	var replayed *eventLog
	f.await("a replay of the events", func() bool {
		replayed = followEvents(t, client, filter)
		time.Sleep(time.Second)
		return slices.Contains(replayed.names(cancelled), "Cancelling")
	}, func() string { return fmt.Sprintf("replayed were %q", replayed.names(cancelled)) })
	if diff := cmp.Diff(log.names(cancelled), replayed.names(cancelled)); diff != "" {
		t.Errorf("events (-live +replayed):\n%s", diff)
	}

	// The first heartbeat comes when the flow starts. It is known by the pool.
	f.startWorker()
	run := f.run(greet, runRequest{})
	f.awaitNames(log, run, "Scheduled", "Pending", "Running", "Completed")
	f.awaitNames(log, run, "heartbeat")
	for _, e := range log.of(run) {
		if s, ok := e.State(); ok == (e.Event == "prefect.flow-run.heartbeat") {
			t.Errorf("State() of %s = %+v, %v", e.Event, s, ok)
		}
		if !slices.ContainsFunc(e.Related, func(r map[string]string) bool { return r["prefect.resource.id"] == filter.Resources[0] }) {
			t.Errorf("event %s is related to %v, want the work pool among them", e.Event, e.Related)
		}
	}
}

func TestEventStreamAsksForThePassword(t *testing.T) {
	t.Parallel()
	f := newGuardedFixture(t)
	client := f.client()
	log := followEvents(t, client, f.poolEvents(client))
	f.awaitNames(log, f.run(f.deploy(deployment{Flow: "greet"}), runRequest{}), "Scheduled")

	for _, wrong := range []string{"admin:wrong", ""} {
		f.settings["PREFECT_API_AUTH_STRING"] = wrong
		err := f.client().FollowEvents(t.Context(), prefect.EventFilter{}, func() { t.Error("ready with a wrong password") }, nil)
		if !errors.Is(err, prefect.ErrUnauthorized) || strings.Contains(err.Error(), "admin:wrong") {
			t.Errorf("FollowEvents() with password %q = %v, want ErrUnauthorized without the password", wrong, err)
		}
	}
}

// The worker's simulations rest on testkit.Prefect's events, too.
func TestFakeEventStreamIsLikeTheRealOne(t *testing.T) {
	t.Parallel()
	realOne, fake, fakeServer, pool := twins(t, shared.server.APIURL)
	t.Cleanup(fakeServer.Close)
	histories := [][]stateStep{
		{
			{Type: "PENDING"},
			{Type: "PENDING", Name: "Submitting"},
			{Type: "RUNNING"},
			{Type: "CANCELLING"},
			{Type: "RUNNING"}, // refused: no event
			{Type: "CANCELLED"},
		},
		{
			{Type: "PENDING"},
			{Type: "RUNNING"},
			{Type: "PAUSED", Name: "Suspended", Suspended: true},
			{Type: "SCHEDULED", Name: "Resuming"},
			{Type: "CANCELLING"}, // becomes Cancelled
		},
	}
	f := &fixture{T: t}
	play := func(w twin, transport http.RoundTripper) []streamed {
		settings := prefect.DefaultSettings()
		settings.APIURL = w.url
		client := newClient(t, settings, transport)
		workPool, err := client.WorkPool(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		log := followEvents(t, client, prefect.EventFilter{Resources: []string{"prefect.work-pool." + workPool.ID}})
		f.await("the subscription", func() bool { // the server reads it a moment after ready
			_, answer := w.ask(t, http.MethodPost, "/deployments/"+w.deployment+"/create_flow_run", map[string]any{})
			time.Sleep(lookEvery)
			return len(log.of(idOf(answer))) > 0
		}, func() string { return "no event came" })
		var all []streamed
		for _, steps := range histories {
			_, answer := w.ask(t, http.MethodPost, "/deployments/"+w.deployment+"/create_flow_run", map[string]any{"name": "red-ox", "tags": []string{"u"}})
			id := idOf(answer)
			for _, s := range steps {
				w.ask(t, http.MethodPost, "/flow_runs/"+id+"/set_state", s.body())
			}
			f.awaitNames(log, id, "Scheduled", "Running", "Cancelled")
			all = append(all, normalised(log.of(id))...)
		}
		return all
	}
	want, got := play(realOne, nil), play(fake, fakeServer.Transport())
	if len(want) != 12 {
		t.Errorf("%d events, want 6 of each flow run", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-real +fake):\n%s", diff)
	}
}

// streamed is what the events of both servers must agree on.
type streamed struct {
	Event           string
	Resource        map[string]string
	Related         []map[string]string
	Payload         any
	FollowsPrevious bool
}

var (
	anyID   = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	anyTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00`)
)

func normalised(events []prefect.StreamedEvent) []streamed {
	labels := func(resource map[string]string) map[string]string {
		for name, value := range resource {
			resource[name] = anyTime.ReplaceAllString(anyID.ReplaceAllString(value, "ID"), "TIME")
		}
		return resource
	}
	var all []streamed
	for i, e := range events {
		s := streamed{Event: e.Event, Resource: labels(e.Resource), FollowsPrevious: i > 0 && e.Follows == events[i-1].ID}
		for _, resource := range e.Related {
			s.Related = append(s.Related, labels(resource))
		}
		_ = json.Unmarshal(e.Payload, &s.Payload) // what is none stays nil
		all = append(all, s)
	}
	return all
}
