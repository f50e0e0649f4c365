package jobspec

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// placeSamples holds, for each job variable with a place in a request, job
// variables that set it and what must then stand at that place.
var placeSamples = map[string]struct {
	vars vars
	want any
}{
	"env":                             {vars{"env": vars{"A": 1}}, "1"},
	"labels":                          {vars{"labels": vars{"A": "b"}}, vars{"A": "b"}},
	"command":                         {vars{"command": "prefect flow-run execute -v"}, "prefect flow-run execute -v"},
	"tags":                            {vars{"tags": []any{"a", "b-c"}}, []any{"a", "b-c"}},
	"infrastructure_architecture":     {vars{"infrastructure_architecture": "ARM"}, "arm"},
	"billing_deployment_plan":         {vars{"billing_deployment_plan": "nf-compute-400"}, "nf-compute-400"},
	"billing_gpu_enabled":             {vars{"billing_gpu_enabled": "yes", "billing_gpu_type": "l4-24"}, true},
	"billing_gpu_type":                {vars{"billing_gpu_enabled": true, "billing_gpu_type": "l4-24"}, "l4-24"},
	"billing_gpu_count":               {vars{"billing_gpu_enabled": true, "billing_gpu_type": "l4-24", "billing_gpu_count": "2"}, 2.0},
	"billing_gpu_timesliced":          {vars{"billing_gpu_enabled": true, "billing_gpu_type": "l4-24", "billing_gpu_timesliced": true}, true},
	"deployment_external_image_path":  {vars{"deployment_external_image_path": "ghcr.io/a/b:1"}, "ghcr.io/a/b:1"},
	"deployment_external_credentials": {vars{"deployment_external_credentials": "reg-1"}, "reg-1"},
	"deployment_internal_id":          {vars{"deployment_internal_id": "svc", "deployment_internal_branch": "main"}, "svc"},
	"deployment_internal_branch":      {vars{"deployment_internal_id": "svc", "deployment_internal_branch": "feature/x"}, "feature/x"},
	"deployment_internal_build_sha": {
		vars{"deployment_internal_id": "svc", "deployment_internal_build_sha": strings.Repeat("a1", 20)}, strings.Repeat("a1", 20),
	},
	"deployment_internal_build_id":         {vars{"deployment_internal_id": "svc", "deployment_internal_build_id": "premium-guide-6393"}, "premium-guide-6393"},
	"deployment_docker_config_type":        {vars{"deployment_docker_config_type": "default"}, "default"},
	"deployment_docker_custom_command":     {vars{"deployment_docker_custom_command": "python my_script.py", "command": "no"}, "python my_script.py"},
	"deployment_docker_custom_entrypoint":  {vars{"deployment_docker_custom_entrypoint": "tini --"}, "tini --"},
	"deployment_buildpack_config_type":     {vars{"deployment_internal_id": "svc", "deployment_internal_branch": "b", "deployment_buildpack_config_type": "originalEntrypointCustomCommand"}, "originalEntrypointCustomCommand"},
	"runtime_environment":                  {vars{"runtime_environment": vars{"A": "1"}}, "1"},
	"runtime_environment_templates":        {vars{"runtime_environment_templates": true, "env": vars{"A": "${B}"}}, "${B}"},
	"runtime_files":                        {vars{"runtime_files": vars{"/etc/a": "hi"}}, vars{"/etc/a": vars{"data": "aGk=", "encoding": "utf-8"}}},
	"settings_backoff_limit":               {vars{"settings_backoff_limit": 3}, 3.0},
	"settings_active_deadline_seconds":     {vars{"settings_active_deadline_seconds": 60.0}, 60.0},
	"settings_grace_period_seconds":        {vars{"settings_grace_period_seconds": 90}, 90.0},
	"settings_run_on_source_change":        {vars{"settings_run_on_source_change": "always"}, "always"},
	"deployment_storage_ephemeral_size_mb": {vars{"deployment_storage_ephemeral_size_mb": 4096}, 4096.0},
	"deployment_storage_shm_size_mb":       {vars{"deployment_storage_shm_size_mb": 64}, 64.0},
	"deployment_metadata_annotations":      {vars{"deployment_metadata_annotations": vars{"a": "b c"}}, vars{"a": "b c"}},
}

// Every job variable reaches the place that the table names for it, in the
// request that its level means, or changes the Spec for the worker.
func TestEveryVariableReachesItsPlace(t *testing.T) {
	t.Parallel()
	workerSamples := map[string]vars{
		"name":                                   {"name": "my job"},
		"credentials":                            {"credentials": vars{"api_token": "nf-planted-other"}},
		"credentials_block":                      nil, // resolved by the caller: see TestAccount
		"team_id":                                {"team_id": "my-team"},
		"project_id":                             {"project_id": "other"},
		"job_scope":                              {"job_scope": "deployment"},
		"cleanup_job":                            {"cleanup_job": false},
		"description":                            {"description": "mine"},
		"leave_out_prefect_credentials":          {"leave_out_prefect_credentials": true},
		"start_retries":                          {"start_retries": 0},
		"start_timeout_seconds":                  {"start_timeout_seconds": nil},
		"linger_timeout_seconds":                 {"linger_timeout_seconds": 0},
		"stream_output":                          {"stream_output": true},
		"build_configuration_docker_credentials": nil, // has no place
	}
	before := mustBuild(t, inputOf(valid(nil)))
	for _, v := range Variables() {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			sample, placed := placeSamples[v.Name]
			given, other := workerSamples[v.Name]
			switch {
			case placed == other:
				t.Fatalf("job variable %s needs a sample in one of the two tables", v.Name)
			case placed:
				spec := mustBuild(t, inputOf(valid(sample.vars)))
				body := tree(t, spec.Run)
				if v.Level == LevelJob {
					body = tree(t, spec.Job)
				}
				for key := range strings.SplitSeq(v.Place, ".") {
					body = body.(map[string]any)[key]
				}
				if v.Place == "runtimeEnvironment" {
					body = body.(map[string]any)["A"]
				}
				if diff := cmp.Diff(sample.want, body); diff != "" {
					t.Errorf("%s (-want +got):\n%s", v.Place, diff)
				}
			case given != nil:
				if cmp.Equal(before, mustBuild(t, inputOf(valid(given))), cmpSpec) {
					t.Errorf("%v changes nothing", given)
				}
			}
		})
	}
}

func TestBuildDefault(t *testing.T) {
	t.Parallel()
	spec := mustBuild(t, inputOf(valid(nil)))
	deadline := 3600
	wantJob := northflank.JobRequest{
		Name:        "pf-my-northflank-pool-" + spec.Job.Name[len(spec.Job.Name)-hashLength:],
		Description: spec.Job.Description,
		Billing:     northflank.Billing{DeploymentPlan: "nf-compute-20"},
		Deployment:  northflank.Deployment{External: &northflank.ExternalImage{ImagePath: "prefecthq/prefect:3-python3.12"}},
		Settings:    northflank.JobSettings{BackoffLimit: 0, RunOnSourceChange: "never", ActiveDeadlineSeconds: &deadline},
	}
	wantRun := northflank.RunRequest{
		RuntimeEnvironment: map[string]string{
			"PREFECT_API_URL": "https://prefect.example/api", "PREFECT_API_KEY": "pnu_planted_key", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
			"PREFECT__FLOW_RUN_ID": "0199c0de-0000-7000-8000-00000000000a", "PREFECT__WORKER_NAME": "worker 1",
			"PREFECT__FLOW_ID": "f10e0000-0000-4000-8000-000000000002", "PREFECT__FLOW_NAME": "my-flow",
			"PREFECT__DEPLOYMENT_ID": "de910000-0000-4000-8000-000000000003", "PREFECT__DEPLOYMENT_NAME": "my-northflank-deployment",
		},
		Billing: &northflank.Billing{DeploymentPlan: "nf-compute-20"},
		Deployment: &northflank.Deployment{
			External: &northflank.ExternalImage{ImagePath: "prefecthq/prefect:3-python3.12"},
			Docker:   &northflank.Docker{ConfigType: "customCommand", CustomCommand: "prefect flow-run execute"},
		},
	}
	if diff := cmp.Diff(wantJob, spec.Job); diff != "" {
		t.Errorf("Job (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantRun, spec.Run); diff != "" {
		t.Errorf("Run (-want +got):\n%s", diff)
	}
	if spec.StartRetries != 1 || spec.StartTimeout != 15*time.Minute || spec.LingerTimeout != 5*time.Minute ||
		spec.Deadline != time.Hour || spec.GracePeriod != 0 || spec.Stream || !spec.Cleanup || spec.Scope != ScopePool {
		t.Errorf("worker-level values are not the defaults: %+v", spec)
	}
}

// A pool made by 1.0.1 has none of the new variables, and one made by hand may
// have nothing at all: the defaults hold all the same.
func TestBuildWithoutTemplateDefaults(t *testing.T) {
	t.Parallel()
	in := inputOf(nil)
	in.Values, in.Origins = valid(nil), nil
	if diff := cmp.Diff(mustBuild(t, inputOf(valid(nil))), mustBuild(t, in), cmpSpec); diff != "" {
		t.Errorf("Spec without defaults (-with +without):\n%s", diff)
	}
}

func TestBackoffLimit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		value  any
		origin Origin
		want   int
	}{
		{"not set", nil, Origin{}, 0},
		{"untouched default", 3, Origin{Source: FromPoolDefault}, 0},
		{"edited default", 2, Origin{Source: FromPoolDefault}, 2},
		{"written into the template", 3, Origin{Source: FromPoolTemplate}, 3},
		{"deployment", 3, Origin{Source: FromDeployment}, 3},
		{"flow run", "3", Origin{Source: FromFlowRun, Via: "variable retries"}, 3},
		{"nobody knows", 3, Origin{}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := inputOf(valid(nil))
			in.Values["settings_backoff_limit"], in.Origins["settings_backoff_limit"] = tt.value, tt.origin
			if got := mustBuild(t, in).Job.Settings.BackoffLimit; got != tt.want {
				t.Errorf("backoffLimit = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestNullMeansNone(t *testing.T) {
	t.Parallel()
	spec := mustBuild(t, inputOf(valid(vars{
		"settings_active_deadline_seconds": nil, "start_timeout_seconds": nil, "linger_timeout_seconds": nil,
		"billing_gpu_count": nil, "cleanup_job": nil, "billing_deployment_plan": nil, "settings_run_on_source_change": nil,
	})))
	if spec.Job.Settings.ActiveDeadlineSeconds != nil || spec.Deadline != NoTimeout {
		t.Errorf("deadline = %v, %v, want none", spec.Job.Settings.ActiveDeadlineSeconds, spec.Deadline)
	}
	if spec.StartTimeout != NoTimeout || spec.LingerTimeout != NoTimeout {
		t.Errorf("timeouts = %v, %v, want none", spec.StartTimeout, spec.LingerTimeout)
	}
	if !spec.Cleanup || spec.Run.Billing.DeploymentPlan != defaultPlan || spec.Job.Settings.RunOnSourceChange != "never" {
		t.Errorf("null of the others is not the default: %+v", spec)
	}
}

// What a job run can override is not part of the job; what it cannot, is.
func TestFlowRunsShareJobs(t *testing.T) {
	t.Parallel()
	job := func(t *testing.T, given vars, change func(*Input)) northflank.JobRequest {
		in := inputOf(valid(given))
		if change != nil {
			change(&in)
		}
		return mustBuild(t, in).Job
	}
	first := job(t, nil, nil)
	other := func(in *Input) {
		in.FlowRun = Named{"other", "lazy-cat"}
		in.Deployment = Named{"other", "other"}
		in.SettingsEnv = nil
	}
	samples := map[string]vars{ // for variables without a sample in placeSamples
		"name": {"name": "x"}, "description": {"description": "x"}, "project_id": {"project_id": "x1"},
		"job_scope": {"job_scope": "deployment"}, "cleanup_job": {"cleanup_job": false},
	}
	for _, v := range Variables() {
		given, ok := samples[v.Name]
		if sample, placed := placeSamples[v.Name]; placed {
			given, ok = sample.vars, true
		}
		if !ok || v.Level == LevelWorker {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			got := job(t, given, other)
			if _, internal := given["deployment_internal_id"]; internal && v.Level == LevelRun {
				base := vars{"deployment_internal_id": given["deployment_internal_id"], "deployment_internal_branch": given["deployment_internal_branch"]}
				if diff := cmp.Diff(job(t, base, nil), got); diff != "" {
					t.Errorf("%s is a job run's, yet changes the job:\n%s", v.Name, diff)
				}
				return
			}
			if same := cmp.Equal(first, got); same != (v.Level == LevelRun) {
				t.Errorf("%s is of level %q; same job: %v", v.Name, v.Level, same)
			}
			if (got.Name == first.Name) != cmp.Equal(first, got) {
				t.Errorf("one name stands for two bodies:\n%s", cmp.Diff(first, got))
			}
		})
	}
	for name, change := range map[string]func(*Input){
		"worker": func(in *Input) { in.WorkerName = "worker 2" },
		"pool":   func(in *Input) { in.PoolID = "other" },
	} {
		if job(t, nil, change).Name == first.Name {
			t.Errorf("another %s has the same job", name)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	name := func(scope Scope, change func(*Input)) string {
		in := inputOf(valid(vars{"job_scope": string(scope)}))
		if change != nil {
			change(&in)
		}
		return mustBuild(t, in).Job.Name
	}
	flowRun := func(in *Input) { in.FlowRun.ID = "0199c0de-0000-7000-8000-00000000000b" }
	deployment := func(in *Input) { in.Deployment.ID = "other" }
	worker := func(in *Input) { in.WorkerName = "worker 2" }
	noDeployment := func(in *Input) { in.Deployment = Named{} }
	tests := []struct {
		scope  Scope
		prefix string
		change func(*Input)
		same   bool
	}{
		{ScopePool, "pf-my-northflank-pool-", flowRun, true},
		{ScopePool, "pf-my-northflank-pool-", deployment, true},
		{ScopePool, "pf-my-northflank-pool-", worker, false},
		{ScopeDeployment, "pf-my-northflank-deployment-", flowRun, true},
		{ScopeDeployment, "pf-my-northflank-deployment-", deployment, false},
		{ScopeDeployment, "pf-my-northflank-deployment-", worker, false},
		{ScopeFlowRun, "pf-brave-otter-", flowRun, false},
		{ScopeFlowRun, "pf-brave-otter-", worker, false}, // one worker a job
	}
	for _, tt := range tests {
		before, after := name(tt.scope, nil), name(tt.scope, tt.change)
		if !strings.HasPrefix(before, tt.prefix) {
			t.Errorf("scope %s: job %q, want %s...", tt.scope, before, tt.prefix)
		}
		if (before == after) != tt.same {
			t.Errorf("scope %s: jobs %q and %q, want the same: %v", tt.scope, before, after, tt.same)
		}
	}
	if got := name(ScopeDeployment, noDeployment); !strings.HasPrefix(got, "pf-my-flow-") {
		t.Errorf("scope deployment without a deployment: job %q, want pf-my-flow-...", got)
	}
}

func TestLanes(t *testing.T) {
	t.Parallel()
	spec := mustBuild(t, inputOf(valid(vars{"name": strings.Repeat("very long name ", 9)})))
	names := map[string]bool{}
	for lane := range 99 {
		job := spec.JobNamed(lane)
		if len(job.Name) > 52 || !docName.MatchString(job.Name) || names[job.Name] {
			t.Fatalf("lane %d: bad name %q", lane, job.Name)
		}
		names[job.Name] = true
		if _, ok := ParseJobMark(job.Name, job.Description); !ok {
			t.Errorf("lane %d: %q has no mark for %q", lane, job.Description, job.Name)
		}
		job.Name, job.Description = spec.Job.Name, spec.Job.Description
		if diff := cmp.Diff(spec.Job, job); diff != "" {
			t.Fatalf("lane %d differs in more than its name:\n%s", lane, diff)
		}
	}
}

func TestAccount(t *testing.T) {
	t.Parallel()
	own := Account{BaseURL: "http://localhost:8745/", TeamID: "own-team", Token: secret.New("nf-own")}
	tests := []struct {
		name string
		vars vars
		want Account
	}{
		{"worker's environment", vars{"credentials": nil}, Account{"http://localhost:8745", "own-team", secret.New("nf-own")}},
		{"block", vars{"credentials": vars{"api_token": " nf-block\n"}}, Account{"https://api.northflank.com", "", secret.New("nf-block")}},
		{
			"block with address and team",
			vars{"credentials": vars{"api_token": "nf-block", "base_url": "https://nf.example/", "team_id": "block-team", "other": 1}},
			Account{"https://nf.example", "block-team", secret.New("nf-block")},
		},
		{"credentials_block", vars{"credentials_block": "creds", "credentials": vars{"api_token": "nf-block"}}, Account{"https://api.northflank.com", "", secret.New("nf-block")}},
		{"team_id wins", vars{"credentials": vars{"api_token": "nf-block", "team_id": "block-team"}, "team_id": "other"}, Account{"https://api.northflank.com", "other", secret.New("nf-block")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := inputOf(valid(tt.vars))
			in.Account = own
			if diff := cmp.Diff(tt.want, mustBuild(t, in).Account, cmpSpec); diff != "" {
				t.Errorf("Account (-want +got):\n%s", diff)
			}
		})
	}
}

// The worker's own token must not go to an address that a deployment names.
func TestOwnTokenStaysHome(t *testing.T) {
	t.Parallel()
	in := inputOf(valid(vars{"credentials": vars{"base_url": "https://elsewhere.example"}}))
	in.Account = Account{Token: secret.New("nf-own")}
	if spec, _, err := Build(in); err == nil {
		t.Errorf("Build = %v, want an error", spec.Account)
	}
}

func TestDockerAndBuildpack(t *testing.T) {
	t.Parallel()
	build := vars{"deployment_internal_id": "svc", "deployment_internal_branch": "main"}
	with := func(base, more vars) vars {
		out := vars{}
		for _, m := range []vars{base, more} {
			maps.Copy(out, m)
		}
		return out
	}
	tests := []struct {
		name      string
		vars      vars
		docker    *northflank.Docker
		buildpack *northflank.Buildpack
	}{
		{"command of the seed README", vars{"deployment_docker_config_type": "customCommand", "deployment_docker_custom_command": "python my_script.py"}, &northflank.Docker{ConfigType: "customCommand", CustomCommand: "python my_script.py"}, nil},
		{"command of Prefect", vars{"command": "prefect flow-run execute"}, &northflank.Docker{ConfigType: "customCommand", CustomCommand: "prefect flow-run execute"}, nil},
		{"empty command", vars{"command": ""}, &northflank.Docker{ConfigType: "customCommand", CustomCommand: defaultCommand}, nil},
		{"entrypoint is enough", vars{"deployment_docker_custom_entrypoint": "tini --"}, &northflank.Docker{ConfigType: "customEntrypointCustomCommand", CustomEntrypoint: "tini --", CustomCommand: defaultCommand}, nil},
		{"entrypoint only", vars{"deployment_docker_config_type": "customEntrypoint", "deployment_docker_custom_entrypoint": "prefect flow-run execute"}, &northflank.Docker{ConfigType: "customEntrypoint", CustomEntrypoint: "prefect flow-run execute"}, nil},
		{"as the image has it", vars{"deployment_docker_config_type": "DEFAULT"}, &northflank.Docker{ConfigType: "default"}, nil},
		{"buildpack command", with(build, vars{"deployment_buildpack_config_type": "customCommand"}), nil, &northflank.Buildpack{ConfigType: "customCommand", CustomCommand: defaultCommand}},
		{"buildpack entrypoint", with(build, vars{"deployment_buildpack_config_type": "customCommand", "deployment_docker_custom_entrypoint": "launcher"}), nil, &northflank.Buildpack{ConfigType: "customEntrypointCustomCommand", CustomEntrypoint: "launcher", CustomCommand: defaultCommand}},
		{"buildpack default", with(build, vars{"deployment_buildpack_config_type": "default"}), nil, &northflank.Buildpack{ConfigType: "default"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := mustBuild(t, inputOf(valid(tt.vars))).Run.Deployment
			if diff := cmp.Diff(tt.docker, d.Docker); diff != "" {
				t.Errorf("docker (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.buildpack, d.Buildpack); diff != "" {
				t.Errorf("buildpack (-want +got):\n%s", diff)
			}
		})
	}
}

func TestArchitecture(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"x86": "x86", "X86": "x86", "amd64": "x86", "x86_64": "x86", "arm": "arm", "Arm": "arm", "arm64": "arm", "aarch64": "arm"} {
		job := mustBuild(t, inputOf(valid(vars{"infrastructure_architecture": given}))).Job
		if job.Infrastructure == nil || job.Infrastructure.Architecture != want {
			t.Errorf("infrastructure_architecture %q: %+v, want %q", given, job.Infrastructure, want)
		}
	}
}

func TestGPUJobHoldsTheRunsPlan(t *testing.T) {
	t.Parallel()
	spec := mustBuild(t, inputOf(valid(vars{"billing_gpu_enabled": true, "billing_gpu_type": "h100-80", "billing_gpu_count": 2, "billing_deployment_plan": "nf-gpu-h100-80-2g"})))
	gpu := &northflank.GPU{Enabled: true, Configuration: &northflank.GPUConfiguration{GPUType: "h100-80", GPUCount: 2}}
	if diff := cmp.Diff(northflank.Billing{DeploymentPlan: "nf-gpu-h100-80-2g", GPU: gpu}, spec.Job.Billing); diff != "" {
		t.Errorf("job's billing (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(gpu, spec.Job.Deployment.GPU); diff != "" {
		t.Errorf("job's deployment.gpu (-want +got):\n%s", diff)
	}
	if spec.Run.Billing.GPU != nil || spec.Run.Deployment.GPU != nil {
		t.Error("a GPU stands in the job run, where not every Northflank takes it")
	}
}
