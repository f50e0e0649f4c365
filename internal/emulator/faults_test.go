package emulator

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRequestFaults: each fault on a PUT, without a socket and over one, and
// whether the job is there afterwards.
func TestRequestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fault  Fault
		status int  // 0: the request fails
		cut    bool // the body does
		effect bool
		text   string
	}{
		{name: "429", fault: Fault{Action: ActionStatus, Status: 429, RetryAfter: 7}, status: 429, text: "nf-rate-limit-exceeded"},
		{name: "503 of a proxy", fault: Fault{Action: ActionStatus, Status: 503, Body: "<html>down"}, status: 503, text: "<html>down"},
		{name: "500", fault: Fault{Action: ActionStatus, Status: 500}, status: 500, text: `"status":500`},
		{name: "reset before", fault: Fault{Action: ActionResetBefore}},
		{name: "reset after", fault: Fault{Action: ActionResetAfter}, effect: true},
		{name: "hang", fault: Fault{Action: ActionHang}},
		{name: "hang after", fault: Fault{Action: ActionHangAfter}, effect: true},
		{name: "cut body", fault: Fault{Action: ActionCutBody}, status: 200, cut: true, effect: true},
		{name: "slow", fault: Fault{Action: ActionSlow, Delay: time.Millisecond}, status: 200, effect: true},
		{name: "slower than the client's patience", fault: Fault{Action: ActionSlow, Delay: time.Hour}, effect: true},
		{name: "other route", fault: Fault{Action: ActionStatus, Status: 500, Route: RouteGetJob}, status: 200, effect: true},
		{name: "other verb", fault: Fault{Action: ActionStatus, Status: 500, Method: "GET"}, status: 200, effect: true},
		{name: "other token", fault: Fault{Action: ActionStatus, Status: 500, Token: "x*"}, status: 200, effect: true},
		{name: "other job", fault: Fault{Action: ActionStatus, Status: 500, Job: "two"}, status: 200, effect: true},
		{name: "not the first", fault: Fault{Action: ActionStatus, Status: 500, Skip: 1}, status: 200, effect: true},
		{name: "never", fault: Fault{Action: ActionStatus, Status: 500, Probability: 1e-12}, status: 200, effect: true},
	}
	for _, tt := range tests {
		for _, socket := range []bool{false, true} {
			name := tt.name + " in process"
			if socket {
				name = tt.name + " over a socket"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := start(t, Config{})
				rt, base := s.Transport(), "http://nf.test"
				if socket {
					url, err := s.Listen("127.0.0.1:0")
					if err != nil {
						t.Fatal(err)
					}
					tr := &http.Transport{}
					t.Cleanup(tr.CloseIdleConnections)
					rt, base = tr, url
				}
				if _, err := s.Faults().Add(tt.fault); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				// No GetBody: the transport must not try again by itself.
				req, err := http.NewRequestWithContext(ctx, "PUT", base+jobsPath, io.NopCloser(strings.NewReader(simple)))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Authorization", "Bearer "+DefaultToken)
				status, text := 0, ""
				resp, err := rt.RoundTrip(req)
				if err == nil {
					defer resp.Body.Close()
					var data []byte
					data, err = io.ReadAll(resp.Body)
					status, text = resp.StatusCode, string(data)
				}
				if status != tt.status || (err != nil) != (tt.cut || tt.status == 0) {
					t.Errorf("status %d, error %v, want status %d", status, err, tt.status)
				}
				if tt.cut && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("cut body: %v", err)
				}
				if !strings.Contains(text, tt.text) {
					t.Errorf("answer %q, want %q in it", text, tt.text)
				}
				if got := len(s.Jobs()) == 1; got != tt.effect {
					t.Errorf("job exists: %v, want %v", got, tt.effect)
				}
			})
		}
	}
}

func TestFaultRules(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{Seed: 7})
		add := func(f Fault) string {
			t.Helper()
			id, err := s.Faults().Add(f)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		statuses := func(n int) (failed int) {
			for range n {
				if call(t, s, "GET", jobsPath, "").status == 500 {
					failed++
				}
			}
			return failed
		}
		add(Fault{Action: ActionStatus, Status: 500, Skip: 2, Times: 3})
		if got := []int{statuses(2), statuses(3), statuses(3)}; got[0] != 0 || got[1] != 3 || got[2] != 0 {
			t.Errorf("skip 2, times 3: %v", got)
		}
		s.Faults().Remove()
		add(Fault{Action: ActionStatus, Status: 500, For: time.Minute})
		before := statuses(2)
		sleep("1m")
		if after := statuses(2); before != 2 || after != 0 {
			t.Errorf("for a minute: %d then %d", before, after)
		}
		s.Faults().Remove()
		id := add(Fault{Action: ActionStatus, Status: 500, Probability: 0.3})
		if got := statuses(200); got < 30 || got > 90 {
			t.Errorf("probability 0.3 met %d of 200", got)
		}
		if f := s.Faults().List(); len(f) != 1 || f[0].Seen != 200 || f[0].Met < 30 {
			t.Errorf("list %+v", f)
		}
		s.Faults().Remove(id)
		if got := statuses(5); got != 0 {
			t.Errorf("removed fault met %d", got)
		}
		for name, f := range map[string]Fault{
			"action": {Action: "explode"}, "status": {Action: ActionStatus, Status: 7}, "pattern": {Action: ActionHang, Job: "["},
			"route": {Action: ActionHang, Route: "GET /nothing"}, "probability": {Action: ActionHang, Probability: 2},
		} {
			if _, err := s.Faults().Add(f); err == nil {
				t.Errorf("wrong %s was taken", name)
			}
		}
	})
}

// A server that hangs lets go when it closes, and when the client gives up.
func TestHangEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{})
		if _, err := s.Faults().Add(Fault{Action: ActionHang}); err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: s.Transport(), Timeout: 10 * time.Second}
		begin := time.Now()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "http://nf.test"+jobsPath, nil)
		req.Header.Set("Authorization", "Bearer "+DefaultToken)
		if _, err := client.Do(req); err == nil || time.Since(begin) != 10*time.Second {
			t.Errorf("error %v after %v", err, time.Since(begin))
		}
		done := make(chan error)
		go func() {
			_, err := s.Transport().RoundTrip(req)
			done <- err
		}()
		synctest.Wait()
		s.Close()
		if err := <-done; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after close: %v", err)
		}
	})
}
