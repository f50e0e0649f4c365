package jobspec

import "encoding/json"

// The Northflank block: what Prefect knows it by.
const (
	BlockTypeName = "Northflank"
	BlockTypeSlug = "northflank"
	// BlockSchemaVersion changes when the fields below do, and only then: each
	// version is a row of its own on the server.
	BlockSchemaVersion = "1.1.0"
)

const (
	blockDescription = "Northflank API credentials block for authenticating with the Northflank API."
	credentialsRef   = "#/definitions/" + BlockTypeName
)

// BlockTypeDefinition is what POST /block_types takes.
type BlockTypeDefinition struct {
	Name             string `json:"name"`
	Slug             string `json:"slug"`
	LogoURL          string `json:"logo_url"`
	DocumentationURL string `json:"documentation_url"`
	Description      string `json:"description"`
	CodeExample      string `json:"code_example"`
}

// BlockType returns the Northflank block type. It is to the letter what the
// Python class Northflank registers, in 1.0.1 too, so that an installation of
// either does not change the other's.
func BlockType() BlockTypeDefinition {
	return BlockTypeDefinition{
		Name:             BlockTypeName,
		Slug:             BlockTypeSlug,
		LogoURL:          "https://assets.northflank.com/Group_1410119476_2_b23babb7fd.png",
		DocumentationURL: "https://github.com/northflank/prefect-northflank",
		Description:      blockDescription,
		CodeExample:      "```python\nfrom prefect_northflank.credentials import Northflank\n\nnorthflank_block = Northflank.load(\"BLOCK_NAME\")\n```",
	}
}

// BlockSchemaFields returns the fields of the Northflank block as the Python
// class sends them: with each field's position from Prefect 3.6.25 on, without
// before. Both forms are schemas of the same type.
func BlockSchemaFields(position bool) json.RawMessage {
	fields := blockFields()
	if position {
		for i := range fields {
			fields[i].value = fields[i].value.(object).with("position", i)
		}
	}
	return mustEncode(blockSchema(fields, nil))
}

// credentialsDefinition is the block in the base job template. Other than in
// the registered schema the token is required, and so has no default: without
// that, Prefect's validation cannot tell the block's content from a reference
// to it and refuses the reference.
func credentialsDefinition() object {
	fields := blockFields()
	fields[0].value = fields[0].value.(object).without("default")
	return blockSchema(fields, []any{fields[0].key})
}

func blockFields() object {
	text := object{{"type", "string"}}
	return object{
		{"api_token", object{
			{"default", nil},
			{"description", "Northflank API token for authentication"},
			{"format", "password"},
			{"title", "Api Token"},
			{"type", "string"},
			{"writeOnly", true},
		}},
		{"base_url", object{
			{"default", defaultBaseURL},
			{"description", "Base URL for the Northflank API"},
			{"title", "Base Url"},
			{"type", "string"},
		}},
		{"team_id", object{
			{"anyOf", []any{text, object{{"type", "null"}}}},
			{"default", nil},
			{"description", "Northflank team ID, needed only with an organisation's API token"},
			{"title", "Team Id"},
		}},
	}
}

func blockSchema(fields object, required []any) object {
	schema := object{
		{"block_schema_references", object{}},
		{"block_type_slug", BlockTypeSlug},
		{"description", blockDescription},
		{"properties", fields},
	}
	if required != nil {
		schema = schema.with("required", required)
	}
	return append(schema, object{
		{"secret_fields", []any{"api_token"}}, {"title", BlockTypeName}, {"type", "object"},
	}...)
}
