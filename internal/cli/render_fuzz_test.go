package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/testkit"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// FuzzRenderIsWhatIsSent: what the render command prints as the bodies is what
// Northflank receives from a worker for the same flow run, to the byte; only a
// text that holds a secret differs, and then it is masked.
func FuzzRenderIsWhatIsSent(f *testing.F) {
	for _, seed := range []struct{ name, variables string }{
		{"crazy-otter", `{}`},
		{"Straße & <Söhne> \u2028", `{"name": "{{ ctx.flow.name }} of {{ ctx.flow_run.name }}", "job_scope": "flow-run"}`},
		{"a", `{"env": {"A": "x<y>&z", "B": null, "API_TOKEN": "` + plantedPassword + `", "n": 1.0, "t": true}, "job_scope": "deployment"}`},
		{"a", `{"runtime_environment": {"PATH": "/bin", "PREFECT_API_URL": "https://prefect.example/api"}, "env.A": "1", "labels": {"team": "data"}}`},
		{"a", `{"billing_gpu_enabled": true, "billing_gpu_type": "h100-80", "billing_gpu_count": "2", "billing_deployment_plan": "nf-gpu-h100-80-2g"}`},
		{"a", `{"deployment_internal_id": "my-service", "deployment_internal_branch": "main", "deployment_internal_build_sha": "latest"}`},
		{"a", `{"deployment_external_image_path": "ghcr.io/me/flows@sha256:0", "deployment_docker_custom_entrypoint": "sh -c", "command": "'echo \"hi\" && prefect flow-run execute'"}`},
		{"a", `{"runtime_files": {"/etc/app/a.json": "{\"password\": \"` + plantedPassword + `\"}"}, "env": {"PASSWORD": "` + plantedPassword + `"}}`},
		{"a", `{"settings_backoff_limit": 2, "settings_active_deadline_seconds": null, "settings_grace_period_seconds": 5, "deployment_storage_shm_size_mb": 64}`},
		{"a", `{"description": "nightly \"load\"", "tags": ["prefect"], "infrastructure_architecture": "arm64", "team_id": "my-team"}`},
	} {
		f.Add(seed.name, seed.variables)
	}
	for _, wrong := range wrongConfigurations {
		variables, err := json.Marshal(wrong.deployment)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("crazy-otter", string(variables))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		variables, err := json.Marshal(randomVariables(rng))
		if err != nil {
			f.Fatal(err)
		}
		f.Add("crazy-otter", string(variables))
	}
	hermetic(f, nil)
	var current *testkit.Prefect
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current.ServeHTTP(w, r) }))
	f.Cleanup(server.Close)
	f.Setenv("PREFECT_API_URL", server.URL+"/api")
	f.Setenv("PREFECT_CLIENT_MAX_RETRIES", "0")

	f.Fuzz(func(t *testing.T, name, variables string) {
		var given vars
		if json.Unmarshal([]byte(variables), &given) != nil || name == "" {
			t.Skip("no JSON object, or no name")
		}
		current = testkit.NewPrefect()
		furnish(current)
		deployment := current.AddDeployment(testkit.DeploymentSpec{
			Flow: "my-flow", Name: "my-deployment", Pool: "my-pool", JobVariables: wrongConfiguration{deployment: given}.variables(),
		})
		id := current.Schedule(testkit.FlowRunSpec{Deployment: deployment, Name: name})
		status, stdout, stderr := run(t, "", "render", "--flow-run", id, "--name", "worker-1", "--output", "json")
		prepared, err := prepareAsWorker(t, server.URL+"/api", id)
		if (status == 0) != (err == nil) {
			t.Fatalf("render ended with status %d and %q, a worker with %v", status, stderr, err)
		}
		if err != nil {
			return
		}
		var rendered struct{ Job, Run json.RawMessage }
		if err := json.Unmarshal([]byte(stdout), &rendered); err != nil {
			t.Fatalf("render printed %q: %v", stdout, err)
		}
		job, jobRun := send(t, prepared)
		scrub := secret.NewScrubber(prepared.Spec.Secrets...)
		compare(t, scrub, rendered.Job, job)
		compare(t, scrub, rendered.Run, jobRun)
	})
}

// randomVariables draws job variables from the table. Those that exclude one
// another are left to the seeds.
func randomVariables(rng *rand.Rand) vars {
	texts := []string{"a", "x < y && z", "Straße", "{{ prefect.blocks.secret.database.password }}", "{{ name }}", "\u2028\t\""}
	text := func() string { return texts[rng.IntN(len(texts))] }
	all := vars{}
	for _, v := range jobspec.Variables() {
		excluding := strings.HasPrefix(v.Name, "deployment_internal_") || strings.HasPrefix(v.Name, "billing_gpu_") || strings.HasSuffix(v.Name, "_config_type")
		if excluding || v.Type == jobspec.TypeCredentials || v.Name == "credentials_block" || rng.IntN(3) > 0 {
			continue
		}
		switch {
		case v.Type == jobspec.TypeInteger:
			all[v.Name] = min(max(v.Min, 1)+rng.IntN(5), v.Max)
		case v.Type == jobspec.TypeBoolean:
			all[v.Name] = rng.IntN(2) == 0
		case v.Type == jobspec.TypeTextList:
			all[v.Name] = []string{"prefect", "nightly"}
		case v.Name == "runtime_files":
			all[v.Name] = vars{"/etc/a.txt": text(), "/etc/b.txt": text()}
		case v.Type == jobspec.TypeTextMap || v.Type == jobspec.TypeEnvironment:
			all[v.Name] = vars{"A": text(), "MY_SECRET": text()}
		case len(v.OneOf) > 0:
			all[v.Name] = v.OneOf[rng.IntN(len(v.OneOf))]
		case v.Pattern != nil:
			all[v.Name] = v.Example
		default:
			all[v.Name] = text()
		}
	}
	return all
}

// prepareAsWorker does what a worker does with a flow run before it claims it.
func prepareAsWorker(t *testing.T, api, id string) (*worker.Prepared, error) {
	t.Helper()
	client, settings := newClient(t, api)
	fr, err := client.FlowRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := client.WorkPool(t.Context(), fr.WorkPoolName)
	if err != nil {
		t.Fatal(err)
	}
	preparer := worker.Preparer{Prefect: client, SettingsEnv: settings.Environment(), WorkerName: "worker-1"}
	return preparer.Prepare(t.Context(), pool, fr)
}

// send starts the flow run as a worker does, and returns the bodies that an
// emulator of Northflank received.
func send(t *testing.T, p *worker.Prepared) (job, jobRun []byte) {
	t.Helper()
	nf, err := emulator.New(emulator.Config{
		Projects: []string{p.Spec.ProjectID}, Tokens: []emulator.Token{{Name: "good", Value: plantedToken}},
		Runner: emulator.RunnerFunc(func(context.Context, emulator.Task) int { return 0 }),
	})
	if err != nil {
		t.Skipf("the emulator takes no such project: %v", err)
	}
	defer nf.Close()
	received := map[string][]byte{}
	client, err := northflank.New(northflank.Options{
		BaseURL: p.Spec.Account.BaseURL, TeamID: p.Spec.Account.TeamID, Token: p.Spec.Account.Token,
		HTTPClient: &http.Client{Transport: recorder{nf.Transport(), received}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// Whether Northflank likes them is another question.
	_, _ = client.PutJob(t.Context(), p.Spec.ProjectID, p.Spec.JobNamed(0))
	_, _ = client.StartRun(t.Context(), p.Spec.ProjectID, p.Spec.Job.Name, p.Spec.Run)
	for _, b := range nf.Bodies() {
		method, _, _ := strings.Cut(b.Route, " ")
		if b.Body != string(received[method]) {
			t.Errorf("%s: the emulator recorded %q of %q", b.Route, b.Body, received[method])
		}
	}
	return received[http.MethodPut], received[http.MethodPost]
}

// recorder keeps the last body by method.
type recorder struct {
	next   http.RoundTripper
	bodies map[string][]byte
}

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	r.bodies[req.Method] = body
	req.Body = io.NopCloser(bytes.NewReader(body))
	return r.next.RoundTrip(req)
}

// compare wants equal bytes, unless the body holds a secret: then equal bytes
// where no secret is, and no secret.
func compare(t *testing.T, scrub *secret.Scrubber, rendered, sent []byte) {
	t.Helper()
	if bytes.Equal(rendered, sent) {
		if bytes.Contains(rendered, []byte(plantedToken)) {
			t.Errorf("the token is shown: %s", rendered)
		}
		return
	}
	var shown, real any
	if json.Unmarshal(rendered, &shown) != nil || json.Unmarshal(sent, &real) != nil {
		t.Fatalf("not JSON:\nrender   %s\nreceived %s", rendered, sent)
	}
	if !masked(scrub, shown, real) {
		t.Errorf("render and Northflank differ by more than masked secrets:\nrender   %s\nreceived %s", rendered, sent)
	}
}

// masked reports whether shown is real but for masked texts.
func masked(scrub *secret.Scrubber, shown, real any) bool {
	switch real := real.(type) {
	case string:
		return shown == scrub.Text(real)
	case []any:
		list, ok := shown.([]any)
		if !ok || len(list) != len(real) {
			return false
		}
		for i := range real {
			if !masked(scrub, list[i], real[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		object, ok := shown.(map[string]any)
		if !ok || len(object) != len(real) {
			return false
		}
		for key := range real {
			if !masked(scrub, object[key], real[key]) {
				return false
			}
		}
		return true
	}
	return shown == real
}
