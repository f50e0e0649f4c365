package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token   = "planted-northflank-token"
	project = "data-of-ours"
)

// containers run the two commands that the experiments use; each takes a second
// to start.
var containers = emulator.RunnerFunc(func(ctx context.Context, task emulator.Task) int {
	line, sleeps := task.Command, 5*time.Minute
	if word, ok := strings.CutPrefix(line, "echo "); ok {
		fmt.Fprintln(task.Stdout, word)
		sleeps = time.Second
	}
	timer := time.NewTimer(sleeps)
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0
	case <-task.Killed:
		return 137
	case <-ctx.Done():
		return 143
	}
})

func newServer(t *testing.T, config emulator.Config) *emulator.Server {
	t.Helper()
	config.Projects, config.Runner, config.Seed = []string{project}, containers, 1
	config.Tokens = []emulator.Token{{Name: "worker", Value: token}}
	server, err := emulator.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

func options(t *testing.T, server *emulator.Server) Options {
	t.Helper()
	client, err := northflank.New(northflank.Options{
		BaseURL: "https://northflank.test", Token: secret.New(token), TeamID: "acme",
		HTTPClient: &http.Client{Transport: server.Transport()}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return Options{Client: client, Project: project, Suffix: "x1", Version: "test"}
}

// answers are those that the emulator gives with every switch in its first
// position.
func answers() map[string]string {
	return map[string]string{
		"null-deadline": "accepted", "duplicate-name": "409", "unknown-tag": "refused with 400", "patch": "replaced",
		"internal-override": "accepted; what runs is to be seen in Northflank", "visibility": "within 1s", "succeeded": "true",
		"container-name": "true", "line-limit": "at least 100000", "parallel-runs": "3 of 3 were active at once", "list-order": "newest first",
		"override-environment": "not shown", "stream-cost": "1", "aborted-status": "status FAILED, concluded true",
		"stream-end": "it was open 20s later", "abort-finished": "409", "delete-active": "deleted with its job runs",
		"rate-limit":      "unknown: not tried: it would keep all programs of the account from their work for up to an hour",
		"webhook-payload": "unknown: not tried: it needs an address that Northflank can reach",
	}
}

func byQuestion(r Report) map[string]string {
	all := map[string]string{}
	for _, a := range r.Answers {
		all[a.Question] = a.Answer
	}
	return all
}

// checkClean looks for what the probe may have left, and for secrets in the
// report.
func checkClean(t *testing.T, server *emulator.Server, report Report) {
	t.Helper()
	if jobs := server.Jobs(); len(jobs) > 0 || len(report.Left) > 0 {
		t.Errorf("left %d jobs in Northflank, and told of %v", len(jobs), report.Left)
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{token, project, "acme"} {
		if strings.Contains(string(text), hidden) {
			t.Errorf("the report shows %q: %s", hidden, text)
		}
	}
}

// TestSwitches: the answers follow the switches, and whatever they say, nothing
// is left behind.
func TestSwitches(t *testing.T) {
	t.Parallel()
	told := map[string]map[string]string{ // by switch and position: what is other than usual
		emulator.SwitchAbortedRun + "=gone":              {"aborted-status": "gone (404)"},
		emulator.SwitchAbortedRun + "=running-concluded": {"aborted-status": "status RUNNING, concluded true"},
		emulator.SwitchListOrder + "=oldest":             {"list-order": "oldest first"},
		emulator.SwitchListLag + "=8s":                   {"visibility": "within 8s"},
		emulator.SwitchAbortFinished + "=200":            {"abort-finished": "200"},
		emulator.SwitchAbortFinished + "=404":            {"abort-finished": "404"},
		emulator.SwitchDuplicateJob + "=400":             {"duplicate-name": "400"},
		emulator.SwitchDeleteActive + "=409":             {"delete-active": "refused with 409"},
		emulator.SwitchSucceeded + "=zero":               {"succeeded": "false"},
		emulator.SwitchUnknownTag + "=drop":              {"unknown-tag": "accepted and left out"},
		emulator.SwitchTailEnd + "=close":                {"stream-end": "it ends"},
	}
	seen := map[string]bool{}
	for _, sw := range emulator.SwitchTable() {
		positions := sw.Values
		if positions == nil {
			positions = []string{"0s", "8s"}
		}
		for _, position := range positions {
			name := sw.Name + "=" + position
			seen[name] = true
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					server := newServer(t, emulator.Config{Switches: map[string]string{sw.Name: position}})
					report, err := Run(t.Context(), options(t, server))
					if err != nil {
						t.Fatal(err)
					}
					checkClean(t, server, report)
					want := answers()
					maps.Copy(want, told[name])
					if diff := cmp.Diff(want, byQuestion(report)); diff != "" {
						t.Errorf("answers (-want +got):\n%s", diff)
					}
				})
			})
		}
	}
	for name := range told {
		if !seen[name] {
			t.Errorf("there is no switch position %s", name)
		}
	}
}

// TestInterrupted: an interrupt before or after any request leaves nothing
// behind.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	stopped := errors.New("stopped")
	interrupt := func(t *testing.T, at int, before bool) (reached bool) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			stop := func(n int, _, _ string) {
				if n == at {
					reached = true
					cancel(stopped)
				}
			}
			config := emulator.Config{OnAnswer: stop}
			if before {
				config = emulator.Config{OnRequest: stop}
			}
			server := newServer(t, config)
			report, err := Run(ctx, options(t, server))
			if reached && at > 1 && !errors.Is(err, stopped) {
				t.Errorf("interrupted at request %d: %v, want %v", at, err, stopped)
			}
			checkClean(t, server, report)
		})
		return reached
	}
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprintf("before its effect %t", before), func(t *testing.T) {
			t.Parallel()
			requests := 0
			for interrupt(t, requests+1, before) && requests < MaxRequests {
				requests++
			}
			if requests < 20 || requests >= MaxRequests {
				t.Errorf("the probe took %d requests, want some tens", requests)
			}
		})
	}
}

// TestTrouble: what fails is told, and nothing is left behind.
func TestTrouble(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		fault emulator.Fault
	}{
		{"answers to jobs lost", emulator.Fault{Route: emulator.RoutePutJob, Action: emulator.ActionResetAfter}},
		{"answers to starts lost", emulator.Fault{Route: emulator.RouteStartRun, Action: emulator.ActionResetAfter}},
		{"no start", emulator.Fault{Route: emulator.RouteStartRun, Action: emulator.ActionStatus, Status: 403}},
		{"no reading of job runs", emulator.Fault{Route: emulator.RouteGetRun, Action: emulator.ActionStatus, Status: 500}},
		{"nothing pulls", emulator.Fault{Action: emulator.ActionNeverPulls}},
		{"no log stream", emulator.Fault{Action: emulator.ActionTailRefuse}},
		{"deletion out of order for a while", emulator.Fault{Route: emulator.RouteDeleteJob, Action: emulator.ActionStatus, Status: 500, Times: 6}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newServer(t, emulator.Config{})
				if _, err := server.Faults().Add(tt.fault); err != nil {
					t.Fatal(err)
				}
				report, err := Run(t.Context(), options(t, server))
				if err != nil {
					t.Fatal(err)
				}
				checkClean(t, server, report)
				if len(report.Answers) != len(experiments()) {
					t.Errorf("%d answers, want one to each of %d questions", len(report.Answers), len(experiments()))
				}
			})
		})
	}
}

// TestLeftBehind names the jobs that could not be deleted.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, emulator.Config{})
		if _, err := server.Faults().Add(emulator.Fault{Method: "DELETE", Action: emulator.ActionStatus, Status: 403}); err != nil {
			t.Fatal(err)
		}
		report, err := Run(t.Context(), options(t, server))
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(report.Left)
		if diff := cmp.Diff([]string{"pn-probe-x1-internal", "pn-probe-x1-main", "pn-probe-x1-tag"}, report.Left); diff != "" {
			t.Errorf("Left (-want +got):\n%s", diff)
		}
	})
}

// TestRefusals: nothing is begun in a project that is not there, or with few
// requests left.
func TestRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, emulator.Config{})
		o := options(t, server)
		o.Project = "nowhere"
		if _, err := Run(t.Context(), o); !errors.Is(err, northflank.ErrNotFound) {
			t.Errorf("Run() in a project that is not there = %v, want ErrNotFound", err)
		}
		server.Spend(800)
		_, err := Run(t.Context(), options(t, server))
		if budget, ok := errors.AsType[*budgetError](err); !ok || budget.Remaining > 200 {
			t.Errorf("Run() with few requests left = %v, want a refusal", err)
		}
		if bodies := server.Bodies(); len(bodies) > 0 {
			t.Errorf("sent %d bodies, want none", len(bodies))
		}
	})
}
