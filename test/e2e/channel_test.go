//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/northflank/prefect-northflank/internal/localstack"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

// channelLease is long enough for a busy machine to answer within it.
const channelLease = 5 * time.Second

// channelServer is a server that gives up on a cancellation, and on a worker that
// has a cleanup, soon: after 300 s and 30 s otherwise.
var channelServer = sync.OnceValues(func() (*localstack.Prefect, error) {
	// On SQLite a hello may meet a locked database, which closes the channel.
	env, err := shared.stack.StartDatabase(context.Background(), "channel-postgres")
	if err != nil {
		return nil, err
	}
	env["PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS"] = "1"
	env["PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_LEASE_SECONDS"] = fmt.Sprint(channelLease.Seconds())
	return shared.stack.StartPrefect(context.Background(), localstack.PrefectOptions{Name: "channel", Env: env})
})

// conversation is one with the real server or with the fake, over their worker
// channels and by REST. What comes is noted down.
type conversation struct {
	*testing.T
	twin
	fake *testkit.Prefect // nil: the real one
	pool string

	consumer string
	conn     *websocket.Conn
	last     map[string]any // frame received
	heard    []any
}

type payload = map[string]any

// open starts another connection to a pool.
func (c *conversation) open(pool string) {
	c.Helper()
	options := &websocket.DialOptions{Subprotocols: []string{"prefect"}}
	if c.fake != nil {
		options.HTTPClient = c.client
	}
	conn, _, err := websocket.Dial(c.Context(), c.url+"/work_pools/"+pool+"/workers/connect", options)
	if err != nil {
		c.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	c.Cleanup(func() { _ = conn.CloseNow() })
	c.conn = conn
}

func (c *conversation) sendText(text string) {
	// The server may have closed it already, which is then read.
	_ = c.conn.Write(c.Context(), websocket.MessageText, []byte(text))
}

func (c *conversation) send(kind string, p payload, more ...payload) {
	c.Helper()
	frame := payload{"type": kind, "id": uuid.NewString(), "sent_at": time.Now().UTC(), "payload": p}
	for _, m := range more {
		maps.Copy(frame, m)
	}
	text, err := json.Marshal(frame)
	if err != nil {
		c.Fatal(err)
	}
	c.sendText(string(text))
}

func (c *conversation) note(what any) { c.heard = append(c.heard, what) }

// read notes down the next frame, or the end.
func (c *conversation) read() {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	_, data, err := c.conn.Read(ctx)
	if end, ok := errors.AsType[websocket.CloseError](err); ok {
		if end.Code == websocket.StatusMessageTooBig {
			end.Reason = "" // in the words of the server's library
		}
		c.note(fmt.Sprintf("close %d %s", end.Code, end.Reason))
		return
	}
	if err != nil {
		c.note("gone")
		return
	}
	c.last = nil
	if err := json.Unmarshal(data, &c.last); err != nil {
		c.Fatalf("frame %s: %v", data, err)
	}
	same, _ := plain(c.last).(map[string]any)
	if p, ok := same["payload"].(map[string]any); ok && p["reservation_token"] != nil {
		p["reservation_token"] = "a token"
	}
	c.note(same)
}

// of returns a field of the last frame's payload.
func (c *conversation) of(field string) any {
	p, _ := c.last["payload"].(map[string]any)
	return p[field]
}

func (c *conversation) auth() { c.sendText(`{"type":"auth","token":null}`); c.read() }

func (c *conversation) hello(edits payload) {
	c.Helper()
	p := payload{
		"consumer_id": c.consumer, "worker_name": "w1", "worker_type": "northflank", "heartbeat_interval_seconds": 30,
		"supported_channel_versions": []string{"work_pool_worker_channel.v1"},
		"requested_capabilities":     []string{"worker_heartbeat.v1", "work_pool_snapshot.v1"},
		"work_queue_names":           []string{}, "handled_cleanup_kinds": []string{}, "max_cleanup_concurrency": 0,
		"create_pool_if_not_found": false, "default_base_job_template": payload{}, "worker_metadata": nil,
	}
	for key, value := range edits {
		if p[key] = value; value == absent {
			delete(p, key)
		}
	}
	c.send("worker.hello.v1", p)
}

const absent = "\x00"

// template is a base job template that the server takes.
var template = payload{
	"job_configuration": payload{"image": "{{ image }}"},
	"variables":         payload{"type": "object", "properties": payload{"image": payload{"type": "string"}}},
}

var withCleanups = payload{
	"requested_capabilities": []string{"worker_heartbeat.v1", "work_pool_snapshot.v1", "cleanup_delivery.v1"},
	"handled_cleanup_kinds":  []string{"cancelling_timeout_teardown.v1"}, "max_cleanup_concurrency": 1,
}

// up opens a channel to the pool.
func (c *conversation) up(edits payload) {
	c.Helper()
	c.open(c.pool)
	c.auth()
	c.hello(edits)
	c.read()
}

func (c *conversation) beat(edits payload) {
	c.Helper()
	p := payload{"consumer_id": c.consumer, "worker_name": "w1", "heartbeat_interval_seconds": 30}
	maps.Copy(p, edits)
	c.send("worker.heartbeat.v1", p)
}

func (c *conversation) patchPool(body payload) {
	c.Helper()
	if code, answer := c.ask(c.T, http.MethodPatch, "/work_pools/"+c.pool, body); code != http.StatusNoContent {
		c.Fatalf("PATCH of the pool: %d %v", code, answer)
	}
}

func (c *conversation) deletePool() {
	if c.fake != nil {
		c.fake.DeletePool(c.pool)
		return
	}
	c.ask(c.T, http.MethodDelete, "/work_pools/"+c.pool, nil)
}

// operate says something of the cleanup that came last.
func (c *conversation) operate(operation string, message, token any, more payload) {
	c.Helper()
	p := payload{"message_id": message, "reservation_token": token}
	maps.Copy(p, more)
	c.send("cleanup."+operation+".v1", p)
}

// catchUp waits until the server has read all that was sent.
func (c *conversation) catchUp() {
	c.Helper()
	c.operate("ack", uuid.NewString(), "t", nil)
	c.read()
}

// abandoned makes a flow run whose cancellation times out.
func (c *conversation) abandoned(pid string) (id string) {
	c.Helper()
	_, answer := c.ask(c.T, http.MethodPost, "/deployments/"+c.deployment+"/create_flow_run", payload{})
	id = idOf(answer)
	if pid != "" {
		c.ask(c.T, http.MethodPatch, "/flow_runs/"+id, payload{"infrastructure_pid": pid})
	}
	for _, s := range []stateStep{{Type: "PENDING"}, {Type: "CANCELLING"}} {
		c.ask(c.T, http.MethodPost, "/flow_runs/"+id+"/set_state", s.body())
	}
	if c.fake != nil {
		c.fake.RequestCleanup(id)
	}
	return id
}

// Everything that the server sends on a worker channel, and each reason for which
// it closes one, from the real server and from the fake.
func TestFakeChannelIsLikeTheRealOne(t *testing.T) {
	t.Parallel()
	server, err := channelServer()
	if err != nil {
		t.Fatal(err)
	}
	for name, talk := range channelTalks {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			realOne, fake, fakeServer, pool := twins(t, server.APIURL)
			fakeServer.CleanupLease = channelLease
			t.Cleanup(fakeServer.Close)
			consumer := uuid.NewString()
			want := &conversation{T: t, twin: realOne, pool: pool, consumer: consumer}
			got := &conversation{T: t, twin: fake, fake: fakeServer, pool: pool, consumer: consumer}
			var both sync.WaitGroup
			both.Go(func() { talk(got) })
			talk(want)
			both.Wait()
			if diff := cmp.Diff(want.heard, got.heard); diff != "" {
				t.Errorf("heard (-real +fake):\n%s", diff)
			}
			if len(want.heard) == 0 {
				t.Error("nothing was heard")
			}
		})
	}
}

var channelTalks = map[string]func(*conversation){
	"authentication missing":         func(c *conversation) { c.open(c.pool); c.hello(nil); c.read() },
	"authentication that is no JSON": func(c *conversation) { c.open(c.pool); c.sendText("hello"); c.read() },
	"largest frame":                  func(c *conversation) { c.up(nil); c.sendText(strings.Repeat(" ", 16<<20)); c.read() },
	"frame that is too large":        func(c *conversation) { c.up(nil); c.sendText(strings.Repeat(" ", 16<<20+1)); c.read() },
	"hello and heartbeats": func(c *conversation) {
		c.up(nil)
		c.beat(nil)
		c.beat(nil)
		c.catchUp()
		c.patchPool(payload{"is_paused": true})
		c.read()
	},
	"hello without what is there by default": func(c *conversation) {
		c.up(payload{
			"work_queue_names": absent, "handled_cleanup_kinds": absent, "max_cleanup_concurrency": absent,
			"create_pool_if_not_found": absent, "default_base_job_template": absent, "worker_metadata": absent,
		})
	},
	"hello that is no JSON":       func(c *conversation) { c.open(c.pool); c.auth(); c.sendText("hello"); c.read() },
	"hello of another type":       func(c *conversation) { c.open(c.pool); c.auth(); c.beat(nil); c.read() },
	"hello with an unknown field": func(c *conversation) { c.up(payload{"novelty": 1}) },
	"frame with an unknown field": func(c *conversation) { c.up(nil); c.send("worker.heartbeat.v1", nil, payload{"novelty": 1}); c.read() },
	"hello without a queue list":  func(c *conversation) { c.up(payload{"work_queue_names": nil}) },
	"hello without heartbeats":    func(c *conversation) { c.up(payload{"requested_capabilities": []string{"work_pool_snapshot.v1"}}) },
	"hello of a new version": func(c *conversation) {
		c.up(payload{"supported_channel_versions": []string{"work_pool_worker_channel.v2"}})
	},
	"hello with cleanups unasked": func(c *conversation) { c.up(payload{"max_cleanup_concurrency": 1}) },
	"hello with an unknown kind":  func(c *conversation) { c.up(payload{"handled_cleanup_kinds": []string{"x"}}) },
	"hello without an interval":   func(c *conversation) { c.up(payload{"heartbeat_interval_seconds": 0}) },
	"hello with metadata":         func(c *conversation) { c.up(payload{"worker_metadata": payload{"integrations": []any{}}}) },
	"unknown capability": func(c *conversation) {
		c.up(payload{"requested_capabilities": []string{"worker_heartbeat.v1", "x.v1", "work_pool_snapshot.v1", "x.v1"}})
	},
	"cleanups of no kind":          func(c *conversation) { c.up(payload{"requested_capabilities": withCleanups["requested_capabilities"]}) },
	"named queue":                  func(c *conversation) { c.up(payload{"work_queue_names": []string{"default", "default"}}) },
	"unknown queue":                func(c *conversation) { c.up(payload{"work_queue_names": []string{"none"}}) },
	"no pool":                      func(c *conversation) { c.pool += "-none"; c.up(nil) },
	"reserved name":                func(c *conversation) { c.pool = "Prefect-x"; c.up(payload{"create_pool_if_not_found": true}) },
	"heartbeat of another worker":  func(c *conversation) { c.up(nil); c.beat(payload{"worker_name": "w2"}); c.read() },
	"heartbeat of another process": func(c *conversation) { c.up(nil); c.beat(payload{"consumer_id": uuid.NewString()}); c.read() },
	"second hello":                 func(c *conversation) { c.up(nil); c.hello(nil); c.read() },
	"later frame that is no JSON":  func(c *conversation) { c.up(nil); c.sendText("{"); c.read() },
	"frame of the server":          func(c *conversation) { c.up(nil); c.send("worker.ready.v1", payload{}); c.read() },
	"unknown type":                 func(c *conversation) { c.up(nil); c.send("worker.news.v1", payload{}); c.read() },
	"pool deleted":                 func(c *conversation) { c.up(nil); c.deletePool(); c.read() },
	"pool created": func(c *conversation) {
		c.pool += "-new"
		c.up(payload{"create_pool_if_not_found": true, "default_base_job_template": template})
		c.note(plain(second(c.ask(c.T, http.MethodGet, "/work_pools/"+c.pool, nil))))
	},
	"pool created with half a template": func(c *conversation) {
		c.pool += "-new"
		c.up(payload{"create_pool_if_not_found": true, "default_base_job_template": payload{"variables": template["variables"]}})
		c.note(plain(second(c.ask(c.T, http.MethodGet, "/work_pools/"+c.pool, nil))))
	},
	"template with a placeholder of nothing": func(c *conversation) {
		c.up(payload{"default_base_job_template": payload{"variables": template["variables"], "job_configuration": payload{"a": "{{ a }}"}}})
		c.note(plain(second(c.ask(c.T, http.MethodGet, "/work_pools/"+c.pool, nil))))
	},
	"template that nobody needs": func(c *conversation) {
		c.patchPool(payload{"base_job_template": template})
		c.up(payload{"default_base_job_template": payload{"a": 1}})
	},
	"pool created with an unknown queue": func(c *conversation) {
		c.pool += "-new"
		c.up(payload{"create_pool_if_not_found": true, "work_queue_names": []string{"none"}})
		c.note(plain(second(c.ask(c.T, http.MethodGet, "/work_pools/"+c.pool, nil))))
	},
	"template filled": func(c *conversation) {
		c.up(payload{"default_base_job_template": template})
		c.read() // the change that this was
		c.patchPool(payload{"is_paused": true})
		c.read()
	},
	"snapshots": func(c *conversation) {
		c.up(nil)
		for _, change := range []payload{
			{"is_paused": true},
			{"concurrency_limit": 3},
			{"base_job_template": template},
			{"is_paused": false},
		} {
			c.patchPool(change)
			c.read()
		}
		c.patchPool(payload{"description": "for large ones"}) // matters to no worker
		c.beat(nil)
		c.read()
		c.beat(nil)
		c.catchUp()
		c.patchPool(payload{"is_paused": true})
		c.read()
	},
	"operation without cleanups": func(c *conversation) {
		c.up(nil)
		c.catchUp()
	},
	"operations on nothing": func(c *conversation) {
		c.up(withCleanups)
		for _, operation := range []string{"ack", "renew"} {
			c.operate(operation, uuid.NewString(), "t", nil)
			c.read()
		}
		c.operate("release", uuid.NewString(), "t", payload{"reason": "because"})
		c.read()
		c.operate("release", uuid.NewString(), "t", nil)
		c.read()
	},
	"ack with a reason": func(c *conversation) {
		c.up(withCleanups)
		c.operate("ack", uuid.NewString(), "t", payload{"reason": "because"})
		c.read()
	},
	"cleanup acknowledged": func(c *conversation) {
		c.abandoned("job:run")
		c.up(withCleanups)
		c.read()
		message, token := c.of("message_id"), c.of("reservation_token")
		for _, o := range []struct {
			operation string
			token     any
		}{{"ack", "wrong"}, {"renew", token}, {"ack", token}, {"ack", token}, {"renew", token}} {
			c.operate(o.operation, message, o.token, nil)
			c.read()
		}
		c.abandoned("") // the channel has room again
		c.read()
		c.operate("ack", c.of("message_id"), c.of("reservation_token"), nil)
		c.read()
	},
	"cleanup released until it is dead": func(c *conversation) {
		c.up(withCleanups)
		c.abandoned("job:run")
		for range 3 {
			c.read()
			c.operate("release", c.of("message_id"), c.of("reservation_token"), payload{"reason": "handler_failed"})
			c.read()
		}
	},
	"cleanup left until it is dead": func(c *conversation) {
		c.up(withCleanups)
		c.abandoned("job:run")
		var message, token any
		for range 3 {
			c.read()
			if token != nil {
				c.operate("ack", message, token, nil) // of the reservation before
				first := c.last
				c.read()
				c.last = first
			}
			message, token = c.of("message_id"), c.of("reservation_token")
		}
		time.Sleep(channelLease + 2*time.Second)
		c.operate("ack", message, token, nil)
		c.read()
	},
	"cleanup for another connection": func(c *conversation) {
		c.up(withCleanups)
		c.abandoned("job:run")
		c.read()
		message, token := c.of("message_id"), c.of("reservation_token")
		_ = c.conn.CloseNow()
		c.up(withCleanups)
		c.operate("ack", message, token, nil) // the reservation outlives the connection
		c.read()
	},
}

func second[A, B any](_ A, b B) B { return b }
