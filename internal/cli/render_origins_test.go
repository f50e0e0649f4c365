package cli_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/testkit"
)

// renderedOrigins is the part of render's JSON that explains.
type renderedOrigins struct {
	Origins struct{ Job, Run, Worker []valueOrigin }
}

type valueOrigin struct{ Place, Value, Variable, Source, Via string }

// Values whose origin is not plain from their place.
func TestRenderOrigins(t *testing.T) {
	hermetic(t, nil)
	const neutral = "neutral in the job; the job run overrides it"
	tests := []struct {
		name       string
		deployment vars
		flowRun    vars
		job, run   map[string]valueOrigin // by place; of each only what is not empty is compared
		worker     map[string]valueOrigin // by job variable
	}{
		{
			name:       "GPU stands twice, and its plan in both requests",
			deployment: vars{"billing_gpu_enabled": true, "billing_gpu_type": "h100-80", "billing_deployment_plan": "nf-gpu-h100-80-1g"},
			job: map[string]valueOrigin{
				"billing.deploymentPlan":               {Variable: "billing_deployment_plan", Source: "deployment"},
				"billing.gpu.configuration.gpuType":    {Variable: "billing_gpu_type", Source: "deployment"},
				"deployment.gpu.configuration.gpuType": {Variable: "billing_gpu_type", Source: "deployment"},
				"deployment.gpu.enabled":               {Value: "true", Variable: "billing_gpu_enabled", Source: "deployment"},
				"billing.gpu.configuration.gpuCount":   {Value: "1", Variable: "billing_gpu_count", Source: "default of the work pool"},
			},
			run: map[string]valueOrigin{"billing.deploymentPlan": {Variable: "billing_deployment_plan", Source: "deployment"}},
		},
		{
			name:       "what each job run overrides is neutral in the job",
			deployment: vars{"deployment_external_image_path": "me/flows:v1"},
			job:        map[string]valueOrigin{"billing.deploymentPlan": {Value: "nf-compute-20", Source: neutral}, "deployment.external.imagePath": {Source: neutral}},
			run:        map[string]valueOrigin{"deployment.external.imagePath": {Value: "me/flows:v1", Variable: "deployment_external_image_path", Source: "deployment"}},
		},
		{
			name:       "of two commands the one that wins",
			deployment: vars{"command": "a", "deployment_docker_custom_command": "b"},
			run:        map[string]valueOrigin{"deployment.docker.customCommand": {Value: "b", Variable: "deployment_docker_custom_command", Source: "deployment"}},
		},
		{
			name:       "the general command where it is alone",
			deployment: vars{"command": "a"},
			run:        map[string]valueOrigin{"deployment.docker.customCommand": {Value: "a", Variable: "command", Source: "deployment"}},
		},
		{
			name:       "command of a buildpack",
			deployment: vars{"deployment_internal_id": "my-service", "deployment_internal_branch": "main", "deployment_buildpack_config_type": "customCommand", "command": "a"},
			job:        map[string]valueOrigin{"deployment.internal.id": {Variable: "deployment_internal_id", Source: "deployment"}},
			run: map[string]valueOrigin{
				"deployment.buildpack.configType":    {Variable: "deployment_buildpack_config_type", Source: "deployment"},
				"deployment.buildpack.customCommand": {Value: "a", Variable: "command", Source: "deployment"},
			},
		},
		{
			name:       "environment from everywhere",
			deployment: vars{"env": vars{"A": "1", "B": "1", "C": "{{ prefect.blocks.secret.database.password }}"}, "runtime_environment": vars{"B": "2"}},
			flowRun:    vars{"env": vars{"A": "3"}},
			run: map[string]valueOrigin{
				"runtimeEnvironment.A":                    {Value: "3", Variable: "env", Source: "flow run"},
				"runtimeEnvironment.B":                    {Value: "2", Variable: "runtime_environment", Source: "deployment"},
				"runtimeEnvironment.C":                    {Value: "***", Variable: "env", Source: "deployment", Via: "block secret/database"},
				"runtimeEnvironment.PREFECT_API_URL":      {Source: "worker's Prefect settings"},
				"runtimeEnvironment.PREFECT__WORKER_NAME": {Value: "worker-1", Source: "worker"},
			},
		},
		{
			name:       "items of maps",
			deployment: vars{"labels": vars{"team": "data"}, "runtime_files": vars{"/etc/a.txt": "x"}, "deployment_metadata_annotations": vars{"a/b": "c"}},
			job: map[string]valueOrigin{
				"deployment.metadata.labels.team":     {Value: "data", Variable: "labels", Source: "deployment"},
				"deployment.metadata.annotations.a/b": {Value: "c", Variable: "deployment_metadata_annotations", Source: "deployment"},
			},
			run: map[string]valueOrigin{"runtimeFiles./etc/a.txt.data": {Variable: "runtime_files", Source: "deployment"}},
		},
		{
			name:       "the pool's default of 3 does not count",
			deployment: vars{},
			job:        map[string]valueOrigin{"settings.backoffLimit": {Value: "0", Variable: "settings_backoff_limit", Source: "built-in default"}},
		},
		{
			name:       "a chosen 3 does",
			deployment: vars{"settings_backoff_limit": 3, "name": "nightly", "description": "mine"},
			job: map[string]valueOrigin{
				"settings.backoffLimit": {Value: "3", Variable: "settings_backoff_limit", Source: "deployment"},
				"name":                  {Variable: "name", Source: "deployment"},
				"description":           {Variable: "description", Source: "deployment"},
			},
		},
		{
			name:       "beside the bodies",
			deployment: vars{"team_id": "my-team", "stream_output": true},
			flowRun:    vars{"job_scope": "flow-run"},
			worker: map[string]valueOrigin{
				"credentials_block": {Place: "Authorization header", Value: "***", Source: "deployment", Via: "block northflank/northflank-creds"},
				"project_id":        {Value: "my-project", Source: "deployment"},
				"team_id":           {Value: "my-team", Source: "deployment"},
				"job_scope":         {Value: "flow-run", Source: "flow run"},
				"stream_output":     {Value: "true", Source: "deployment"},
				"start_retries":     {Value: "1", Source: "default of the work pool"},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, api := newServer(t)
			t.Setenv("PREFECT_API_URL", api)
			deployment := p.AddDeployment(testkit.DeploymentSpec{Flow: "my-flow", Name: "my-deployment", Pool: "my-pool", JobVariables: wrongConfiguration{deployment: tt.deployment}.variables()})
			id := p.Schedule(testkit.FlowRunSpec{Deployment: deployment, JobVariables: tt.flowRun})
			status, stdout, stderr := run(t, "", "render", "--flow-run", id, "--name", "worker-1", "-o", "json")
			var got renderedOrigins
			if err := json.Unmarshal([]byte(stdout), &got); err != nil || status != 0 {
				t.Fatalf("render: status %d, %s, %v", status, stderr, err)
			}
			byPlace := func(o valueOrigin) string { return o.Place }
			compareOrigins(t, "job", tt.job, got.Origins.Job, byPlace)
			compareOrigins(t, "job run", tt.run, got.Origins.Run, byPlace)
			compareOrigins(t, "worker", tt.worker, got.Origins.Worker, func(o valueOrigin) string { return o.Variable })
		})
	}
}

// compareOrigins compares what the wanted origins say; "" in one is not compared.
func compareOrigins(t *testing.T, what string, want map[string]valueOrigin, all []valueOrigin, key func(valueOrigin) string) {
	t.Helper()
	got := map[string]valueOrigin{}
	for _, o := range all {
		k := key(o)
		w, ok := want[k]
		if !ok {
			continue
		}
		for _, field := range []struct{ want, got *string }{{&w.Place, &o.Place}, {&w.Value, &o.Value}, {&w.Variable, &o.Variable}, {&w.Via, &o.Via}} {
			if *field.want == "" {
				*field.got = ""
			}
		}
		got[k] = o
	}
	if len(want) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("origins in %s mismatch (-want +got):\n%s", what, diff)
	}
}
