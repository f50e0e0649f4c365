package worker

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

// inspected is a pool with flow runs that a worker starts, for inspectors to look
// at, in virtual time.
type inspected struct {
	*testing.T
	prefect *testkit.Prefect
	nf      *emulator.Server
	deploy  string
	account jobspec.Account
}

// inspect runs act in a bubble while a worker serves the pool; container is what
// each flow run does, once it has begun.
func inspect(t *testing.T, container func(context.Context, emulator.Task), act func(*inspected)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &inspected{T: t, prefect: testkit.NewPrefect(), account: jobspec.Account{BaseURL: "http://localhost", Token: secret.New(emulator.DefaultToken)}}
		var err error
		s.nf, err = emulator.New(emulator.Config{RateLimit: 1000, Seed: 1, Runner: emulator.RunnerFunc(func(ctx context.Context, task emulator.Task) int {
			id := task.Env["PREFECT__FLOW_RUN_ID"]
			if !s.prefect.BeginRun(id, task.RunID).Runs {
				return 1
			}
			container(ctx, task)
			if ctx.Err() != nil {
				return 143
			}
			s.prefect.Finish(id, testkit.State{Type: prefect.StateCompleted})
			return 0
		})})
		if err != nil {
			t.Fatal(err)
		}
		s.prefect.AddPool(testkit.PoolSpec{Name: "my-pool", Template: jobspec.BaseJobTemplate()})
		s.deploy = s.prefect.AddDeployment(testkit.DeploymentSpec{
			Name: "my-deployment", Pool: "my-pool", JobVariables: map[string]any{"project_id": emulator.DefaultProject},
		})
		client, settings := s.client()
		w, err := New(Options{
			Prefect: client, Settings: settings, Logger: slog.New(slog.DiscardHandler), Accounts: s.accounts(), Account: s.account,
			Name: "w1", Pool: "my-pool", Prefetch: 10 * time.Second, Heartbeat: 30 * time.Second, Query: 10 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		act(s)
		stop()
		if err := <-done; err != nil {
			t.Errorf("the worker ended: %v", err)
		}
		s.nf.Close()
		s.prefect.Close()
	})
}

func (s *inspected) client() (*prefect.Client, *prefect.Settings) {
	settings := prefect.DefaultSettings()
	settings.APIURL = testkit.BaseURL
	client, err := prefect.NewClient(prefect.ClientOptions{
		Settings: settings, Logger: slog.New(slog.DiscardHandler), HTTPClient: &http.Client{Transport: s.prefect.Transport()},
	})
	if err != nil {
		s.Fatal(err)
	}
	return client, settings
}

func (s *inspected) accounts() *northflank.Accounts {
	return northflank.NewAccounts(northflank.Options{HTTPClient: &http.Client{Transport: s.nf.Transport()}})
}

// inspector is a new one, as each call of a command has it.
func (s *inspected) inspector(account jobspec.Account) *Inspector {
	client, _ := s.client()
	pool, err := client.WorkPool(s.Context(), "my-pool")
	if err != nil {
		s.Fatal(err)
	}
	return &Inspector{Preparer: &Preparer{Prefect: client, Account: account}, Accounts: s.accounts(), Pool: pool}
}

// schedule makes flow runs that are due now.
func (s *inspected) schedule(variables ...map[string]any) {
	for _, v := range variables {
		s.prefect.Schedule(testkit.FlowRunSpec{Deployment: s.deploy, At: time.Now(), JobVariables: v})
	}
}

// flowRuns reads all flow runs, oldest first.
func (s *inspected) flowRuns() []prefect.FlowRun {
	client, _ := s.client()
	var all []prefect.FlowRun
	for fr, err := range client.FlowRuns(s.Context(), prefect.FlowRunFilter{WorkPool: "my-pool"}) {
		if err != nil {
			s.Fatal(err)
		}
		all = append(all, fr)
	}
	slices.Reverse(all)
	return all
}

// look looks at all flow runs, and returns what was seen of each in a word, and
// how many requests it took.
func (s *inspected) look(account jobspec.Account, most int) (seen string, requests int, errs []error) {
	before := s.nf.Counters().Total
	sights, errs := s.inspector(account).Look(s.Context(), s.flowRuns(), most)
	var words []string
	for _, sight := range sights {
		switch {
		case sight.Run != nil && sight.Run.ID == sight.JobRun:
			words = append(words, string(sight.Run.Status))
		case sight.Absent:
			words = append(words, "absent")
		case sight.JobRun != "":
			words = append(words, "unseen")
		default:
			words = append(words, "none")
		}
	}
	return strings.Join(words, " "), s.nf.Counters().Total - before, errs
}

func untilEnded(ctx context.Context, _ emulator.Task) { <-ctx.Done() }

func TestInspectorLook(t *testing.T) {
	t.Parallel()
	inspect(t, untilEnded, func(s *inspected) {
		own := map[string]any{"job_scope": "flow-run"}
		s.schedule(nil, nil, nil, own, own)
		time.Sleep(30 * time.Second)
		s.prefect.Schedule(testkit.FlowRunSpec{Deployment: s.deploy, At: time.Now().Add(time.Hour)})

		check := func(when string, account jobspec.Account, most int, want string, wantRequests, wantErrs int) {
			s.Helper()
			seen, requests, errs := s.look(account, most)
			if seen != want || requests != wantRequests || len(errs) != wantErrs {
				s.Errorf("%s: saw %q with %d requests and errors %v, want %q with %d and %d errors", when, seen, requests, errs, want, wantRequests, wantErrs)
			}
		}
		check("requests to spare", s.account, 20, "RUNNING RUNNING RUNNING RUNNING RUNNING none", 3, 0)
		check("two requests", s.account, 2, "RUNNING RUNNING RUNNING RUNNING unseen none", 2, 0)
		check("no request", s.account, 0, "unseen unseen unseen unseen unseen none", 0, 0)

		elsewhere := s.account
		elsewhere.BaseURL = "http://127.0.0.1"
		check("another account's credentials", elsewhere, 20, "unseen unseen unseen unseen unseen none", 0, 1)
		refused := s.account
		refused.Token = secret.New("another-token-of-nobody")
		check("credentials that are refused", refused, 20, "unseen unseen unseen unseen unseen none", 3, 3)

		client, _, err := s.accounts().Client(s.account.BaseURL, "", s.account.Token)
		if err != nil {
			s.Fatal(err)
		}
		for _, job := range s.nf.Jobs() {
			if err := client.DeleteJob(s.Context(), emulator.DefaultProject, job.ID); err != nil {
				s.Fatal(err)
			}
		}
		check("jobs deleted right after the start", s.account, 20, "unseen unseen unseen absent absent none", 3, 0)
		time.Sleep(3 * time.Minute)
		check("deleted jobs", s.account, 20, "absent absent absent absent absent none", 3, 0)
	})
}

// writes is a container that writes n lines, ten each second, and its token.
func writes(n int) func(context.Context, emulator.Task) {
	return func(ctx context.Context, task emulator.Task) {
		for i := range n {
			fmt.Fprintf(task.Stdout, "line %d\n", i)
			if i%10 == 9 {
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					return
				}
			}
		}
		fmt.Fprintln(task.Stdout, "the password is "+task.Env["DB_PASSWORD"])
	}
}

// texts are the texts of lines that a flow wrote.
func texts(lines []northflank.LogLine) []string {
	var all []string
	for _, l := range lines {
		if !strings.HasPrefix(l.Text, "emulator: ") {
			all = append(all, l.Text)
		}
	}
	return all
}

// lastLines are the last n lines of a container that [writes], shown without secrets.
func lastLines(of, n int) []string {
	var all []string
	for i := of - n + 1; i < of; i++ {
		all = append(all, fmt.Sprint("line ", i))
	}
	return append(all, "the password is ***")
}

var withPassword = map[string]any{"runtime_environment": map[string]any{"DB_PASSWORD": "planted-password"}}

func TestOutputNewest(t *testing.T) {
	t.Parallel()
	inspect(t, writes(2500), func(s *inspected) {
		s.schedule(withPassword)
		time.Sleep(5 * time.Minute)
		output, err := s.inspector(s.account).Output(s.Context(), s.flowRuns()[0])
		if err != nil {
			s.Fatal(err)
		}
		for n, wantRequests := range map[int]int{1: 1, 20: 1, 1000: 1, 2200: 3} {
			before := s.nf.Counters().Total
			lines, err := output.Newest(s.Context(), n)
			if err != nil {
				s.Fatal(err)
			}
			if got, want := texts(lines), lastLines(2500, n); !slices.Equal(got, want) {
				s.Errorf("the newest %d lines are %d, %q to %q, want %q to %q", n, len(got), got[0], got[len(got)-1], want[0], want[len(want)-1])
			}
			if got := s.nf.Counters().Total - before; got != wantRequests {
				s.Errorf("the newest %d lines cost %d requests, want %d", n, got, wantRequests)
			}
		}
		// All of it, and no end of asking.
		lines, err := output.Newest(s.Context(), 10_000)
		if got, want := texts(lines), lastLines(2500, 2501); err != nil || !slices.Equal(got, want) {
			s.Errorf("all lines are %d (%v), want %d", len(got), err, len(want))
		}
	})
}

func TestOutputFollow(t *testing.T) {
	t.Parallel()
	inspect(t, writes(600), func(s *inspected) {
		if _, err := s.nf.Faults().Add(emulator.Fault{Action: emulator.ActionTailDrop, Delay: 10 * time.Second, Times: 3}); err != nil {
			s.Fatal(err)
		}
		s.schedule(withPassword)
		time.Sleep(30 * time.Second)
		output, err := s.inspector(s.account).Output(s.Context(), s.flowRuns()[0])
		if err != nil {
			s.Fatal(err)
		}
		var got []string
		lost := 0
		began := time.Now()
		err = output.Follow(s.Context(), 50, func(lines []northflank.LogLine) { got = append(got, texts(lines)...) }, func(error) { lost++ })
		if err != nil {
			s.Error(err)
		}
		if want := lastLines(600, len(got)); !slices.Equal(got, want) || len(got) < 300 {
			s.Errorf("followed %d lines, want each once, up to the last: %q", len(got), got)
		}
		if lost != 3 {
			s.Errorf("told of %d lost connections, want 3", lost)
		}
		if took := time.Since(began); took > 90*time.Second {
			s.Errorf("it went on for %s, want little more than the flow's minute", took)
		}

		// One that is being cancelled, and whose worker does nothing about it yet.
		s.schedule(nil)
		time.Sleep(30 * time.Second)
		cancelled := s.flowRuns()[1]
		s.prefect.Cancel(cancelled.ID)
		if output, err = s.inspector(s.account).Output(s.Context(), cancelled); err != nil {
			s.Fatal(err)
		}
		if err := output.Abort(s.Context()); err != nil {
			s.Fatal(err)
		}
		began = time.Now()
		if err := output.Follow(s.Context(), 5, func([]northflank.LogLine) {}, func(error) {}); err != nil || time.Since(began) > 30*time.Second {
			s.Errorf("following what was aborted took %s: %v", time.Since(began), err)
		}
		if err := output.Abort(s.Context()); err != nil {
			s.Errorf("aborting twice: %v", err)
		}

		if _, err := s.nf.Faults().Add(emulator.Fault{Action: emulator.ActionTailRefuse}); err != nil {
			s.Fatal(err)
		}
		if err := output.Follow(s.Context(), 5, func([]northflank.LogLine) {}, func(error) {}); err == nil {
			s.Error("a refused connection is no error")
		}
	})
}
