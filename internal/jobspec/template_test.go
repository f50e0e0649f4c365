package jobspec

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files and produced files anew")

// golden compares got with a file, or writes the file with -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./internal/jobspec -update", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is stale; write it with: go test ./internal/jobspec -update\n(-want +got):\n%s", path, diff)
	}
}

func indented(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func TestWheelHasTheBaseJobTemplate(t *testing.T) {
	t.Parallel()
	golden(t, "../../python/src/prefect_northflank/base-job-template.json", indented(t, BaseJobTemplate()))
}

// originalTemplate is what prefect-northflank 1.0.1 gives a new work pool.
func originalTemplate(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/original-base-job-template.json")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

type parsedTemplate struct {
	Configuration map[string]any `json:"job_configuration"`
	Variables     struct {
		Properties  map[string]map[string]any `json:"properties"`
		Definitions map[string]map[string]any `json:"definitions"`
	} `json:"variables"`
}

func parse(t *testing.T, raw []byte) parsedTemplate {
	t.Helper()
	var p parsedTemplate
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// typeAndDefault is what may not change between the original and ours.
func typeAndDefault(property map[string]any) map[string]any {
	out := map[string]any{}
	for _, key := range []string{"type", "anyOf", "$ref", "items", "additionalProperties", "default"} {
		if v, ok := property[key]; ok {
			out[key] = v
		}
	}
	return out
}

func TestOriginalVariablesAreASubset(t *testing.T) {
	t.Parallel()
	original, ours := parse(t, originalTemplate(t)), parse(t, BaseJobTemplate())
	if len(original.Variables.Properties) != 28 {
		t.Fatalf("the original has %d variables, want 28", len(original.Variables.Properties))
	}
	for name, property := range original.Variables.Properties {
		got, ok := ours.Variables.Properties[name]
		if !ok {
			t.Errorf("variable %s is missing", name)
			continue
		}
		v, _ := Lookup(name)
		if !v.Original {
			t.Errorf("variable %s is not marked Original", name)
		}
		if name == "credentials" { // wider: see TestCredentialsSchema
			continue
		}
		if diff := cmp.Diff(typeAndDefault(property), typeAndDefault(got)); diff != "" {
			t.Errorf("variable %s (-original +ours):\n%s", name, diff)
		}
	}
	for name, placeholder := range original.Configuration {
		if diff := cmp.Diff(placeholder, ours.Configuration[name]); diff != "" {
			t.Errorf("job_configuration.%s (-original +ours):\n%s", name, diff)
		}
	}
	for _, v := range Variables() {
		if _, ok := original.Variables.Properties[v.Name]; ok != v.Original {
			t.Errorf("variable %s: Original = %v, want %v", v.Name, v.Original, ok)
		}
	}
}

// A block's content, a reference to a block, a placeholder and null all pass the
// validation of a Prefect 3.8 server with these shapes, as a value and beside a
// reference as the pool's default; with the original's only the first does.
func TestCredentialsSchema(t *testing.T) {
	t.Parallel()
	ours := parse(t, BaseJobTemplate())
	want := map[string]any{"anyOf": []any{
		map[string]any{"$ref": "#/definitions/Northflank"},
		map[string]any{"type": "string"},
		map[string]any{"type": "null"},
	}}
	if diff := cmp.Diff(want, typeAndDefault(ours.Variables.Properties["credentials"])); diff != "" {
		t.Errorf("credentials (-want +got):\n%s", diff)
	}
	definition := ours.Variables.Definitions["Northflank"]
	if diff := cmp.Diff([]any{"api_token"}, definition["required"]); diff != "" {
		t.Errorf("definitions.Northflank.required (-want +got):\n%s", diff)
	}
	token := definition["properties"].(map[string]any)["api_token"].(map[string]any)
	if _, ok := token["default"]; ok {
		t.Error("definitions.Northflank.api_token has a default, which makes every reference match both forms")
	}
}

func TestWithCredentialsDefault(t *testing.T) {
	t.Parallel()
	raw, err := WithCredentialsDefault(BaseJobTemplate(), "b-1")
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, raw).Variables.Properties["credentials"]["default"]
	want := map[string]any{"$ref": map[string]any{"block_document_id": "b-1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("default of credentials (-want +got):\n%s", diff)
	}
	if _, err := WithCredentialsDefault([]byte(`{"variables":{"properties":{}}}`), "b-1"); err == nil {
		t.Error("WithCredentialsDefault of a template without credentials: no error")
	}
}
