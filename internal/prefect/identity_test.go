package prefect

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	workerUUID = "0f0e8a4c-9a43-4d7b-8a43-0b7a2f3c4d5e"
	heartbeats = "/work_pools/p/workers/heartbeat"
	metadata   = `{"integrations":[{"name":"prefect-northflank","version":"1.2.3"}]}`
)

// What a worker tells Prefect about itself, and what it is told, over three
// heartbeats, a line for a log and a request of any kind.
func TestWorkerIdentity(t *testing.T) {
	t.Parallel()
	beat := func(body string, status int, answer string) step {
		return step{method: "POST", target: heartbeats, body: body, status: status, answer: answer}
	}
	const plain = `{"name":"w","heartbeat_interval_seconds":30}`
	const asking = `{"name":"w","heartbeat_interval_seconds":30,"return_id":true}`
	const telling = `{"name":"w","heartbeat_interval_seconds":30,"metadata":` + metadata + `}`
	const all = `{"name":"w","heartbeat_interval_seconds":30,"return_id":true,"metadata":` + metadata + `}`
	tests := []struct {
		name  string
		cloud bool
		beats []step
		id    string
	}{
		{name: "server", beats: []step{beat(plain, 204, ""), beat(plain, 204, ""), beat(plain, 204, "")}},
		{name: "server that tells an id", beats: []step{beat(plain, 200, workerUUID), beat(plain, 200, workerUUID), beat(plain, 200, workerUUID)}},
		{name: "Cloud", cloud: true, id: workerUUID, beats: []step{beat(all, 200, workerUUID), beat(plain, 204, ""), beat(plain, 204, "")}},
		{name: "Cloud, as JSON", cloud: true, id: workerUUID, beats: []step{beat(all, 200, `"`+workerUUID+`"`), beat(plain, 204, ""), beat(plain, 204, "")}},
		{name: "Cloud, later", cloud: true, id: workerUUID, beats: []step{beat(all, 204, ""), beat(asking, 200, "none"), beat(asking, 200, workerUUID)}},
		{name: "Cloud that has no ids", cloud: true, beats: []step{
			beat(all, 422, `{"detail":"no"}`), beat(telling, 204, ""), beat(asking, 422, ""), beat(plain, 204, ""), beat(asking, 204, ""),
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			settings := testSettings()
			if test.cloud {
				settings.CloudAPIURL = settings.APIURL
			}
			log := `[{"name":"n","level":20,"message":"m","timestamp":"2026-11-23T11:00:00Z","flow_run_id":"f"}]`
			if test.id != "" {
				log = `[{"name":"n","level":20,"message":"m","timestamp":"2026-11-23T11:00:00Z","flow_run_id":"f","worker_id":"%ID%"}]`
			}
			transport := &scripted{t: t, steps: append(test.beats, step{method: "POST", target: "/logs/", body: log, status: 201, answer: "null"})}
			c, err := NewClient(ClientOptions{
				Settings: settings, HTTPClient: &http.Client{Transport: transport}, Logger: quiet(), Version: "1.2.3", WorkerName: "w",
			})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := c.Heartbeat(t.Context(), "p", "w", 30); err != nil {
					t.Fatal(err)
				}
			}
			at := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)
			if err := c.SendLogs(t.Context(), []Log{{Name: "n", Level: 20, Message: "m", Timestamp: at, FlowRunID: "f"}}); err != nil {
				t.Fatal(err)
			}
			sent := transport.seen[len(transport.seen)-1].Header.Get("X-Prefect-Worker-Id")
			if diff := cmp.Diff([]string{test.id, test.id}, []string{c.WorkerID(), sent}); diff != "" {
				t.Errorf("id, and header (-want +got):\n%s", diff)
			}
			if len(transport.steps) > 0 {
				t.Errorf("%d requests were not made", len(transport.steps))
			}
		})
	}
}

// A channel tells the metadata once, and what it told is not told by REST again.
func TestChannelTellsTheMetadataOnce(t *testing.T) {
	t.Parallel()
	for _, cloud := range []bool{false, true} {
		c := talking(t, func(s *Settings) {
			if cloud {
				s.CloudAPIURL = s.APIURL
			}
		}, func(s *socket, _ *http.Request) {
			s.hello()
			s.write(readyFrame(`"worker_id":null`, `"worker_id":"`+workerUUID+`"`))
			s.close(1001, "restart")
		})
		c.identity.metadata = newIdentity("1.2.3").metadata
		var log []string
		o := channelOptions(&log)
		if o.Metadata = c.WorkerMetadata(); string(o.Metadata) != metadata {
			t.Errorf("metadata = %s, want %s", o.Metadata, metadata)
		}
		if e := channelError(t, c.WorkerChannel(t.Context(), o)); e.Reason != ChannelConnectionLost {
			t.Errorf("WorkerChannel() = %v", e)
		}
		want := ""
		if cloud {
			want = workerUUID
		}
		if c.WorkerMetadata() != nil || c.WorkerID() != want {
			t.Errorf("Cloud %v: metadata %s to be told, worker id %q; want none and %q", cloud, c.WorkerMetadata(), c.WorkerID(), want)
		}
	}
}
