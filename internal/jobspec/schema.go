package jobspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ProjectSchema returns a JSON Schema of prefect.yaml, for editors. Its job
// variables are those of a base job template: for ours it has the patterns of
// the table, for others what the template says. Where something may stand, a
// placeholder may.
func ProjectSchema(template json.RawMessage) (json.RawMessage, error) {
	t, err := decodeObject(template)
	if err != nil {
		return nil, fmt.Errorf("read base job template: %w", err)
	}
	properties := t.object("variables").object("properties")
	if properties == nil {
		return nil, errors.New("the base job template lacks variables.properties")
	}
	var variables object
	var maps []string
	for _, m := range properties {
		v, isOurs := Lookup(m.key)
		switch {
		case isOurs:
			variables = append(variables, member{m.key, v.inProject()})
		default:
			variables = append(variables, member{m.key, foreign(m.value)})
		}
		if v.Type == TypeTextMap || v.Type == TypeEnvironment {
			maps = append(maps, regexp.QuoteMeta(m.key))
		}
	}
	jobVariables := object{
		{"type", "object"},
		{"description", "Settings of the flow runs' Northflank jobs."},
		{"properties", variables},
		{"additionalProperties", false},
	}
	if len(maps) > 0 { // env.NAME, which Prefect takes too
		jobVariables = jobVariables.with("patternProperties", object{{"^(" + strings.Join(maps, "|") + ")\\.", object{}}})
	}
	return mustEncode(object{
		{"$schema", "http://json-schema.org/draft-07/schema#"},
		{"title", "prefect.yaml with deployments to Northflank"},
		{"type", "object"},
		{"properties", object{
			{"deployments", object{{"type", "array"}, {"items", object{{"$ref", "#/definitions/deployment"}}}}},
		}},
		{"definitions", object{
			{"placeholder", object{{"type", "string"}, {"pattern", `\{\{`}}},
			{"deployment", deploymentSchema()},
			{"job_variables", jobVariables},
		}},
	}), nil
}

func deploymentSchema() object {
	text := object{{"type", []any{"string", "null"}}}
	return object{
		{"type", "object"},
		{"properties", object{
			{"name", text},
			{"entrypoint", text},
			{"description", text},
			{"version", text},
			{"parameters", object{{"type", "object"}}},
			{"work_pool", object{
				{"type", "object"},
				{"properties", object{
					{"name", text},
					{"work_queue_name", text},
					{"job_variables", object{{"$ref", "#/definitions/job_variables"}}},
				}},
				{"additionalProperties", false},
			}},
		}},
	}
}

// inProject is the variable's schema in a prefect.yaml: what Prefect and the
// worker both take, or a placeholder.
func (v Variable) inProject() object {
	schema := object{{"title", v.Title}, {"description", v.Description}}
	if v.Default != nil {
		schema = schema.with("default", v.Default)
	}
	choices := []any{v.strict(), object{{"$ref", "#/definitions/placeholder"}}}
	if v.Type == TypeText && len(v.OneOf) == 0 && v.Pattern == nil { // any text
		choices = choices[:1]
	}
	return schema.with("anyOf", choices)
}

// strict is what a value without placeholders must be.
func (v Variable) strict() object {
	text := object{{"type", "string"}}
	if v.Pattern != nil {
		text = text.with("pattern", v.Pattern.String())
	}
	if v.MaxLength > 0 {
		text = text.with("maxLength", v.MaxLength)
	}
	values := func(types ...any) object {
		return object{{"type", []any{"object", "null"}}, {"additionalProperties", object{{"type", types}}}}
	}
	switch v.Type {
	case TypeInteger:
		schema := object{{"type", []any{"integer", "null"}}}
		if v.Max > 0 {
			schema = schema.with("minimum", v.Min).with("maximum", v.Max)
		}
		return schema
	case TypeBoolean:
		return object{{"type", []any{"boolean", "null"}}}
	case TypeTextList:
		return object{{"type", []any{"array", "null"}}, {"items", text}}
	case TypeTextMap:
		return values("string")
	case TypeEnvironment:
		return values("string", "null")
	case TypeCredentials: // the block's fields, or a reference to a block
		return object{{"type", []any{"object", "null"}}}
	}
	if len(v.OneOf) > 0 {
		words := []any{nil}
		for _, word := range v.OneOf {
			words = append(words, word)
		}
		return object{{"enum", words}}
	}
	return text.with("type", []any{"string", "null"})
}

// foreign is the schema of a job variable that is not ours: the template's,
// unless it leans on definitions that are not here.
func foreign(property any) object {
	schema, _ := property.(object)
	if body := mustEncode(schema); strings.Contains(string(body), `"$ref"`) {
		if description, ok := schema.get("description"); ok {
			return object{{"description", description}}
		}
		return object{}
	}
	return object{{"anyOf", []any{schema, object{{"$ref", "#/definitions/placeholder"}}}}}
}
