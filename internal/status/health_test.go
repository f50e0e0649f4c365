package status_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/status"
	"github.com/northflank/prefect-northflank/internal/testkit"
	"github.com/northflank/prefect-northflank/internal/worker"
)

func TestReadyWhenPrefectRefuses(t *testing.T) {
	t.Parallel()
	play(t, ourPool(), func(s *scene) {
		s.wantReady("when all is well")
		s.prefectSays.Store(http.StatusUnauthorized)
		time.Sleep(time.Minute)
		s.wantReady("when Prefect refuses the credentials", status.ProblemPrefectCredentials)
		s.prefectSays.Store(0)
		time.Sleep(3 * time.Minute)
		s.wantReady("when it takes them again")
	})
}

func TestReadyDuringPrefectsErrors(t *testing.T) {
	t.Parallel()
	play(t, ourPool(), func(s *scene) {
		s.prefectSays.Store(http.StatusServiceUnavailable)
		time.Sleep(15 * time.Second)
		s.wantReady("during a short outage of Prefect")
		time.Sleep(5 * time.Minute)
		s.wantReady("during a long one", status.ProblemPrefectUnreachable)
		if code, _ := get(s.T, status.Health(s.worker), "/livez"); code != http.StatusOK {
			s.Errorf("/livez = %d during an outage, want 200: a restart does not help", code)
		}
		s.prefectSays.Store(0)
		time.Sleep(5 * time.Minute)
		s.wantReady("after it")
	})
}

func TestReadyWhenNorthflankRefuses(t *testing.T) {
	t.Parallel()
	play(t, ourPool(), func(s *scene) {
		s.northflankSays.Store(http.StatusForbidden)
		s.schedule("waits")
		time.Sleep(30 * time.Second)
		s.wantReady("when Northflank refuses the token's role", status.ProblemNorthflankCredentials)
		s.northflankSays.Store(0)
		time.Sleep(3 * time.Minute)
		s.wantReady("when it takes it again")
	})
}

func TestReadyDuringNorthflanksErrors(t *testing.T) {
	t.Parallel()
	play(t, ourPool(), func(s *scene) {
		s.northflankSays.Store(http.StatusInternalServerError)
		s.schedule("waits")
		time.Sleep(15 * time.Second)
		s.northflankSays.Store(0)
		if len(s.worker.Status().Refusals) == 0 {
			s.Error("Northflank's error kept nothing from starting: this test shows nothing")
		}
		s.wantReady("during a lone error of Northflank")
		time.Sleep(time.Minute)
		s.northflankSays.Store(http.StatusInternalServerError)
		time.Sleep(2 * time.Hour) // what started lately counts for an hour
		s.schedule("waits")
		time.Sleep(3 * time.Minute)
		s.wantReady("when Northflank goes on failing", status.ProblemNorthflankFails)
		s.northflankSays.Store(0)
		time.Sleep(5 * time.Minute)
		s.wantReady("when it works again")
	})
}

// TestReadyWithoutWebsockets: all works without them.
func TestReadyWithoutWebsockets(t *testing.T) {
	t.Parallel()
	play(t, ourPool(), func(s *scene) {
		s.prefect.RefuseEventStreams(http.StatusForbidden)
		s.prefect.CutEventStreams()
		time.Sleep(10 * time.Minute)
		if st := s.worker.Status(); st.EventStreamUp || len(st.Troubles) == 0 {
			s.Error("the event stream can be followed: this test shows nothing")
		}
		s.wantReady("without the event stream")
	})
}

func TestReadyWithoutPool(t *testing.T) {
	t.Parallel()
	play(t, testkit.PoolSpec{}, func(s *scene) {
		s.wantReady("without its pool", status.ProblemPoolMissing)
		s.prefect.AddPool(ourPool())
		time.Sleep(time.Minute)
		s.wantReady("with its pool")
	})
	play(t, testkit.PoolSpec{Name: scenePool, Type: "process", Template: jobspec.BaseJobTemplate()}, func(s *scene) {
		s.wantReady("with a pool of another type", status.ProblemPoolType)
	})
}

// scripted is a worker that says what it is told to.
type scripted struct {
	status  worker.Status
	loops   []worker.Loop
	healthy bool
}

func (s scripted) Status() worker.Status { return s.status }
func (s scripted) Loops() []worker.Loop  { return s.loops }
func (s scripted) Healthy() bool         { return s.healthy }

// readyStatus is what a worker says with which all is well.
func readyStatus() worker.Status { return readyStatusAt(time.Unix(1_800_000_000, 0)) }

func readyStatusAt(now time.Time) worker.Status {
	return worker.Status{
		Now: now, Worker: sceneWorker, Since: now.Add(-time.Hour), HeartbeatEvery: 30 * time.Second, Heartbeat: now.Add(-10 * time.Second),
		Pool: worker.PoolStatus{Name: scenePool, ID: "p", Type: worker.Type},
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	now := readyStatus().Now
	refusal := worker.Refusal{Project: "data", Since: now.Add(-10 * time.Second), Text: "500"}
	old := refusal
	old.Since = now.Add(-2 * time.Minute)
	denied := refusal
	denied.Denied = true
	tests := []struct {
		name   string
		change func(*worker.Status)
		want   []string
	}{
		{"all is well", func(*worker.Status) {}, nil},
		{"not connected yet", func(s *worker.Status) { s.Pool.ID, s.Heartbeat = "", time.Time{} }, []string{status.ProblemConnecting}},
		{"one project of several refuses", func(s *worker.Status) { s.Refusals, s.Takers = []worker.Refusal{denied}, 1 }, nil},
		{"all projects refuse", func(s *worker.Status) { s.Refusals = []worker.Refusal{denied, refusal, old} }, []string{status.ProblemNorthflankCredentials, status.ProblemNorthflankRefuses}},
		{"a refusal that was just met", func(s *worker.Status) { s.Refusals = []worker.Refusal{refusal} }, nil},
		{"a token refused while watching", func(s *worker.Status) {
			s.Troubles = []worker.Trouble{{Last: now.Add(-time.Minute), Cause: worker.CauseNorthflankRefuses}}
		}, []string{status.ProblemNorthflankCredentials}},
		{"a token refused long ago", func(s *worker.Status) {
			s.Troubles = []worker.Trouble{{Last: now.Add(-time.Hour), Cause: worker.CauseNorthflankRefuses}}
		}, nil},
		{"a lone error while watching", func(s *worker.Status) {
			s.Troubles = []worker.Trouble{{Since: now.Add(-2 * time.Minute), Last: now.Add(-2 * time.Minute), Cause: worker.CauseNorthflankFails}}
		}, nil},
		{"errors while watching", func(s *worker.Status) {
			s.Troubles = []worker.Trouble{{Since: now.Add(-2 * time.Minute), Last: now, Cause: worker.CauseNorthflankFails}}
		}, []string{status.ProblemNorthflankFails}},
		{"another trouble", func(s *worker.Status) { s.Troubles = []worker.Trouble{{Last: now}} }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := readyStatus()
			tt.change(&s)
			var got []string
			for _, p := range status.NotReady(s) {
				got = append(got, p.Name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("NotReady (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLive(t *testing.T) {
	t.Parallel()
	loops := []worker.Loop{{Name: "poll", Round: time.Unix(1e9, 0)}, {Name: "sweep"}}
	if code, problems := get(t, status.Health(scripted{loops: loops}), "/livez"); code != http.StatusOK || problems != nil {
		t.Errorf("/livez = %d %v, want 200 without problems", code, problems)
	}
	loops[0].Stalled = true
	code, problems := get(t, status.Health(scripted{loops: loops}), "/livez")
	if diff := cmp.Diff([]string{status.ProblemStalled}, problems); code != http.StatusServiceUnavailable || diff != "" {
		t.Errorf("/livez = %d, want 503; problems (-want +got):\n%s", code, diff)
	}
}

// TestHealthAsPrefects compares with what Prefect's own worker answers, byte for byte.
func TestHealthAsPrefects(t *testing.T) {
	t.Parallel()
	for healthy, want := range map[bool]string{true: `{"message":"OK"}`, false: `{"message":"Worker may be unresponsive at this time"}`} {
		w := httptest.NewRecorder()
		status.Health(scripted{healthy: healthy}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health", nil))
		if got := w.Body.String(); got != want || (w.Code == http.StatusOK) != healthy || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("/health of a healthy=%t worker = %d %q", healthy, w.Code, got)
		}
	}
}
