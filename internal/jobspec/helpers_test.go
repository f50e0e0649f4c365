package jobspec

import (
	"encoding/json"
	"maps"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// Northflank docs, api/jobs: the patterns of the create body, word for word.
var (
	docName        = regexp.MustCompile(`^[a-zA-Z]((-|\s)?[a-zA-Z0-9]+((-|\s)[a-zA-Z0-9]+)*)?$`)
	docDescription = regexp.MustCompile(`^[a-zA-Z0-9.,?\s\\/'"()[\];` + "`" + `%^&*\-_:!]+$`)
	docImage       = regexp.MustCompile(`^(?:(?:https?:\/\/)?([a-zA-Z0-9\-]+\.[a-zA-Z0-9\.\-]+)(\/v1)?)?(?:\/)?([a-zA-Z/-9\.\-_]+)(?:\:([a-zA-Z/-9\.\-_\:]+)|\@([a-zA-Z/-9\.\-_\:]+))$`)
)

var cmpSpec = cmp.Options{
	cmp.AllowUnexported(Spec{}, secret.Value{}),
	cmpopts.EquateEmpty(),
}

type vars = map[string]any

// inputOf is what a worker hands to Build for a deployment with these job
// variables in a pool with our default template: the template's defaults, and
// over them the deployment's.
func inputOf(given vars) Input {
	in := Input{
		Values:  map[string]any{},
		Origins: map[string]Origin{},
		PoolID:  "b5e0f7a0-0000-4000-8000-000000000001", PoolName: "my-northflank-pool", WorkerName: "worker 1",
		FlowRun:    Named{"0199c0de-0000-7000-8000-00000000000a", "brave-otter"},
		Flow:       Named{"f10e0000-0000-4000-8000-000000000002", "my-flow"},
		Deployment: Named{"de910000-0000-4000-8000-000000000003", "my-northflank-deployment"},
		SettingsEnv: map[string]string{
			"PREFECT_API_URL": "https://prefect.example/api",
			"PREFECT_API_KEY": "pnu_planted_key",
		},
	}
	for _, v := range Variables() {
		if v.Default != nil && v.placed() {
			in.Values[v.Name] = v.Default
			in.Origins[v.Name] = Origin{Source: FromPoolDefault}
		}
	}
	for name, value := range given {
		in.Values[name] = value
		in.Origins[name] = Origin{Source: FromDeployment}
	}
	return in
}

// valid are job variables that Build takes, for tests to add to.
func valid(more vars) vars {
	v := vars{"project_id": "my-project", "credentials": vars{"api_token": "nf-planted-token"}}
	maps.Copy(v, more)
	return v
}

func mustBuild(t *testing.T, in Input) Spec {
	t.Helper()
	spec, _, err := Build(in)
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	return spec
}

// tree is v as decoded JSON.
func tree(t *testing.T, v any) any {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var decoded any
	if err := json.Unmarshal(body, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}
