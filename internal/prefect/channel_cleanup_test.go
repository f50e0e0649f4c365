package prefect

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// cleanupFrame asks for a cleanup under a lease of so long. The server's clock is
// a day behind ours, and nobody minds.
func cleanupFrame(token string, lease time.Duration, edits ...string) string {
	at := time.Now().UTC().Add(-24 * time.Hour)
	const frame = `{"type":"cleanup.message.v1","id":"0199f1aa-0000-7000-8000-000000000000","sent_at":"%SENT%","payload":{` +
		`"message_id":"m-%TOKEN%","kind":"cancelling_timeout_teardown.v1","reservation_token":"%TOKEN%","lease_expires_at":"%ENDS%",` +
		`"delivery_count":2,"work_queue_id":null,"data":{},"target":{"flow_run_id":"fr","infrastructure_pid":"job:run","novelty":1}}}`
	fill := []string{"%SENT%", at.Format(time.RFC3339Nano), "%ENDS%", at.Add(lease).Format(time.RFC3339Nano), "%TOKEN%", token}
	return strings.NewReplacer(slices.Concat(edits, fill)...).Replace(frame)
}

// asked is a cleanup operation as the server reads it.
type asked struct {
	Type    string
	ID      string
	Payload map[string]string
}

func (a asked) String() string {
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(a.Type, "cleanup."), ".v1") + " " + a.Payload["reservation_token"] + " " + a.Payload["reason"])
}

// result answers the operation.
func (a asked) result(status string, lease time.Duration) string {
	at := time.Now().UTC().Add(-24 * time.Hour)
	ends := "null"
	if lease > 0 {
		ends = `"` + at.Add(lease).Format(time.RFC3339Nano) + `"`
	}
	operation, _, _ := strings.Cut(strings.TrimPrefix(a.Type, "cleanup."), ".")
	return fmt.Sprintf(`{"type":"cleanup.operation_result.v1","id":"r","sent_at":%q,"payload":{"request_frame_id":%q,"message_id":%q,`+
		`"operation":%q,"status":%q,"lease_expires_at":%s,"reason":"because","detail":null}}`,
		at.Format(time.RFC3339Nano), a.ID, a.Payload["message_id"], operation, status, ends)
}

// operation reads frames up to the next cleanup operation.
func (s *socket) operation() asked {
	for {
		_, data, err := s.conn.Read(s.ctx)
		var a asked
		if err != nil || json.Unmarshal(data, &a) == nil && strings.HasPrefix(a.Type, "cleanup.") {
			return a
		}
	}
}

// cleaning runs a channel against talk, in virtual time, until talk returns. It
// returns what happened, with the seconds at which it did.
func cleaning(t *testing.T, o func(*ChannelOptions), talk func(s *socket, note func(string))) (notes []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		note := func(text string) {
			mu.Lock()
			defer mu.Unlock()
			notes = append(notes, fmt.Sprintf("%gs %s", time.Since(began).Seconds(), text))
		}
		c, _ := inMemoryClient(t, func(s *socket, _ *http.Request) {
			s.welcomeWorker(readyForCleanups...)
			talk(s, note)
			s.close(websocket.StatusGoingAway, "")
		})
		var log []string
		options := channelOptions(&log)
		options.Cleanup = func(ctx context.Context, m CleanupMessage) CleanupRelease {
			note("handle " + m.ID)
			if !pause(ctx, time.Second) {
				note("stop " + m.ID)
			}
			return CleanupDone
		}
		o(&options)
		if e := channelError(t, c.WorkerChannel(t.Context(), options)); e.Reason != ChannelConnectionLost {
			t.Errorf("WorkerChannel() = %v, want the server's close", e)
		}
	})
	return notes
}

func wantNotes(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what happened (-want +got):\n%s", diff)
	}
}

func TestCleanupIsAcknowledged(t *testing.T) {
	t.Parallel()
	var message CleanupMessage
	notes := cleaning(t, func(o *ChannelOptions) {
		handle := o.Cleanup
		o.Cleanup = func(ctx context.Context, m CleanupMessage) CleanupRelease { message = m; return handle(ctx, m) }
	}, func(s *socket, note func(string)) {
		s.write(cleanupFrame("t1", 30*time.Second))
		a := s.operation()
		note(a.String())
		s.write(a.result("accepted", 0), a.result("accepted", 0), asked{ID: "unknown"}.result("error", 0)) // two that nobody waits for
		synctest.Wait()
	})
	wantNotes(t, notes, "0s handle m-t1", "1s ack t1")
	want := CleanupMessage{ID: "m-t1", Kind: CancellingTimeout, FlowRunID: "fr", InfrastructurePID: "job:run", Delivery: 2}
	if diff := cmp.Diff(want, message); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

func TestCleanupFrames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		release CleanupRelease
		want    string
	}{
		{CleanupDone, `{"type":"cleanup.ack.v1","id":"","sent_at":"","payload":{"message_id":"m-t1","reservation_token":"t1"}}`},
		{CleanupNoHandle, `{"type":"cleanup.release.v1","id":"","sent_at":"","payload":{"message_id":"m-t1","reservation_token":"t1","reason":"missing_infrastructure_handle"}}`},
	} {
		cleaning(t, func(o *ChannelOptions) {
			o.Cleanup = func(context.Context, CleanupMessage) CleanupRelease { return test.release }
		}, func(s *socket, _ func(string)) {
			s.write(cleanupFrame("t1", 30*time.Second))
			if diff := cmp.Diff(jsonValue(t, test.want), plainFrame(t, s.read())); diff != "" {
				t.Errorf("frame (-want +got):\n%s", diff)
			}
		})
	}
}

// What cannot be done is given back, with the reason.
func TestCleanupIsReleased(t *testing.T) {
	t.Parallel()
	notes := cleaning(t, func(o *ChannelOptions) {
		o.Cleanup = func(context.Context, CleanupMessage) CleanupRelease { return CleanupNotAvailable }
	}, func(s *socket, note func(string)) {
		for _, frame := range []string{
			cleanupFrame("t1", 30*time.Second),
			cleanupFrame("t2", 30*time.Second, "cancelling_timeout_teardown.v1", "pending_claim_teardown.v1"),
			cleanupFrame("t3", 30*time.Second, `"flow_run_id":"fr"`, `"flow_run_id":null`),
		} {
			s.write(frame)
			a := s.operation()
			note(a.String())
			s.write(a.result("accepted", 0))
		}
	})
	wantNotes(t, notes, "0s release t1 infrastructure_not_available", "0s release t2 unsupported_cleanup_kind", "0s release t3 invalid_payload")
}

// A message that is being worked on, or whose lease is over, is left alone.
func TestCleanupDuplicates(t *testing.T) {
	t.Parallel()
	notes := cleaning(t, func(*ChannelOptions) {}, func(s *socket, note func(string)) {
		s.write(cleanupFrame("t1", 30*time.Second), cleanupFrame("t1", 30*time.Second), cleanupFrame("t0", 0), cleanupFrame("t0", -time.Minute))
		a := s.operation()
		note(a.String())
		s.write(cleanupFrame("t1", 30*time.Second))
		synctest.Wait()
		s.write(a.result("accepted", 0))
		synctest.Wait()
		// Its reservation has ended; the same message under another one is new.
		s.write(cleanupFrame("t2", 30*time.Second, "m-t2", "m-t1"))
		note(s.operation().String())
	})
	wantNotes(t, notes, "0s handle m-t1", "1s ack t1", "1s handle m-t2", "2s ack t2")
}

// More than the worker does at once waits for its turn, under its lease.
func TestCleanupLimit(t *testing.T) {
	t.Parallel()
	notes := cleaning(t, func(*ChannelOptions) {}, func(s *socket, note func(string)) {
		s.write(cleanupFrame("t1", 30*time.Second))
		synctest.Wait()
		s.write(cleanupFrame("t2", 30*time.Second))
		for range 2 {
			a := s.operation()
			note(a.String())
			s.write(a.result("accepted", 0))
		}
	})
	slices.Sort(notes) // the slot is free before the acknowledgement is sent
	wantNotes(t, notes, "0s handle m-t1", "1s ack t1", "1s handle m-t2", "2s ack t2")

	notes = cleaning(t, func(*ChannelOptions) {}, func(s *socket, note func(string)) {
		for i := range 3 * maxCleanups {
			s.write(cleanupFrame(fmt.Sprint("t", i), 30*time.Second))
		}
		for range maxCleanups {
			for a := s.operation(); ; a = s.operation() {
				if a.Type == "cleanup.ack.v1" {
					s.write(a.result("accepted", 0))
					break
				}
				s.write(a.result("accepted", 30*time.Second))
			}
		}
		synctest.Wait()
	})
	if len(notes) < maxCleanups || len(notes) > 2*maxCleanups+1 {
		t.Errorf("%d cleanups were done, want about %d and the others left", len(notes), maxCleanups)
	}
}

func slow(o *ChannelOptions) {
	handle := o.Cleanup
	o.Cleanup = func(ctx context.Context, m CleanupMessage) CleanupRelease {
		release := handle(ctx, m)
		if !pause(ctx, 59*time.Second) {
			return CleanupFailed
		}
		return release
	}
}

func TestCleanupLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	notes := cleaning(t, slow, func(s *socket, note func(string)) {
		s.write(cleanupFrame("t1", 30*time.Second))
		for _, lease := range []time.Duration{30 * time.Second, 4 * time.Second, 4 * time.Second, 30 * time.Second, 0} {
			a := s.operation()
			note(a.String())
			s.write(a.result("accepted", lease))
		}
	})
	wantNotes(t, notes, "0s handle m-t1", "25s renew t1", "50s renew t1", "52s renew t1", "54s renew t1", "60s ack t1")
}

// A reservation that is lost ends the handler, and nothing more is said of it.
func TestCleanupReservationIsLost(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"not_found", "not_current", "expired", "invalid_token", "unauthorized", "dead_lettered"} {
		stopped := false
		notes := cleaning(t, func(o *ChannelOptions) {
			o.Cleanup = func(ctx context.Context, _ CleanupMessage) CleanupRelease {
				<-ctx.Done()
				stopped = true
				return CleanupDone
			}
		}, func(s *socket, note func(string)) {
			s.write(cleanupFrame("t1", 30*time.Second))
			a := s.operation()
			note(a.String())
			s.write(a.result(status, 0))
			synctest.Wait()
			if !stopped {
				t.Errorf("%s: the handler goes on", status)
			}
			s.write(cleanupFrame("t2", 30*time.Second)) // the next one is done
			note(s.operation().String())
		})
		wantNotes(t, notes, "25s renew t1", "50s renew t2")
	}
}

// Renewals that are not answered, or fail, are repeated until the lease is over.
func TestCleanupLeaseRunsOut(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"", "error", "some later status"} {
		renewals := map[string]bool{}
		notes := cleaning(t, slow, func(s *socket, note func(string)) {
			s.write(cleanupFrame("t1", 30*time.Second))
			go func() { // all frames that come within the lease
				for a := s.operation(); a.ID != ""; a = s.operation() {
					renewals[a.ID] = true
					if status != "" {
						s.write(a.result(status, 0))
					}
				}
			}()
			time.Sleep(35 * time.Second)
			note("over")
		})
		if status == "" && len(renewals) != 1 || status != "" && (len(renewals) < 4 || len(renewals) > 20) {
			t.Errorf("status %q: %d renewals, want one without an answer and some after errors", status, len(renewals))
		}
		wantNotes(t, notes, "0s handle m-t1", "35s over")
	}
}

// The result of an operation is waited for, and the operation repeated under
// another id, three times in all.
func TestCleanupOperationIsRepeated(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		statuses []string // "" is no answer
		want     []string
	}{
		{"errors", []string{"error", "error", "error"}, []string{"1s ack t1", "2s ack t1", "3s ack t1"}},
		{"accepted at last", []string{"error", "accepted"}, []string{"1s ack t1", "2s ack t1"}},
		{"no answer", []string{"", "accepted"}, []string{"1s ack t1", "32s ack t1"}},
		{"done by the one before", []string{"", "not_found"}, []string{"1s ack t1", "32s ack t1"}},
		{"lost", []string{"expired"}, []string{"1s ack t1"}},
	}
	for _, test := range tests {
		var ids []string
		notes := cleaning(t, func(*ChannelOptions) {}, func(s *socket, note func(string)) {
			s.write(cleanupFrame("t1", time.Hour))
			for _, status := range test.statuses {
				a := s.operation()
				note(a.String())
				ids = append(ids, a.ID)
				if status != "" {
					s.write(a.result(status, 0))
				}
			}
			ctx, cancel := context.WithTimeout(s.ctx, 10*time.Minute)
			defer cancel()
			for {
				_, data, err := s.conn.Read(ctx)
				if err != nil {
					return
				}
				if strings.Contains(string(data), "cleanup.") {
					t.Errorf("%s: more was sent: %s", test.name, data)
				}
			}
		})
		wantNotes(t, notes, append([]string{"0s handle m-t1"}, test.want...)...)
		slices.Sort(ids)
		if len(slices.Compact(ids)) != len(test.statuses) {
			t.Errorf("%s: ids of the frames = %q, want each its own", test.name, ids)
		}
	}
}

// The connection takes its cleanups with it.
func TestCleanupEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	notes := cleaning(t, slow, func(s *socket, note func(string)) {
		s.write(cleanupFrame("t1", 30*time.Second))
		time.Sleep(500 * time.Millisecond)
		note("close")
	})
	wantNotes(t, notes, "0s handle m-t1", "0.5s close", "0.5s stop m-t1")
}
