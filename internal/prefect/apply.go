package prefect

import "slices"

// ApplyValues replaces the placeholders of a template by values, with the exact
// semantics of Prefect 3.8's apply_values:
//
//   - A string that is one placeholder becomes the value itself, of any type.
//     Without a value it is removed: found is false, and an object drops the
//     key, a list the item.
//   - Inside other text a value becomes its Python text (None, True, [1, 2]), and
//     a placeholder without a value becomes "".
//   - {{ prefect.blocks.… }} and {{ prefect.variables.… }} are left alone, and so
//     is what is not exactly a placeholder. What was put in is not looked at again.
//
// {{ $NAME }} becomes "": the environment is the worker's, and only the work
// pool's template, in [BuildConfiguration], may read it. Values that would grow
// beyond bounds give found false.
func ApplyValues(template any, values map[string]any) (result any, found bool) {
	a := &applier{values: values, env: func(string) string { return "" }}
	result, found, err := a.apply(template, place{}, 0)
	if err != nil {
		return nil, false
	}
	return result, found
}

// applier is the first pass over a template: job variables and environment.
type applier struct {
	values map[string]any
	env    func(name string) string
	grown  expansion
	sizes  map[string]int // of values put in whole, by name; the same may be put in often

	usedEnv func(at place, name, value string) // told of each {{ $NAME }}; may be nil
	empty   map[string]bool                    // placeholders in text that had no value
}

func (a *applier) apply(template any, at place, depth int) (result any, found bool, err error) {
	if depth > maxDepth {
		return nil, false, tooDeep(at)
	}
	switch t := template.(type) {
	case string:
		return a.applyText(t, at)
	case map[string]any:
		object := make(map[string]any, len(t))
		for key, item := range t {
			value, ok, err := a.apply(item, at.below(key, depth), depth+1)
			if err != nil {
				return nil, false, err
			}
			if ok {
				object[key] = value
			}
		}
		return object, true, nil
	case []any:
		list := make([]any, 0, len(t))
		for _, item := range t {
			value, ok, err := a.apply(item, at, depth+1)
			if err != nil {
				return nil, false, err
			}
			if ok {
				list = append(list, value)
			}
		}
		return slices.Clip(list), true, nil
	}
	return template, true, nil
}

func (a *applier) applyText(text string, at place) (result any, found bool, err error) {
	if name, ok := wholePlaceholder(text); ok && kindOf(name) == StandardPlaceholder {
		value, found := lookupPath(a.values, name)
		if err := a.countWhole(at, name, value); err != nil {
			return nil, false, err
		}
		return value, found, nil
	}
	applied, err := replacePlaceholders(text, func(name string) (string, bool, error) {
		var with string
		switch kindOf(name) {
		case StandardPlaceholder:
			value, ok := lookupPath(a.values, name)
			if ok {
				with = pythonText(value)
			} else {
				a.markEmpty(name)
			}
		case EnvPlaceholder:
			with = a.environment(at, name)
		default:
			return "", false, nil
		}
		return with, true, a.grown.add(at, len(with))
	})
	return applied, true, err
}

func (a *applier) countWhole(at place, name string, value any) error {
	size, known := a.sizes[name]
	if !known {
		size = sizeOf(value, 0)
		if a.sizes == nil {
			a.sizes = map[string]int{}
		}
		a.sizes[name] = size
	}
	return a.grown.add(at, size)
}

func (a *applier) environment(at place, placeholder string) string {
	name := trimDollars(placeholder)
	value := a.env(name)
	if value == "" {
		a.markEmpty(placeholder)
	}
	if a.usedEnv != nil {
		a.usedEnv(at, name, value)
	}
	return value
}

func trimDollars(name string) string {
	for len(name) > 0 && name[0] == '$' {
		name = name[1:]
	}
	return name
}

func (a *applier) markEmpty(name string) {
	if a.empty == nil {
		a.empty = map[string]bool{}
	}
	a.empty[name] = true
}
