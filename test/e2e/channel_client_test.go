//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// The client and the real server.
func TestWorkerChannel(t *testing.T) {
	t.Parallel()
	server, err := channelServer()
	if err != nil {
		t.Fatal(err)
	}
	realOne, _, _, pool := twins(t, server.APIURL)
	settings := prefect.DefaultSettings()
	settings.APIURL = server.APIURL
	client := newClient(t, settings, nil)
	c := &conversation{T: t, twin: realOne, pool: pool}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	beats, snapshots, cleanups := make(chan time.Time, 100), make(chan prefect.WorkPool, 10), make(chan prefect.CleanupMessage, 10)
	ready, ended := make(chan prefect.ChannelReady, 1), make(chan error, 1)
	go func() {
		ended <- client.WorkerChannel(ctx, prefect.ChannelOptions{
			Pool: pool, ConsumerID: uuid.NewString(), WorkerName: "w1", WorkerType: "northflank", Heartbeat: time.Second,
			Ready: func(r prefect.ChannelReady) { ready <- r }, Snapshot: func(p prefect.WorkPool) { snapshots <- p },
			Beat: func(sent time.Time) {
				select {
				case beats <- sent:
				default:
				}
			},
			Cleanup: func(ctx context.Context, m prefect.CleanupMessage) prefect.CleanupRelease {
				cleanups <- m
				if m.Delivery < 2 {
					return prefect.CleanupNotAvailable
				}
				select { // longer than the lease, so that it must be renewed
				case <-time.After(channelLease + 2*time.Second):
				case <-ctx.Done():
					t.Error("the reservation was lost")
				}
				cleanups <- prefect.CleanupMessage{}
				return prefect.CleanupDone
			},
		})
	}()
	await := func(what string, arrived func() bool) {
		if !arrived() {
			t.Fatalf("%s did not come; the channel ended: %v", what, <-ended)
		}
	}
	await("ready", func() bool { r, ok := receive(ctx, ready); return ok && r.Pool.Name == pool && r.Cleanup })
	await("a heartbeat", func() bool { _, ok := receive(ctx, beats); return ok })
	c.patchPool(payload{"is_paused": true})
	await("a snapshot", func() bool { p, ok := receive(ctx, snapshots); return ok && p.IsPaused })
	id := c.abandoned("job:run")
	for i := 1; i <= 2; i++ {
		await("a cleanup", func() bool {
			m, ok := receive(ctx, cleanups)
			return ok && m.FlowRunID == id && m.InfrastructurePID == "job:run" && m.Delivery == i
		})
	}
	await("the end of the cleanup", func() bool { _, ok := receive(ctx, cleanups); return ok })
	c.deletePool()
	if e, ok := errors.AsType[*prefect.ChannelError](<-ended); !ok || e.Reason != prefect.ChannelAuthorization || !e.Refused {
		t.Errorf("the channel ended: %v, want the deleted pool to end it", e)
	}
}

func receive[T any](ctx context.Context, from chan T) (value T, ok bool) {
	select {
	case value = <-from:
		return value, true
	case <-ctx.Done():
		return value, false
	}
}

func TestWorkerChannelAsksForThePassword(t *testing.T) {
	t.Parallel()
	f := newGuardedFixture(t)
	try := func() (ready bool, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = f.client().WorkerChannel(ctx, prefect.ChannelOptions{
			Pool: f.pool, ConsumerID: uuid.NewString(), WorkerName: "w1", WorkerType: "northflank", Heartbeat: 30 * time.Second,
			Ready: func(prefect.ChannelReady) { ready = true; cancel() }, Snapshot: func(prefect.WorkPool) {}, Beat: func(time.Time) {},
		})
		return ready, err
	}
	// On SQLite the server now and then finds its database locked, and says so.
	var last error
	f.await("a channel with the password", func() (ready bool) {
		ready, last = try()
		return ready
	}, func() string { return fmt.Sprint("it ended: ", last) })
	for _, wrong := range []string{"admin:wrong", ""} {
		f.settings["PREFECT_API_AUTH_STRING"] = wrong
		ready, err := try()
		e, ok := errors.AsType[*prefect.ChannelError](err)
		if ready || !ok || e.Reason != prefect.ChannelAuthentication || !errors.Is(err, prefect.ErrUnauthorized) || strings.Contains(err.Error(), "admin:wrong") {
			t.Errorf("WorkerChannel() with password %q = %v, want it refused, without the password", wrong, err)
		}
	}
}

// Without the subprotocol the upgrade is refused, by both servers.
func TestWorkerChannelWantsTheSubprotocol(t *testing.T) {
	t.Parallel()
	realOne, fake, _, pool := twins(t, shared.server.APIURL)
	for name, w := range map[string]twin{"real": realOne, "fake": fake} {
		_, resp, err := websocket.Dial(t.Context(), w.url+"/work_pools/"+pool+"/workers/connect", &websocket.DialOptions{HTTPClient: w.client})
		if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: upgrade without the subprotocol: %v, want 403", name, err)
		}
	}
}
