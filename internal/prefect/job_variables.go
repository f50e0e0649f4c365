package prefect

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// jobVariables are the job variables of deployment and flow run put together,
// with the source of each and, for objects, of each item.
type jobVariables struct {
	values  map[string]any
	sources map[place]string // place{name, ""} and place{name, item}
}

func (v *jobVariables) has(name string) bool { _, ok := v.values[name]; return ok }

// source says where a job variable, or an item of it, was given.
func (v *jobVariables) source(name, item string) string {
	if source, ok := v.sources[place{name, item}]; ok {
		return source
	}
	return v.sources[place{name, ""}]
}

// mergeJobVariables lays the flow run's job variables over the deployment's, key
// by key without looking into objects. Only "env" is merged, and only into an
// object. Then dotted keys such as "env.FOO" become nested, and the undotted are
// laid over them: objects merge, everything else replaces.
func mergeJobVariables(deployment, flowRun map[string]any) (*jobVariables, error) {
	raw := maps.Clone(deployment)
	if raw == nil {
		raw = map[string]any{}
	}
	maps.Copy(raw, flowRun)
	v := &jobVariables{values: map[string]any{}, sources: map[place]string{}}
	source := func(key string) string {
		if _, ok := flowRun[key]; ok {
			return SourceFlowRun
		}
		return SourceDeployment
	}
	env, err := mergeEnvironments(deployment["env"], flowRun["env"])
	if err != nil {
		return nil, err
	}
	if env != nil {
		raw["env"] = env
	}
	// Sorted: where two dotted keys contradict each other, the same one always wins.
	keys := slices.Sorted(maps.Keys(raw))
	for _, key := range keys {
		if strings.Contains(key, ".") {
			if err := v.setDotted(key, raw[key], source(key)); err != nil {
				return nil, err
			}
		}
	}
	for _, key := range keys {
		if !strings.Contains(key, ".") {
			itemSource := func(string) string { return source(key) }
			if key == "env" && env != nil {
				itemSource = func(item string) string { return environmentSource(flowRun["env"], item) }
			}
			v.set(key, raw[key], source(key), itemSource)
		}
	}
	return v, nil
}

// mergeEnvironments returns nil unless the deployment's env is an object, into
// which the flow run's is then merged.
func mergeEnvironments(deployment, flowRun any) (map[string]any, error) {
	base, ok := deployment.(map[string]any)
	if !ok {
		return nil, nil
	}
	merged := maps.Clone(base)
	switch over := flowRun.(type) {
	case nil: // not given, or null: the deployment's stays
	case map[string]any:
		maps.Copy(merged, over)
	default:
		return nil, &ConfigurationError{
			Key: "env", Cause: "the job variable from the " + SourceFlowRun + " is not an object",
			NextStep: `write the environment as an object: {"NAME": "value"}`,
		}
	}
	return merged, nil
}

func environmentSource(flowRunEnv any, item string) string {
	if env, ok := flowRunEnv.(map[string]any); ok {
		if _, ok := env[item]; ok {
			return SourceFlowRun
		}
	}
	return SourceDeployment
}

// setDotted puts a value under a path of objects, made as needed.
func (v *jobVariables) setDotted(key string, value any, source string) error {
	path := pathSegments(key)
	if len(path) > maxDepth {
		return tooDeep(place{key: path[0]})
	}
	object := v.values
	for i, segment := range path[:len(path)-1] {
		next, ok := object[segment].(map[string]any)
		if _, taken := object[segment]; taken && !ok {
			return &ConfigurationError{
				Key: path[0], Cause: fmt.Sprintf("job variable %q contradicts %q, which is not an object", key, strings.Join(path[:i+1], ".")),
				NextStep: "give only one of the two",
			}
		}
		// A copy: it may be the caller's.
		inner := map[string]any{}
		maps.Copy(inner, next)
		object[segment], object = inner, inner
	}
	object[path[len(path)-1]] = value
	v.sources[place{path[0], ""}] = stronger(v.sources[place{path[0], ""}], source)
	v.sources[place{path[0], path[1]}] = stronger(v.sources[place{path[0], path[1]}], source)
	return nil
}

// set lays an undotted job variable over what dotted ones made of it.
func (v *jobVariables) set(key string, value any, source string, itemSource func(item string) string) {
	object, isObject := value.(map[string]any)
	dotted, wasObject := v.values[key].(map[string]any)
	if isObject && wasObject {
		v.values[key] = deepMerge(dotted, object)
		v.sources[place{key, ""}] = stronger(v.sources[place{key, ""}], source)
	} else {
		for item := range dotted {
			delete(v.sources, place{key, item})
		}
		v.values[key] = value
		v.sources[place{key, ""}] = source
	}
	for item := range object {
		v.sources[place{key, item}] = itemSource(item)
	}
}

// deepMerge returns base with over laid over it; objects on both sides merge.
func deepMerge(base, over map[string]any) map[string]any {
	merged := maps.Clone(base)
	for key, value := range over {
		inner, ok := value.(map[string]any)
		if under, both := merged[key].(map[string]any); ok && both {
			merged[key] = deepMerge(under, inner)
		} else {
			merged[key] = value
		}
	}
	return merged
}
