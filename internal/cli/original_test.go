package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/testkit"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// The template of pools of prefect-northflank 1.0.1, as Prefect stores it. It is
// read when the package's tests begin, as some of them change the folder.
var originalTemplate, originalTemplateErr = os.ReadFile("../jobspec/testdata/original-base-job-template.json")

// editedOriginal is that template after its user changed a default, wrote two
// values into job_configuration and added a job variable.
func editedOriginal() (json.RawMessage, error) {
	edited := string(originalTemplate)
	for _, edit := range [][2]string{
		{`"default": "nf-compute-20"`, `"default": "nf-compute-200"`},
		{`"{{ settings_active_deadline_seconds }}"`, `7200`},
		{`"{{ labels }}"`, `{"team": "{{ team }}"}`},
		{`"properties": {
      "name"`, `"properties": {
      "team": {"type": "string", "default": "data"},
      "name"`},
	} {
		if strings.Count(edited, edit[0]) != 1 {
			return nil, errors.Join(originalTemplateErr, fmt.Errorf("the original template does not have %s once", edit[0]))
		}
		edited = strings.Replace(edited, edit[0], edit[1], 1)
	}
	return json.RawMessage(edited), nil
}

// originalPreparer renders flow runs of a pool that 1.0.1 made.
func originalPreparer(t *testing.T, template json.RawMessage) (*worker.Preparer, *testkit.Prefect, prefect.WorkPool) {
	t.Helper()
	p := testkit.NewPrefect()
	p.AddPool(testkit.PoolSpec{Name: "old", Template: template})
	settings := prefect.DefaultSettings()
	settings.APIURL = testkit.BaseURL
	client, err := prefect.NewClient(prefect.ClientOptions{
		Settings: settings, HTTPClient: &http.Client{Transport: p.Transport()}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := client.WorkPool(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	return &worker.Preparer{Prefect: client, WorkerName: "worker-1", Account: jobspec.Account{
		BaseURL: "https://own.example", Token: secret.New("own-token"),
	}}, p, pool
}

// Every form in which 1.0.1 took credentials means the same account, in a pool of
// its own and in one that was upgraded since.
func TestCredentialsOfTheOriginal(t *testing.T) {
	t.Parallel()
	block := jobspec.Account{BaseURL: "https://block.example", Token: secret.New("block-token")}
	tests := []struct {
		name  string
		given func(id string) any // what the deployment gives; nil: nothing
		dflt  func(id string) any // what the pool has as the default
		want  jobspec.Account
		clear bool   // the token stands in the deployment in clear
		err   string // part of the error; "" is none
	}{
		{name: "nothing", want: jobspec.Account{BaseURL: "https://own.example", Token: secret.New("own-token")}},
		{
			name: "null", given: func(string) any { return nil },
			want: jobspec.Account{BaseURL: "https://own.example", Token: secret.New("own-token")},
		},
		{
			name: "content of the block", given: func(string) any { return vars{"api_token": "inline-token", "base_url": "https://inline.example"} },
			want: jobspec.Account{BaseURL: "https://inline.example", Token: secret.New("inline-token")}, clear: true,
		},
		{
			name: "content without an address, with more keys", given: func(string) any { return vars{"api_token": "inline-token", "block_type_slug": "northflank"} },
			want: jobspec.Account{BaseURL: "https://api.northflank.com", Token: secret.New("inline-token")}, clear: true,
		},
		{name: "block by name", given: func(string) any { return "{{ prefect.blocks.northflank.creds }}" }, want: block},
		{
			name: "token by name", given: func(string) any { return vars{"api_token": "{{ prefect.blocks.northflank.creds.api_token }}"} },
			want: jobspec.Account{BaseURL: "https://api.northflank.com", Token: secret.New("block-token")},
		},
		{
			name: "token of a secret, address of a variable", given: func(string) any {
				return vars{"api_token": "{{ prefect.blocks.secret.token }}", "base_url": "{{ prefect.variables.address }}"}
			},
			want: jobspec.Account{BaseURL: "https://variable.example", Token: secret.New("secret-token")},
		},
		{name: "reference", given: func(id string) any { return vars{"$ref": vars{"block_document_id": id}} }, want: block},
		{name: "short reference", given: func(id string) any { return vars{"$ref": id} }, want: block},
		{name: "reference of the pool", dflt: func(id string) any { return vars{"$ref": vars{"block_document_id": id}} }, want: block},
		{name: "unknown block", given: func(string) any { return "{{ prefect.blocks.northflank.nope }}" }, err: "Block not found: 'nope' of type 'northflank'"},
	}
	for _, upgraded := range []bool{false, true} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, upgraded %t", tt.name, upgraded), func(t *testing.T) {
				t.Parallel()
				template := json.RawMessage(originalTemplate)
				var err error
				if upgraded {
					if template, _, err = jobspec.UpgradeTemplate(template); err != nil {
						t.Fatal(err)
					}
				}
				preparer, p, pool := originalPreparer(t, template)
				id := p.AddBlock("northflank", "creds", vars{"api_token": "block-token", "base_url": "https://block.example"}, "api_token")
				p.AddBlock("secret", "token", vars{"value": "secret-token"}, "value")
				p.SetVariable("address", "https://variable.example")
				if tt.dflt != nil {
					if pool.BaseJobTemplate, err = jobspec.WithDefault(pool.BaseJobTemplate, "credentials", tt.dflt(id)); err != nil {
						t.Fatal(err)
					}
				}
				given := vars{"project_id": "my-project"}
				if tt.given != nil {
					given["credentials"] = tt.given(id)
				}
				prepared, err := prepare(t, preparer, p, pool, given)
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Errorf("Prepare: %v, want an error with %q", err, tt.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, prepared.Spec.Account, cmp.AllowUnexported(secret.Value{})); diff != "" {
					t.Errorf("account (-want +got):\n%s", diff)
				}
				checkClear(t, prepared.Warnings, tt.clear, upgraded)
			})
		}
	}
}

func prepare(t *testing.T, preparer *worker.Preparer, p *testkit.Prefect, pool prefect.WorkPool, given vars) (*worker.Prepared, error) {
	t.Helper()
	id := p.AddDeployment(testkit.DeploymentSpec{Flow: "my-flow", Name: "old", Pool: "old", JobVariables: given})
	fr, err := preparer.Prefect.FlowRun(t.Context(), p.Schedule(testkit.FlowRunSpec{Deployment: id}))
	if err != nil {
		t.Fatal(err)
	}
	return preparer.Prepare(t.Context(), pool, fr)
}

// checkClear checks that the token in clear is told of with what to do, in a pool
// that has credentials_block and in one that has not.
func checkClear(t *testing.T, warnings []jobspec.Warning, want, upgraded bool) {
	t.Helper()
	var got []string
	for _, w := range warnings {
		if strings.Contains(w.Text, "in clear") {
			got = append(got, w.Text)
		}
		if strings.Contains(w.Text, "-token") {
			t.Errorf("a token stands in the warning %s", w)
		}
	}
	switch {
	case len(got) == 0 && !want:
	case len(got) != 1 || !want || !strings.Contains(got[0], "credentials_block") || strings.Contains(got[0], "pool upgrade old") == upgraded:
		t.Errorf("warnings of a token in clear: %q, want one: %t, with the upgrade of the pool: %t", got, want, !upgraded)
	}
}

// What 1.0.1 took in a form that is not quite the type's is taken, and means the
// same; where it never reached Northflank, it is told that it still does not.
func TestValuesOfTheOriginal(t *testing.T) {
	t.Parallel()
	preparer, p, pool := originalPreparer(t, originalTemplate)
	prepared, err := prepare(t, preparer, p, pool, vars{
		"project_id": "my-project", "cleanup_job": "false", "settings_backoff_limit": "3", "settings_active_deadline_seconds": 60.0,
		"infrastructure_architecture": "ARM", "command": "", "env": vars{"N": 1, "UNSET": nil}, "env.DOT": "1", "runtime_environment.B": true,
		"runtime_environment": vars{"A": "{{ prefect.variables.missing }}"}, "build_configuration_docker_credentials": []any{"docker"}, "no_such": 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	spec := prepared.Spec
	if spec.Cleanup || spec.Job.Settings.BackoffLimit != 3 || spec.Deadline != time.Minute || spec.Job.Infrastructure.Architecture != "arm" {
		t.Errorf("Cleanup %t, settings %+v, deadline %s, infrastructure %+v", spec.Cleanup, spec.Job.Settings, spec.Deadline, spec.Job.Infrastructure)
	}
	if got := spec.Run.Deployment.Docker.CustomCommand; got != "prefect flow-run execute" {
		t.Errorf("command %q, want Prefect's", got)
	}
	if got := spec.Run.Deployment.External.ImagePath; got != "prefecthq/prefect:3-python3.12" {
		t.Errorf("image %q, want the one of 1.0.1", got)
	}
	for name, want := range map[string]string{"N": "1", "DOT": "1", "A": "", "B": "True"} {
		if got, ok := spec.Run.RuntimeEnvironment[name]; got != want || !ok {
			t.Errorf("environment variable %s = %q, %t, want %q", name, got, ok, want)
		}
	}
	if got, ok := spec.Run.RuntimeEnvironment["UNSET"]; ok {
		t.Errorf("environment variable UNSET = %q, want none", got)
	}
	var told []string
	for _, w := range prepared.Warnings {
		told = append(told, w.Variable)
	}
	if diff := cmp.Diff([]string{"no_such", "build_configuration_docker_credentials", "billing_deployment_plan"}, told); diff != "" {
		t.Errorf("job variables with a warning (-want +got):\n%s", diff)
	}
}

// A pool that was made by REST alone has an empty template; ours holds then.
func TestPoolWithoutATemplate(t *testing.T) {
	t.Parallel()
	preparer, p, pool := originalPreparer(t, nil)
	prepared, err := prepare(t, preparer, p, pool, vars{"project_id": "my-project", "job_scope": "deployment"})
	if err != nil {
		t.Fatal(err)
	}
	if got := prepared.Spec.Scope; got != jobspec.ScopeDeployment {
		t.Errorf("scope %q, want %q", got, jobspec.ScopeDeployment)
	}
}

// A pool of another type is served all the same, as 1.0.1 did, with a warning.
func TestPoolOfAnotherType(t *testing.T) {
	hermetic(t, nil)
	_, api := newServer(t)
	t.Setenv("PREFECT_API_URL", api)
	status, _, stderr := run(t, "", "worker", "start", "--pool", "process-pool", "--run-once")
	if want := `pool \"process-pool\" is of type \"process\", but this worker is of type \"northflank\"`; status != 0 || !strings.Contains(stderr, want) {
		t.Errorf("worker start: status %d, %s, want 0 and %s", status, stderr, want)
	}
}
