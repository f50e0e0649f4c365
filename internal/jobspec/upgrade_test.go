package jobspec

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUpgradeOriginalTemplate(t *testing.T) {
	t.Parallel()
	upgraded, changes, err := UpgradeTemplate(originalTemplate(t))
	if err != nil {
		t.Fatal(err)
	}
	var newOnes []string
	for _, v := range Variables() {
		if !v.Original {
			newOnes = append(newOnes, "new job variable "+v.Name)
		}
	}
	want := append(newOnes, "credentials takes a block reference, a placeholder or null",
		"descriptions of 27 job variables say what they do now", "a reference to a Northflank block passes Prefect's validation")
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	ours, got := parse(t, BaseJobTemplate()), parse(t, upgraded)
	if diff := cmp.Diff(ours.Configuration, got.Configuration); diff != "" {
		t.Errorf("job_configuration (-ours +upgraded):\n%s", diff)
	}
	if diff := cmp.Diff(ours.Variables.Definitions, got.Variables.Definitions); diff != "" {
		t.Errorf("definitions (-ours +upgraded):\n%s", diff)
	}
	for name, property := range ours.Variables.Properties {
		if diff := cmp.Diff(typeAndDefault(property), typeAndDefault(got.Variables.Properties[name])); diff != "" {
			t.Errorf("variable %s (-ours +upgraded):\n%s", name, diff)
		}
		if got := got.Variables.Properties[name]["description"]; got != property["description"] {
			t.Errorf("variable %s is described as %q, want %q", name, got, property["description"])
		}
	}
	again, changes, err := UpgradeTemplate(upgraded)
	if err != nil || len(changes) != 0 || string(again) != string(upgraded) {
		t.Errorf("a second upgrade changes %v, %v", changes, err)
	}
}

func TestUpgradeKeepsWhatTheUserMade(t *testing.T) {
	t.Parallel()
	stored := string(originalTemplate(t))
	for _, edit := range [][2]string{
		{`"project_id": "{{ project_id }}"`, `"project_id": "fixed"`},
		{`"tags": "{{ tags }}",`, ``},
		{`"default": "nf-compute-20"`, `"default": "nf-compute-200"`},
		{`"description": "The Northflank project ID where jobs will be created"`, `"description": "Ask the platform team"`},
		{`"description": "The Northflank credentials used to connect`, `"description": "Ours. The Northflank credentials used to connect`},
		{`"title": "Northflank Credentials"`, `"title": "Northflank Credentials", "default": {"$ref": {"block_document_id": "b-1"}}`},
		{`"properties": {
      "name"`, `"properties": {
      "mine": {"type": "string"},
      "name"`},
	} {
		if !strings.Contains(stored, edit[0]) {
			t.Fatalf("the original has no %s", edit[0])
		}
		stored = strings.Replace(stored, edit[0], edit[1], 1)
	}
	upgraded, _, err := UpgradeTemplate([]byte(stored))
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, upgraded)
	if got.Configuration["project_id"] != "fixed" {
		t.Errorf("project_id = %v, want the fixed value", got.Configuration["project_id"])
	}
	if _, ok := got.Configuration["tags"]; ok {
		t.Error("tags are back in job_configuration, although somebody took them out")
	}
	properties := got.Variables.Properties
	if properties["billing_deployment_plan"]["default"] != "nf-compute-200" {
		t.Errorf("default of billing_deployment_plan = %v, want the edited one", properties["billing_deployment_plan"]["default"])
	}
	for name, want := range map[string]string{"project_id": "Ask the platform team", "credentials": "Ours."} {
		if got, _ := properties[name]["description"].(string); !strings.HasPrefix(got, want) {
			t.Errorf("%s is described as %q, want the edited %q", name, got, want)
		}
	}
	if _, ok := properties["mine"]; !ok {
		t.Error("the user's own variable is gone")
	}
	want := any(map[string]any{"$ref": map[string]any{"block_document_id": "b-1"}})
	if diff := cmp.Diff(want, properties["credentials"]["default"]); diff != "" {
		t.Errorf("default of credentials (-want +got):\n%s", diff)
	}
	if i, j := strings.Index(string(upgraded), `"mine"`), strings.Index(string(upgraded), `"name":{`); i < 0 || i > j {
		t.Error("the order of the variables has changed")
	}
}

func TestOriginalDescriptions(t *testing.T) {
	t.Parallel()
	want := map[string]string{}
	for name, property := range parse(t, originalTemplate(t)).Variables.Properties {
		want[name], _ = property["description"].(string)
	}
	if diff := cmp.Diff(want, originalDescriptions); diff != "" {
		t.Errorf("original descriptions (-original +table):\n%s", diff)
	}
}

func TestUpgradeEmptyAndBroken(t *testing.T) {
	t.Parallel()
	got, changes, err := UpgradeTemplate([]byte(`{}`))
	if err != nil || string(got) != string(BaseJobTemplate()) || len(changes) != 1 {
		t.Errorf("UpgradeTemplate({}) = %d bytes, %v, %v, want the default", len(got), changes, err)
	}
	for _, broken := range []string{``, `[]`, `{"job_configuration":{}}`, `{"variables":{"properties":{}}}`, `{} {}`, `{"a":`} {
		if _, _, err := UpgradeTemplate([]byte(broken)); err == nil {
			t.Errorf("UpgradeTemplate(%s): no error", broken)
		}
	}
}

func TestBlock(t *testing.T) {
	t.Parallel()
	golden(t, "testdata/block-schema.json", indented(t, BlockSchemaFields(true)))
	var with, without map[string]any
	for raw, into := range map[string]*map[string]any{string(BlockSchemaFields(true)): &with, string(BlockSchemaFields(false)): &without} {
		if err := json.Unmarshal([]byte(raw), into); err != nil {
			t.Fatal(err)
		}
	}
	for _, field := range with["properties"].(map[string]any) {
		delete(field.(map[string]any), "position")
	}
	if diff := cmp.Diff(with, without); diff != "" {
		t.Errorf("fields without position (-want +got):\n%s", diff)
	}
	if bt := BlockType(); bt.Slug != without["block_type_slug"] || bt.Name != without["title"] || bt.Description != without["description"] {
		t.Errorf("block type %+v does not go with its schema", bt)
	}
}
