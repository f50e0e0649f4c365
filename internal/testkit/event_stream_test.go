package testkit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// follower is a subscriber in a bubble.
type follower struct {
	mu     sync.Mutex
	events []prefect.StreamedEvent
	err    error // once it has ended
	stop   context.CancelFunc
}

// follow subscribes, and returns when the server knows of it.
func follow(t *testing.T, p *Prefect, filter prefect.EventFilter) *follower {
	t.Helper()
	c := newClient(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{stop: cancel}
	go func() {
		err := c.FollowEvents(ctx, filter, func() {}, func(e prefect.StreamedEvent) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.events = append(f.events, e)
		})
		f.mu.Lock()
		defer f.mu.Unlock()
		f.err = err
	}()
	synctest.Wait()
	return f
}

// seen returns the names of the events that have arrived by now.
func (f *follower) seen() []string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, e := range f.events {
		names = append(names, strings.TrimPrefix(e.Event, "prefect.flow-run."))
	}
	return names
}

func (f *follower) ended() error {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func wantNames(t *testing.T, what string, f *follower, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, f.seen(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: events (-want +got):\n%s", what, diff)
	}
}

func TestEventsOfAFlowRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewPrefect()
		defer p.Close()
		pool := p.AddPool(PoolSpec{Name: "p"})
		p.AddPool(PoolSpec{Name: "other"})
		d := p.AddDeployment(DeploymentSpec{Name: "d", Pool: "p", Tags: []string{"nightly"}})
		f := follow(t, p, prefect.EventFilter{Prefixes: []string{"prefect.flow-run."}, Resources: []string{"prefect.work-pool." + pool}})
		all := follow(t, p, prefect.EventFilter{})

		p.Schedule(FlowRunSpec{Deployment: p.AddDeployment(DeploymentSpec{Name: "e", Pool: "other"})})
		id := p.Schedule(FlowRunSpec{Deployment: d, Name: "red-ox"})
		p.SetState(id, with(pending, func(s *State) { s.Message = "claimed" }), false)
		time.Sleep(6 * time.Minute) // in virtual time
		p.BeginRun(id, "c")
		p.Heartbeat(id)
		p.Heartbeat("no such flow run")
		if err := newClient(t, p).SendEvents(t.Context(), []prefect.Event{{
			ID: p.newID(), Occurred: time.Now(), Event: "prefect.worker.started", Resource: map[string]string{"prefect.resource.id": "prefect.worker.w"},
		}}); err != nil {
			t.Error(err)
		}
		p.Finish(id, completed)

		wantNames(t, "pool", f, "Scheduled", "Pending", "Running", "heartbeat", "Completed")
		wantNames(t, "all", all, "Scheduled", "Scheduled", "Pending", "Late", "Running", "heartbeat", "prefect.worker.started", "Completed")
		var told []State
		for _, e := range f.events {
			if e.FlowRunID() != id {
				t.Errorf("event %s is about flow run %q, want %s", e.Event, e.FlowRunID(), id)
			}
			if s, ok := e.State(); ok {
				told = append(told, State{ID: s.ID, Type: s.Type, Name: s.Name, Message: s.Message, Timestamp: s.Timestamp})
			}
		}
		if diff := cmp.Diff(p.StateHistory(id), told, cmpopts.IgnoreFields(State{}, "ScheduledTime", "TransitionID")); diff != "" {
			t.Errorf("states (-history +told):\n%s", diff)
		}
		if e := f.events; e[0].Follows != "" || e[1].Follows != e[0].ID || e[2].Follows != "" || e[4].Follows != e[2].ID {
			t.Errorf("follows = %q, %q, %q, %q, want the state before unless it is older than 5 minutes", e[0].Follows, e[1].Follows, e[2].Follows, e[4].Follows)
		}
		want := `{"initial_state":{"name":"Scheduled","type":"SCHEDULED"},"intended":{"from":"SCHEDULED","to":"PENDING"},` +
			`"validated_state":{"message":"claimed","name":"Pending","type":"PENDING"}}`
		if got := string(f.events[1].Payload); got != want {
			t.Errorf("payload = %s, want %s", got, want)
		}
		for _, e := range []prefect.StreamedEvent{f.events[1], f.events[3]} {
			var roles []string
			for _, r := range e.Related {
				roles = append(roles, r["prefect.resource.role"]+" "+r["prefect.resource.name"])
			}
			if diff := cmp.Diff([]string{"flow flow", "deployment d", "work-queue default", "work-pool p", "tag "}, roles); diff != "" {
				t.Errorf("%s is related to (-want +got):\n%s", e.Event, diff)
			}
		}
	})
}

// What only time does happens while somebody subscribes, as on the server.
func TestEventsOfTimePassing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := seeded()
		defer p.Close()
		f := follow(t, p, prefect.EventFilter{})
		id := p.Schedule(FlowRunSpec{Deployment: d})
		time.Sleep(time.Minute)
		p.SetState(id, pending, false)
		p.SetState(id, cancelling, false)
		time.Sleep(cancellingTimeout + serviceEvery)
		wantNames(t, "in time", f, "Scheduled", "Late", "Pending", "Cancelling", "Cancelled")
	})
}

func TestEventReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := seeded()
		defer p.Close()
		began := time.Now()
		id := p.Schedule(FlowRunSpec{Deployment: d})
		time.Sleep(10 * time.Minute)
		p.SetState(id, pending, false)
		time.Sleep(6 * time.Minute)
		p.BeginRun(id, "c")
		time.Sleep(storedAfter)
		p.SetState(id, failed, false)
		time.Sleep(storedAfter - time.Millisecond)

		for _, test := range []struct {
			name  string
			since time.Time
			want  []string
		}{
			{"nothing", time.Time{}, nil},
			{"as long as events are kept", began, []string{"Late", "Pending", "Running"}},
			{"a minute", time.Now().Add(-time.Minute), []string{"Running"}},
			{"the future", time.Now().Add(time.Hour), nil},
		} {
			f := follow(t, p, prefect.EventFilter{Since: test.since})
			wantNames(t, test.name, f, test.want...)
			if test.name == "a minute" {
				p.Heartbeat(id)
				wantNames(t, "a minute and on", f, append(test.want, "heartbeat")...)
			}
			f.stop()
			synctest.Wait()
		}
		if n := p.EventStreams(); n != 0 {
			t.Errorf("%d streams are left, want none", n)
		}
		time.Sleep(time.Millisecond)
		wantNames(t, "stored", follow(t, p, prefect.EventFilter{Since: time.Now().Add(-time.Minute)}), "Running", "Failed")
	})
}

func TestEventStreamFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := seeded()
		defer p.Close()
		p.EventDelay = 3 * time.Second
		open := follow(t, p, prefect.EventFilter{})
		p.RefuseEventStreams(http.StatusForbidden)
		refused := follow(t, p, prefect.EventFilter{})
		if err := refused.ended(); !errors.Is(err, prefect.ErrForbidden) {
			t.Errorf("refused stream ended with %v, want 403", err)
		}
		p.RefuseEventStreams(0)
		again := follow(t, p, prefect.EventFilter{})
		if n := p.EventStreams(); n != 2 {
			t.Errorf("%d streams are open, want 2", n)
		}

		p.Schedule(FlowRunSpec{Deployment: d})
		time.Sleep(3*time.Second - time.Millisecond)
		wantNames(t, "before the delay", open)
		time.Sleep(time.Millisecond)
		wantNames(t, "after the delay", open, "Scheduled")
		wantNames(t, "after the delay", again, "Scheduled")

		p.Schedule(FlowRunSpec{Deployment: d})
		p.CutEventStreams()
		for _, f := range []*follower{open, again} {
			if err := f.ended(); !errors.Is(err, prefect.ErrUnavailable) || !strings.Contains(err.Error(), "connection lost") {
				t.Errorf("stream ended with %v, want it cut", err)
			}
			wantNames(t, "after the cut", f, "Scheduled")
		}
		follow(t, p, prefect.EventFilter{})
		if n := p.EventStreams(); n != 1 {
			t.Errorf("%d streams are open after the cut, want a new one", n)
		}
		p.Close()
		if err := follow(t, p, prefect.EventFilter{}).ended(); !errors.Is(err, prefect.ErrUnavailable) {
			t.Errorf("stream of a closed server ended with %v, want it refused", err)
		}
		if got := p.Requests()["GET /events/out"]; got != 5 {
			t.Errorf("%d upgrades were counted, want 5", got)
		}
	})
}

// Lost are a share of the events, the same in each replay of a history.
func TestEventsLost(t *testing.T) {
	t.Parallel()
	history := func(t *testing.T) (lost []string) {
		synctest.Test(t, func(t *testing.T) {
			p, d := seeded()
			defer p.Close()
			p.LoseEvents = 0.25
			id := p.Schedule(FlowRunSpec{Deployment: d})
			f := follow(t, p, prefect.EventFilter{})
			for range 400 {
				p.Heartbeat(id)
				synctest.Wait()
			}
			time.Sleep(storedAfter)
			replayed := follow(t, p, prefect.EventFilter{Since: time.Now().Add(-time.Minute)})
			if n := len(replayed.seen()); n != 401 {
				t.Errorf("%d events are replayed, want all 401", n)
			}
			for _, e := range replayed.events {
				if !slices.ContainsFunc(f.events, func(got prefect.StreamedEvent) bool { return got.ID == e.ID }) {
					lost = append(lost, e.ID)
				}
			}
		})
		return lost
	}
	lost := history(t)
	if len(lost) < 60 || len(lost) > 140 {
		t.Errorf("%d of 400 events were lost, want about 100", len(lost))
	}
	if diff := cmp.Diff(lost, history(t)); diff != "" {
		t.Errorf("lost the second time (-first +second):\n%s", diff)
	}
}

// A subscriber that does not read loses what comes beyond the backlog.
func TestEventBacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := seeded()
		defer p.Close()
		id := p.Schedule(FlowRunSpec{Deployment: d})
		c := newClient(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		read, n := make(chan struct{}), 0
		var following sync.WaitGroup
		following.Go(func() {
			_ = c.FollowEvents(ctx, prefect.EventFilter{}, func() {}, func(prefect.StreamedEvent) { <-read; n++ })
		})
		synctest.Wait()
		for range 2 * maxBacklog {
			p.Heartbeat(id)
		}
		close(read)
		synctest.Wait()
		cancel()
		following.Wait()
		// Some more are on their way: being read, being written, in a buffer.
		if n < maxBacklog || n > maxBacklog+20 {
			t.Errorf("%d events arrived, want about %d", n, maxBacklog)
		}
	})
}

// The server's answers to clients that do not keep to the protocol.
func TestEventStreamProtocol(t *testing.T) {
	t.Parallel()
	const auth = `{"type":"auth","token":null}`
	tests := []struct {
		name   string
		frames []string
		want   string // the end of the error
	}{
		{"no authentication", []string{`{"type":"filter","filter":{}}`}, `1008 Expected 'auth' message`},
		{"no JSON", []string{`hello`}, `EOF`},
		{"no filter", []string{auth, `{"type":"auth"}`}, `1002 Expected 'filter' message`},
		{"unknown filter", []string{auth, `{"type":"filter","filter":{"flow_run":{}}}`}, `1002 Invalid filter`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := NewPrefect()
				defer p.Close()
				conn := dial(t, p)
				var err error
				for _, frame := range test.frames {
					if err := conn.Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil {
						t.Error(err)
					}
					_, _, err = conn.Read(t.Context()) // auth_success, or the end
				}
				got := fmt.Sprint(err)
				if end, ok := errors.AsType[websocket.CloseError](err); ok {
					got = fmt.Sprint(int(end.Code), " ", end.Reason)
				}
				if !strings.HasSuffix(got, test.want) {
					t.Errorf("answer = %q, want %q", got, test.want)
				}
			})
		})
	}
}

func dial(t *testing.T, p *Prefect) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), BaseURL+eventsOut, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: p.Transport()}, Subprotocols: []string{"prefect"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

// A filter that does not say until when ends when it is made (Prefect 3.8:
// EventOccurredFilter).
func TestEventFilterWithoutAnEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := seeded()
		defer p.Close()
		conn := dial(t, p)
		errs := []error{conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"auth"}`))}
		_, _, err := conn.Read(t.Context())
		errs = append(errs, err, conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"filter","filter":{}}`)))
		synctest.Wait()
		if n := p.EventStreams(); errors.Join(errs...) != nil || n != 1 {
			t.Errorf("%d streams, errors %v, want one", n, errs)
		}
		time.Sleep(time.Second)
		p.Schedule(FlowRunSpec{Deployment: d})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, data, err := conn.Read(ctx); err == nil {
			t.Errorf("received %s, want nothing", data)
		}
	})
}

// The same over a real socket.
func TestEventStreamOverASocket(t *testing.T) {
	t.Parallel()
	p, d := seeded()
	server := newServer(t, p)
	defer p.Close()
	settings := prefect.DefaultSettings()
	settings.APIURL = server.URL + "/api"
	c, err := prefect.NewClient(prefect.ClientOptions{Settings: settings, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	id := p.Schedule(FlowRunSpec{Deployment: d})
	var beats sync.WaitGroup
	defer beats.Wait()
	err = c.FollowEvents(ctx, prefect.EventFilter{}, func() {
		beats.Go(func() { // until one comes: the server reads the filter a moment later
			for every := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-every.C {
				p.Heartbeat(id)
			}
		})
	}, func(e prefect.StreamedEvent) {
		if e.FlowRunID() == id {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("FollowEvents() = %v, want the heartbeat to end it", err)
	}

	p.RefuseEventStreams(http.StatusBadRequest)
	if err := c.FollowEvents(t.Context(), prefect.EventFilter{}, func() {}, nil); err == nil || !strings.Contains(err.Error(), "400 bad request") {
		t.Errorf("FollowEvents() = %v, want 400", err)
	}
}
