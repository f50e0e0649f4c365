package jobspec

import (
	"testing"
)

func TestWithDefault(t *testing.T) {
	t.Parallel()
	template, err := WithDefault(BaseJobTemplate(), "project_id", "my-project")
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, template)
	if d := got.Variables.Properties["project_id"]["default"]; d != "my-project" {
		t.Errorf("default = %v, want my-project", d)
	}
	// Nothing else changed, the order of keys included.
	back, err := WithDefault(template, "project_id", nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(back) != string(BaseJobTemplate()) {
		t.Errorf("with the default taken back the template is\n%s\nwant\n%s", back, BaseJobTemplate())
	}
}

func TestWithDefaultOfAVariableThatIsNotThere(t *testing.T) {
	t.Parallel()
	for _, template := range []string{`{}`, `{"variables":{"properties":{"project_id":1}}}`, `[]`, `{`} {
		if got, err := WithDefault([]byte(template), "project_id", "p"); err == nil {
			t.Errorf("WithDefault(%s) = %s, want an error", template, got)
		}
	}
}
