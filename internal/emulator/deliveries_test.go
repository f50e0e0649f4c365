package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// received is a notification as it arrived.
type received struct {
	At     time.Duration // since the receiver was made
	Header http.Header
	URL    string
	Event  string
	Data   map[string]map[string]string
}

// receiver takes notifications without a socket.
type receiver struct {
	answer func(n int) (*http.Response, error) // to the n-th, from 1; nil is 200
	born   time.Time
	mu     sync.Mutex
	all    []received
}

func newReceiver(answer func(n int) (*http.Response, error)) *receiver {
	return &receiver{answer: answer, born: time.Now()}
}

func (rc *receiver) RoundTrip(r *http.Request) (*http.Response, error) {
	got := received{At: time.Since(rc.born), Header: r.Header, URL: r.URL.String()}
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
		return nil, err
	}
	rc.mu.Lock()
	rc.all = append(rc.all, got)
	n := len(rc.all)
	rc.mu.Unlock()
	if rc.answer == nil {
		return answered(200), nil
	}
	return rc.answer(n)
}

func (rc *receiver) received() []received {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return slices.Clone(rc.all)
}

func (rc *receiver) events() []string {
	events := []string{}
	for _, got := range rc.received() {
		events = append(events, got.Event)
	}
	slices.Sort(events)
	return events
}

func (rc *receiver) times() []time.Duration {
	times := []time.Duration{}
	for _, got := range rc.received() {
		times = append(times, got.At)
	}
	return times
}

func answered(status int, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("ok"))}
}

const (
	hooksPath = "/v1/integrations/notifications"
	// allJobEvents asks for every event of job runs.
	allJobEvents = `{"trigger:job-run:start":true,"trigger:job-run:success":true,"trigger:job-run:failure":true,"trigger:job-run:abort":true,
		"trigger:job-run:terminate":true,"trigger:infrastructure:job:container-crash":true,"trigger:infrastructure:job:container-eviction":true}`
	endsOnly = `{"trigger:job-run:success":true,"trigger:job-run:failure":true}`
)

func hook(t *testing.T, s *Server, changes string) {
	t.Helper()
	body := overlay(t, `{"name":"Prefect worker","type":"RAW_WEBHOOK","webhook":"https://worker.test/nf","secret":"s3cret","events":`+allJobEvents+`}`, changes)
	call(t, s, "POST", hooksPath, body).want(t, 200)
}

// What is told of each fate that a job run can have.
func TestDeliveredEvents(t *testing.T) {
	t.Parallel()
	const noRetry = `{"backoffLimit":0}`
	tests := []struct {
		name     string
		settings string
		runner   RunnerFunc
		fault    Fault
		then     string // method of a request 5 s after the start: DELETE aborts the job run
		path     string
		want     []string
	}{
		{name: "success", settings: noRetry, runner: lasting(time.Minute), want: []string{eventStart, eventSuccess}},
		{name: "failure", settings: noRetry, runner: exits(3), want: []string{eventCrash, eventFailure, eventStart}},
		{name: "retries, then success", settings: `{"backoffLimit":1}`, runner: lasting(time.Minute), fault: Fault{Action: ActionOOM, Times: 1}, want: []string{eventCrash, eventStart, eventSuccess}},
		{name: "eviction", settings: noRetry, runner: obedient, fault: Fault{Action: ActionEvict, Delay: time.Second}, want: []string{eventEviction, eventFailure, eventStart}},
		{name: "deadline", settings: `{"backoffLimit":0,"activeDeadlineSeconds":60}`, runner: obedient, want: []string{eventFailure, eventStart}},
		{name: "abort", settings: noRetry, runner: obedient, then: "DELETE", path: jobsPath + "/one/runs/RUN", want: []string{eventAbort, eventStart}},
		{name: "abort in the UI", settings: noRetry, runner: obedient, fault: Fault{Action: ActionAbort, Delay: time.Second}, want: []string{eventAbort, eventStart}},
		{name: "job deleted", settings: noRetry, runner: obedient, then: "DELETE", path: jobsPath + "/one", want: []string{eventStart, eventTerminate}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rc := newReceiver(nil)
				s := start(t, Config{Runner: tt.runner, Deliveries: rc})
				hook(t, s, "{}")
				if tt.fault.Action != "" {
					if _, err := s.Faults().Add(tt.fault); err != nil {
						t.Fatal(err)
					}
				}
				id := startRun(t, s, jobWith(tt.settings, 0), "{}")
				if tt.then != "" {
					sleep("5s")
					call(t, s, tt.then, strings.ReplaceAll(tt.path, "RUN", id), "").want(t, 200)
				}
				sleep("1h")
				if diff := cmp.Diff(tt.want, rc.events()); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestDeliveredForm(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rc := newReceiver(nil)
		s := start(t, Config{Runner: exits(0), Deliveries: rc})
		hook(t, s, `{"events":{"trigger:job-run:start":false}}`)
		id := startRun(t, s, overlay(t, simple, `{"name":"My job"}`), "{}")
		run := await(t, s, id)
		synctest.Wait()
		all := rc.received()
		if len(all) != 1 {
			t.Fatalf("%d notifications, want 1", len(all))
		}
		eventID := all[0].Header.Get("X-Northflank-Notification-Integration-Event-Id")
		if eventID == "" {
			t.Error("no id of the event")
		}
		want := received{
			URL: "https://worker.test/nf", Event: "job-run:success",
			Header: http.Header{
				"Content-Type": {"application/json"},
				"X-Northflank-Notification-Integration-Id":         {"prefect-worker"},
				"X-Northflank-Notification-Integration-Name":       {"Prefect worker"},
				"X-Northflank-Notification-Integration-Token":      {"s3cret"},
				"X-Northflank-Notification-Integration-Event-Id":   {eventID},
				"X-Northflank-Notification-Integration-Event-Type": {"job-run:success"},
			},
			Data: map[string]map[string]string{
				"project": {"id": "local", "name": "local"},
				"job":     {"id": "my-job", "name": "My job"},
				"run":     {"id": id, "name": run.Name, "status": "SUCCESS"},
			},
		}
		if diff := cmp.Diff(want, all[0]); diff != "" {
			t.Errorf("notification (-want +got):\n%s", diff)
		}
	})
}

func TestDeliveriesWanted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, changes string
		want          int
	}{
		{"all projects", `{}`, 1},
		{"its project", `{"restricted":true,"projects":["other","local"]}`, 1},
		{"another project", `{"restricted":true,"projects":["other"]}`, 0},
		{"no project", `{"restricted":true}`, 0},
		{"projects without restriction", `{"restricted":false,"projects":["other"]}`, 1},
		{"its tag", `{"restrictions":{"tags":{"enabled":true,"items":["tagged","other"]}}}`, 1},
		{"another tag", `{"restrictions":{"tags":{"enabled":true,"items":["other"]}}}`, 0},
		{"all of two tags", `{"restrictions":{"tags":{"enabled":true,"items":["tagged","other"],"matchCondition":"and"}}}`, 0},
		{"tags switched off", `{"restrictions":{"tags":{"enabled":false,"items":["other"]}}}`, 1},
		{"another event", `{"events":{"trigger:job-run:success":null,"trigger:job-run:failure":true}}`, 0},
		{"event switched off", `{"events":{"trigger:job-run:success":false}}`, 0},
		{"chat", `{"type":"DISCORD"}`, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rc := newReceiver(nil)
				s := start(t, Config{Runner: exits(0), Deliveries: rc})
				s.AddTag("tagged")
				call(t, s, "POST", hooksPath, overlay(t, `{"name":"hook","type":"RAW_WEBHOOK","webhook":"https://w.test","events":{"trigger:job-run:success":true}}`, tt.changes)).want(t, 200)
				startRun(t, s, overlay(t, simple, `{"tags":["tagged"]}`), "{}")
				synctest.Wait()
				if got := len(rc.received()); got != tt.want {
					t.Errorf("%d notifications, want %d", got, tt.want)
				}
			})
		})
	}
}

// When a notification is tried again, and what becomes of its integration.
func TestRedelivery(t *testing.T) {
	t.Parallel()
	const s = time.Second
	every := []time.Duration{0, 10 * s, 30 * s, 70 * s, 150 * s, 310 * s}
	always := func(resp *http.Response, err error) func(int) (*http.Response, error) {
		return func(int) (*http.Response, error) { return resp, err }
	}
	tests := []struct {
		name   string
		answer func(int) (*http.Response, error)
		scale  float64
		want   []time.Duration
		reason string
	}{
		{name: "taken", want: every[:1]},
		{name: "204", answer: always(answered(204), nil), want: every[:1]},
		{name: "taken the third time", answer: func(n int) (*http.Response, error) {
			if n < 3 {
				return answered(503), nil
			}
			return answered(200), nil
		}, want: every[:3]},
		{name: "refused", answer: always(answered(401), nil), want: every, reason: "not delivered in 6 attempts: answered 401"},
		{name: "sent elsewhere", answer: always(answered(307, "Location", "https://elsewhere.test"), nil), want: every, reason: "not delivered in 6 attempts: answered 307"},
		{name: "unreachable", answer: always(nil, errors.New("connection refused")), want: every, reason: "not delivered in 6 attempts: connection refused"},
		{name: "time scale", answer: always(answered(500), nil), scale: 10, want: []time.Duration{0, s, 3 * s, 7 * s, 15 * s, 31 * s}, reason: "not delivered in 6 attempts: answered 500"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rc := newReceiver(tt.answer)
				s := start(t, Config{Runner: exits(0), Deliveries: rc, TimeScale: tt.scale})
				hook(t, s, `{"events":{"trigger:job-run:start":false}}`)
				startRun(t, s, simple, "{}")
				sleep("1h")
				if diff := cmp.Diff(tt.want, rc.times()); diff != "" {
					t.Errorf("attempts (-want +got):\n%s", diff)
				}
				got := call(t, s, "GET", hooksPath+"/prefect-worker", "").want(t, 200)
				reason, _ := got.get("status.reason").(string)
				if reason != tt.reason || got.get("status.disabled") != (tt.reason != "") {
					t.Errorf("status %v, want disabled for %q", got.get("status"), tt.reason)
				}
			})
		})
	}
}

// A disabled integration gets nothing more until it is updated, even if the
// update changes nothing.
func TestDisabledIntegration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rc := newReceiver(func(n int) (*http.Response, error) {
			if n <= deliveryAttempts {
				return answered(500), nil
			}
			return answered(200), nil
		})
		s := start(t, Config{Runner: exits(0), Deliveries: rc})
		hook(t, s, `{"events":{"trigger:job-run:start":false}}`)
		startRun(t, s, simple, "{}")
		sleep("1h")
		startRun(t, s, simple, "{}") // nobody is told
		sleep("1h")
		if n := len(rc.received()); n != deliveryAttempts {
			t.Errorf("%d attempts, want %d", n, deliveryAttempts)
		}
		call(t, s, "POST", hooksPath+"/prefect-worker", "{}").want(t, 200)
		startRun(t, s, simple, "{}")
		synctest.Wait()
		if n := len(rc.received()); n != deliveryAttempts+1 {
			t.Errorf("%d attempts, want %d", n, deliveryAttempts+1)
		}
		if got := call(t, s, "GET", hooksPath+"/prefect-worker", ""); got.get("status.disabled") != false {
			t.Errorf("status %v, want enabled", got.get("status"))
		}
	})
}

// What is under way follows an update and ends with its integration.
func TestIntegrationChangedUnderWay(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, method, body string
		want               []string // addresses and tokens of the attempts
	}{
		{"another address and secret", "POST", `{"webhook":"https://b.test","secret":"new"}`, []string{"https://worker.test/nf s3cret", "https://b.test new"}},
		{"deleted", "DELETE", "", []string{"https://worker.test/nf s3cret"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rc := newReceiver(func(n int) (*http.Response, error) { return answered(map[bool]int{true: 500, false: 200}[n == 1]), nil })
				s := start(t, Config{Runner: exits(0), Deliveries: rc})
				hook(t, s, `{"events":{"trigger:job-run:start":false}}`)
				startRun(t, s, simple, "{}")
				sleep("5s")
				call(t, s, tt.method, hooksPath+"/prefect-worker", tt.body).want(t, 200)
				sleep("1h")
				var got []string
				for _, n := range rc.received() {
					got = append(got, n.URL+" "+n.Header.Get("X-Northflank-Notification-Integration-Token"))
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("attempts (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A receiver that hangs holds up neither job runs nor requests, and what waits
// for it is bounded.
func TestDeliveriesToHangingReceiver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const runs = maxUndelivered/2 + 100 // two notifications each
		rc := hanging{}
		s := start(t, Config{Runner: exits(0), Deliveries: rc, RateLimit: -1})
		hook(t, s, "{}")
		begin := time.Now()
		for range runs {
			startRun(t, s, simple, "{}")
		}
		synctest.Wait()
		for _, r := range s.JobRuns() {
			if r.Status != StatusSuccess {
				t.Fatalf("job run %+v, want it ended", r)
			}
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("%d job runs took %v, want no time", runs, took)
		}
		s.mu.Lock()
		under := s.undelivered
		s.mu.Unlock()
		if under != maxUndelivered {
			t.Errorf("%d notifications under way, want %d", under, maxUndelivered)
		}
		s.Close()
		if took := time.Since(begin); took != 0 {
			t.Errorf("Close waited %v for a receiver", took)
		}
	})
}

// hanging is a receiver that never answers.
type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// An answer that does not come is an attempt too.
func TestDeliveryTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{Runner: exits(0), Deliveries: hanging{}})
		hook(t, s, "{}")
		startRun(t, s, simple, "{}")
		sleep("1h")
		const want = "not delivered in 6 attempts: context deadline exceeded"
		if got := call(t, s, "GET", hooksPath+"/prefect-worker", "").get("status.reason"); got != want {
			t.Errorf("reason %v, want %q", got, want)
		}
	})
}

// The same over a socket, to an integration that an earlier life created.
func TestDeliveryOverSocket(t *testing.T) {
	t.Parallel()
	arrived := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		arrived <- r.Header.Get("X-Northflank-Notification-Integration-Token") + " " + string(body)
	}))
	t.Cleanup(server.Close)
	c := Config{DataDir: t.TempDir(), Runner: exits(0), Switches: map[string]string{SwitchWebhookRun: "omitted"}}
	s := start(t, c)
	hook(t, s, fmt.Sprintf(`{"webhook":%q,"events":{"trigger:job-run:start":false}}`, server.URL))
	s.Close()
	s = start(t, c)
	startRun(t, s, simple, "{}")
	const want = `s3cret {"data":{"job":{"id":"one","name":"one"},"project":{"id":"local","name":"local"}},"event":"job-run:success"}`
	select {
	case got := <-arrived:
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("notification (-want +got):\n%s", diff)
		}
	case <-t.Context().Done():
		t.Fatal("nothing arrived")
	}
}
