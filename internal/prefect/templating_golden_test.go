package prefect

import (
	"context"
	"encoding/json"
	"math/big"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// golden is testdata/templating.json: what Prefect itself made of each case. It
// is written by testdata/templating.py.
type golden struct {
	Prefect    string
	Values     string // JSON; for cases that bring none of their own
	Env        map[string]string
	Blocks     map[string]map[string]any
	BlocksByID map[string]map[string]any `json:"blocks_by_id"`
	Variables  map[string]any
	Apply      []struct {
		Template any
		Values   *string
		Found    bool
		Result   any
	}
	Configuration []struct {
		Name       string
		Template   json.RawMessage
		Deployment map[string]any
		FlowRun    map[string]any `json:"flow_run"`
		Result     map[string]any
		Error      string
	}
}

func readGolden(t testing.TB) golden {
	t.Helper()
	data, err := os.ReadFile("testdata/templating.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := decode(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g golden) env(name string) string { return g.Env[name] }

func (g golden) lookup() Lookup {
	return Lookup{
		Block: func(_ context.Context, slug, name string) (map[string]any, error) {
			return found(g.Blocks[slug+"/"+name])
		},
		BlockByID: func(_ context.Context, id string) (map[string]any, error) { return found(g.BlocksByID[id]) },
		Variable: func(_ context.Context, name string) (any, bool, error) {
			value, ok := g.Variables[name]
			return value, ok, nil
		},
		Env: g.env,
	}
}

func found(data map[string]any) (map[string]any, error) {
	if data == nil {
		return nil, &Error{Status: 404}
	}
	return data, nil
}

// sameNumbers compares numbers by value: 1E5 and 100000.0 are one.
var sameNumbers = cmp.Comparer(func(a, b json.Number) bool {
	x, okX := new(big.Float).SetString(a.String())
	y, okY := new(big.Float).SetString(b.String())
	return okX && okY && x.Cmp(y) == 0
})

func TestGoldenIsOfTheImitatedVersion(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	if g.Prefect != imitatedVersion {
		t.Errorf("testdata/templating.json is of Prefect %s, want %s", g.Prefect, imitatedVersion)
	}
	if got := len(g.Apply) + len(g.Configuration); got < 60 {
		t.Errorf("%d golden cases, want at least 60", got)
	}
}

func TestApplyAsPrefectDoes(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	for _, test := range g.Apply {
		text := g.Values
		if test.Values != nil {
			text = *test.Values
		}
		var values map[string]any
		if err := decode([]byte(text), &values); err != nil {
			t.Fatal(err)
		}
		a := &applier{values: values, env: g.env}
		got, found, err := a.apply(test.Template, place{}, 0)
		if err != nil || found != test.Found {
			t.Errorf("apply(%q) = found %v, error %v, want found %v", test.Template, found, err, test.Found)
			continue
		}
		if diff := cmp.Diff(test.Result, got, sameNumbers); diff != "" {
			t.Errorf("apply(%q) (-Prefect +got):\n%s", test.Template, diff)
		}
	}
}

func TestBuildConfigurationAsPrefectDoes(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	for _, test := range g.Configuration {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			got, err := BuildConfiguration(t.Context(), g.lookup(),
				ConfigurationInput{Template: test.Template, Deployment: test.Deployment, FlowRun: test.FlowRun})
			if test.Error != "" {
				if e, ok := err.(*ConfigurationError); !ok || e.Hint() == "" {
					t.Fatalf("BuildConfiguration() error = %v, want a *ConfigurationError with a hint, as Prefect has %q", err, test.Error)
				}
				return
			}
			if err != nil {
				t.Fatalf("BuildConfiguration() error = %v, want none", err)
			}
			if diff := cmp.Diff(test.Result, got.Values, sameNumbers); diff != "" {
				t.Errorf("BuildConfiguration() (-Prefect +got):\n%s", diff)
			}
		})
	}
}
