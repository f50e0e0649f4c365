package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Secrets that no report may show.
const (
	plantedToken = "planted-northflank-token"
	plantedKey   = "pnu_planted_prefect_key"
)

const (
	northflankURL = "https://northflank.test"
	hookURL       = "https://worker.example/northflank"
)

// setup says how a world is. Faults change it before the world is made.
type setup struct {
	apiURL   string
	csrfOff  bool // the client's support
	pool     testkit.PoolSpec
	poolName string // that is asked for
	poolRef  bool   // the pool's template refers to the credentials block
	noBlock  bool   // the block that it refers to was deleted
	block    map[string]any
	another  map[string]any // a block of that name
	worker   bool
	etl      map[string]any // job variables of the deployments
	built    map[string]any
	gpu      map[string]any

	token    emulator.Token
	switches map[string]string
	region   string // of the project that the GPU is in
	builds   []emulator.Build
	spend    int
	webhook  string // address that the account's webhook sends to
	hookURL  string // that is asked for

	wrapPrefect    []func(http.RoundTripper) http.RoundTripper
	wrapNorthflank []func(http.RoundTripper) http.RoundTripper
	refuseEvents   int
	refuseChannels int
	faults         []emulator.Fault
}

// newRights and oldRights are what docs/reference/permissions.md asks for, under
// the names of the two permission trees, and what the doctor itself can use.
func newRights() []string {
	return []string{
		"Project > Projects > Manage > Read", "Project > Jobs > General > Create", "Project > Jobs > General > Read",
		"Project > Jobs > General > Update", "Project > Jobs > General > Delete", "Project > Jobs > General > Run Job",
		"Project > Jobs > Deployment > View Observability", "Account > Cloud > Registries > Read", "Account > Observability > Notifications > Read",
	}
}

func oldRights() []string {
	return []string{
		"Project > Projects > Manage > Read", "Project > Jobs > General > Create", "Project > Jobs > General > Read",
		"Project > Jobs > General > Delete", "Project > Jobs > Deployment > Deploy Build", "Project > Jobs > Deployment > View Instance Logs",
		"Account > Credentials > General > Read", "Account > Team > Notifications > Read",
	}
}

func without(rights []string, right string) []string {
	return slices.DeleteFunc(rights, func(r string) bool { return strings.HasSuffix(r, right) })
}

// healthy is a set-up in which nothing is wrong.
func healthy() *setup {
	return &setup{
		apiURL: testkit.BaseURL, poolName: "data-pool", poolRef: true, worker: true,
		pool:  testkit.PoolSpec{Name: "data-pool", Template: jobspec.BaseJobTemplate(), Queues: []testkit.QueueSpec{{Name: "high"}}},
		block: map[string]any{"api_token": plantedToken, "base_url": northflankURL},
		etl: map[string]any{
			"project_id": "data", "deployment_external_image_path": "example/etl:1", "deployment_external_credentials": "dockerhub",
			"billing_deployment_plan": "nf-compute-50",
		},
		built: map[string]any{
			"project_id": "data", "deployment_internal_id": "flows", "deployment_internal_branch": "main",
			"billing_deployment_plan": "nf-compute-50",
		},
		gpu: map[string]any{
			"project_id": "training", "billing_deployment_plan": "nf-gpu-h100-80-1g", "billing_gpu_enabled": true,
			"billing_gpu_type": "h100-80", "billing_gpu_count": 1, "deployment_external_image_path": "example/train:1",
		},
		token:    emulator.Token{Name: "worker", Value: plantedToken, Permissions: newRights(), ExpiresAt: time.Now().AddDate(1, 0, 0)},
		switches: map[string]string{}, region: "us-central",
		builds:  []emulator.Build{{ID: "one-1", Branch: "main", SHA: strings.Repeat("a", 40), Status: "SUCCESS"}},
		webhook: hookURL, hookURL: hookURL,
	}
}

// world is Prefect and Northflank as a setup says, and how to examine them.
type world struct {
	prefect    *testkit.Prefect
	northflank *emulator.Server
	options    Options
}

const adminToken = "admin"

func newWorld(t *testing.T, s *setup) *world {
	t.Helper()
	server, err := emulator.New(emulator.Config{
		Projects: []string{"data"}, Switches: s.switches, Seed: 1,
		Tokens: []emulator.Token{{Name: "admin", Value: adminToken}, s.token},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	w := &world{prefect: testkit.NewPrefect(), northflank: server}
	t.Cleanup(w.prefect.Close)
	w.furnishNorthflank(t, s)
	w.furnishPrefect(t, s)
	return w
}

func (w *world) furnishNorthflank(t *testing.T, s *setup) {
	t.Helper()
	w.admin(t, "POST", "/projects", map[string]any{"name": "training", "region": s.region})
	w.admin(t, "PUT", "/projects/data/jobs", map[string]any{"name": "others", "billing": map[string]any{"deploymentPlan": "nf-compute-20"}})
	w.admin(t, "POST", "/integrations/notifications", map[string]any{
		"name": "prefect worker", "type": "RAW_WEBHOOK", "webhook": s.webhook, "secret": "a-secret-of-its-own", "restricted": false,
		"projects": []string{}, "events": map[string]bool{"trigger:job-run:failure": true},
	})
	w.northflank.AddRegistry(emulator.Registry{ID: "dockerhub", Name: "Docker Hub", Provider: "dockerhub"})
	for _, b := range s.builds {
		if err := w.northflank.AddBuild("data", "flows", b); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range s.faults {
		if _, err := w.northflank.Faults().Add(f); err != nil {
			t.Fatal(err)
		}
	}
	w.northflank.Spend(s.spend)
}

func (w *world) furnishPrefect(t *testing.T, s *setup) {
	t.Helper()
	id := "00000000-0000-7000-8000-00000000dead"
	if !s.noBlock {
		id = w.prefect.AddBlock("northflank", "creds", s.block, "api_token")
	}
	if s.another != nil {
		w.prefect.AddBlock("northflank", "another", s.another, "api_token")
	}
	if s.poolRef {
		template, err := jobspec.WithCredentialsDefault(s.pool.Template, id)
		if err != nil {
			t.Fatal(err)
		}
		s.pool.Template = template
	}
	w.prefect.AddPool(s.pool)
	for _, d := range []testkit.DeploymentSpec{{Name: "etl", JobVariables: s.etl}, {Name: "built", JobVariables: s.built}, {Name: "gpu", JobVariables: s.gpu}} {
		if d.Flow, d.Pool = "flow", s.pool.Name; d.JobVariables != nil {
			w.prefect.AddDeployment(d)
		}
	}
	settings := prefect.DefaultSettings()
	settings.APIURL, settings.APIKey, settings.CSRFEnabled = s.apiURL, secret.New(plantedKey), !s.csrfOff
	if s.worker {
		w.heartbeat(t, settings, s.pool.Name)
	}
	w.prefect.RefuseEventStreams(s.refuseEvents)
	w.prefect.RefuseChannels(s.refuseChannels)
	w.options = Options{
		Settings: settings, Pool: s.poolName, WebhookURL: s.hookURL, Version: "test",
		PrefectHTTP: &http.Client{Transport: wrapped(w.prefect.Transport(), s.wrapPrefect)},
		Northflank: northflank.Options{
			HTTPClient: &http.Client{Transport: wrapped(w.northflank.Transport(), s.wrapNorthflank)},
			Logger:     slog.New(slog.DiscardHandler),
		},
	}
}

func (w *world) heartbeat(t *testing.T, settings *prefect.Settings, pool string) {
	t.Helper()
	own := *settings
	own.APIURL = testkit.BaseURL
	client, err := prefect.NewClient(prefect.ClientOptions{
		Settings: &own, HTTPClient: &http.Client{Transport: w.prefect.Transport()}, Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		err = client.Heartbeat(t.Context(), pool, "worker-1", 30)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// admin changes the account as its owner does.
func (w *world) admin(t *testing.T, method, path string, body any) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, northflankURL+"/v1"+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", "application/json")
	answer, err := w.northflank.Transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %s", method, path, answer.Status, text)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func wrapped(rt http.RoundTripper, wraps []func(http.RoundTripper) http.RoundTripper) http.RoundTripper {
	for _, wrap := range wraps {
		rt = wrap(rt)
	}
	return rt
}

// answering lets a stranger answer the requests that match.
func answering(status int, contentType, body string, matches func(*http.Request) bool) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if !matches(r) {
				return next.RoundTrip(r)
			}
			return &http.Response{
				StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Request: r,
				Body: io.NopCloser(strings.NewReader(body)),
			}, nil
		})
	}
}

func anyRequest(*http.Request) bool { return true }

func pathIs(path string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, path) }
}

// unreachable breaks every connection.
func unreachable(http.RoundTripper) http.RoundTripper {
	return roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") })
}

// dated moves the clock that Northflank's answers show.
func dated(by time.Duration) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			answer, err := next.RoundTrip(r)
			if err == nil {
				answer.Header = answer.Header.Clone()
				answer.Header.Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
			}
			return answer, err
		})
	}
}

// with returns job variables with one more.
func with(variables map[string]any, name string, value any) map[string]any {
	changed := maps.Clone(variables)
	changed[name] = value
	return changed
}

func examine(ctx context.Context, t *testing.T, w *world) Report {
	t.Helper()
	report, err := Run(ctx, w.options)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{plantedToken, plantedKey} {
		if bytes.Contains(text, []byte(hidden)) {
			t.Errorf("the report shows a secret: %s", text)
		}
	}
	return report
}
