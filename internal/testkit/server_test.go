package testkit

import (
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServer(t *testing.T, p *Prefect) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(p)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // dropped connections are wanted
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// BenchmarkHistory is a short history of three flow runs in about 100 requests
// of the real client. 10,000 of them must fit into a minute on two cores, the
// worker's own work included.
func BenchmarkHistory(b *testing.B) {
	settings, err := prefect.LoadSettings(prefect.LoadOptions{Environ: []string{"PREFECT_API_URL=" + BaseURL}, Dir: b.TempDir(), HomeDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		history(b, settings)
	}
}

func history(tb testing.TB, settings *prefect.Settings) {
	p, d := seeded()
	c, err := prefect.NewClient(prefect.ClientOptions{Settings: settings, HTTPClient: &http.Client{Transport: p.Transport()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	ctx := tb.Context()
	check := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	runs := []string{p.Schedule(FlowRunSpec{Deployment: d}), p.Schedule(FlowRunSpec{Deployment: d}), p.Schedule(FlowRunSpec{Deployment: d})}
	for _, run := range runs {
		_, err = c.ScheduledFlowRuns(ctx, "p", nil, time.Now(), 0)
		check(err)
		_, err = c.Deployment(ctx, d)
		check(err)
		_, err = c.SetState(ctx, run, prefect.StateProposal{Type: prefect.StatePending, Name: "Pending"})
		check(err)
		check(c.SetLabels(ctx, run, map[string]any{"prefect.worker.name": "w"}))
		check(c.SetInfrastructurePID(ctx, run, "job:run"))
		p.BeginRun(run, "c")
		for range 13 {
			check(c.Heartbeat(ctx, "p", "w", 30))
			for _, err := range c.FlowRuns(ctx, prefect.FlowRunFilter{WorkPool: "p", StateTypes: []prefect.StateType{"PENDING", "RUNNING"}}) {
				check(err)
			}
		}
		p.Finish(run, State{Type: prefect.StateCompleted})
		_, err = c.FlowRun(ctx, run)
		check(err)
		check(c.SendLogs(ctx, []prefect.Log{{Name: "n", Level: 20, Message: "m", Timestamp: time.Now(), FlowRunID: run}}))
	}
}
