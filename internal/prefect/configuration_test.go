package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// build runs BuildConfiguration over the blocks and variables of the golden file.
func build(t *testing.T, template, deployment, flowRun string) (*Configuration, error) {
	t.Helper()
	in := ConfigurationInput{Template: json.RawMessage(template), Deployment: object(t, deployment), FlowRun: object(t, flowRun)}
	lookup := readGolden(t).lookup()
	lookup.Env = func(name string) string {
		return map[string]string{"HOME": "/root", "NORTHFLANK_API_TOKEN": "env-token"}[name]
	}
	return BuildConfiguration(t.Context(), lookup, in)
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	if text == "" {
		return nil
	}
	var m map[string]any
	if err := decode([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// template makes a base job template from a job_configuration and properties.
func template(configuration, properties string) string {
	return fmt.Sprintf(`{"job_configuration":%s,"variables":{"properties":%s}}`, configuration, properties)
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	byPlaceholder := template(`{"env":"{{ env }}","runtime_environment":"{{ r }}","image":"{{ image }}","credentials":"{{ credentials }}","fixed":"literal","mixed":"{{ image }}:{{ tag }}","gone":"{{ gone }}"}`,
		`{"env":{},"r":{},"image":{"default":"img"},"tag":{"default":"latest"},"credentials":{},"gone":{}}`)
	tests := []struct {
		name                          string
		template, deployment, flowRun string
		want                          map[string]Origin
	}{
		{
			"each source", byPlaceholder, `{"tag":"v1","env":{"A":"1","B":"1"}}`, `{"env":{"B":"2","C":"2"}}`,
			map[string]Origin{
				"env": {Source: SourceFlowRun}, "env.A": {Source: SourceDeployment}, "env.B": {Source: SourceFlowRun}, "env.C": {Source: SourceFlowRun},
				"image": {Source: SourceDefault}, "fixed": {Source: SourceTemplate}, "mixed": {Source: SourceDeployment},
			},
		},
		{
			"dotted keys", byPlaceholder, `{"env.A":"1","r":{"X":"1","Y":"1"},"r.Z":"1"}`, `{"env.B":"2","r.W":"2"}`,
			map[string]Origin{
				"env": {Source: SourceFlowRun}, "env.A": {Source: SourceDeployment}, "env.B": {Source: SourceFlowRun},
				"runtime_environment": {Source: SourceFlowRun}, "runtime_environment.X": {Source: SourceDeployment}, "runtime_environment.Y": {Source: SourceDeployment},
				"runtime_environment.Z": {Source: SourceDeployment}, "runtime_environment.W": {Source: SourceFlowRun},
				"image": {Source: SourceDefault}, "fixed": {Source: SourceTemplate}, "mixed": {Source: SourceDefault},
			},
		},
		{
			"environment merged from four places", template(`{"env":{"T":"t","D":"t","H":"{{ $HOME }}","V":"{{ v }}"}}`, `{"env":{"default":{"D":"d","E":"d"}},"v":{"default":"v"}}`),
			`{"env":{"E":"1"}}`, `{"env":{"F":"2"}}`,
			map[string]Origin{
				"env": {Source: SourceFlowRun, Via: "environment HOME"}, "env.T": {Source: SourceTemplate}, "env.D": {Source: SourceDefault},
				"env.H": {Source: SourceTemplate, Via: "environment HOME"}, "env.V": {Source: SourceDefault}, "env.E": {Source: SourceDeployment}, "env.F": {Source: SourceFlowRun},
			},
		},
		{
			"blocks and variables", template(`{"credentials":"{{ credentials }}","token":"{{ prefect.blocks.secret.token }}-{{ prefect.variables.region }}","env":"{{ env }}"}`, `{"credentials":{"default":{"$ref":{"block_document_id":"7b0e4c1e-5c0e-4f29-9a6e-0a2b3c4d5e6f"}}},"env":{}}`),
			`{"env":{"R":"{{ prefect.variables.region }}","P":"plain"}}`, ``,
			map[string]Origin{
				"credentials":           {Source: SourceDefault, Via: "block 7b0e4c1e-5c0e-4f29-9a6e-0a2b3c4d5e6f"},
				"credentials.api_token": {Source: SourceDefault, Via: "block 7b0e4c1e-5c0e-4f29-9a6e-0a2b3c4d5e6f"},
				"credentials.base_url":  {Source: SourceDefault, Via: "block 7b0e4c1e-5c0e-4f29-9a6e-0a2b3c4d5e6f"},
				"token":                 {Source: SourceTemplate, Via: "block secret/token, variable region"},
				"env":                   {Source: SourceDeployment, Via: "variable region"}, "env.R": {Source: SourceDeployment, Via: "variable region"}, "env.P": {Source: SourceDeployment},
			},
		},
		{
			"an item of a variable", template(`{"x":"{{ r.X }}"}`, `{"r":{}}`), `{"r.X":1}`, `{"r.Y":2}`,
			map[string]Origin{"x": {Source: SourceDeployment}},
		},
		{
			"undotted replaces dotted", template(`{"x":"{{ x }}"}`, `{"x":{}}`), `{"x.a":1,"x":"s"}`, `{"x.b":2}`,
			map[string]Origin{"x": {Source: SourceDeployment}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := build(t, test.template, test.deployment, test.flowRun)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.Origins); diff != "" {
				t.Errorf("Origins (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsNoted(t *testing.T) {
	t.Parallel()
	type noted struct{ Secrets, Unknown, Unused, Empty []string }
	tests := []struct {
		name                string
		template, variables string
		want                noted
	}{
		{"nothing", template(`{"a":"{{ a }}","b":"{{ b }}"}`, `{"a":{},"b":{}}`), `{"a":1}`, noted{}},
		{"unknown and unused", template(`{"a":"{{ a }}","u":"{{ undeclared }}"}`, `{"a":{},"idle":{}}`), `{"a":1,"idle":2,"tpyo":3,"undeclared":4,"x.y":5}`, noted{Unknown: []string{"tpyo", "x"}, Unused: []string{"idle"}}},
		{"env that is merged in is used", template(`{"env":{"A":"1"}}`, `{"env":{}}`), `{"env":{"B":"2"}}`, noted{}},
		{"dotted keys count by their first part", template(`{"a":"{{ a.b }}"}`, `{"a":{}}`), `{"a.b":1}`, noted{}},
		{
			"texts of blocks", template(`{"a":"{{ a }}","b":"{{ b }}","c":"{{ c }}"}`, `{"a":{},"b":{},"c":{}}`),
			`{"a":"{{ prefect.blocks.northflank.creds }}","b":"u:{{ prefect.blocks.secret.token }}","c":[{"$ref":"7b0e4c1e-5c0e-4f29-9a6e-0a2b3c4d5e6f"}]}`,
			noted{Secrets: []string{"https://api.example", "nf-secret", "s3cret"}},
		},
		{"credentials of the environment", template(`{"a":"{{ $NORTHFLANK_API_TOKEN }}","b":"{{ $HOME }}"}`, `{}`), `{}`, noted{Secrets: []string{"env-token"}}},
		{
			"became nothing", template(`{"a":"{{ a }}","b":"x{{ nope }}","c":"{{ whole }}","d":"{{ $UNSET }}"}`, `{"a":{}}`), `{"a":"{{ prefect.variables.nope }}"}`,
			noted{Empty: []string{"$UNSET", "nope", "prefect.variables.nope"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := build(t, test.template, test.variables, "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, noted{got.Secrets, got.Unknown, got.Unused, got.Empty}); diff != "" {
				t.Errorf("noted (-want +got):\n%s", diff)
			}
		})
	}
}

func TestShortReferenceToABlock(t *testing.T) {
	t.Parallel()
	got, err := build(t, template(`{"a":"{{ a }}","b":{"$ref":"#/definitions/X"}}`, `{}`), `{"a":{"$ref":"7b0e4c1e-5c0e-4f29-9a6e-0a2b3c4d5e6f"}}`, "")
	want := map[string]any{"a": map[string]any{"api_token": "nf-secret", "base_url": "https://api.example"}, "b": map[string]any{"$ref": "#/definitions/X"}}
	if diff := cmp.Diff(want, got.Values); err != nil || diff != "" {
		t.Errorf("error %v, values (-want +got):\n%s", err, diff)
	}
}

// deep is a JSON list nested n times.
func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestConfigurationErrors(t *testing.T) {
	t.Parallel()
	one := template(`{"v":"{{ v }}","env":{"A":"1"}}`, `{"v":{}}`)
	big := `"` + strings.Repeat("x", 100_000) + `"`
	tests := []struct {
		name                                 string
		template, deployment, flowRun, cause string
	}{
		{"no JSON", `{`, "", "", "the work pool's base job template is not as it should be"},
		{"empty template", `{}`, "", "", "lacks job_configuration or variables"},
		{"no template", ``, "", "", "the work pool's base job template is not as it should be"},
		{"env of the deployment is a text", one, `{"env":"A=1"}`, "", `job configuration "env": the job variable from the deployment is not an object`},
		{"env of the flow run is a list", one, `{"env":{}}`, `{"env":["A"]}`, `job configuration "env": the job variable from the flow run is not an object`},
		{"dotted keys contradict", one, `{"v.a":1,"v.a.b":2}`, "", `job configuration "v": job variable "v.a.b" contradicts "v.a"`},
		{"block missing", one, `{"v":"{{ prefect.blocks.northflank.nope }}"}`, "", `job configuration "v": Block not found: 'nope' of type 'northflank'`},
		{"block path missing", one, `{"v":"{{ prefect.blocks.northflank.creds.nope }}"}`, "", `block northflank/creds holds nothing at "nope"`},
		{"object in text", one, `{"v":"x {{ prefect.blocks.northflank.creds }}"}`, "", "stands inside text"},
		{"nested too deep", one, `{"v":` + deep(200) + `}`, "", `job configuration "v": it is nested deeper than 100 levels`},
		{"template nested too deep", template(`{"v":`+deep(200)+`}`, `{}`), "", "", `job configuration "v": it is nested deeper than 100 levels`},
		{"dotted too deep", one, `{"` + strings.Repeat("v.", 200) + `v":1}`, "", "nested deeper"},
		{"text that grows", template(`{"v":"`+strings.Repeat("{{ v }}", 200)+`"}`, `{}`), `{"v":` + big + `}`, "", `job configuration "v": its placeholders grow to more than 8 MiB`},
		{"value put in often", template(`{"v":[`+strings.Repeat(`"{{ v }}",`, 200)+`1]}`, `{}`), `{"v":` + big + `}`, "", "grow to more than 8 MiB"},
		{"block put in often", template(`{"v":[`+strings.Repeat(`"{{ prefect.blocks.big.block }}",`, 200)+`1]}`, `{}`), "", "", "grow to more than 8 MiB"},
		{"variable put in often", template(`{"v":"`+strings.Repeat(`{{ prefect.variables.big }}`, 200)+`"}`, `{}`), "", "", "grow to more than 8 MiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			lookup := readGolden(t).lookup()
			block, variable := lookup.Block, lookup.Variable
			lookup.Block = func(ctx context.Context, slug, name string) (map[string]any, error) {
				if slug == "big" {
					return map[string]any{"value": big}, nil
				}
				return block(ctx, slug, name)
			}
			lookup.Variable = func(ctx context.Context, name string) (any, bool, error) {
				if name == "big" {
					return big, true, nil
				}
				return variable(ctx, name)
			}
			_, err := BuildConfiguration(t.Context(), lookup, ConfigurationInput{
				Template: json.RawMessage(test.template), Deployment: object(t, test.deployment), FlowRun: object(t, test.flowRun),
			})
			e, ok := errors.AsType[*ConfigurationError](err)
			if !ok || !strings.Contains(err.Error(), test.cause) || e.Hint() == "" {
				t.Errorf("BuildConfiguration() error = %v, want %q and a hint", err, test.cause)
			}
		})
	}
}

// What goes wrong while reading is not the configuration's fault.
func TestLookupErrorsArePassedOn(t *testing.T) {
	t.Parallel()
	down := &Error{Status: 503}
	lookup := Lookup{
		Block:     func(context.Context, string, string) (map[string]any, error) { return nil, down },
		BlockByID: func(context.Context, string) (map[string]any, error) { return nil, down },
		Variable:  func(context.Context, string) (any, bool, error) { return nil, false, down },
	}
	for _, v := range []string{
		`"{{ prefect.blocks.a.b }}"`, `"x{{ prefect.blocks.a.b }}"`, `{"$ref":{"block_document_id":"i"}}`, `"{{ prefect.variables.a }}"`, `"x{{ prefect.variables.a }}"`,
	} {
		_, err := BuildConfiguration(t.Context(), lookup, ConfigurationInput{Template: json.RawMessage(template(`{"v":`+v+`}`, `{}`))})
		if _, isConfiguration := errors.AsType[*ConfigurationError](err); !errors.Is(err, ErrUnavailable) || isConfiguration {
			t.Errorf("%s: error = %v, want ErrUnavailable", v, err)
		}
	}
}

func TestInputIsLeftAlone(t *testing.T) {
	t.Parallel()
	deployment := `{"env":{"A":"1"},"v":{"a":{"b":1}},"v.a":{"c":1},"v.a.d":2,"l":["x"]}`
	in := ConfigurationInput{
		Template:   json.RawMessage(template(`{"env":{"T":"1"},"v":"{{ v }}","l":"{{ l }}","b":"{{ prefect.blocks.northflank.creds }}","p":"{{ prefect.variables.obj }}"}`, `{"env":{"default":{"D":"1"}}}`)),
		Deployment: object(t, deployment), FlowRun: object(t, `{"env":{"B":"2"}}`),
	}
	g := readGolden(t)
	got, err := BuildConfiguration(t.Context(), g.lookup(), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range got.Values { // scribble over the result
		switch v := v.(type) {
		case map[string]any:
			for key := range v {
				v[key] = "scribble"
			}
		case []any:
			clear(v)
		}
	}
	if diff := cmp.Diff(object(t, deployment), in.Deployment); diff != "" {
		t.Errorf("the deployment's job variables changed (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(readGolden(t).Blocks, g.Blocks); diff != "" {
		t.Errorf("the blocks changed (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(readGolden(t).Variables, g.Variables); diff != "" {
		t.Errorf("the variables changed (-before +after):\n%s", diff)
	}
}

// A flow run's env that is null takes nothing away; Prefect's own worker fails here.
func TestNullEnvOfTheFlowRun(t *testing.T) {
	t.Parallel()
	got, err := build(t, template(`{"env":"{{ env }}"}`, `{"env":{}}`), `{"env":{"A":"1"}}`, `{"env":null}`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"env": map[string]any{"A": "1"}}, got.Values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

func TestApplyValuesForNames(t *testing.T) {
	t.Parallel()
	values := map[string]any{"ctx": map[string]any{"flow": map[string]any{"name": "ff"}, "flow_run": map[string]any{"id": "98b3", "run_count": 3, "estimated": 1.0}}}
	tests := []struct {
		template any
		want     any
		found    bool
	}{
		{"x {{ ctx.flow.name }}/{{ ctx.flow_run.id }}/{{ ctx.nope }}", "x ff/98b3/", true},
		{"{{ ctx.flow.name }}", "ff", true},
		{"n{{ ctx.flow_run.run_count }}-{{ ctx.flow_run.estimated }}", "n3-1.0", true},
		{"{{ nope }}", nil, false},
		{"{{ $HOME }}!", "!", true},
		{strings.Repeat("{{ ctx.big }}", 3), nil, false},
	}
	values["ctx"].(map[string]any)["big"] = strings.Repeat("x", 3<<20)
	for _, test := range tests {
		got, found := ApplyValues(test.template, values)
		if got != test.want || found != test.found {
			t.Errorf("ApplyValues(%.40v) = %v, %v, want %v, %v", test.template, got, found, test.want, test.found)
		}
	}
}
