package estimate

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/testkit"
	"github.com/northflank/prefect-northflank/internal/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Prefect with a pool and a Northflank with prices.
type world struct {
	t       *testing.T
	prefect *testkit.Prefect
	options Options
	asked   []string // of Northflank
	spare   map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, prefect: testkit.NewPrefect()}
	t.Cleanup(w.prefect.Close)
	nf, err := emulator.New(emulator.Config{
		Prices: map[string]float64{"nf-compute-20": 0.36, "nf-compute-50": 0.72, "h100-80": 3.6},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nf.Close)
	template, err := jobspec.WithDefault(jobspec.BaseJobTemplate(), "project_id", "local")
	if err != nil {
		t.Fatal(err)
	}
	w.prefect.AddPool(testkit.PoolSpec{Name: "my-pool", Template: template})
	settings := prefect.DefaultSettings()
	settings.APIURL = testkit.BaseURL
	client, err := prefect.NewClient(prefect.ClientOptions{
		Settings: settings, Logger: slog.New(slog.DiscardHandler), HTTPClient: &http.Client{Transport: w.prefect.Transport()},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.options = Options{Days: 7, Limit: 1000, Preparer: newPreparer(client), Accounts: northflank.NewAccounts(northflank.Options{
		Logger: slog.New(slog.DiscardHandler), HTTPClient: &http.Client{Transport: w.spy(nf.Transport())},
	})}
	if w.options.Pool, err = client.WorkPool(t.Context(), "my-pool"); err != nil {
		t.Fatal(err)
	}
	return w
}

// spy notes what Northflank is asked for, and answers in its place where spare
// says what.
func (w *world) spy(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		w.asked = append(w.asked, r.Method+" "+r.URL.Path)
		if body, ok := w.spare[r.URL.Path]; ok {
			return &http.Response{
				StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r,
			}, nil
		}
		return next.RoundTrip(r)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (w *world) deploy(name string, variables map[string]any) string {
	return w.prefect.AddDeployment(testkit.DeploymentSpec{Flow: "etl", Name: name, Pool: "my-pool", JobVariables: variables})
}

// ran makes flow runs that were Running for so long, one after the other, in the
// time of the test's bubble.
func (w *world) ran(deployment string, variables map[string]any, took ...time.Duration) {
	for _, d := range took {
		id := w.prefect.Schedule(testkit.FlowRunSpec{Deployment: deployment, JobVariables: variables})
		w.prefect.SetState(id, testkit.State{Type: prefect.StatePending}, true)
		w.prefect.SetState(id, testkit.State{Type: prefect.StateRunning}, true)
		time.Sleep(d)
		w.prefect.SetState(id, testkit.State{Type: prefect.StateCompleted}, true)
	}
}

func (w *world) run() Report {
	w.t.Helper()
	report, err := Run(w.t.Context(), w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

// amounts are those of a report, rounded to a cent.
var cents = cmp.Options{
	cmpopts.IgnoreUnexported(Row{}),
	cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 0.005 }),
}

func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		old := w.deploy("old", nil)
		w.ran(old, nil, time.Hour)
		time.Sleep(8 * 24 * time.Hour)

		plain := w.deploy("plain", map[string]any{"billing_deployment_plan": "nf-compute-20"})
		w.ran(plain, nil, 10*time.Second, 20*time.Second, 30*time.Second, time.Hour)
		w.ran(plain, map[string]any{"billing_deployment_plan": "nf-compute-50", "name": "a"}, time.Hour)
		w.ran(plain, map[string]any{"billing_deployment_plan": "nf-compute-50", "name": "b"}, 3*time.Hour)
		gpu := w.deploy("gpu", map[string]any{
			"billing_deployment_plan": "nf-gpu-h100-80-2g", "billing_gpu_enabled": true, "billing_gpu_type": "h100-80", "billing_gpu_count": 2,
		})
		w.ran(gpu, nil, time.Hour)
		own := w.deploy("own-cloud", map[string]any{"billing_deployment_plan": "my-plan"})
		w.ran(own, nil, time.Minute)
		wrong := w.deploy("wrong", map[string]any{"deployment_external_image_path": "no tag at all"})
		w.ran(wrong, nil, time.Minute)
		gone := w.deploy("gone", nil)
		w.ran(gone, nil, time.Minute)
		w.prefect.DeleteDeployment(gone)
		never := w.prefect.Schedule(testkit.FlowRunSpec{Deployment: plain})
		w.prefect.SetState(never, testkit.State{Type: prefect.StateCrashed}, true)
		w.prefect.Schedule(testkit.FlowRunSpec{Deployment: plain}) // did not end

		got := w.run()
		for i, r := range got.Rows {
			if r.Deployment == "etl/wrong" && strings.HasPrefix(r.Cost.Unpriced, "its job variables are wrong: ") {
				got.Rows[i].Cost.Unpriced = "wrong"
			}
		}
		want := Report{
			Pool: "my-pool", Days: 7, FlowRuns: 10, NotBegun: 1, Currency: "USD", LeavesOut: leavesOut, Total: 7.2 + 2.88 + 0.366,
			Rows: []Row{
				{
					Deployment: "etl/gpu", FlowRuns: 1, Seconds: Quantity{3600, 3600, 3600},
					Cost: Cost{Plan: "nf-gpu-h100-80-2g", GPU: "h100-80 x 2", PricePerHour: new(7.2), GPUAlone: true, Amount: &Quantity{7.2, 7.2, 7.2}},
				},
				{
					Deployment: "etl/plain", FlowRuns: 2, Seconds: Quantity{2 * 3600, 3 * 3600, 4 * 3600},
					Cost: Cost{Plan: "nf-compute-50", PricePerHour: new(0.72), Amount: &Quantity{1.44, 2.16, 2.88}},
				},
				{
					Deployment: "etl/plain", FlowRuns: 4, Seconds: Quantity{25, 3600, 3660},
					Cost: Cost{Plan: "nf-compute-20", PricePerHour: new(0.36), Amount: &Quantity{0.0025, 0.36, 0.366}},
				},
				{Deployment: "etl/(deleted)", FlowRuns: 1, Seconds: Quantity{60, 60, 60}, Cost: Cost{Unpriced: "the deployment was deleted, and its plan is not known any more"}},
				{Deployment: "etl/own-cloud", FlowRuns: 1, Seconds: Quantity{60, 60, 60}, Cost: Cost{Plan: "my-plan", Unpriced: "plan my-plan is not one of Northflank's public plans"}},
				{Deployment: "etl/wrong", FlowRuns: 1, Seconds: Quantity{60, 60, 60}, Cost: Cost{Unpriced: "wrong"}},
			},
		}
		if diff := cmp.Diff(want, got, cents); diff != "" {
			t.Errorf("Run() (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"GET /v1/plans", "GET /v1/regions"}, w.asked); diff != "" {
			t.Errorf("requests to Northflank (-want +got):\n%s", diff)
		}
	})
}

func newPreparer(client *prefect.Client) *worker.Preparer {
	return &worker.Preparer{Prefect: client, WorkerName: "estimate", Account: jobspec.Account{BaseURL: "http://northflank.test", Token: secret.New(emulator.DefaultToken)}}
}

// What Northflank does not tell is not made up.
func TestRunWithoutPrices(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.spare = map[string]string{
			"/v1/plans": `{"data":{"plans":[{"id":"secret","currency":"usd","amountPerHour":null},{"id":"euro","currency":"eur","amountPerHour":1},
				{"id":"nf-compute-20","currency":"usd","amountPerHour":1}]}}`,
			"/v1/regions": `{"data":{"regions":[{"id":"a","gpuDevices":[{"id":"h100-80","pricing":{"onDemand":100}},{"id":"l4-24"}]},
				{"id":"b","gpuDevices":[{"id":"h100-80","pricing":{"onDemand":200}}]}]}}`,
		}
		gpu := func(plan, gpu string) map[string]any {
			return map[string]any{"billing_deployment_plan": plan, "billing_gpu_enabled": true, "billing_gpu_type": gpu, "billing_gpu_count": 1}
		}
		for name, variables := range map[string]map[string]any{
			"secret": {"billing_deployment_plan": "secret"}, "euro": {"billing_deployment_plan": "euro"},
			"l4": gpu("nf-gpu-l4-24-1g", "l4-24"), "both": gpu("nf-compute-20", "h100-80"), "named": {"billing_deployment_plan": "nf-gpu-h100-80-2g"},
		} {
			w.ran(w.deploy(name, variables), nil, time.Hour)
		}
		got := map[string]string{}
		for _, row := range w.run().Rows {
			got[row.Deployment] = row.Cost.Unpriced
			if row.Cost.PricePerHour != nil {
				got[row.Deployment] = fmt.Sprint(*row.Cost.PricePerHour, row.Cost.GPUAlone)
			}
		}
		want := map[string]string{
			"etl/secret": "Northflank tells no price of plan secret", "etl/euro": "plan euro is priced in EUR",
			"etl/l4": "Northflank tells no price of GPU l4-24", "etl/both": "3 false", "etl/named": "4 true",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("prices (-want +got):\n%s", diff)
		}
	})
}

func TestRunComparesAndStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		deployment := w.deploy("d", map[string]any{"billing_deployment_plan": "nf-compute-20"})
		w.ran(deployment, nil, time.Hour, time.Hour, 2*time.Hour)
		w.options.Plan, w.options.Limit = "nf-compute-50", 2
		var told []int
		w.options.Progress = func(n int) { told = append(told, n) }
		got := w.run()
		if !got.Cut || got.FlowRuns != 2 || got.WithPlan == nil || math.Abs(*got.WithPlan-3*0.72) > 1e-9 || math.Abs(got.Total-3*0.36) > 1e-9 {
			t.Errorf("Run() = %+v, want the two newest flow runs, of three hours, on both plans", got)
		}
		if len(told) > 0 {
			t.Errorf("told of %v flow runs, want silence below a hundred", told)
		}
		w.options.Plan = "nf-compute-5O"
		_, err := Run(t.Context(), w.options)
		if hint, ok := err.(interface{ Hint() string }); !ok || !strings.HasPrefix(hint.Hint(), "did you mean nf-compute-50?") {
			t.Errorf("Run() with an unknown plan: %v, want a hint at nf-compute-50", err)
		}
	})
}
