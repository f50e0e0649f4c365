package jobspec

import (
	"encoding/json"
	"slices"
	"sync"
)

// BaseJobTemplate returns the base job template of a new work pool, compact.
func BaseJobTemplate() json.RawMessage { return slices.Clone(encodedTemplate()) }

// encodedTemplate is encoded once: every connection of a worker's channel sends it.
var encodedTemplate = sync.OnceValue(func() json.RawMessage { return mustEncode(baseJobTemplate()) })

func baseJobTemplate() object {
	var configuration, properties object
	for _, v := range Variables() {
		if v.placed() {
			configuration = append(configuration, member{v.Name, v.placeholder()})
		}
		properties = append(properties, member{v.Name, v.property()})
	}
	return object{
		{"job_configuration", configuration},
		{"variables", object{
			{"description", "Job variables of the Northflank worker."},
			{"properties", properties},
			{"type", "object"},
			{"definitions", object{{BlockTypeName, credentialsDefinition()}}},
		}},
	}
}

// placed reports whether the variable has a place in job_configuration. One has
// none, in the original template as here.
func (v Variable) placed() bool { return v.Name != "build_configuration_docker_credentials" }

func (v Variable) placeholder() string { return "{{ " + v.Name + " }}" }

// property is the variable's JSON schema. Its keys are in the order of the
// original's, which Pydantic sorts.
func (v Variable) property() object {
	schema := v.schema()
	if !v.NotNull {
		schema = object{{"anyOf", []any{schema, object{{"type", "null"}}}}, {"default", v.Default}}
	}
	schema = schema.with("description", v.Description).with("title", v.Title)
	if kind, ok := schema.get("type"); ok { // where the original has it: at the end
		schema = schema.without("type").with("type", kind)
	}
	return schema
}

// schema is the JSON schema of the variable's type.
func (v Variable) schema() object {
	text := object{{"type", "string"}}
	null := object{{"type", "null"}}
	switch v.Type {
	case TypeInteger:
		schema := object{{"type", "integer"}}
		if !v.Original && v.Max > 0 { // the original's type is left as it is
			schema = object{{"maximum", v.Max}, {"minimum", v.Min}, {"type", "integer"}}
		}
		return schema
	case TypeBoolean:
		return object{{"type", "boolean"}}
	case TypeTextList:
		return object{{"items", text}, {"type", "array"}}
	case TypeTextMap:
		return object{{"additionalProperties", text}, {"type", "object"}}
	case TypeEnvironment:
		return object{{"additionalProperties", object{{"anyOf", []any{text, null}}}}, {"type", "object"}}
	case TypeCredentials:
		return object{{"anyOf", []any{object{{"$ref", credentialsRef}}, text, null}}}
	}
	if !v.Original && len(v.OneOf) > 0 {
		words := make([]any, len(v.OneOf))
		for i, word := range v.OneOf {
			words[i] = word
		}
		return object{{"enum", words}, {"type", "string"}}
	}
	return text
}

// WithCredentialsDefault returns the base job template with a block document as
// the default of credentials. Prefect resolves the reference when a flow run
// starts, so that no deployment holds the token.
func WithCredentialsDefault(template json.RawMessage, blockDocumentID string) (json.RawMessage, error) {
	return WithDefault(template, "credentials", object{{"$ref", object{{"block_document_id", blockDocumentID}}}})
}
