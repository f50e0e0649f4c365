//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/localstack"
)

// Where a job variable ends up.
const (
	inJob = "job"
	inRun = "job run"
)

// sent says where the value of a job variable is looked for in what the local
// Northflank received.
type sent struct {
	value any
	in    string // inJob or inRun
	path  string // keys joined by a slash
	want  any    // as JSON decodes it
}

// For each set of job variables one flow run is started; its command is not
// Prefect's, since only the requests are looked at.
func TestJobVariablesReachNorthflank(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	api := localstack.API{URL: f.northflank.URL, Header: map[string]string{"Authorization": "Bearer " + f.northflank.Token}}
	if err := api.Call(t.Context(), http.MethodPost, "/v1/tags", map[string]any{"name": "e2e-tag", "color": "#57A3FF"}, nil); err != nil {
		t.Fatal(err)
	}
	f.startWorker()
	tested := map[string]bool{"project_id": true, "deployment_docker_config_type": true}
	for i, set := range []map[string]sent{externalImage, internalBuild, plainCommand} {
		variables := map[string]any{}
		for name, s := range set {
			variables[name] = s.value
			tested[name] = true
		}
		job, run := f.startWith(variables, i)
		for name, s := range set {
			body := map[string]any{inJob: job, inRun: run}[s.in]
			if got := at(body, s.path); !s.matches(got) {
				t.Errorf("set %d: %s = %v gave %s = %v in the %s, want %v", i+1, name, s.value, s.path, got, s.in, s.want)
			}
		}
	}
	for _, v := range jobspec.Variables() {
		if !tested[v.Name] && !slices.Contains(workerVariables, v.Name) {
			t.Errorf("job variable %s is in none of the sets of this test", v.Name)
		}
	}
}

var externalImage = map[string]sent{
	"name":                                 {"nightly", inJob, "name", contains("nightly")},
	"env":                                  {map[string]any{"FROM_ENV": "a"}, inRun, "runtimeEnvironment/FROM_ENV", "a"},
	"labels":                               {map[string]any{"team": "data"}, inJob, "deployment/metadata/labels/team", "data"},
	"deployment_metadata_annotations":      {map[string]any{"note": "nightly"}, inJob, "deployment/metadata/annotations/note", "nightly"},
	"description":                          {"Nightly report", inJob, "description", contains("Nightly report")},
	"tags":                                 {[]any{"e2e-tag"}, inJob, "tags", []any{"e2e-tag"}},
	"infrastructure_architecture":          {"arm", inJob, "infrastructure/architecture", "arm"},
	"billing_deployment_plan":              {"nf-compute-50", inRun, "billing/deploymentPlan", "nf-compute-50"},
	"deployment_external_image_path":       {"ghcr.io/acme/flows:1.2", inRun, "deployment/external/imagePath", "ghcr.io/acme/flows:1.2"},
	"deployment_external_credentials":      {"acme-registry", inRun, "deployment/external/credentials", "acme-registry"},
	"deployment_docker_custom_command":     {"true --as=command", inRun, "deployment/docker/customCommand", "true --as=command"},
	"deployment_docker_custom_entrypoint":  {"env", inRun, "deployment/docker/customEntrypoint", "env"},
	"runtime_environment":                  {map[string]any{"PREFECT_API_URL": "http://flows.example/api"}, inRun, "runtimeEnvironment/PREFECT_API_URL", "http://flows.example/api"},
	"runtime_files":                        {map[string]any{"/etc/flow.ini": "a=1"}, inRun, "runtimeFiles//etc/flow.ini/data", base64.StdEncoding.EncodeToString([]byte("a=1"))},
	"settings_backoff_limit":               {2, inJob, "settings/backoffLimit", 2.0},
	"settings_active_deadline_seconds":     {7200, inJob, "settings/activeDeadlineSeconds", 7200.0},
	"settings_grace_period_seconds":        {45, inJob, "deployment/gracePeriodSeconds", 45.0},
	"settings_run_on_source_change":        {"never", inJob, "settings/runOnSourceChange", "never"},
	"deployment_storage_ephemeral_size_mb": {2048, inRun, "deployment/storage/ephemeralStorage/storageSize", 2048.0},
	"deployment_storage_shm_size_mb":       {256, inRun, "deployment/storage/shmSize", 256.0},
}

var internalBuild = map[string]sent{
	"deployment_internal_id":           {"build-service", inJob, "deployment/internal/id", "build-service"},
	"deployment_internal_branch":       {"main", inJob, "deployment/internal/branch", "main"},
	"deployment_internal_build_sha":    {"latest", inRun, "deployment/internal/buildSHA", "latest"},
	"deployment_buildpack_config_type": {"customCommand", inRun, "deployment/buildpack/configType", "customCommand"},
	"billing_gpu_enabled":              {true, inJob, "billing/gpu/enabled", true},
	"billing_gpu_type":                 {"h100-80", inJob, "billing/gpu/configuration/gpuType", "h100-80"},
	"billing_gpu_count":                {2, inJob, "billing/gpu/configuration/gpuCount", 2.0},
	"billing_gpu_timesliced":           {false, inJob, "billing/gpu/configuration/timesliced", false},
	"billing_deployment_plan":          {"nf-gpu-h100-80-1g", inJob, "billing/deploymentPlan", "nf-gpu-h100-80-1g"},
	"command":                          {"true --as=buildpack", inRun, "deployment/buildpack/customCommand", "true --as=buildpack"},
}

var plainCommand = map[string]sent{
	"deployment_internal_id":        {"build-service", inJob, "deployment/internal/id", "build-service"},
	"deployment_internal_build_id":  {"build-456", inRun, "deployment/internal/buildId", "build-456"},
	"command":                       {"true --as=command", inRun, "deployment/docker/customCommand", "true --as=command"},
	"runtime_environment_templates": {true, inRun, "runtimeEnvironment/GREETING", "hello ${NAME}"},
	"env":                           {map[string]any{"GREETING": "hello ${NAME}"}, inRun, "runtimeEnvironment/GREETING", "hello ${NAME}"},
	"leave_out_prefect_credentials": {true, inRun, "runtimeEnvironment/PREFECT_API_KEY", nil},
	"job_scope":                     {"flow-run", inJob, "name", contains("pf-")},
}

// workerVariables tell the worker what to do and are no part of a request, or
// are tested where the account is what is tested.
var workerVariables = []string{
	"credentials", "credentials_block", "team_id", "cleanup_job", "build_configuration_docker_credentials",
	"start_retries", "start_timeout_seconds", "linger_timeout_seconds", "stream_output",
}

// contains is what a text must hold, where the worker adds something of its own.
type contains string

// matches reports whether a value found in a request is the one wanted.
func (s sent) matches(got any) bool {
	if part, ok := s.want.(contains); ok {
		text, _ := got.(string)
		return strings.Contains(text, string(part))
	}
	return cmp.Equal(s.want, got)
}

// startWith starts one flow run with the job variables and returns the bodies of
// the requests that it caused.
func (f *fixture) startWith(variables map[string]any, n int) (job, run map[string]any) {
	f.Helper()
	both := maps.Clone(variables)
	if _, set := both["deployment_docker_custom_entrypoint"]; set {
		both["deployment_docker_config_type"] = "customEntrypointCustomCommand"
	}
	puts, starts := len(f.bodies(routePutJob)), len(f.bodies(routeStartRun))
	id := f.run(f.deploy(deployment{Flow: fmt.Sprintf("set-%d", n+1), JobVariables: both}), runRequest{})
	f.await("the start of a job run", func() bool { return len(f.bodies(routeStartRun)) > starts }, func() string {
		return fmt.Sprintf("the flow run is %s", f.flowRun(id).State)
	})
	return f.decode(f.bodies(routePutJob)[puts]), f.decode(f.bodies(routeStartRun)[starts])
}

func (f *fixture) decode(recorded localstack.RecordedBody) map[string]any {
	f.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(recorded.Body), &body); err != nil {
		f.Fatal(err)
	}
	return body
}

// at returns what a body holds under keys joined by a slash, where a key that
// begins with a slash is a path: "files//etc/a/data" has the keys "files",
// "/etc/a" and "data". It returns nil where there is nothing.
func at(body any, path string) any {
	for path != "" {
		object, ok := body.(map[string]any)
		if !ok {
			return nil
		}
		key, rest, _ := strings.Cut(path, "/")
		for known := range object {
			if strings.HasPrefix(known, "/") && strings.HasPrefix(path, known+"/") {
				key, rest = known, strings.TrimPrefix(path, known+"/")
			}
		}
		body, path = object[key], rest
	}
	return body
}
