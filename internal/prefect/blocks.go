package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
)

var withSecrets = url.Values{"include_secrets": {"true"}}

// Block reads a block document by id, secrets in clear.
func (c *Client) Block(ctx context.Context, id string) (BlockDocument, error) {
	var document BlockDocument
	if err := c.call(ctx, routeBlockDocument, request{args: []string{id}, query: withSecrets}, &document); err != nil {
		return BlockDocument{}, fmt.Errorf("read block document %s: %w", id, err)
	}
	return document, nil
}

// BlockByName reads the block document name of the type slug, secrets in clear.
func (c *Client) BlockByName(ctx context.Context, slug, name string) (BlockDocument, error) {
	var document BlockDocument
	r := request{args: []string{slug, name}, query: withSecrets}
	if err := c.call(ctx, routeBlockDocumentByName, r, &document); err != nil {
		return BlockDocument{}, fmt.Errorf("read block %s/%s: %w", slug, name, err)
	}
	return document, nil
}

// BlockDocuments lists the block documents of a type, secrets masked. A type
// that is not registered has none.
func (c *Client) BlockDocuments(ctx context.Context, slug string) ([]BlockDocument, error) {
	var documents []BlockDocument
	err := c.call(ctx, routeBlockDocuments, request{args: []string{slug}}, &documents)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("list blocks of type %s: %w", slug, err)
	}
	return documents, nil
}

// BlockTypeDefinition describes a block type.
type BlockTypeDefinition struct {
	Name             string `json:"name"`
	Slug             string `json:"slug"`
	LogoURL          string `json:"logo_url"`
	DocumentationURL string `json:"documentation_url"`
	Description      string `json:"description"`
	CodeExample      string `json:"code_example"`
}

// BlockSchemaDefinition describes the fields of a block type's documents.
type BlockSchemaDefinition struct {
	Fields       json.RawMessage `json:"fields"`
	Capabilities []string        `json:"capabilities"`
	Version      string          `json:"version"`
}

// EnsureBlockType registers the block type, or brings the registered one up to
// the definition, and returns its id.
func (c *Client) EnsureBlockType(ctx context.Context, def BlockTypeDefinition) (id string, err error) {
	registered, err := c.readBlockType(ctx, def.Slug)
	if errors.Is(err, ErrNotFound) {
		err = c.call(ctx, routeCreateBlockType, request{body: def}, &registered)
		if errors.Is(err, ErrConflict) { // registered by someone else, or by our own lost answer
			registered, err = c.readBlockType(ctx, def.Slug)
		} else if err == nil {
			return registered.ID, nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("register block type %s: %w", def.Slug, err)
	}
	want := def
	want.Name, want.Slug = registered.Name, registered.Slug // neither can be changed
	if registered.BlockTypeDefinition == want {
		return registered.ID, nil
	}
	body := map[string]any{
		"logo_url": def.LogoURL, "documentation_url": def.DocumentationURL,
		"description": def.Description, "code_example": def.CodeExample,
	}
	if err := c.call(ctx, routeUpdateBlockType, request{args: []string{registered.ID}, body: body}, nil); err != nil {
		return "", fmt.Errorf("update block type %s: %w", def.Slug, err)
	}
	return registered.ID, nil
}

type blockType struct {
	ID string `json:"id"`
	BlockTypeDefinition
}

func (c *Client) readBlockType(ctx context.Context, slug string) (blockType, error) {
	var bt blockType
	err := c.call(ctx, routeBlockType, request{args: []string{slug}}, &bt)
	return bt, err
}

// EnsureBlockSchema registers a schema of the block type and returns its id. The
// server knows a schema by the checksum of its fields and its version, and gives
// back the row that it has.
func (c *Client) EnsureBlockSchema(ctx context.Context, blockTypeID string, def BlockSchemaDefinition) (id string, err error) {
	if def.Capabilities == nil {
		def.Capabilities = []string{}
	}
	body := struct {
		BlockTypeID string `json:"block_type_id"`
		BlockSchemaDefinition
	}{blockTypeID, def}
	var schema struct {
		ID string `json:"id"`
	}
	if err := c.call(ctx, routeCreateBlockSchema, request{body: body}, &schema); err != nil {
		return "", fmt.Errorf("register block schema %s: %w", def.Version, err)
	}
	return schema.ID, nil
}

// BlockDefinition is all that Prefect is told about a kind of block.
type BlockDefinition struct {
	Type   BlockTypeDefinition
	Schema BlockSchemaDefinition
}

// SaveBlock stores a block document under name, registering type and schema as
// needed, and returns its id. An existing document takes the given keys of data
// and keeps its others.
func (c *Client) SaveBlock(ctx context.Context, def BlockDefinition, name string, data map[string]any) (id string, err error) {
	typeID, err := c.EnsureBlockType(ctx, def.Type)
	if err != nil {
		return "", err
	}
	schemaID, err := c.EnsureBlockSchema(ctx, typeID, def.Schema)
	if err != nil {
		return "", err
	}
	body := map[string]any{
		"name": name, "data": data, "block_schema_id": schemaID, "block_type_id": typeID, "is_anonymous": false,
	}
	var document BlockDocument
	err = c.call(ctx, routeCreateBlockDocument, request{body: body}, &document)
	if err == nil {
		return document.ID, nil
	}
	if !errors.Is(err, ErrConflict) {
		return "", fmt.Errorf("save block %s/%s: %w", def.Type.Slug, name, err)
	}
	document, err = c.BlockByName(ctx, def.Type.Slug, name)
	if err != nil {
		return "", err
	}
	update := map[string]any{"block_schema_id": schemaID, "data": data, "merge_existing_data": true}
	if err := c.call(ctx, routeUpdateBlockDocument, request{args: []string{document.ID}, body: update}, nil); err != nil {
		return "", fmt.Errorf("update block %s/%s: %w", def.Type.Slug, name, err)
	}
	return document.ID, nil
}

// Variable reads a Prefect variable. Found is false when there is none of the name.
func (c *Client) Variable(ctx context.Context, name string) (value any, found bool, err error) {
	var variable struct {
		Value any `json:"value"`
	}
	err = c.call(ctx, routeVariable, request{args: []string{name}}, &variable)
	if errors.Is(err, ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read variable %q: %w", name, err)
	}
	return variable.Value, true, nil
}
