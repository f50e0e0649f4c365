package jobspec

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// builder reads values by the rules of the table and gathers what is wrong, so
// that a user sees all of it at once.
type builder struct {
	in       Input
	scrub    *secret.Scrubber
	problems []Problem
	warnings []Warning
}

// add notes a problem of a variable.
func (b *builder) add(kind Kind, name, cause, nextStep string) {
	b.addValue(kind, name, b.in.Values[name], cause, nextStep)
}

// addValue notes a problem of one value of a variable.
func (b *builder) addValue(kind Kind, name string, value any, cause, nextStep string) {
	b.problems = append(b.problems, Problem{
		Kind: kind, Variable: name, Value: b.show(name, value), Origin: b.in.Origins[name],
		Cause: cause, NextStep: nextStep,
	})
}

// addKey notes a problem of one key inside a variable of type map; key is the
// name under which its origin is known. Its value is not shown: values of
// environments and files are nobody's business.
func (b *builder) addKey(kind Kind, name, key, cause, nextStep string) {
	b.problems = append(b.problems, Problem{
		Kind: kind, Variable: key, Origin: b.originOf(key, name),
		Cause: cause, NextStep: nextStep,
	})
}

func (b *builder) warn(kind Kind, name, text string) {
	b.warnings = append(b.warnings, Warning{Kind: kind, Variable: name, Text: text})
}

func (b *builder) warnOnce(kind Kind, name, text string) {
	b.warnings = append(b.warnings, Warning{Kind: kind, Variable: name, Text: text, Once: true})
}

// show writes a value as JSON for a message, secrets hidden and cut to a
// readable length. What maps hold and what credentials hold is never shown.
func (b *builder) show(name string, value any) string {
	if value == nil {
		return ""
	}
	v, _ := Lookup(name)
	switch v.Type {
	case TypeCredentials:
		return ""
	case TypeEnvironment, TypeTextMap:
		if _, isMap := value.(map[string]any); isMap {
			return ""
		}
		return secret.Mask
	}
	text, err := json.Marshal(b.scrub.Any(value))
	if err != nil {
		return ""
	}
	const longest = 120 // bytes; more does not help to find it
	if len(text) > longest {
		return string(text[:longest]) + "..."
	}
	return string(text)
}

// isSet reports whether the variable has a value other than null and white space.
func (b *builder) isSet(name string) bool {
	v := b.in.Values[name]
	text, isText := v.(string)
	return v != nil && (!isText || strings.TrimSpace(text) != "")
}

// isNull reports whether the variable was set to null on purpose.
func (b *builder) isNull(name string) bool {
	v, ok := b.in.Values[name]
	return ok && v == nil
}

// text reads a text; "" when it is not set and has no default.
func (b *builder) text(name string) string {
	v := mustLookup(name)
	if !b.isSet(name) {
		text, _ := v.Default.(string)
		return text
	}
	text, ok := toText(b.in.Values[name])
	if !ok {
		b.add(KindType, name, "must be a text, not "+typeName(b.in.Values[name]), example(v))
		return ""
	}
	text = strings.TrimSpace(text)
	if len(v.OneOf) > 0 {
		return b.oneOf(v, text)
	}
	b.checkText(v, text)
	return text
}

func (b *builder) checkText(v Variable, text string) {
	switch {
	case text == "" || v.Pattern == nil:
	case v.MaxLength > 0 && utf8.RuneCountInString(text) > v.MaxLength:
		b.addValue(KindValue, v.Name, text, fmt.Sprintf("must have at most %d characters", v.MaxLength), example(v))
	case !v.Pattern.MatchString(text):
		b.addValue(KindValue, v.Name, text, "must be "+v.Constraint, example(v))
	}
}

func example(v Variable) string {
	switch {
	case v.Example != "":
		return fmt.Sprintf("for example %q", v.Example)
	case len(v.OneOf) > 0:
		return "use one of these words"
	}
	return "correct or remove it"
}

// oneOf finds the allowed word, whatever its case.
func (b *builder) oneOf(v Variable, text string) string {
	for _, word := range v.OneOf {
		if strings.EqualFold(word, text) {
			return word
		}
	}
	next := "use one of these words"
	if near, ok := NearestName(text, v.OneOf); ok {
		next = fmt.Sprintf("did you mean %q?", near)
	}
	b.add(KindValue, v.Name, "must be one of "+strings.Join(v.OneOf, ", "), next)
	return ""
}

// integer reads an integer; set is false when there is neither value nor
// default, or when the value was set to null on purpose.
func (b *builder) integer(name string) (n int, set bool) {
	v := mustLookup(name)
	if b.isNull(name) {
		return 0, false
	}
	if !b.isSet(name) {
		n, set = v.Default.(int)
		return n, set
	}
	n, ok := toInteger(b.in.Values[name])
	switch {
	case !ok:
		b.add(KindType, name, "must be an integer", "write a number such as "+exampleInteger(v))
	case v.Max > 0 && (n < v.Min || n > v.Max):
		b.add(KindValue, name, fmt.Sprintf("must be between %d and %d", v.Min, v.Max), "write a number such as "+exampleInteger(v))
	}
	return n, true
}

func exampleInteger(v Variable) string {
	if n, ok := v.Default.(int); ok {
		return fmt.Sprint(n)
	}
	return v.Example
}

// boolean reads a boolean; set is false when there is neither value nor default.
func (b *builder) boolean(name string) (value, set bool) {
	v := mustLookup(name)
	if !b.isSet(name) {
		value, set = v.Default.(bool)
		return value, set
	}
	value, ok := toBoolean(b.in.Values[name])
	if !ok {
		b.add(KindType, name, "must be true or false", "write true or false without quotes")
	}
	return value, true
}

// list reads a list of texts.
func (b *builder) list(name string) []string {
	v := mustLookup(name)
	if !b.isSet(name) {
		return nil
	}
	items, ok := b.in.Values[name].([]any)
	if !ok {
		b.add(KindType, name, "must be a list of texts, not "+typeName(b.in.Values[name]), `write it as a list, for example ["prefect"]`)
		return nil
	}
	var texts []string
	for i, item := range items {
		text, ok := toText(item)
		if !ok {
			b.add(KindType, name, fmt.Sprintf("item %d must be a text, not %s", i+1, typeName(item)), example(v))
			continue
		}
		before := len(b.problems)
		b.checkText(v, text)
		if len(b.problems) > before {
			return nil // one message for the list
		}
		texts = append(texts, text)
	}
	return texts
}

// entry is one key of a map of texts; null has Text "" and Null true.
type entry struct {
	Key, Text string
	Null      bool
}

// entries reads a map of texts in the order of its keys. Values other than
// texts become texts as in Prefect; objects and lists are refused.
func (b *builder) entries(name string) []entry {
	if !b.isSet(name) {
		return nil
	}
	given, ok := b.in.Values[name].(map[string]any)
	if !ok {
		b.add(KindType, name, "must map names to texts, not be "+typeName(b.in.Values[name]), "write one NAME: value a line")
		return nil
	}
	out := make([]entry, 0, len(given))
	for _, key := range slices.Sorted(maps.Keys(given)) {
		value := given[key]
		if value == nil {
			out = append(out, entry{Key: key, Null: true})
			continue
		}
		text, ok := scalarText(value)
		if !ok {
			b.addKey(KindType, name, name+"."+key, "must be a text, not "+typeName(value), "write it as JSON text in quotes")
			continue
		}
		out = append(out, entry{Key: key, Text: text})
	}
	return out
}

// mustLookup returns a row that the code names; a name without a row is a
// mistake in this package that its tests find.
func mustLookup(name string) Variable {
	v, ok := Lookup(name)
	if !ok {
		panic("jobspec: no job variable " + name)
	}
	return v
}
