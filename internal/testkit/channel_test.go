package testkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// linked is a worker on its channel, in a bubble.
type linked struct {
	mu    sync.Mutex
	said  []string
	ready prefect.ChannelReady
	err   error // once it has ended
	stop  context.CancelFunc
}

func (l *linked) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, fmt.Sprintf(format, args...))
}

// told returns what the worker was told since the last time.
func (l *linked) told() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	said := l.said
	l.said = nil
	return said
}

func (l *linked) ended() *prefect.ChannelError {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	e, _ := errors.AsType[*prefect.ChannelError](l.err)
	return e
}

// link opens a worker's channel, and returns when it is up or has ended.
func link(t *testing.T, p *Prefect, edit func(*linked, *prefect.ChannelOptions)) *linked {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &linked{stop: cancel}
	o := prefect.ChannelOptions{
		Pool: "p", ConsumerID: "01234567-89ab-7def-8123-456789abcdef", WorkerName: "w", WorkerType: "northflank", Heartbeat: 30 * time.Second,
		Ready: func(r prefect.ChannelReady) {
			l.note("ready")
			l.mu.Lock()
			defer l.mu.Unlock()
			l.ready = r
		},
		Snapshot: func(pool prefect.WorkPool) { l.note("paused %v %s", pool.IsPaused, pool.BaseJobTemplate) },
		Beat:     func(time.Time) {},
	}
	if edit != nil {
		edit(l, &o)
	}
	c := newClient(t, p)
	go func() {
		err := c.WorkerChannel(ctx, o)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.err = err
	}()
	synctest.Wait()
	return l
}

func wantTold(t *testing.T, what string, l *linked, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, l.told(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: told (-want +got):\n%s", what, diff)
	}
}

func wantEnd(t *testing.T, what string, l *linked, reason prefect.ChannelReason) {
	t.Helper()
	if e := l.ended(); e == nil || e.Reason != reason {
		t.Errorf("%s: the channel ended with %v, want %s", what, e, reason)
	}
}

func TestChannel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := seeded()
		defer p.Close()
		c := newClient(t, p)
		l := link(t, p, nil)
		wantTold(t, "hello", l, "ready")
		if n := p.Channels(); n != 1 || l.ready.Pool.Name != "p" || l.ready.Cleanup || l.ready.Heartbeat != 30*time.Second {
			t.Errorf("%d channels, %+v, want one", n, l.ready)
		}
		online := func() string {
			workers, err := c.Workers(t.Context(), "p")
			if err != nil || len(workers) != 1 {
				t.Fatalf("workers = %v, %v, want one", workers, err)
			}
			return workers[0].Status
		}
		time.Sleep(time.Hour)
		if got := online(); got != "ONLINE" {
			t.Errorf("after an hour on the channel the worker is %s", got)
		}

		p.PausePool("p", true)
		p.PausePool("p", false)
		p.PausePool("p", true)
		wantTold(t, "at once", l)
		time.Sleep(coalesced)
		wantTold(t, "coalesced", l, "paused true {}")
		if err := c.UpdateWorkPoolTemplate(t.Context(), "p", json.RawMessage(`{"variables":{}}`)); err != nil {
			t.Error(err)
		}
		time.Sleep(coalesced)
		wantTold(t, "template", l, `paused true {"variables":{}}`)

		p.CutChannels()
		wantEnd(t, "cut", l, prefect.ChannelConnectionLost)
		time.Sleep(2 * time.Minute)
		if got := online(); got != "OFFLINE" || p.Channels() != 0 {
			t.Errorf("two minutes after the cut the worker is %s, there are %d channels", got, p.Channels())
		}
		l = link(t, p, nil)
		p.DeletePool("p")
		time.Sleep(coalesced)
		wantEnd(t, "pool deleted", l, prefect.ChannelAuthorization)
		if got := p.Requests()["GET "+channelRoute]; got != 2 {
			t.Errorf("%d upgrades were counted, want 2", got)
		}
	})
}

func TestChannelMakesPools(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewPrefect()
		defer p.Close()
		wantEnd(t, "no pool", link(t, p, nil), prefect.ChannelAuthorization)
		const template = `{"variables":{"properties":{"z":{},"a":{}}},"job_configuration":{"image":"{{ z }}:{{ a }}"}}`
		making := func(name string) func(*linked, *prefect.ChannelOptions) {
			return func(_ *linked, o *prefect.ChannelOptions) {
				o.Pool, o.CreatePool, o.BaseJobTemplate = name, true, json.RawMessage(template)
			}
		}
		wantEnd(t, "reserved", link(t, p, making("Prefect-p")), prefect.ChannelAuthorization)
		l := link(t, p, making("p"))
		if pool := l.ready.Pool; string(pool.BaseJobTemplate) != template || pool.Type != "northflank" {
			t.Errorf("pool = %+v, want a new one", pool)
		}
		wantEnd(t, "unknown queue", link(t, p, func(_ *linked, o *prefect.ChannelOptions) { o.WorkQueues = []string{"none"} }), prefect.ChannelAuthorization)

		for _, bad := range []string{`{"variables":{"properties":{}}}`, `{"variables":{"properties":{}},"job_configuration":{"image":"{{ z }}"}}`} {
			wantEnd(t, bad, link(t, p, func(_ *linked, o *prefect.ChannelOptions) {
				o.Pool, o.CreatePool, o.BaseJobTemplate = "bad", true, json.RawMessage(bad)
			}), prefect.ChannelServerError)
		}

		p.AddPool(PoolSpec{Name: "empty", Queues: []QueueSpec{{Name: "urgent", Priority: 1}}})
		p.AddPool(PoolSpec{Name: "full", Template: json.RawMessage(`{"variables":{}}`)})
		empty := link(t, p, making("empty"))
		if got := string(empty.ready.Pool.BaseJobTemplate); got != template {
			t.Errorf("template = %s, want it filled", got)
		}
		if diff := cmp.Diff([]string{"urgent", "default"}, empty.ready.WorkQueues); diff != "" {
			t.Errorf("queues (-want +got):\n%s", diff)
		}
		if got := string(link(t, p, making("full")).ready.Pool.BaseJobTemplate); got != `{"variables":{}}` {
			t.Errorf("template = %s, want it left", got)
		}
	})
}

func TestChannelFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := seeded()
		defer p.Close()
		for _, reason := range []string{AuthenticationFailed, AuthorizationFailed, UnsupportedVersion, ProtocolError, HeartbeatLost, TransientServerError} {
			open := link(t, p, nil)
			p.FailChannels(reason)
			wantEnd(t, "new channel", link(t, p, nil), prefect.ChannelReason(reason))
			if open.ended() != nil {
				t.Errorf("%s: the open channel ended, too", reason)
			}
			p.FailChannels("")
			p.CloseChannels(reason)
			wantEnd(t, "open channel", open, prefect.ChannelReason(reason))
		}
		p.RefuseChannels(http.StatusForbidden)
		wantEnd(t, "refused", link(t, p, nil), prefect.ChannelAuthorization)
		p.RefuseChannels(http.StatusBadGateway)
		wantEnd(t, "no gateway", link(t, p, nil), prefect.ChannelServerError)
		p.RefuseChannels(0)
		l := link(t, p, nil)
		if p.Channels() != 1 {
			t.Errorf("%d channels, want the new one alone", p.Channels())
		}
		p.Close()
		wantEnd(t, "closed server", l, prefect.ChannelConnectionLost)
		wantEnd(t, "closed server", link(t, p, nil), prefect.ChannelServerError)
	})
}

// cleaningUp is a worker that answers cleanups with release, after a while.
func cleaningUp(name string, release prefect.CleanupRelease, after time.Duration) func(*linked, *prefect.ChannelOptions) {
	return func(l *linked, o *prefect.ChannelOptions) {
		o.WorkerName = name
		o.Cleanup = func(ctx context.Context, m prefect.CleanupMessage) prefect.CleanupRelease {
			l.note("cleanup %d of %s", m.Delivery, m.InfrastructurePID)
			waitUntil(ctx, time.Now().Add(after))
			return release
		}
	}
}

func wantCleanups(t *testing.T, what string, p *Prefect, want ...Cleanup) {
	t.Helper()
	if diff := cmp.Diff(want, p.Cleanups(), cmpopts.IgnoreFields(Cleanup{}, "FlowRunID")); diff != "" {
		t.Errorf("%s: cleanups (-want +got):\n%s", what, diff)
	}
}

// A cancellation that times out becomes a cleanup, which waits for a worker.
func TestChannelDeliversCleanups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := seeded()
		defer p.Close()
		c := newClient(t, p)
		id := p.Schedule(FlowRunSpec{Deployment: d})
		if err := c.SetInfrastructurePID(t.Context(), id, "job:run"); err != nil {
			t.Error(err)
		}
		p.SetState(id, pending, false)
		p.SetState(id, cancelling, false)
		other := link(t, p, nil) // handles no cleanups
		time.Sleep(cancellingTimeout + 2*serviceEvery)
		wantCleanups(t, "nobody there", p, Cleanup{InfrastructurePID: "job:run", State: CleanupWaiting})
		l := link(t, p, cleaningUp("w", prefect.CleanupDone, 2*time.Minute))
		wantTold(t, "delivered", l, "ready", "cleanup 1 of job:run")
		wantTold(t, "delivered", other, "ready")
		time.Sleep(time.Minute)
		wantCleanups(t, "renewed", p, Cleanup{InfrastructurePID: "job:run", State: CleanupReserved, Deliveries: 1})
		time.Sleep(time.Minute)
		wantTold(t, "done", l)
		wantCleanups(t, "done", p, Cleanup{InfrastructurePID: "job:run", State: CleanupDone, Deliveries: 1})
	})
}

func TestChannelRedeliversCleanups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := seeded()
		defer p.Close()
		id := p.Schedule(FlowRunSpec{Deployment: d})
		lost := link(t, p, cleaningUp("w1", prefect.CleanupDone, time.Hour))
		p.RequestCleanup(id)
		wantTold(t, "first", lost, "ready", "cleanup 1 of ")
		p.CutChannels()
		l := link(t, p, cleaningUp("w2", prefect.CleanupNotAvailable, 0))
		wantTold(t, "under the lease", l, "ready")
		time.Sleep(cleanupLease + 5*time.Second)
		wantTold(t, "after the lease", l, "cleanup 2 of ", "cleanup 3 of ")
		wantCleanups(t, "in vain", p, Cleanup{State: CleanupDead, Deliveries: 3, Releases: []string{"infrastructure_not_available", "infrastructure_not_available"}})
	})
}

// One worker of a process is one, however often it connects; the next cleanup goes
// to another.
func TestChannelSpreadsCleanups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, d := seeded()
		defer p.Close()
		a := link(t, p, cleaningUp("a", prefect.CleanupDone, time.Second))
		b := link(t, p, cleaningUp("b", prefect.CleanupDone, time.Second))
		for range 4 {
			p.RequestCleanup(p.Schedule(FlowRunSpec{Deployment: d}))
		}
		wantTold(t, "a", a, "ready", "cleanup 1 of ")
		wantTold(t, "b", b, "ready", "cleanup 1 of ")
		time.Sleep(2 * time.Second)
		wantTold(t, "a", a, "cleanup 1 of ")
		wantTold(t, "b", b, "cleanup 1 of ")
	})
}

// The same over a real socket.
func TestChannelOverASocket(t *testing.T) {
	t.Parallel()
	p, _ := seeded()
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
	err = c.WorkerChannel(ctx, prefect.ChannelOptions{
		Pool: "p", ConsumerID: "01234567-89ab-7def-8123-456789abcdef", WorkerName: "w", WorkerType: "northflank", Heartbeat: time.Second,
		Ready:    func(prefect.ChannelReady) { p.PausePool("p", true) },
		Snapshot: func(prefect.WorkPool) { p.CloseChannels(HeartbeatLost) },
		Beat:     func(time.Time) {},
	})
	if e, ok := errors.AsType[*prefect.ChannelError](err); !ok || e.Reason != prefect.ChannelHeartbeatLost {
		t.Errorf("WorkerChannel() = %v, want the snapshot to end it", err)
	}
}
