package prefect

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// ConfigurationInput is what a job configuration is built from.
type ConfigurationInput struct {
	Template   json.RawMessage // the work pool's base_job_template
	Deployment map[string]any  // the deployment's job variables
	FlowRun    map[string]any  // the flow run's job variables
}

// Configuration is a job configuration with every placeholder resolved.
type Configuration struct {
	// Values holds what became of the template's job_configuration. A key whose
	// placeholder has no value is absent. Values have JSON's types, with numbers
	// as json.Number, which keeps them exact; a number that the caller gave in
	// another Go type keeps that. Nothing in it is shared with the input.
	Values map[string]any
	// Origins has an entry for each key of Values, and one "key.item" for each
	// item of a value that is an object, such as "env.FOO".
	Origins map[string]Origin
	// Secrets are the texts that came out of blocks, and out of those variables of
	// the worker's environment whose name speaks of a credential.
	Secrets []string
	// Unknown are job variables that were given but that the template neither
	// declares nor refers to.
	Unknown []string
	// Unused are job variables that were given and are declared, but that
	// job_configuration does not refer to.
	Unused []string
	// Empty are placeholders that became nothing where something was to be
	// expected: variables that do not exist, and unset names inside text.
	Empty []string
}

// Origin says where a value comes from.
type Origin struct {
	Source string // one of the Source constants
	Via    string // "block northflank/creds", "variable x", "environment HOME"; several with commas; may be ""
}

// Where a value was given. Of several that went into one text, the last in this
// order counts.
const (
	SourceTemplate   = "work pool template"
	SourceDefault    = "default of the work pool"
	SourceDeployment = "deployment"
	SourceFlowRun    = "flow run"
)

// BuildConfiguration does what Prefect 3.8's from_template_and_values does, but
// for the typing: job variables of the flow run over those of the deployment over
// the schema's defaults, put into the template; then block documents, then
// variables. A fault of the configuration is a [*ConfigurationError]; any other
// error comes from lookup.
func BuildConfiguration(ctx context.Context, lookup Lookup, in ConfigurationInput) (*Configuration, error) {
	template, err := parseTemplate(in.Template)
	if err != nil {
		return nil, err
	}
	given, err := mergeJobVariables(in.Deployment, in.FlowRun)
	if err != nil {
		return nil, err
	}
	b := &builder{lookup: lookup, template: template, given: given, records: newRecords()}
	return b.build(ctx)
}

// baseJobTemplate is the part of a work pool's base_job_template that counts.
type baseJobTemplate struct {
	configuration map[string]any
	declared      map[string]bool
	defaults      map[string]any // of variables with a default that is not null
}

func parseTemplate(raw json.RawMessage) (*baseJobTemplate, error) {
	const nextStep = "give the work pool a base job template with job_configuration and variables"
	var t struct {
		Configuration map[string]any `json:"job_configuration"`
		Variables     *struct {
			Properties map[string]any `json:"properties"`
		} `json:"variables"`
	}
	if err := decode(raw, &t); err != nil {
		return nil, &ConfigurationError{Cause: "the work pool's base job template is not as it should be: " + err.Error(), NextStep: nextStep}
	}
	if t.Configuration == nil || t.Variables == nil {
		return nil, &ConfigurationError{Cause: "the work pool's base job template lacks job_configuration or variables", NextStep: nextStep}
	}
	parsed := &baseJobTemplate{configuration: t.Configuration, declared: map[string]bool{}, defaults: map[string]any{}}
	for name, property := range t.Variables.Properties {
		parsed.declared[name] = true
		if schema, ok := property.(map[string]any); ok && schema["default"] != nil {
			parsed.defaults[name] = schema["default"]
		}
	}
	return parsed, nil
}

// builder holds what one BuildConfiguration works on.
type builder struct {
	lookup   Lookup
	template *baseJobTemplate
	given    *jobVariables
	records  *records
}

func (b *builder) build(ctx context.Context) (*Configuration, error) {
	referenced := b.referenced() // before values get into the template
	config, err := b.mergeEnv()
	if err != nil {
		return nil, err
	}
	variables := maps.Clone(b.template.defaults)
	maps.Copy(variables, b.given.values)

	a := &applier{values: variables, env: b.environment, usedEnv: b.records.environment}
	r := &resolver{lookup: b.lookup, via: b.records.came, secret: b.records.secret, isEmpty: b.records.nothing}
	result := &Configuration{Values: map[string]any{}, Origins: map[string]Origin{}}
	// In order of the keys, so that of several faults the same one is reported.
	for _, key := range slices.Sorted(maps.Keys(config)) {
		at := place{key: key}
		value, found, err := a.apply(config[key], at, 0)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		if value, err = r.resolveBlocks(ctx, value, at); err != nil {
			return nil, err
		}
		if value, err = r.resolveVariables(ctx, value, at); err != nil {
			return nil, err
		}
		result.Values[key] = value
		b.addOrigins(result.Origins, key, config[key], value)
	}
	for name := range a.empty {
		b.records.nothing(name)
	}
	result.Secrets = slices.Sorted(maps.Keys(b.records.secrets))
	result.Empty = slices.Sorted(maps.Keys(b.records.empty))
	for _, name := range slices.Sorted(maps.Keys(b.given.values)) {
		switch {
		case referenced[name]:
		case b.template.declared[name]:
			result.Unused = append(result.Unused, name)
		default:
			result.Unknown = append(result.Unknown, name)
		}
	}
	return result, nil
}

func (b *builder) environment(name string) string {
	if b.lookup.Env == nil {
		return ""
	}
	return b.lookup.Env(name)
}

// referenced are the job variables that job_configuration makes use of. An
// environment that is an object there takes "env" in by merging.
func (b *builder) referenced() map[string]bool {
	names := map[string]bool{}
	placeholders(b.template.configuration, func(name string) {
		if kindOf(name) == StandardPlaceholder {
			names[pathSegments(name)[0]] = true
		}
	})
	if _, ok := b.template.configuration["env"].(map[string]any); ok {
		names["env"] = true
	}
	return names
}

// mergeEnv returns job_configuration with the environment merged in:
// job_configuration, then the schema's default, then what was given. Values that
// end up in it by this are templated like the rest of job_configuration.
func (b *builder) mergeEnv() (map[string]any, error) {
	config := maps.Clone(b.template.configuration)
	if fallback, ok := b.template.defaults["env"]; ok && !isEmptyValue(fallback) {
		if _, isObject := config["env"].(map[string]any); isObject {
			if err := mergeInto(config, fallback, SourceDefault); err != nil {
				return nil, err
			}
		} else {
			config["env"] = fallback
		}
	}
	env, given := b.given.values["env"]
	if _, isObject := config["env"].(map[string]any); isObject && given && !isEmptyValue(env) {
		if err := mergeInto(config, env, b.given.source("env", "")); err != nil {
			return nil, err
		}
	}
	return config, nil
}

func mergeInto(config map[string]any, env any, source string) error {
	object, ok := env.(map[string]any)
	if !ok {
		return &ConfigurationError{
			Key: "env", Cause: "the job variable from the " + source + " is not an object",
			NextStep: `write the environment as an object: {"NAME": "value"}`,
		}
	}
	merged := maps.Clone(config["env"].(map[string]any))
	maps.Copy(merged, object)
	config["env"] = merged
	return nil
}

// isEmptyValue is what Python calls false, for the values that an environment
// may have been given as.
func isEmptyValue(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// addOrigins records where the value of a key comes from, and each of its items
// when it is an object.
func (b *builder) addOrigins(origins map[string]Origin, key string, template, value any) {
	source := b.sourceOf(template)
	if object, ok := value.(map[string]any); ok {
		for item := range object {
			itemSource := b.itemSource(key, item, template, source)
			origins[key+"."+item] = Origin{Source: itemSource, Via: b.records.viaOf(place{key, item})}
			if _, merged := template.(map[string]any); merged {
				source = stronger(source, itemSource)
			}
		}
	}
	origins[key] = Origin{Source: source, Via: b.records.viaOf(place{key: key})}
}

// itemSource is the source of one item of a key that came from whole.
func (b *builder) itemSource(key, item string, template any, whole string) string {
	switch t := template.(type) {
	case map[string]any:
		if key == "env" {
			return b.envSource(item, t[item])
		}
		return b.sourceOf(t[item])
	case string:
		if name, ok := wholePlaceholder(t); ok && kindOf(name) == StandardPlaceholder && b.given.has(name) {
			return b.given.source(name, item)
		}
	}
	return whole
}

// envSource is the source of an item of an environment that was merged into the
// template, where it looks like the template's own.
func (b *builder) envSource(item string, template any) string {
	if env, ok := b.given.values["env"].(map[string]any); ok {
		if _, ok := env[item]; ok {
			return b.given.source("env", item)
		}
	}
	if env, ok := b.template.defaults["env"].(map[string]any); ok {
		if _, ok := env[item]; ok {
			return SourceDefault
		}
	}
	return b.sourceOf(template)
}

// sourceOf is the strongest source among the placeholders of a template.
func (b *builder) sourceOf(template any) string {
	strongest := SourceTemplate
	placeholders(template, func(name string) {
		if kindOf(name) != StandardPlaceholder {
			return
		}
		segments := append(pathSegments(name), "")
		if b.given.has(segments[0]) {
			strongest = stronger(strongest, b.given.source(segments[0], segments[1]))
		} else if _, ok := b.template.defaults[segments[0]]; ok {
			strongest = stronger(strongest, SourceDefault)
		}
	})
	return strongest
}

// stronger returns the source that counts for a value put together from both.
func stronger(a, b string) string {
	order := [...]string{"", SourceTemplate, SourceDefault, SourceDeployment, SourceFlowRun}
	return order[max(slices.Index(order[:], a), slices.Index(order[:], b))]
}

// records is what the passes over a configuration note down.
type records struct {
	via     map[string]map[string]map[string]bool // names by key and the key below it
	secrets map[string]bool
	empty   map[string]bool
}

func newRecords() *records {
	return &records{via: map[string]map[string]map[string]bool{}, secrets: map[string]bool{}, empty: map[string]bool{}}
}

func (r *records) came(at place, what string) {
	if r.via[at.key] == nil {
		r.via[at.key] = map[string]map[string]bool{}
	}
	if r.via[at.key][at.sub] == nil {
		r.via[at.key][at.sub] = map[string]bool{}
	}
	r.via[at.key][at.sub][what] = true
}

func (r *records) secret(text string) {
	if text != "" {
		r.secrets[text] = true
	}
}

func (r *records) nothing(placeholder string) { r.empty[placeholder] = true }

func (r *records) environment(at place, name, value string) {
	r.came(at, "environment "+name)
	if secretName(name) {
		r.secret(value)
	}
}

// viaOf joins what was noted for a place. A key takes in what was noted for its
// items, an item what replaced the key as a whole.
func (r *records) viaOf(at place) string {
	all := maps.Clone(r.via[at.key][at.sub])
	if all == nil {
		all = map[string]bool{}
	}
	if at.sub != "" {
		maps.Copy(all, r.via[at.key][""])
	} else {
		for _, names := range r.via[at.key] {
			maps.Copy(all, names)
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), ", ")
}
