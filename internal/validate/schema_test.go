package validate_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"
	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v4"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/validate"
)

// TestSchemaOfExamples holds the examples against the schema that they name.
func TestSchemaOfExamples(t *testing.T) {
	t.Parallel()
	examples, err := filepath.Glob("../../examples/*/prefect.yaml")
	if err != nil || len(examples) != 3 {
		t.Fatalf("examples: %v, %v, want 3", examples, err)
	}
	comment := regexp.MustCompile(`^# yaml-language-server: \$schema=(\S+)\n`)
	for _, path := range examples {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m := comment.FindStringSubmatch(string(text))
		if m == nil {
			t.Errorf("%s names no schema in its first line", path)
			continue
		}
		named, err := os.ReadFile(filepath.Join(filepath.Dir(path), m[1]))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema(t, named).Validate(decoded(t, string(text))); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestSchemaKnowsMistakes lets the schema object to what can be seen in one job
// variable, and to nothing in a file that is right.
func TestSchemaKnowsMistakes(t *testing.T) {
	t.Parallel()
	raw, err := jobspec.ProjectSchema(jobspec.BaseJobTemplate())
	if err != nil {
		t.Fatal(err)
	}
	project := schema(t, raw)
	archive, err := txtar.ParseFile("testdata/variables.txtar")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, file := range archive.Files {
		text := string(file.Data)
		err := project.Validate(decoded(t, text))
		visible := strings.Contains(text, "unknown-job-variable") || strings.Contains(text, "wrong-type")
		if visible && file.Name != "word that YAML takes for false" { // a text for editors, which read YAML 1.2
			seen++
			if err == nil {
				t.Errorf("%s: the schema takes it", file.Name)
			}
		}
		if !strings.Contains(text, "unknown-job-variable") && !strings.Contains(text, "wrong-") && err != nil {
			t.Errorf("%s: %v", file.Name, err)
		}
	}
	if seen < 15 {
		t.Errorf("%d files with mistakes that a schema can see, want 15 at least", seen)
	}
}

// TestSchemaOfAPool has the pool's own job variables, and not those that it lacks.
func TestSchemaOfAPool(t *testing.T) {
	t.Parallel()
	pools := templates(t)
	const text = "deployments: [{work_pool: {job_variables: {VARIABLE}}}]"
	tests := []struct {
		name, pool, variable string
		want                 bool
	}{
		{"own", "own-pool", "cost_center: 7", true},
		{"own as a placeholder", "own-pool", `cost_center: "{{ build.center }}"`, true},
		{"own of the wrong type", "own-pool", "cost_center: data", false},
		{"another pool's own", "my-pool", "cost_center: 7", false},
		{"newer than the pool", "original-pool", "stream_output: true", false},
		{"as old as the pool", "original-pool", "project_id: my-project", true},
	}
	for _, tt := range tests {
		raw, err := jobspec.ProjectSchema(pools[tt.pool])
		if err != nil {
			t.Fatal(err)
		}
		err = schema(t, raw).Validate(decoded(t, strings.Replace(text, "VARIABLE", tt.variable, 1)))
		if (err == nil) != tt.want {
			t.Errorf("%s: %q taken %t, want %t: %v", tt.name, tt.variable, err == nil, tt.want, err)
		}
	}
}

func schema(t *testing.T, raw []byte) *jsonschema.Resolved {
	t.Helper()
	var s jsonschema.Schema
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

// decoded is a file as an editor sees it.
func decoded(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestDocumentedCodes keeps the how-to guide's table of codes complete.
func TestDocumentedCodes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/how-to/check-a-prefect-yaml.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, rule := range validate.Rules() {
		want = append(want, "| `"+string(rule.Code)+"` | "+rule.Text+" |")
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| `") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes in the guide (-want +got):\n%s", diff)
	}
}
