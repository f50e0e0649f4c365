package worker

import (
	"errors"
	"strings"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
)

// refusedVariables names the job variables that set the fields which Northflank
// refused; "" when it named none that a job variable sets.
func refusedVariables(err error) string {
	refused, ok := errors.AsType[*northflank.Error](err)
	if !ok {
		return ""
	}
	var names []string
	for _, v := range jobspec.Variables() {
		if holdsField(refused.Details, v.Place) {
			names = append(names, v.Name)
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return "The field is set by job variable " + names[0] + "."
	}
	return "The fields are set by job variables " + strings.Join(names, ", ") + "."
}

// holdsField reports whether an error's details, an object with dotted or nested
// field names, speak of a field.
func holdsField(details any, field string) bool {
	object, _ := details.(map[string]any)
	for key, inner := range object {
		if key == field {
			return true
		}
		if rest, below := strings.CutPrefix(field, key+"."); below && holdsField(inner, rest) {
			return true
		}
	}
	return false
}
