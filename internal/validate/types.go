package validate

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/northflank/prefect-northflank/internal/jobspec"
)

const refused = "; the Prefect server refuses the deployment"

// checkType reports whether the Prefect server takes a job variable: it holds
// deployments against the schema of the pool, where "2" is no number and 2 no
// text, and env.DEBUG: yes is neither. Prefect 3.8: server/api/validation.py.
func (v *variables) checkType(row jobspec.Variable, m member, content any) bool {
	if m.key != row.Name || holdsBlock(content) { // dotted, which the schema does not see; or not known
		return true
	}
	object, isObject := content.(map[string]any)
	list, isList := content.([]any)
	text, isText := content.(string)
	if content == nil {
		return true
	}
	switch row.Type {
	case jobspec.TypeInteger:
		what := typeOf(content)
		if what == aNumber {
			what = "a fraction"
		}
		return isInteger(content) || v.refuse(m, row.Name, "must be an integer, not "+what, nextOfNumber(m.value, text))
	case jobspec.TypeBoolean:
		_, isBoolean := content.(bool)
		return isBoolean || v.refuse(m, row.Name, "must be true or false, not "+typeOf(content), "write true or false without quotes")
	case jobspec.TypeTextList:
		if !isList {
			return v.refuse(m, row.Name, "must be a list of texts, not "+typeOf(content), `write it as a list, for example ["prefect"]`)
		}
		return v.checkItems(row, m, list)
	case jobspec.TypeTextMap, jobspec.TypeEnvironment:
		if !isObject {
			return v.refuse(m, row.Name, "must map names to texts, not be "+typeOf(content), "write one NAME: value a line")
		}
		return v.checkMap(row, m, object)
	case jobspec.TypeCredentials:
		return true // by the worker's rules
	}
	if !isText {
		return v.refuse(m, row.Name, "must be a text, not "+typeOf(content), quote(m.value))
	}
	if word := strings.TrimSpace(text); len(row.OneOf) > 0 && !row.Original && !slices.Contains(row.OneOf, text) {
		for _, right := range row.OneOf {
			if strings.EqualFold(right, word) {
				return v.refuse(m, row.Name, fmt.Sprintf("must be written %q", right), "correct it")
			}
		}
	}
	return true
}

func (v *variables) refuse(m member, variable, cause, next string) bool {
	at := m.value.at
	if m.value.object != nil || m.value.list != nil {
		at = m.keyAt
	}
	v.findings.about(variable, Error, Code(jobspec.KindType), at, cause+refused, next)
	return false
}

func (v *variables) checkItems(row jobspec.Variable, m member, list []any) bool {
	for i, item := range list {
		if _, isText := item.(string); isText {
			continue
		}
		at := member{keyAt: m.keyAt, value: m.value}
		next := quote(m.value)
		if i < len(m.value.list) {
			at.value = m.value.list[i]
			next = quote(at.value)
		}
		return v.refuse(at, row.Name, fmt.Sprintf("item %d must be a text, not %s", i+1, typeOf(item)), next)
	}
	return true
}

// checkMap checks the items of a map. It objects to all at once, and leaves the
// others to the worker's rules.
func (v *variables) checkMap(row jobspec.Variable, m member, object map[string]any) bool {
	for _, key := range sortedKeys(object) {
		item := object[key]
		if _, isText := item.(string); isText || item == nil && row.Type == jobspec.TypeEnvironment {
			continue
		}
		at, inFile := m.value.object.get(key)
		if !inFile {
			at = m // the map came out of a variable
		}
		next := "write it in quotes" // its value is nobody's business
		if item == nil {
			next = "remove it; only env takes null, which leaves a variable out"
		}
		v.refuse(at, row.Name+"."+key, "must be a text, not "+typeOf(item), next)
		object[key] = standInText
	}
	return true
}

// holdsBlock reports whether a block will take the place of content.
func holdsBlock(content any) bool {
	if reference, ok := content.(map[string]any); ok {
		_, ok = reference["$ref"]
		return ok
	}
	text, _ := content.(string)
	return strings.Contains(text, "{{")
}

func isInteger(content any) bool {
	switch n := content.(type) {
	case int:
		return true
	case float64:
		return n == math.Trunc(n)
	case interface{ Int64() (int64, error) }: // a json.Number of a variable
		_, err := n.Int64()
		return err == nil
	}
	return false
}

func typeOf(content any) string {
	switch content.(type) {
	case nil:
		return "null"
	case string:
		return aText
	case bool:
		return aBoolean
	case []any:
		return aList
	case map[string]any:
		return anObject
	}
	return aNumber
}

func quote(v *value) string {
	if v.plain && v.list == nil && v.object == nil {
		return fmt.Sprintf("write it in quotes: %q", v.written)
	}
	return "write it as a text in quotes"
}

func nextOfNumber(v *value, text string) string {
	switch {
	case strings.Contains(v.written, "prefect.variables."):
		return "let the Prefect variable hold a number, and write its placeholder alone"
	case strings.Contains(v.written, "{{"):
		return "{{ $NAME }} makes a text of it; write the number, or keep it in a Prefect variable that holds a number"
	case text != "" && isInteger(plainScalar(text)):
		return "write it without quotes"
	}
	return "write a whole number"
}
