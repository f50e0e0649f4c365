package prefect

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/hostile"
)

// FuzzParseChannelFrame: no frame makes it panic, and what it accepts keeps the
// promises on which the channel rests.
func FuzzParseChannelFrame(f *testing.F) { fuzzParseChannelFrame(f) }

func fuzzParseChannelFrame(f hostile.F) {
	for _, frame := range []string{
		readyFrame(), readyFrame(readyForCleanups...), snapshotFrame(2, "true"), cleanupFrame("t", time.Minute),
		asked{Type: "cleanup.renew.v1", ID: "r"}.result("accepted", time.Minute), asked{Type: "cleanup.ack.v1", ID: "r"}.result("error", 0),
		`{"type":"news"}`, `{"type":"worker.ready.v1"}`, `{"type":"work_pool.snapshot.v1","sent_at":"","payload":null}`, `null`, `[]`, ``,
	} {
		f.Add([]byte(frame))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseChannelFrame(data)
		if err != nil {
			if got != (receivedFrame{}) {
				t.Errorf("parseChannelFrame() = %+v besides %v", got, err)
			}
			return
		}
		pools := map[string]*snapshotPayload{"snapshot": got.Snapshot}
		if got.Ready != nil {
			pools["ready"] = &got.Ready.Initial
			if got.Ready.HeartbeatSeconds < 1 || time.Duration(got.Ready.HeartbeatSeconds)*time.Second > 24*time.Hour {
				t.Errorf("a heartbeat each %d s", got.Ready.HeartbeatSeconds)
			}
		}
		for name, snapshot := range pools {
			if snapshot != nil && (snapshot.Sequence < 1 || snapshot.Pool.ID == "" || !json.Valid(snapshot.Pool.BaseJobTemplate)) {
				t.Errorf("%s: %+v is no snapshot", name, snapshot)
			}
		}
		if m := got.Cleanup; m != nil && (m.MessageID == "" || m.Token == "" || got.lease(m.LeaseEnds) < 0 || got.lease(m.LeaseEnds) > maxLease) {
			t.Errorf("%+v is no cleanup", m)
		}
		if r := got.Result; r != nil && (r.RequestID == "" || r.Operation == opRenew && r.verdict() == settled && r.LeaseEnds.IsZero()) {
			t.Errorf("%+v is no result", r)
		}
	})
}
