package prefect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Lookup is what templating reads from outside. A function that is nil finds nothing.
type Lookup struct {
	// Block and BlockByID return a block document's data with secrets in clear;
	// an error that is [ErrNotFound] when there is none.
	Block     func(ctx context.Context, slug, name string) (map[string]any, error)
	BlockByID func(ctx context.Context, id string) (map[string]any, error)
	Variable  func(ctx context.Context, name string) (value any, found bool, err error)
	Env       func(name string) string // the worker's environment; "" when not set
}

// resolver is the second and third pass over a configuration: block documents,
// then variables.
type resolver struct {
	lookup Lookup
	grown  expansion

	via     func(at place, what string) // told where a value came from
	secret  func(text string)           // told of each text that came out of a block
	isEmpty func(name string)           // told of each variable that does not exist
}

// textFunc resolves one string; objectFunc may replace an object as a whole.
type (
	textFunc   func(ctx context.Context, text string, at place) (any, error)
	objectFunc func(ctx context.Context, object map[string]any, at place) (any, bool, error)
)

// walk gives each string and object in v to the two functions and copies the rest.
func walk(ctx context.Context, v any, at place, depth int, text textFunc, object objectFunc) (any, error) {
	if depth > maxDepth {
		return nil, tooDeep(at)
	}
	switch v := v.(type) {
	case string:
		return text(ctx, v, at)
	case map[string]any:
		if whole, ok, err := object(ctx, v, at); ok || err != nil {
			return whole, err
		}
		copied := make(map[string]any, len(v))
		for key, item := range v {
			value, err := walk(ctx, item, at.below(key, depth), depth+1, text, object)
			if err != nil {
				return nil, err
			}
			copied[key] = value
		}
		return copied, nil
	case []any:
		copied := make([]any, len(v))
		for i, item := range v {
			value, err := walk(ctx, item, at, depth+1, text, object)
			if err != nil {
				return nil, err
			}
			copied[i] = value
		}
		return copied, nil
	}
	return v, nil
}

// resolveBlocks is the second pass: {{ prefect.blocks.… }} and {"$ref": …}.
func (r *resolver) resolveBlocks(ctx context.Context, v any, at place) (any, error) {
	return walk(ctx, v, at, 0, r.blockText, r.blockReference)
}

// blockReference replaces {"$ref": {"block_document_id": "<id>"}} by the document's
// data. The shorter {"$ref": "<id>"}, which work pool forms let through, means the same.
func (r *resolver) blockReference(ctx context.Context, v map[string]any, at place) (any, bool, error) {
	var id string
	switch ref := v["$ref"].(type) {
	case map[string]any:
		id, _ = ref["block_document_id"].(string)
	case string:
		if uuid.Validate(ref) == nil {
			id = ref
		}
	}
	if id == "" || r.lookup.BlockByID == nil {
		return nil, false, nil
	}
	data, err := r.lookup.BlockByID(ctx, id)
	if err != nil {
		return nil, false, blockError(at, "with id "+id, err)
	}
	r.via(at, "block "+id)
	value, err := r.takeOut(at, data)
	return value, true, err
}

func (r *resolver) blockText(ctx context.Context, text string, at place) (any, error) {
	if name, ok := wholePlaceholder(text); ok && kindOf(name) == BlockPlaceholder {
		value, err := r.blockValue(ctx, name, at)
		if err != nil {
			return nil, err
		}
		return r.takeOut(at, value)
	}
	return replacePlaceholders(text, func(name string) (string, bool, error) {
		if kindOf(name) != BlockPlaceholder {
			return "", false, nil
		}
		value, err := r.blockValue(ctx, name, at)
		if err != nil {
			return "", false, err
		}
		switch value.(type) {
		case map[string]any, []any:
			return "", false, &ConfigurationError{
				Key: at.key, Cause: fmt.Sprintf("{{ %s }} stands inside text, but is an object or a list", name),
				NextStep: "name a single attribute of the block, such as .value or .url",
			}
		}
		with := pythonText(value)
		r.secret(with)
		return with, true, r.grown.add(at, len(with))
	})
}

// blockValue reads the value that prefect.blocks.<type>.<name>[.<path>] names.
func (r *resolver) blockValue(ctx context.Context, placeholder string, at place) (any, error) {
	parts := strings.SplitN(strings.ReplaceAll(placeholder, blockPrefix, ""), ".", 3)
	if len(parts) < 2 || r.lookup.Block == nil {
		return nil, &ConfigurationError{
			Key: at.key, Cause: fmt.Sprintf("{{ %s }} names no block", placeholder),
			NextStep: "write {{ prefect.blocks.<block-type-slug>.<block-name> }}",
		}
	}
	label := parts[0] + "/" + parts[1]
	data, err := r.lookup.Block(ctx, parts[0], parts[1])
	if err != nil {
		return nil, blockError(at, fmt.Sprintf("'%s' of type '%s'", parts[1], parts[0]), err)
	}
	r.via(at, "block "+label)
	path := ""
	if len(parts) == 3 {
		path = parts[2]
	}
	// A block that holds nothing but a value stands for the value.
	var value any = data
	if inner, ok := data["value"]; ok && len(data) == 1 && !namesValue(path) {
		value = inner
	}
	if len(parts) < 3 {
		return value, nil
	}
	found, ok := lookupPath(value, path)
	if !ok {
		return nil, &ConfigurationError{
			Key: at.key, Cause: fmt.Sprintf("{{ %s }}: block %s holds nothing at %q", placeholder, label, path),
			NextStep: "correct the path, or add the attribute to the block",
		}
	}
	return found, nil
}

func namesValue(path string) bool {
	return path == "value" || strings.HasPrefix(path, "value.") || strings.HasPrefix(path, "value[")
}

// takeOut copies a value out of a block, counts it and reports its texts as secret.
func (r *resolver) takeOut(at place, value any) (any, error) {
	if err := r.grown.add(at, sizeOf(value, 0)); err != nil {
		return nil, err
	}
	return copyValue(value, at, 0, r.secret)
}

// copyValue is a deep copy, since what a Lookup gives may be cached and shared.
// It tells text of each string.
func copyValue(v any, at place, depth int, text func(string)) (any, error) {
	if depth > maxDepth {
		return nil, tooDeep(at)
	}
	var err error
	switch v := v.(type) {
	case string:
		text(v)
	case map[string]any:
		copied := make(map[string]any, len(v))
		for key, item := range v {
			if copied[key], err = copyValue(item, at, depth+1, text); err != nil {
				return nil, err
			}
		}
		return copied, nil
	case []any:
		copied := make([]any, len(v))
		for i, item := range v {
			if copied[i], err = copyValue(item, at, depth+1, text); err != nil {
				return nil, err
			}
		}
		return copied, nil
	}
	return v, nil
}

func noObject(context.Context, map[string]any, place) (any, bool, error) { return nil, false, nil }

// blockError tells a block that does not exist, which is the configuration's
// fault, from one that could not be read.
func blockError(at place, which string, err error) error {
	if errors.Is(err, ErrNotFound) {
		return &ConfigurationError{
			Key: at.key, Cause: "Block not found: " + which,
			NextStep: "create the block, or correct the reference in the deployment, the flow run or the work pool",
		}
	}
	return fmt.Errorf("job configuration %q: %w", at.key, err)
}

// resolveVariables is the third pass: {{ prefect.variables.<name> }}.
func (r *resolver) resolveVariables(ctx context.Context, v any, at place) (any, error) {
	return walk(ctx, v, at, 0, r.variableText, noObject)
}

func (r *resolver) variableText(ctx context.Context, text string, at place) (any, error) {
	if name, ok := wholePlaceholder(text); ok && kindOf(name) == VariablePlaceholder {
		value, err := r.variableValue(ctx, name, at)
		if err != nil {
			return nil, err
		}
		if err := r.grown.add(at, sizeOf(value, 0)); err != nil {
			return nil, err
		}
		return copyValue(value, at, 0, func(string) {})
	}
	return replacePlaceholders(text, func(name string) (string, bool, error) {
		if kindOf(name) != VariablePlaceholder {
			return "", false, nil
		}
		value, err := r.variableValue(ctx, name, at)
		if err != nil {
			return "", false, err
		}
		with := pythonText(value)
		return with, true, r.grown.add(at, len(with))
	})
}

// variableValue is "" for a variable that does not exist, as in Prefect.
func (r *resolver) variableValue(ctx context.Context, placeholder string, at place) (any, error) {
	name := strings.ReplaceAll(placeholder, variablePrefix, "")
	var value any
	var found bool
	if r.lookup.Variable != nil {
		var err error
		if value, found, err = r.lookup.Variable(ctx, name); err != nil {
			return nil, fmt.Errorf("job configuration %q: %w", at.key, err)
		}
	}
	r.via(at, "variable "+name)
	if !found {
		r.isEmpty(placeholder)
		return "", nil
	}
	return value, nil
}
