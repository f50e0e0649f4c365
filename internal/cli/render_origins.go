package cli

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// origin says where one value of a request comes from.
type origin struct {
	Place    string `json:"place"` // path in the body, or what the value is for
	Value    string `json:"value"` // secrets masked
	Variable string `json:"variable,omitempty"`
	Source   string `json:"source"`
	Via      string `json:"via,omitempty"`
}

// Sources besides those of [jobspec.Origin].
const (
	sourceBuiltIn = "built-in default"
	sourceShared  = "neutral in the job; the job run overrides it"
)

// leaf is one value of a JSON body.
type leaf struct {
	path  []string
	value string // as people read it: texts without quotes
}

func (l leaf) place() string { return strings.Join(l.path, ".") }

// leaves lists the values of a JSON object in its order. A list is one value.
func leaves(body json.RawMessage, above ...string) []leaf {
	d := json.NewDecoder(bytes.NewReader(body))
	if _, err := d.Token(); err != nil { // {
		return nil
	}
	var all []leaf
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return all
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return all
		}
		path := append(above[:len(above):len(above)], key.(string))
		var text string
		switch {
		case value[0] == '{':
			all = append(all, leaves(value, path...)...)
		case json.Unmarshal(value, &text) == nil && value[0] == '"':
			all = append(all, leaf{path, text})
		default:
			all = append(all, leaf{path, string(value)})
		}
	}
	return all
}

// tracer finds out where values come from.
type tracer struct {
	prepared *worker.Prepared
	places   map[string][]jobspec.Variable // by path in a body
}

func newTracer(p *worker.Prepared) tracer {
	t := tracer{prepared: p, places: map[string][]jobspec.Variable{}}
	for _, v := range jobspec.Variables() {
		if !beside(v) {
			t.places[v.Place] = append(t.places[v.Place], v)
		}
	}
	return t
}

// beside reports whether the job variable is in neither body: it says whom
// requests are made for, how they are made, and what the worker does.
func beside(v jobspec.Variable) bool {
	switch v.Name {
	case "project_id", "job_scope", "cleanup_job", "runtime_environment_templates", "leave_out_prefect_credentials":
		return true
	}
	return v.Level == jobspec.LevelWorker
}

// sameAs are the parts of a body that repeat what stands elsewhere.
var sameAs = strings.NewReplacer("deployment.gpu.", "billing.gpu.", "deployment.buildpack.custom", "deployment.docker.custom")

// job explains the body of PUT /jobs, run that of POST /jobs/{job}/runs.
func (t tracer) job(job, run json.RawMessage) []origin {
	inRun := map[string]string{}
	for _, l := range leaves(run) {
		inRun[l.place()] = l.value
	}
	var all []origin
	for _, l := range leaves(job) {
		o := t.explain(l)
		v, _ := jobspec.Lookup(o.Variable)
		if override, ok := inRun[l.place()]; ok && v.Level == jobspec.LevelRun && override != l.value {
			o = origin{Place: o.Place, Value: o.Value, Source: sourceShared}
		}
		all = append(all, o)
	}
	return all
}

func (t tracer) run(run json.RawMessage) []origin {
	var all []origin
	for _, l := range leaves(run) {
		all = append(all, t.explain(l))
	}
	return all
}

// explain finds the job variable that a value was made of.
func (t tracer) explain(l leaf) origin {
	o := origin{Place: l.place(), Value: l.value, Source: jobspec.FromWorker}
	if l.path[0] == "runtimeEnvironment" {
		return t.explainEnvironment(o, l.path[1])
	}
	path := strings.SplitN(sameAs.Replace(o.Place), ".", len(l.path))
	for n := len(path); n > 0; n-- {
		variables := t.places[strings.Join(path[:n], ".")]
		if len(variables) == 0 {
			continue
		}
		v := t.decisive(variables)
		switch {
		case v.Name == "":
			return o
		case n < len(path): // an item of a map
			return t.fromVariable(o, v, v.Name+"."+l.path[n])
		}
		return t.fromVariable(o, v, v.Name)
	}
	return o
}

// decisive is, of the variables that mean the same place, the one that is set;
// of several set ones the later in the table wins. Without one that is set, the
// place has a default, unless the worker makes the value.
func (t tracer) decisive(variables []jobspec.Variable) jobspec.Variable {
	for i := len(variables) - 1; i >= 0; i-- {
		if v := t.prepared.Values.Values[variables[i].Name]; v != nil && v != "" {
			return variables[i]
		}
	}
	if first := variables[0]; first.Place != "name" && first.Place != "description" {
		return variables[len(variables)-1]
	}
	return jobspec.Variable{}
}

func (t tracer) fromVariable(o origin, v jobspec.Variable, key string) origin {
	o.Variable = v.Name
	from, known := t.prepared.Values.Origins[key]
	if !known {
		from, known = t.prepared.Values.Origins[v.Name]
	}
	given, isSet := t.prepared.Values.Values[v.Name]
	switch {
	case !known || !isSet || given == "":
		o.Source = sourceBuiltIn
	case v.Name == "settings_backoff_limit" && from.Source == jobspec.FromPoolDefault && o.Value == "0":
		o.Source = sourceBuiltIn // the pool's default of 3 counts only where somebody chose it
	default:
		o.Source, o.Via = from.Source, from.Via
	}
	return o
}

func (t tracer) explainEnvironment(o origin, name string) origin {
	from := t.prepared.Spec.EnvOrigins[name]
	o.Source, o.Via = from.Source, from.Via
	if from.Source == jobspec.FromSettings || from.Source == jobspec.FromWorker {
		return o
	}
	for _, variable := range []string{"runtime_environment", "env"} { // the first wins
		values, _ := t.prepared.Values.Values[variable].(map[string]any)
		if v, ok := values[name]; ok && v != nil {
			o.Variable = variable
			return o
		}
	}
	return o
}

// settings explains the job variables that are beside the bodies.
func (t tracer) settings(scrub *secret.Scrubber) []origin {
	all := []origin{t.token()}
	values := t.prepared.Values.Values
	for _, v := range jobspec.Variables() {
		given := values[v.Name]
		if !beside(v) || given == nil || given == "" || v.Name == "credentials" || v.Name == "credentials_block" {
			continue
		}
		text, err := json.Marshal(scrub.Any(given))
		if err != nil {
			continue
		}
		all = append(all, t.fromVariable(origin{Place: v.Place, Value: strings.Trim(string(text), `"`)}, v, v.Name))
	}
	if team := t.prepared.Spec.Account.TeamID; team != "" && values["team_id"] == nil { // of the credentials
		all = append(all, origin{Place: "path of every request", Value: team, Source: all[0].Source, Via: all[0].Via})
	}
	return all
}

// token explains whose token is used.
func (t tracer) token() origin {
	o := origin{Place: "Authorization header", Value: secret.Mask, Source: "environment of the worker", Via: "NORTHFLANK_API_TOKEN"}
	for _, name := range []string{"credentials_block", "credentials"} {
		if v := t.prepared.Values.Values[name]; v != nil && v != "" {
			from := t.prepared.Values.Origins["credentials"]
			return origin{Place: o.Place, Value: o.Value, Variable: name, Source: from.Source, Via: from.Via}
		}
	}
	return o
}
