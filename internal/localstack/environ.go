package localstack

import (
	"maps"
	"slices"
	"strings"
)

// foreign holds the beginnings of the names of environment variables that would
// tie a child process to the user's own Prefect, Northflank or Python set-up.
var foreign = []string{"PREFECT_", "NORTHFLANK_", "PYTHON", "VIRTUAL_ENV"}

// cleanEnviron returns environ ("NAME=value" each) without the variables that
// name the user's own set-up. Prefect reads its names in any case of letters.
func cleanEnviron(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(variable), "=")
		return slices.ContainsFunc(foreign, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	})
}

// withValues returns environ with the values set, in place of an earlier value
// of the same name.
func withValues(environ []string, values map[string]string) []string {
	kept := slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		_, replaced := values[name]
		return replaced
	})
	for _, name := range slices.Sorted(maps.Keys(values)) {
		kept = append(kept, name+"="+values[name])
	}
	return kept
}

// lookup returns the value of name in environ, "" when it is absent.
func lookup(environ []string, name string) string {
	for _, variable := range slices.Backward(environ) {
		if value, found := strings.CutPrefix(variable, name+"="); found {
			return value
		}
	}
	return ""
}
