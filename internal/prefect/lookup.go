package prefect

import (
	"context"
	"sync"
)

// Lookup returns what templating needs, backed by the API. Each block and each
// variable is read once in the life of the returned value, so that one
// configuration sees one version of it; a failed read is tried again.
func (c *Client) Lookup() Lookup {
	var blocks, blocksByID memo[map[string]any]
	var variables memo[variableValue]
	return Lookup{
		Block: func(ctx context.Context, slug, name string) (map[string]any, error) {
			return blocks.get(slug+"/"+name, func() (map[string]any, error) {
				document, err := c.BlockByName(ctx, slug, name)
				return document.Data, err
			})
		},
		BlockByID: func(ctx context.Context, id string) (map[string]any, error) {
			return blocksByID.get(id, func() (map[string]any, error) {
				document, err := c.Block(ctx, id)
				return document.Data, err
			})
		},
		Variable: func(ctx context.Context, name string) (any, bool, error) {
			v, err := variables.get(name, func() (v variableValue, err error) {
				v.value, v.found, err = c.Variable(ctx, name)
				return v, err
			})
			return v.value, v.found, err
		},
		Env: func(name string) string { return c.settings.environ[name] },
	}
}

type variableValue struct {
	value any
	found bool
}

// memo remembers successful reads. Two that ask at the same time may both read.
type memo[T any] struct {
	mu     sync.Mutex
	values map[string]T // guarded by mu
}

func (m *memo[T]) get(key string, read func() (T, error)) (T, error) {
	m.mu.Lock()
	value, ok := m.values[key]
	m.mu.Unlock()
	if ok {
		return value, nil
	}
	value, err := read()
	if err != nil {
		return value, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[string]T{}
	}
	m.values[key] = value
	return value, nil
}
