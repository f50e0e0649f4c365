package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/hostile"
)

// FuzzApplyValues: no template and no values make it panic, it gives the same
// answer twice, leaves its input alone, and stays within bounds.
func FuzzApplyValues(f *testing.F) { fuzzApplyValues(f) }

func fuzzApplyValues(f hostile.F) {
	g := readGolden(f)
	for _, test := range g.Apply {
		encoded, err := json.Marshal(test.Template)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(encoded), g.Values)
	}
	f.Fuzz(func(t *testing.T, templateText, valuesText string) {
		var template, before any
		var values map[string]any
		if decode([]byte(templateText), &template) != nil || decode([]byte(templateText), &before) != nil || decode([]byte(valuesText), &values) != nil {
			t.SkipNow()
		}
		first, found := ApplyValues(template, values)
		again, foundAgain := ApplyValues(template, values)
		if found != foundAgain || !reflect.DeepEqual(first, again) {
			t.Errorf("ApplyValues() = %v, %v, then %v, %v", first, found, again, foundAgain)
		}
		if !reflect.DeepEqual(template, before) {
			t.Errorf("ApplyValues() changed its template to %v", template)
		}
		if text, ok := template.(string); ok && !strings.Contains(text, "{{") && first != any(text) {
			t.Errorf("ApplyValues(%q) = %v, want it unchanged", text, first)
		}
		if !found && first != nil {
			t.Errorf("ApplyValues() = %v, not found", first)
		}
	})
}

// FuzzBuildConfiguration: whatever users write, it ends, in a configuration or
// in an error that says whose fault it is, and the configuration is valid JSON.
func FuzzBuildConfiguration(f *testing.F) { fuzzBuildConfiguration(f) }

func fuzzBuildConfiguration(f hostile.F) {
	g := readGolden(f)
	for _, test := range g.Configuration {
		deployment, err1 := json.Marshal(test.Deployment)
		flowRun, err2 := json.Marshal(test.FlowRun)
		if err := errors.Join(err1, err2); err != nil {
			f.Fatal(err)
		}
		f.Add(string(test.Template), string(deployment), string(flowRun))
	}
	lookup := g.lookup()
	f.Fuzz(func(t *testing.T, template, deployment, flowRun string) {
		in := ConfigurationInput{Template: json.RawMessage(template)}
		if decode([]byte(deployment), &in.Deployment) != nil || decode([]byte(flowRun), &in.FlowRun) != nil {
			t.SkipNow()
		}
		got, err := BuildConfiguration(context.Background(), lookup, in)
		if err != nil {
			if e, ok := errors.AsType[*ConfigurationError](err); !ok || e.Hint() == "" {
				t.Errorf("error = %v, want a *ConfigurationError with a hint", err)
			}
			return
		}
		if _, err := json.Marshal(got.Values); err != nil {
			t.Errorf("the configuration is no JSON: %v", err)
		}
		for key := range got.Values {
			if got.Origins[key].Source == "" {
				t.Errorf("key %q has no origin", key)
			}
		}
		again, err := BuildConfiguration(context.Background(), lookup, in)
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Errorf("the second time it is %v, %v, not %v", again, err, got)
		}
	})
}

// FuzzParseDotenv: no file makes it panic or go on for ever.
func FuzzParseDotenv(f *testing.F) { fuzzParseDotenv(f) }

func fuzzParseDotenv(f hostile.F) {
	for _, text := range []string{"A=1\n", "export A='x'\n# c\nB=\"y\\n\"", "A=${B:-c}\n", "='", "A", "'A'=\"", "\r\r\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values, _ := parseDotenv(text, nil)
		for key := range values {
			if strings.ContainsAny(key, "\n\r") && !strings.Contains(text, "'") {
				t.Errorf("key %q goes over lines", key)
			}
		}
	})
}
