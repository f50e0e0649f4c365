package packaging

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"
)

const templatePath = "deploy/northflank-template.json"

// template is the part of the Northflank template that the tests speak about.
type template struct {
	Name              string
	Arguments         map[string]string
	ArgumentOverrides map[string]string
	Spec              node
}

type node struct {
	Kind, Ref string
	Spec      struct {
		Name  string
		Steps []node
		Tags  []string

		// Of a secret group.
		Restrictions struct {
			Restricted bool
			Tags       []string
		}
		Secrets struct{ Variables map[string]string }

		// Of a deployment service.
		Deployment struct {
			Instances int
			External  struct{ ImagePath string }
			Docker    struct{ CustomCommand string }
		}
		HealthChecks []struct {
			Path string
			Port int
		}
	}
}

func readTemplate(t *testing.T) template {
	t.Helper()
	var tpl template
	if err := json.Unmarshal([]byte(read(t, templatePath)), &tpl); err != nil {
		t.Fatal(err)
	}
	return tpl
}

// step returns the one step of a kind.
func (tpl template) step(t *testing.T, kind string) node {
	t.Helper()
	i := slices.IndexFunc(tpl.Spec.Spec.Steps, func(n node) bool { return n.Kind == kind })
	if i < 0 {
		t.Fatalf("the template has no %s", kind)
	}
	return tpl.Spec.Spec.Steps[i]
}

// filledIn replaces arguments by their values.
func (tpl template) filledIn(text string, more map[string]string) string {
	for _, values := range []map[string]string{more, tpl.Arguments, tpl.ArgumentOverrides} {
		for name, value := range values {
			text = strings.ReplaceAll(text, "${args."+name+"}", value)
		}
	}
	return text
}

func templateSchema(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	var schema jsonschema.Schema
	if err := json.Unmarshal([]byte(read(t, "test/packaging/testdata/northflank-template.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

func TestTemplateIsAsDocumented(t *testing.T) {
	t.Parallel()
	schema := templateSchema(t)
	text := read(t, templatePath)
	if err := validate(schema, text); err != nil {
		t.Error(err)
	}
	// What the schema is there to find.
	for _, mistake := range [][2]string{
		{`"DeploymentService"`, `"DeploymentServices"`},
		{`"deploymentPlan"`, `"plan"`},
		{`"instances": 1,`, ``},
		{`"configType": "customCommand"`, `"configType": "command"`},
		{`"customCommand": "worker`, `"command": "worker`},
		{`"secretType": "environment"`, `"secretType": "env"`},
		{`"priority": 50`, `"priority": 500`},
		{`"name": "prefect-worker"`, `"name": "prefect_worker"`},
		{`"livenessProbe"`, `"liveness"`},
		{`"path": "/health",`, ``},
		{`"v1.2"`, `"v1"`},
	} {
		broken := strings.Replace(text, mistake[0], mistake[1], 1)
		if broken == text || validate(schema, broken) == nil {
			t.Errorf("the schema does not find %s in the place of %s", mistake[1], mistake[0])
		}
	}
}

func validate(schema *jsonschema.Resolved, text string) error {
	var instance any
	if err := json.Unmarshal([]byte(text), &instance); err != nil {
		return err
	}
	return schema.Validate(instance)
}

var placeholder = regexp.MustCompile(`\$\{(\w+)\.(\w+)[^}]*\}`)

// Every argument is declared, every declared one used, and a reference is to an
// earlier step.
func TestTemplateRefersToWhatThereIs(t *testing.T) {
	t.Parallel()
	tpl := readTemplate(t)
	declared := slices.Sorted(maps.Keys(tpl.Arguments))
	for secret, value := range tpl.ArgumentOverrides {
		declared = append(declared, secret)
		if value != "" {
			t.Errorf("secret %s has a value", secret)
		}
	}
	used := map[string]bool{}
	refs := map[string]bool{}
	var steps []json.RawMessage
	var raw struct {
		Spec struct {
			Spec struct{ Steps []json.RawMessage }
		}
	}
	if err := json.Unmarshal([]byte(read(t, templatePath)), &raw); err != nil {
		t.Fatal(err)
	}
	steps = raw.Spec.Spec.Steps
	for i, step := range steps {
		for _, m := range placeholder.FindAllStringSubmatch(string(step), -1) {
			if m[1] == "args" {
				used[m[2]] = true
			} else if !refs[m[2]] {
				t.Errorf("step %d refers to %s, and no step before it is called %s", i+1, m[0], m[2])
			}
		}
		refs[tpl.Spec.Spec.Steps[i].Ref] = true
	}
	used["PROJECT"] = true // in the context, which is above the steps
	slices.Sort(declared)
	if diff := cmp.Diff(declared, slices.Sorted(maps.Keys(used))); diff != "" {
		t.Errorf("arguments (-declared +used):\n%s", diff)
	}
}

// The token is for the worker alone: the jobs of flow runs are in the same
// project, and would inherit what is not restricted.
func TestTemplateKeepsTheTokenFromFlowRuns(t *testing.T) {
	t.Parallel()
	tpl := readTemplate(t)
	tag, group, service := tpl.step(t, "ResourceTag"), tpl.step(t, "SecretGroup"), tpl.step(t, "DeploymentService")
	if !group.Spec.Restrictions.Restricted {
		t.Error("the secret group is not restricted")
	}
	want := []string{"${refs." + tag.Ref + ".id}"}
	if diff := cmp.Diff([][]string{want, want}, [][]string{group.Spec.Restrictions.Tags, service.Spec.Tags}); diff != "" {
		t.Errorf("tags of the secret group's restriction and of the service (-want +got):\n%s", diff)
	}
	for _, secret := range []string{"PREFECT_API_KEY", "NORTHFLANK_API_TOKEN"} {
		if _, ok := tpl.ArgumentOverrides[secret]; !ok {
			t.Errorf("%s is no argument override", secret)
		}
		if got, want := group.Spec.Secrets.Variables[secret], "${args."+secret+"}"; got != want {
			t.Errorf("variable %s = %q, want %q", secret, got, want)
		}
	}
	if service.Spec.Deployment.Instances != 1 {
		t.Errorf("%d instances, want 1", service.Spec.Deployment.Instances)
	}
}

// One place names the version; what cannot read it there agrees with it.
func TestImagesAreOfThisVersion(t *testing.T) {
	t.Parallel()
	want := find(t, "Makefile", `(?m)^IMAGE\s*:=\s*(\S+)$`) + ":" + version(t)
	tpl := readTemplate(t)
	if got := tpl.filledIn(tpl.step(t, "DeploymentService").Spec.Deployment.External.ImagePath, nil); got != want {
		t.Errorf("the template runs image %s, want %s", got, want)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "how-to", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	anyImage := regexp.MustCompile(`ghcr\.io/northflank/prefect-northflank:[\w.-]+`)
	for _, page := range pages {
		name, _ := filepath.Rel(root, page)
		for _, got := range anyImage.FindAllString(read(t, name), -1) {
			if got != want {
				t.Errorf("%s speaks of image %s, want %s", name, got, want)
			}
		}
	}
}
