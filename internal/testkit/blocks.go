package testkit

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// blockStore holds block types, schemas and documents, oldest first.
type blockStore struct {
	types     []*blockType
	schemas   []*blockSchema
	documents []*blockDocument
}

type blockType struct {
	ID               string `json:"id"`
	Name             string `json:"name"`
	Slug             string `json:"slug"`
	LogoURL          string `json:"logo_url"`
	DocumentationURL string `json:"documentation_url"`
	Description      string `json:"description"`
	CodeExample      string `json:"code_example"`
}

type blockSchema struct {
	ID           string          `json:"id"`
	BlockTypeID  string          `json:"block_type_id"`
	Fields       json.RawMessage `json:"fields"`
	Capabilities []string        `json:"capabilities"`
	Version      string          `json:"version"`
}

type blockDocument struct {
	id, name         string
	typeID, schemaID string
	data             map[string]any
}

func newBlockStore() blockStore { return blockStore{} }

func (s *blockStore) typeBySlug(slug string) *blockType {
	return find(s.types, func(t *blockType) bool { return t.Slug == slug })
}

func (s *blockStore) document(typeID, name string) *blockDocument {
	return find(s.documents, func(d *blockDocument) bool { return d.typeID == typeID && d.name == name })
}

// find returns the first item that fits, nil when none does.
func find[T any](items []*T, fits func(*T) bool) *T {
	if i := slices.IndexFunc(items, fits); i >= 0 {
		return items[i]
	}
	return nil
}

func (s *blockStore) add(newID func() string, slug, name string, data map[string]any, secret []string) string {
	t := s.typeBySlug(slug)
	if t == nil {
		t = &blockType{ID: newID(), Name: slug, Slug: slug}
		s.types = append(s.types, t)
	}
	schema := &blockSchema{ID: newID(), BlockTypeID: t.ID, Fields: raw(map[string]any{"secret_fields": secret}), Version: "1"}
	s.schemas = append(s.schemas, schema)
	d := &blockDocument{id: newID(), name: name, typeID: t.ID, schemaID: schema.ID, data: maps.Clone(data)}
	s.documents = append(s.documents, d)
	return d.id
}

// json returns a document, its secrets masked unless they are asked for.
func (s *blockStore) json(d *blockDocument, withSecrets bool) json.RawMessage {
	data := maps.Clone(d.data)
	schema := find(s.schemas, func(b *blockSchema) bool { return b.ID == d.schemaID })
	if schema != nil && !withSecrets {
		var fields struct {
			Secret []string `json:"secret_fields"`
		}
		_ = json.Unmarshal(schema.Fields, &fields) // fields of another shape hide nothing
		for _, name := range fields.Secret {
			if _, ok := data[name]; ok {
				data[name] = "********"
			}
		}
	}
	typeName := ""
	if t := find(s.types, func(t *blockType) bool { return t.ID == d.typeID }); t != nil {
		typeName = t.Name
	}
	return raw(map[string]any{
		"id": d.id, "name": d.name, "data": data, "block_type_id": d.typeID, "block_schema_id": d.schemaID,
		"block_type_name": typeName, "is_anonymous": false, "block_document_references": map[string]any{},
	})
}

func (c *call) withSecrets() bool { return strings.EqualFold(c.query.Get("include_secrets"), "true") }

func (p *Prefect) readBlock(c *call) {
	d := find(p.blocks.documents, func(d *blockDocument) bool { return d.id == c.args[0] })
	if d == nil {
		c.fail(404, "Block document not found")
		return
	}
	c.reply(200, p.blocks.json(d, c.withSecrets()))
}

func (p *Prefect) readBlockByName(c *call) {
	t := p.blocks.typeBySlug(c.args[0])
	if t != nil {
		if d := p.blocks.document(t.ID, c.args[1]); d != nil {
			c.reply(200, p.blocks.json(d, c.withSecrets()))
			return
		}
	}
	c.fail(404, "Block document not found")
}

func (p *Prefect) listBlocks(c *call) {
	t := p.blockTypeOf(c)
	if t == nil {
		return
	}
	var found []json.RawMessage
	for _, d := range p.blocks.documents {
		if d.typeID == t.ID {
			found = append(found, p.blocks.json(d, c.withSecrets()))
		}
	}
	c.reply(200, list(found))
}

// blockTypeOf returns the type whose slug the path names; after nil the call has
// been answered.
func (p *Prefect) blockTypeOf(c *call) *blockType {
	t := p.blocks.typeBySlug(c.args[0])
	if t == nil {
		c.fail(404, "Block type not found")
	}
	return t
}

func (p *Prefect) readBlockType(c *call) {
	if t := p.blockTypeOf(c); t != nil {
		c.reply(200, raw(t))
	}
}

func (p *Prefect) createBlockType(c *call) {
	t := &blockType{}
	if !c.decode(t) {
		return
	}
	if p.blocks.typeBySlug(t.Slug) != nil {
		c.fail(409, `Block type with slug "`+t.Slug+`" already exists`)
		return
	}
	t.ID = p.newID()
	p.blocks.types = append(p.blocks.types, t)
	c.reply(201, raw(t))
}

func (p *Prefect) updateBlockType(c *call) {
	t := find(p.blocks.types, func(t *blockType) bool { return t.ID == c.args[0] })
	if t == nil {
		c.fail(404, "Block type not found")
		return
	}
	id, name, slug := t.ID, t.Name, t.Slug
	if !c.decode(t) {
		return
	}
	t.ID, t.Name, t.Slug = id, name, slug // none of them can be changed
	c.reply(204, nil)
}

// createBlockSchema gives back the schema that it has for the same fields and version.
func (p *Prefect) createBlockSchema(c *call) {
	s := &blockSchema{}
	if !c.decode(s) {
		return
	}
	known := find(p.blocks.schemas, func(b *blockSchema) bool {
		return b.BlockTypeID == s.BlockTypeID && b.Version == s.Version && string(b.Fields) == string(s.Fields)
	})
	if known != nil {
		c.reply(200, raw(known))
		return
	}
	s.ID = p.newID()
	p.blocks.schemas = append(p.blocks.schemas, s)
	c.reply(201, raw(s))
}

func (p *Prefect) createBlock(c *call) {
	var body struct {
		Name      string         `json:"name"`
		Data      map[string]any `json:"data"`
		SchemaID  string         `json:"block_schema_id"`
		TypeID    string         `json:"block_type_id"`
		Anonymous bool           `json:"is_anonymous"`
	}
	if !c.decode(&body) {
		return
	}
	if p.blocks.document(body.TypeID, body.Name) != nil {
		c.fail(409, "Block already exists")
		return
	}
	d := &blockDocument{id: p.newID(), name: body.Name, typeID: body.TypeID, schemaID: body.SchemaID, data: body.Data}
	p.blocks.documents = append(p.blocks.documents, d)
	c.reply(201, p.blocks.json(d, false))
}

func (p *Prefect) updateBlock(c *call) {
	var body struct {
		Data     map[string]any `json:"data"`
		SchemaID string         `json:"block_schema_id"`
		Merge    *bool          `json:"merge_existing_data"`
	}
	if !c.decode(&body) {
		return
	}
	d := find(p.blocks.documents, func(d *blockDocument) bool { return d.id == c.args[0] })
	if d == nil {
		c.fail(404, "Block document not found")
		return
	}
	if body.Merge == nil || *body.Merge {
		body.Data = merge(d.data, body.Data)
	}
	d.data = body.Data
	if body.SchemaID != "" {
		d.schemaID = body.SchemaID
	}
	c.reply(204, nil)
}
