package jobspec

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every wrong input that Build catches, with the whole message: object, cause,
// next step.
func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		vars vars
		want string
	}{
		{
			"no project",
			vars{"project_id": nil},
			`job variable project_id (deployment): is not set; set it to the ID of your Northflank project, in the work pool or in the deployment's job_variables`,
		},
		{
			"project with underscore",
			vars{"project_id": "my_project"},
			`job variable project_id "my_project" (deployment): must be letters, digits and single hyphens, beginning with a letter; for example "my-project"`,
		},
		{
			"project that is a list",
			vars{"project_id": []any{"a"}},
			`job variable project_id ["a"] (deployment): must be a text, not a list; for example "my-project"`,
		},
		{
			"no token anywhere",
			vars{"credentials": nil},
			`job variable credentials (deployment): no Northflank API token is configured; save one with: prefect-northflank credentials save northflank-creds, then set credentials_block: northflank-creds, or start the worker with NORTHFLANK_API_TOKEN set`,
		},
		{
			"block without token",
			vars{"credentials": vars{"base_url": "https://api.northflank.com"}},
			`job variable credentials (deployment): the Northflank block has no api_token; save it again with: prefect-northflank credentials save NAME`,
		},
		{
			"masked token",
			vars{"credentials": vars{"api_token": "********"}},
			`job variable credentials (deployment): holds the asterisks that Prefect shows in place of a token, not the token: it was copied from Prefect's answer or page; name the block instead, credentials_block: NAME`,
		},
		{
			"token with a line break",
			vars{"credentials": vars{"api_token": "nf-a\nnf-b"}},
			`job variable credentials (deployment): api_token has spaces or other characters that no token has; copy the token from Northflank again and save it with: prefect-northflank credentials save NAME`,
		},
		{
			"credentials that are a text",
			vars{"credentials": "nf-planted-token"},
			`job variable credentials (deployment): must be a Northflank block, not a text; give the block's name as credentials_block instead`,
		},
		{
			"base_url that is no address",
			vars{"credentials": vars{"api_token": "nf-planted-token", "base_url": "api.northflank.com"}},
			`job variable credentials (deployment): base_url is not the address of an API; remove it, or write it like https://api.northflank.com`,
		},
		{
			"credentials_block that nobody read",
			vars{"credentials": nil, "credentials_block": "creds"},
			`job variable credentials_block "creds" (deployment): there is no Northflank block of this name; create it with: prefect-northflank credentials save creds`,
		},
		{
			"team with a space",
			vars{"team_id": "my team"},
			`job variable team_id "my team" (deployment): must be letters, digits and single hyphens; for example "my-team"`,
		},
		{
			"unknown scope",
			vars{"job_scope": "flowrun"},
			`job variable job_scope "flowrun" (deployment): must be one of pool, deployment, flow-run; did you mean "flow-run"?`,
		},
		{
			"cleanup that is no boolean",
			vars{"cleanup_job": "maybe"},
			`job variable cleanup_job "maybe" (deployment): must be true or false; write true or false without quotes`,
		},
		{
			"tags that are a text",
			vars{"tags": "prefect"},
			`job variable tags "prefect" (deployment): must be a list of texts, not a text; write it as a list, for example ["prefect"]`,
		},
		{
			"tag with underscore",
			vars{"tags": []any{"ok", "not_ok"}},
			`job variable tags "not_ok" (deployment): must be letters, digits and single hyphens each; for example "prefect"`,
		},
		{
			"tag that is an object",
			vars{"tags": []any{vars{"a": 1}}},
			`job variable tags [{"a":1}] (deployment): item 1 must be a text, not an object; for example "prefect"`,
		},
		{
			"tag that is too long",
			vars{"tags": []any{strings.Repeat("a", 101)}},
			`job variable tags "` + strings.Repeat("a", 101) + `" (deployment): must have at most 100 characters; for example "prefect"`,
		},
		{
			"unknown architecture",
			vars{"infrastructure_architecture": "riscv"},
			`job variable infrastructure_architecture "riscv" (deployment): must be one of x86, arm; use one of these words`,
		},
		{
			"plan with a space",
			vars{"billing_deployment_plan": "nf compute 20"},
			`job variable billing_deployment_plan "nf compute 20" (deployment): must be letters, digits, hyphens and underscores; for example "nf-compute-50"`,
		},
		{
			"GPU without type",
			vars{"billing_gpu_enabled": true},
			`job variable billing_gpu_type: is not set, although billing_gpu_enabled is true; set it to the GPU of the deployment plan, for example "h100-80"`,
		},
		{
			"GPU type with a space",
			vars{"billing_gpu_enabled": true, "billing_gpu_type": "H100 80"},
			`job variable billing_gpu_type "H100 80" (deployment): must be letters, digits, hyphens and underscores; for example "h100-80"`,
		},
		{
			"no GPUs",
			vars{"billing_gpu_count": 0},
			`job variable billing_gpu_count 0 (deployment): must be between 1 and 64; write a number such as 1`,
		},
		{
			"half a GPU",
			vars{"billing_gpu_count": 0.5},
			`job variable billing_gpu_count 0.5 (deployment): must be an integer; write a number such as 1`,
		},
		{
			"both deployments",
			vars{"deployment_external_image_path": "a/b:1", "deployment_internal_id": "build-service"},
			`job variable deployment_external_image_path "a/b:1" (deployment): an image and a build service (deployment_internal_id) exclude each other; remove one of them (null overrides the work pool)`,
		},
		{
			"registry credentials for a build service",
			vars{"deployment_external_credentials": "reg", "deployment_internal_id": "build-service", "deployment_internal_branch": "main"},
			`job variable deployment_external_credentials "reg" (deployment): an image and a build service (deployment_internal_id) exclude each other; remove one of them (null overrides the work pool)`,
		},
		{
			"image without tag",
			vars{"deployment_external_image_path": "prefecthq/prefect"},
			`job variable deployment_external_image_path "prefecthq/prefect" (deployment): has no tag or digest, and Northflank requires one; add a tag, for example "prefecthq/prefect:3-python3.12"`,
		},
		{
			"image without tag behind a port",
			vars{"deployment_external_image_path": "registry.example:5000/a/b"},
			`job variable deployment_external_image_path "registry.example:5000/a/b" (deployment): has no tag or digest, and Northflank requires one; add a tag, for example "registry.example:5000/a/b:latest"`,
		},
		{
			"image tag with a plus",
			vars{"deployment_external_image_path": "a/b:1.0+x"},
			`job variable deployment_external_image_path "a/b:1.0+x" (deployment): must be an image path with a tag or digest, of letters, digits and . _ - / :; for example "prefecthq/prefect:3-python3.12"`,
		},
		{
			"registry credentials with a slash",
			vars{"deployment_external_credentials": "a/b"},
			`job variable deployment_external_credentials "a/b" (deployment): must be letters, digits and hyphens; for example "my-registry"`,
		},
		{
			"build service with underscore",
			vars{"deployment_internal_id": "build_service"},
			`job variable deployment_internal_id "build_service" (deployment): must be letters, digits and single hyphens, beginning with a letter; for example "my-build-service"`,
		},
		{
			"build service of two letters",
			vars{"deployment_internal_id": "ab", "deployment_internal_branch": "main"},
			`job variable deployment_internal_id "ab" (deployment): must have at least 3 characters; use the ID of the build service, for example "my-build-service"`,
		},
		{
			"branch without build service",
			vars{"deployment_internal_branch": "main"},
			`job variable deployment_internal_branch "main" (deployment): names a build, but no build service is set; set deployment_internal_id, or remove it (null overrides the work pool)`,
		},
		{
			"short SHA",
			vars{"deployment_internal_id": "build-service", "deployment_internal_build_sha": "1a2b3c4"},
			`job variable deployment_internal_build_sha "1a2b3c4" (deployment): is a shortened commit SHA of 7 characters, and Northflank requires all 40; get them with: git rev-parse 1a2b3c4`,
		},
		{
			"short SHA that YAML took for a number",
			vars{"deployment_internal_id": "build-service", "deployment_internal_build_sha": 1234567},
			`job variable deployment_internal_build_sha 1234567 (deployment): is a shortened commit SHA of 7 characters, and Northflank requires all 40; get them with: git rev-parse 1234567`,
		},
		{
			"SHA that is none",
			vars{"deployment_internal_id": "build-service", "deployment_internal_build_sha": "v1.2"},
			`job variable deployment_internal_build_sha "v1.2" (deployment): must be a commit SHA of 40 characters or latest; get it with: git rev-parse HEAD`,
		},
		{
			"build and commit",
			vars{"deployment_internal_id": "build-service", "deployment_internal_build_sha": "latest", "deployment_internal_branch": "main", "deployment_internal_build_id": "b-1"},
			`job variable deployment_internal_build_id "b-1" (deployment): a build and a commit (deployment_internal_build_sha) exclude each other; remove one of them (null overrides the work pool)`,
		},
		{
			"unknown docker config type",
			vars{"deployment_docker_config_type": "customComand"},
			`job variable deployment_docker_config_type "customComand" (deployment): must be one of default, customEntrypoint, customCommand, customEntrypointCustomCommand; did you mean "customCommand"?`,
		},
		{
			"entrypoint type without entrypoint",
			vars{"deployment_docker_config_type": "customEntrypoint"},
			`job variable deployment_docker_config_type "customEntrypoint" (deployment): replaces the entrypoint, but deployment_docker_custom_entrypoint is not set; set it, or use customCommand`,
		},
		{
			"default type with a command",
			vars{"deployment_docker_config_type": "default", "deployment_docker_custom_command": "python x.py"},
			`job variable deployment_docker_config_type "default" (deployment): keeps the image's command, but deployment_docker_custom_command is set; remove one of them (null overrides the work pool)`,
		},
		{
			"default type with an entrypoint",
			vars{"deployment_docker_config_type": "default", "deployment_docker_custom_entrypoint": "tini"},
			`job variable deployment_docker_config_type "default" (deployment): keeps the image's entrypoint, but deployment_docker_custom_entrypoint is set; remove one of them (null overrides the work pool)`,
		},
		{
			"buildpack without build service",
			vars{"deployment_buildpack_config_type": "customCommand"},
			`job variable deployment_buildpack_config_type "customCommand" (deployment): is for builds of a build service, but deployment_internal_id is not set; set it, or remove deployment_buildpack_config_type`,
		},
		{
			"buildpack default with a command",
			vars{"deployment_internal_id": "build-service", "deployment_internal_branch": "main", "deployment_buildpack_config_type": "default", "command": "python x.py"},
			`job variable deployment_buildpack_config_type "default" (deployment): keeps the image's command, but command is set; remove one of them (null overrides the work pool)`,
		},
		{
			"buildpack entrypoint type without entrypoint",
			vars{"deployment_internal_id": "build-service", "deployment_internal_branch": "main", "deployment_buildpack_config_type": "customEntrypointCustomCommand"},
			`job variable deployment_buildpack_config_type "customEntrypointCustomCommand" (deployment): replaces the entrypoint, but deployment_docker_custom_entrypoint is not set; set it, or use customCommand`,
		},
		{
			"no disk",
			vars{"deployment_storage_ephemeral_size_mb": 0},
			`job variable deployment_storage_ephemeral_size_mb 0 (deployment): must be between 1 and 2147483647; write a number such as 2048`,
		},
		{
			"environment that is a text",
			vars{"runtime_environment": "A=planted-value"},
			`job variable runtime_environment *** (deployment): must map names to texts, not be a text; write one NAME: value a line`,
		},
		{
			"environment value that is an object",
			vars{"env": vars{"A": vars{"planted": "value"}}},
			`job variable env.A (deployment): must be a text, not an object; write it as JSON text in quotes`,
		},
		{
			"environment name with a space",
			vars{"env": vars{"MY VAR": "planted-value"}},
			`job variable env.MY VAR (deployment): the name has characters that Northflank does not take; use letters, digits and _ . - / only`,
		},
		{
			"environment value with NUL",
			vars{"env": vars{"A": "x\x00"}},
			`job variable env.A (deployment): the value has a NUL character, which no environment variable can hold; remove it, or put the data into a file with runtime_files`,
		},
		{
			"environment value that Northflank would template",
			vars{"runtime_environment": vars{"GREETING": "hello ${NAME}"}},
			`job variable runtime_environment.GREETING (deployment): the value has ${, which Northflank would replace before the container sees it, and which cannot be escaped; put the text into a file with runtime_files, or set runtime_environment_templates: true if Northflank shall replace it`,
		},
		{
			"relative path of a file",
			vars{"runtime_files": vars{"settings.json": "{}"}},
			`job variable runtime_files.settings.json (deployment): must be the absolute path of a file, without . or .. in it; for example "/etc/app/settings.json"`,
		},
		{
			"file in a folder above",
			vars{"runtime_files": vars{"/etc/../passwd": "x"}},
			`job variable runtime_files./etc/../passwd (deployment): must be the absolute path of a file, without . or .. in it; for example "/etc/app/settings.json"`,
		},
		{
			"negative backoff limit",
			vars{"settings_backoff_limit": -1},
			`job variable settings_backoff_limit -1 (deployment): must be between 0 and 2147483647; write a number such as 3`,
		},
		{
			"backoff limit that is a word",
			vars{"settings_backoff_limit": "three"},
			`job variable settings_backoff_limit "three" (deployment): must be an integer; write a number such as 3`,
		},
		{
			"no time at all",
			vars{"settings_active_deadline_seconds": 0},
			`job variable settings_active_deadline_seconds 0 (deployment): must be between 1 and 2147483647; write a number such as 3600`,
		},
		{
			"negative grace period",
			vars{"settings_grace_period_seconds": -5},
			`job variable settings_grace_period_seconds -5 (deployment): must be between 0 and 86400; write a number such as 30`,
		},
		{
			"unknown source change",
			vars{"settings_run_on_source_change": "sometimes"},
			`job variable settings_run_on_source_change "sometimes" (deployment): must be one of never, cd-promote, always; use one of these words`,
		},
		{
			"too many start retries",
			vars{"start_retries": 11},
			`job variable start_retries 11 (deployment): must be between 0 and 10; write a number such as 1`,
		},
		{
			"start timeout that no container meets",
			vars{"start_timeout_seconds": 1},
			`job variable start_timeout_seconds 1 (deployment): must be between 10 and 86400; write a number such as 900`,
		},
		{
			"negative linger timeout",
			vars{"linger_timeout_seconds": -1},
			`job variable linger_timeout_seconds -1 (deployment): must be between 0 and 604800; write a number such as 300`,
		},
		{
			"everything that is wrong at once, in the table's order",
			vars{"settings_backoff_limit": -1, "project_id": nil, "env": vars{"A": "${B}"}},
			`3 job variables cannot be used:
  - env.A (deployment): the value has ${, which Northflank would replace before the container sees it, and which cannot be escaped; put the text into a file with runtime_files, or set runtime_environment_templates: true if Northflank shall replace it
  - project_id (deployment): is not set; set it to the ID of your Northflank project, in the work pool or in the deployment's job_variables
  - settings_backoff_limit -1 (deployment): must be between 0 and 2147483647; write a number such as 3`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			spec, _, err := Build(inputOf(valid(tt.vars)))
			invalid, ok := errors.AsType[*InvalidError](err)
			if !ok {
				t.Fatalf("Build error = %v, want an *InvalidError", err)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if strings.Contains(err.Error(), "planted") {
				t.Error("the message shows a secret")
			}
			if invalid.Hint() == "" {
				t.Error("no hint")
			}
			if diff := cmp.Diff(Spec{}, spec, cmpSpec); diff != "" {
				t.Errorf("Build gave a Spec besides the error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBuildRefusesInheritedTemplates(t *testing.T) {
	t.Parallel()
	in := inputOf(valid(nil))
	in.SettingsEnv["PREFECT_LOGGING_EXTRA"] = "${planted}"
	_, _, err := Build(in)
	const want = `job variable env.PREFECT_LOGGING_EXTRA (worker's Prefect settings): the value has ${, which Northflank would replace before the container sees it, and which cannot be escaped; change it where the worker runs, or set env.PREFECT_LOGGING_EXTRA in the job variables (null leaves it out)`
	if err == nil || err.Error() != want {
		t.Fatalf("Build error = %v\nwant %v", err, want)
	}
	in.Values["env"] = vars{"PREFECT_LOGGING_EXTRA": nil}
	mustBuild(t, in)
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	const plan = "nf-compute-50" // has no warning of its own
	tests := []struct {
		name            string
		vars            vars
		unknown, unused []string
		want            []string
	}{
		{name: "none", vars: vars{"billing_deployment_plan": plan}},
		{
			name: "small plan", vars: vars{},
			want: []string{"billing_deployment_plan: nf-compute-20 has 512 MB of memory, which is tight for Prefect; if flow runs run out of memory use nf-compute-50"},
		},
		{
			name: "misspelt", vars: vars{"billing_deployment_plan": plan}, unknown: []string{"credentails", "gpu_type", "whatever"},
			want: []string{
				"credentails: no such job variable, so it is ignored; did you mean credentials?",
				"gpu_type: no such job variable, so it is ignored; did you mean billing_gpu_type?",
				"whatever: no such job variable, so it is ignored; the job variables are listed in docs/reference/job-variables.md",
			},
		},
		{
			name: "newer than the pool", vars: vars{"billing_deployment_plan": plan}, unknown: []string{"job_scope"},
			want: []string{"job_scope: the work pool's base job template does not have this job variable, so it is ignored; add it with: prefect-northflank pool upgrade my-northflank-pool"},
		},
		{
			name: "no place", vars: vars{"billing_deployment_plan": plan}, unused: []string{"tags", "build_configuration_docker_credentials"},
			want: []string{
				"build_configuration_docker_credentials: has no effect: the worker builds no images; for a private image set deployment_external_credentials",
				"tags: has no place in the job_configuration of the work pool's base job template, so it is ignored; add it there or remove the variable",
			},
		},
		{
			name: "GPU plan of another count", vars: vars{"billing_gpu_enabled": true, "billing_gpu_type": "h100-80", "billing_gpu_count": 2, "billing_deployment_plan": "nf-gpu-h100-80-1g"},
			want: []string{`billing_deployment_plan: "nf-gpu-h100-80-1g" does not fit billing_gpu_type "h100-80" and billing_gpu_count 2; the plan of this GPU is called nf-gpu-h100-80-2g`},
		},
		{
			name: "GPU plan of another type", vars: vars{"billing_gpu_enabled": true, "billing_gpu_type": "l4-24", "billing_deployment_plan": "nf-gpu-h100-80-1g"},
			want: []string{`billing_deployment_plan: "nf-gpu-h100-80-1g" does not fit billing_gpu_type "l4-24" and billing_gpu_count 1; the plan of this GPU is called nf-gpu-l4-24-1g`},
		},
		{
			name: "GPU plan that fits", vars: vars{"billing_gpu_enabled": true, "billing_gpu_type": "rtx_pro_6000-96", "billing_gpu_count": "2", "billing_deployment_plan": "nf-gpu-rtx_pro_6000-96-2g"},
		},
		{
			name: "GPU without GPU plan", vars: vars{"billing_gpu_enabled": true, "billing_gpu_type": "l4-24", "billing_deployment_plan": plan},
			want: []string{`billing_deployment_plan: "nf-compute-50" is not a GPU plan, although billing_gpu_enabled is true; the plan of this GPU is called nf-gpu-l4-24-1g`},
		},
		{
			name: "GPU plan without GPU", vars: vars{"billing_deployment_plan": "nf-gpu-l4-24-1g"},
			want: []string{`billing_deployment_plan: "nf-gpu-l4-24-1g" is a GPU plan, but without billing_gpu_enabled: true the container gets no GPU; set it and billing_gpu_type`},
		},
		{
			name: "GPU type without GPU", vars: vars{"billing_deployment_plan": plan, "billing_gpu_type": "l4-24"},
			want: []string{"billing_gpu_type: has no effect without billing_gpu_enabled: true; set it, or remove the type"},
		},
		{
			name: "build service alone", vars: vars{"billing_deployment_plan": plan, "deployment_internal_id": "build-service"},
			want: []string{"deployment_internal_id: which build is run is for Northflank to decide; set deployment_internal_branch, deployment_internal_build_sha or deployment_internal_build_id"},
		},
		{
			name: "latest of no branch", vars: vars{"billing_deployment_plan": plan, "deployment_internal_id": "build-service", "deployment_internal_build_sha": "Latest"},
			want: []string{"deployment_internal_build_sha: latest of which branch is for Northflank to decide; set deployment_internal_branch"},
		},
		{
			name: "runs outside Prefect", vars: vars{"billing_deployment_plan": plan, "settings_run_on_source_change": "always"},
			want: []string{"settings_run_on_source_change: a new build will start this job outside Prefect, without a flow run; set it to never unless you want that"},
		},
		{
			name: "shell syntax without a shell", vars: vars{"billing_deployment_plan": plan, "deployment_docker_custom_command": "pip install x && prefect flow-run execute"},
			want: []string{`deployment_docker_custom_command: Northflank runs the command without a shell, and how it splits quotes is not published; for shell syntax set deployment_docker_custom_entrypoint to "sh -c" and put the whole command in single quotes`},
		},
		{
			name: "shell without quotes", vars: vars{"billing_deployment_plan": plan, "command": "prefect flow-run execute", "deployment_docker_custom_entrypoint": "/bin/sh -ec"},
			want: []string{"command: a shell with -c takes one argument, and Northflank splits the command at spaces; put the whole command in single quotes"},
		},
		{
			name: "shell with quotes", vars: vars{"billing_deployment_plan": plan, "command": "'pip install x && prefect flow-run execute'", "deployment_docker_custom_entrypoint": "bash -c"},
		},
		{
			name: "label that Kubernetes refuses", vars: vars{"billing_deployment_plan": plan, "labels": vars{"team": "data science", "ok": "1"}},
			want: []string{`labels: "team" is left out: Kubernetes allows 63 letters, digits and . _ - in a label and in its value`},
		},
		{
			name: "another flow run", vars: vars{"billing_deployment_plan": plan, "env": vars{"PREFECT__FLOW_RUN_ID": "x"}},
			want: []string{"env.PREFECT__FLOW_RUN_ID: the container will run this flow run instead of the one that was scheduled; remove it"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := inputOf(valid(tt.vars))
			in.Unknown, in.Unused = tt.unknown, tt.unused
			_, warnings, err := Build(in)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range warnings {
				got = append(got, w.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
