package starter

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/northflank/prefect-northflank/internal/hostile"
	"go.yaml.in/yaml/v4"
)

func TestFlowsIn(t *testing.T) {
	t.Parallel()
	const imports = "from prefect import flow, task\n"
	tests := []struct {
		name, source string
		want         []Flow
	}{
		{"plain", imports + "\n@flow\ndef my_flow():\n    pass\n", []Flow{{"my-flow", "f.py:my_flow"}}},
		{"called", imports + "@flow()\ndef f(x: int = 1) -> int:\n    return x\n", []Flow{{"f", "f.py:f"}}},
		{"named", imports + "@flow(name='Nightly run', retries=2)\ndef f(): ...\n", []Flow{{"Nightly run", "f.py:f"}}},
		{"named on another line", imports + "@flow(\n    log_prints=True,  # name=\"no\"\n    name = \"etl\",\n)\ndef f(): ...\n", []Flow{{"etl", "f.py:f"}}},
		{"name in another text", imports + "@flow(description='name=\"no\", x')\ndef f_g(): ...\n", []Flow{{"f-g", "f.py:f_g"}}},
		{"name of another call", imports + "@flow(task_runner=runner(name='no'))\ndef f(): ...\n", []Flow{{"f", "f.py:f"}}},
		{"computed name", imports + "@flow(name=f'{x}')\ndef f(): ...\n", []Flow{{"", "f.py:f"}}},
		{"name of two texts", imports + "@flow(name='a' 'b')\ndef f(): ...\n", []Flow{{"", "f.py:f"}}},
		{"name with an escape", imports + "@flow(name='a\\n')\ndef f(): ...\n", []Flow{{"", "f.py:f"}}},
		{"arguments from elsewhere", imports + "@flow(**options)\ndef f(): ...\n", []Flow{{"", "f.py:f"}}},
		{"async", imports + "@flow\nasync def f(): ...\n", []Flow{{"f", "f.py:f"}}},
		{"other decorators", imports + "@cached\n@flow\n@checked(x=(1, 2))\ndef f(): ...\n", []Flow{{"f", "f.py:f"}}},
		{"comment and blank line between", imports + "@flow\n# now\n\ndef f(): ...\n", []Flow{{"f", "f.py:f"}}},
		{"module", "import os, prefect\n@prefect.flow(name=\"x\")\ndef f(): ...\n", []Flow{{"x", "f.py:f"}}},
		{"module by another name", "import prefect as p\n@p.flow\ndef f(): ...\n", []Flow{{"f", "f.py:f"}}},
		{"flow by another name", "from prefect import (\n    task,\n    flow as workflow,\n)\n@workflow\ndef f(): ...\n", []Flow{{"f", "f.py:f"}}},
		{"from its module", "from prefect.flows import flow\n@flow\ndef f(): ...\n", []Flow{{"f", "f.py:f"}}},
		{"everything", "from prefect import *\n@flow\ndef f(): ...\n", []Flow{{"f", "f.py:f"}}},
		{"two", imports + "@flow\ndef a(): ...\n@task\ndef b(): ...\n@flow\ndef c(): ...\n", []Flow{{"a", "f.py:a"}, {"c", "f.py:c"}}},
		{"Windows", "\ufefffrom prefect import flow\r\n@flow\r\ndef f():\r\n    pass\r\n", []Flow{{"f", "f.py:f"}}},
		{"letters of others", imports + "@flow\ndef größe(): ...\n", []Flow{{"größe", "f.py:größe"}}},
		{"after an open text", imports + "x = 'it\n@flow\ndef f(): ...\n", []Flow{{"f", "f.py:f"}}},

		{"somebody else's flow", "from metaflow import flow\nimport prefect\n@flow\ndef f(): ...\n", nil},
		{"in a docstring", imports + "\"\"\"\n@flow\ndef f(): ...\n\"\"\"\n", nil},
		{"in a text", imports + "x = '''\n@flow\ndef f(): ...\n'''\n", nil},
		{"set in", imports + "def factory():\n    @flow\n    def f(): ...\n    return f\n", nil},
		{"in a comment", imports + "# @flow\ndef f(): ...\n", nil},
		{"something between", imports + "@flow\nx = 1\ndef f(): ...\n", nil},
		{"of a class", imports + "@flow\nclass F: ...\n", nil},
		{"in brackets", imports + "x = [\n'''\n''',\n]\nprint(\n'@flow'\n)\n", nil},
		{"no Prefect", "@flow\ndef f(): ...\n", nil},
		{"no Python", "\x00\xff@flow(((", nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, flowsIn("f.py", tt.source)); diff != "" {
			t.Errorf("%s: flowsIn() (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestFindFlows(t *testing.T) {
	t.Parallel()
	flow := &fstest.MapFile{Data: []byte("from prefect import flow\n@flow\ndef f(): ...\n")}
	folder := fstest.MapFS{
		"z.py": flow, "etl/deep/a.py": flow, "etl/b.py": flow, "notes.txt": flow,
		".venv/lib/a.py": flow, "venv/a.py": flow, "my-env/pyvenv.cfg": {}, "my-env/lib/a.py": flow,
		"__pycache__/a.py": flow, "vendor/site-packages/a.py": flow, "a/b/c/d/e/f/g/h/i/j.py": flow,
		"large.py": {Data: append([]byte(strings.Repeat("#", maxFileSize)+"\n"), flow.Data...)},
	}
	got, complete, err := FindFlows(folder)
	want := []Flow{{"f", "z.py:f"}, {"f", "etl/b.py:f"}, {"f", "etl/deep/a.py:f"}}
	if diff := cmp.Diff(want, got); diff != "" || !complete || err != nil {
		t.Errorf("FindFlows() = %t, %v (-want +got):\n%s", complete, err, diff)
	}
	for i := range maxFiles {
		folder[fmt.Sprintf("m%04d.py", i)] = &fstest.MapFile{}
	}
	if _, complete, err := FindFlows(folder); complete || err != nil {
		t.Errorf("FindFlows() of too many files = %t, %v, want incomplete", complete, err)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	flows := []Flow{{"f", "etl/b.py:f"}, {"f", "z.py:f"}, {"", "it's \"odd\".py:g"}}
	variables := []Variable{{"deployment_external_image_path", "ghcr.io/me/flows:1.0"}, {"billing_deployment_plan", "nf-compute-50"}}
	deployments := []any{}
	for i, name := range []string{"northflank", "northflank-2", "northflank"} {
		deployments = append(deployments, map[string]any{"name": name, "entrypoint": flows[i].Entrypoint, "work_pool": map[string]any{
			"name": "my pool", "job_variables": map[string]any{"deployment_external_image_path": "ghcr.io/me/flows:1.0", "billing_deployment_plan": "nf-compute-50"},
		}})
	}
	step := func(name string, arguments map[string]any) []any {
		return []any{map[string]any{"prefect.deployments.steps." + name: arguments}}
	}
	tests := []struct {
		plan Plan
		pull any
	}{
		{Plan{Code: CodeLocal}, nil},
		{Plan{Code: CodeImage, Directory: "/opt/app"}, step("set_working_directory", map[string]any{"directory": "/opt/app"})},
		{Plan{Code: CodeGit, Repository: "https://github.com/me/flows.git"}, step("git_clone", map[string]any{"repository": "https://github.com/me/flows.git"})},
		{
			Plan{Code: CodeGit, Repository: "https://github.com/me/flows.git", Branch: "main"},
			step("git_clone", map[string]any{"repository": "https://github.com/me/flows.git", "branch": "main"}),
		},
	}
	for _, tt := range tests {
		tt.plan.Project, tt.plan.Flows, tt.plan.Deployment, tt.plan.Pool, tt.plan.Variables = "yes", flows, "northflank", "my pool", variables
		var got map[string]any
		if err := yaml.Unmarshal(tt.plan.File(), &got); err != nil {
			t.Fatalf("code from %s: %v\n%s", tt.plan.Code, err, tt.plan.File())
		}
		want := map[string]any{"name": "yes", "deployments": deployments}
		if tt.pull != nil {
			want["pull"] = tt.pull
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("code from %s (-want +got):\n%s", tt.plan.Code, diff)
		}
	}
}

// Whatever a file holds, reading it ends, and what is found can be deployed.
func FuzzFlowsIn(f *testing.F) { fuzzFlowsIn(f) }

func fuzzFlowsIn(f hostile.F) {
	f.Add("from prefect import flow\n@flow(name='a', x=[1, (2)])\ndef f(): ...\n")
	f.Add("import prefect as p\n'''@p.flow'''\n@p.flow(\n# (\nname=\"\\\"\")\nasync def f(\n): ...\\\n")
	f.Add("prefect '\\")
	f.Fuzz(func(t *testing.T, source string) {
		for _, flow := range flowsIn("f.py", source) {
			if name, found := strings.CutPrefix(flow.Entrypoint, "f.py:"); !found || identifier(name) == "" {
				t.Errorf("entrypoint %q", flow.Entrypoint)
			}
			if strings.ContainsAny(flow.Name, "\n\\") {
				t.Errorf("name %q", flow.Name)
			}
		}
	})
}
