package cli_test

import "maps"

// wrongConfiguration is a flow run whose own configuration cannot work, whoever
// runs it.
type wrongConfiguration struct {
	name       string
	deployment vars // job variables over project_id and credentials_block, which are right
	flowRun    vars
}

type vars = map[string]any

var wrongConfigurations = []wrongConfiguration{
	{name: "no project", deployment: vars{"project_id": nil}},
	{name: "project id with an underscore", deployment: vars{"project_id": "my_project"}},
	{name: "no credentials anywhere", deployment: vars{"credentials_block": nil}},
	{name: "unknown credentials block", deployment: vars{"credentials_block": "northflank-cred"}},
	{name: "unknown block", deployment: vars{"credentials_block": nil, "credentials": "{{ prefect.blocks.northflank.nope }}"}},
	{name: "block of which nothing is at the path", deployment: vars{"env": vars{"PASSWORD": "{{ prefect.blocks.secret.database.passwrd }}"}}},
	{name: "block that is an object, inside a text", deployment: vars{"env": vars{"URL": "postgres://{{ prefect.blocks.secret.database }}"}}},
	{name: "credentials block without a token", deployment: vars{"credentials_block": "no-token"}},
	{name: "credentials block with a wrong address", deployment: vars{"credentials_block": "no-address"}},
	{name: "token as the credentials", deployment: vars{"credentials_block": nil, "credentials": plantedToken}},
	{name: "masked token", deployment: vars{"credentials_block": nil, "credentials": vars{"api_token": "********"}}},
	{name: "team id with a space", deployment: vars{"team_id": "my team"}},
	{name: "image and build service", deployment: vars{"deployment_external_image_path": "me/flows:v1", "deployment_internal_id": "my-service", "deployment_internal_branch": "main"}},
	{name: "image without a tag", deployment: vars{"deployment_external_image_path": "ghcr.io/me/flows"}},
	{name: "image with spaces", deployment: vars{"deployment_external_image_path": "me/my flows:v1"}},
	{name: "short commit", deployment: vars{"deployment_internal_id": "my-service", "deployment_internal_build_sha": "a1b2c3d"}},
	{name: "commit that is none", deployment: vars{"deployment_internal_id": "my-service", "deployment_internal_build_sha": "HEAD~1"}},
	{name: "branch without a build service", deployment: vars{"deployment_internal_branch": "main"}},
	{name: "build and commit", deployment: vars{"deployment_internal_id": "my-service", "deployment_internal_build_id": "b-1", "deployment_internal_build_sha": "latest"}},
	{name: "GPU without a type", deployment: vars{"billing_gpu_enabled": true, "billing_deployment_plan": "nf-gpu-h100-80-1g"}},
	{name: "GPU count of zero", deployment: vars{"billing_gpu_enabled": true, "billing_gpu_type": "h100-80", "billing_gpu_count": 0, "billing_deployment_plan": "nf-gpu-h100-80-1g"}},
	{name: "deployment plan with a space", deployment: vars{"billing_deployment_plan": "nf compute 20"}},
	{name: "unknown architecture", deployment: vars{"infrastructure_architecture": "sparc"}},
	{name: "misspelt word", deployment: vars{"job_scope": "flowrun"}},
	{name: "word like no other", deployment: vars{"settings_run_on_source_change": "sometimes"}},
	{name: "text for a number", deployment: vars{"settings_active_deadline_seconds": "an hour"}},
	{name: "number out of range", flowRun: vars{"start_retries": 99}},
	{name: "text for true or false", deployment: vars{"cleanup_job": "maybe"}},
	{name: "text for a list", deployment: vars{"tags": "prefect"}},
	{name: "list for a map", deployment: vars{"labels": []any{"a"}}},
	{name: "template of Northflank in a variable", deployment: vars{"runtime_environment": vars{"HOME_DIR": "${HOME}/data"}}},
	{name: "name of a variable with a space", deployment: vars{"env": vars{"MY VAR": "1"}}},
	{name: "file with a relative path", deployment: vars{"runtime_files": vars{"config.yaml": "a: 1"}}},
	{name: "entrypoint that is asked for and not given", deployment: vars{"deployment_docker_config_type": "customEntrypoint"}},
	{name: "environment of the flow run that is a text", deployment: vars{"env": vars{"A": "1"}}, flowRun: vars{"env": "A=1"}},
	{name: "dotted variable under a text", deployment: vars{"project_id.name": "x", "project_id": "my-project", "env.A.B": "1", "env.A": "2"}},
	{name: "several at once", deployment: vars{"project_id": nil, "deployment_external_image_path": "me/flows", "job_scope": "pol"}, flowRun: vars{"start_retries": "many"}},
}

// variables are the deployment's job variables: wrong ones over right ones.
func (w wrongConfiguration) variables() vars {
	all := vars{"project_id": "my-project", "credentials_block": "northflank-creds", "billing_deployment_plan": "nf-compute-50"}
	maps.Copy(all, w.deployment)
	return all
}
