package jobspec

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// TestExamples renders every deployment of every example as it would be sent.
func TestExamples(t *testing.T) {
	t.Parallel()
	small := []string{"billing_deployment_plan: nf-compute-20 has 512 MB of memory, which is tight for Prefect; if flow runs run out of memory use nf-compute-50"}
	wantWarnings := map[string][]string{
		"basic/my-northflank-deployment": small,
		"basic/greet-northflank":         small,
		"basic/fail-northflank":          small,
	}
	files, err := filepath.Glob("../../examples/*/prefect.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("examples: %v, %v, want 3", files, err)
	}
	for _, file := range files {
		example := filepath.Base(filepath.Dir(file))
		for _, d := range deploymentsOf(t, file) {
			t.Run(example+"/"+d.Name, func(t *testing.T) {
				t.Parallel()
				if d.WorkPool.JobVariables["credentials"] == nil {
					t.Fatal("the example has no credentials")
				}
				d.WorkPool.JobVariables["credentials"] = vars{"api_token": "nf-planted-token"} // as `prefect deploy` resolves it
				in := inputOf(d.WorkPool.JobVariables)
				in.PoolName, in.Deployment.Name = d.WorkPool.Name, d.Name
				in.Secrets = []string{"pnu_planted_key"}
				spec, warnings, err := Build(in)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, w := range warnings {
					got = append(got, w.String())
				}
				if diff := cmp.Diff(wantWarnings[t.Name()[len("TestExamples/"):]], got); diff != "" {
					t.Errorf("warnings (-want +got):\n%s", diff)
				}
				golden(t, filepath.Join("testdata/examples", example+"."+d.Name+".json"), rendered(t, spec))
			})
		}
	}
}

type exampleDeployment struct {
	Name     string
	WorkPool struct {
		Name         string
		JobVariables map[string]any `yaml:"job_variables"`
	} `yaml:"work_pool"`
}

func deploymentsOf(t *testing.T, file string) []exampleDeployment {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var project struct{ Deployments []exampleDeployment }
	if err := yaml.Unmarshal(raw, &project); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return project.Deployments
}

// rendered is both bodies of a flow run, secrets hidden.
func rendered(t *testing.T, spec Spec) []byte {
	t.Helper()
	job, run, err := spec.Requests()
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(object{{"PUT job", mustDecode(t, job)}, {"POST job run", mustDecode(t, run)}})
	if err != nil {
		t.Fatal(err)
	}
	if secret.NewScrubber(spec.Secrets...).Text(string(body)) != string(body) {
		t.Error("the golden file would hold a secret")
	}
	return indented(t, body)
}

func mustDecode(t *testing.T, raw []byte) object {
	t.Helper()
	o, err := decodeObject(raw)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
