package prefect

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Placeholders are {{ name }}: one name, no filters. Everything that is not
// exactly that, such as {{ a | b }}, is ordinary text. The character classes are
// those of Python's \s and \w, which know all of Unicode.
var placeholderPattern = regexp.MustCompile(
	`\{\{[\s\v\x1c-\x1f\x85\p{Z}]*([\p{L}\p{N}_.\-\[\]$]+)[\s\v\x1c-\x1f\x85\p{Z}]*\}\}`)

const (
	blockPrefix    = "prefect.blocks."
	variablePrefix = "prefect.variables."
)

// PlaceholderKind says what a placeholder is replaced by.
type PlaceholderKind int

// The kinds of placeholders.
const (
	StandardPlaceholder PlaceholderKind = iota // {{ name }}: a job variable
	EnvPlaceholder                             // {{ $NAME }}: the worker's environment
	BlockPlaceholder                           // {{ prefect.blocks.<type>.<name> }}
	VariablePlaceholder                        // {{ prefect.variables.<name> }}
)

func kindOf(name string) PlaceholderKind {
	switch {
	case strings.HasPrefix(name, blockPrefix):
		return BlockPlaceholder
	case strings.HasPrefix(name, variablePrefix):
		return VariablePlaceholder
	case strings.HasPrefix(name, "$"):
		return EnvPlaceholder
	}
	return StandardPlaceholder
}

// Placeholder is one {{ name }} in a text.
type Placeholder struct {
	Text string // with the braces
	Name string
	Kind PlaceholderKind
	At   int // where it begins in the text, in bytes
}

// FindPlaceholders returns what Prefect takes for a placeholder in a text.
func FindPlaceholders(text string) []Placeholder {
	var found []Placeholder
	for _, m := range placeholderPattern.FindAllStringSubmatchIndex(text, -1) {
		name := text[m[2]:m[3]]
		found = append(found, Placeholder{text[m[0]:m[1]], name, kindOf(name), m[0]})
	}
	return found
}

// wholePlaceholder returns the name when text is one placeholder and nothing else.
func wholePlaceholder(text string) (name string, ok bool) {
	m := placeholderPattern.FindStringSubmatchIndex(text)
	if m == nil || m[0] != 0 || m[1] != len(text) {
		return "", false
	}
	return text[m[2]:m[3]], true
}

// replacePlaceholders replaces each placeholder of text for which replace says
// ok. What it puts in is not looked at again.
func replacePlaceholders(text string, replace func(name string) (string, bool, error)) (string, error) {
	var b strings.Builder
	last := 0
	for _, m := range placeholderPattern.FindAllStringSubmatchIndex(text, -1) {
		with, ok, err := replace(text[m[2]:m[3]])
		if err != nil {
			return "", err
		}
		if ok {
			b.WriteString(text[last:m[0]])
			b.WriteString(with)
			last = m[1]
		}
	}
	if last == 0 {
		return text, nil
	}
	b.WriteString(text[last:])
	return b.String(), nil
}

// placeholders calls found with the name of each placeholder in v, at any depth.
func placeholders(v any, found func(name string)) {
	switch v := v.(type) {
	case string:
		for _, m := range placeholderPattern.FindAllStringSubmatch(v, -1) {
			found(m[1])
		}
	case map[string]any:
		for _, item := range v {
			placeholders(item, found)
		}
	case []any:
		for _, item := range v {
			placeholders(item, found)
		}
	}
}

// pathMarks is kept, since making a replacer takes 13 kB.
var pathMarks = strings.NewReplacer("[", ".", "]", "")

// pathSegments splits d.x[0].y into d, x, 0 and y.
func pathSegments(path string) []string { return strings.Split(pathMarks.Replace(path), ".") }

// lookupPath follows a path through objects and lists. A segment that Python
// reads as an integer is an index, never a key: the key "0" of an object is not
// found. An index into a text gives one character, as in Python.
func lookupPath(root any, path string) (any, bool) {
	value := root
	for _, segment := range pathSegments(path) {
		index, isIndex := pythonInt(segment)
		switch v := value.(type) {
		case map[string]any:
			item, ok := v[segment]
			if !ok || isIndex {
				return nil, false
			}
			value = item
		case []any:
			i, ok := position(index, len(v))
			if !ok || !isIndex {
				return nil, false
			}
			value = v[i]
		case string:
			character, ok := characterAt(v, index)
			if !ok || !isIndex {
				return nil, false
			}
			value = character
		default:
			return nil, false
		}
	}
	return value, true
}

// characterAt is one character of a text, which may be long and asked for often:
// it is not copied.
func characterAt(text string, index int) (string, bool) {
	if index < 0 {
		index += utf8.RuneCountInString(text)
	}
	if index < 0 || index >= len(text) {
		return "", false
	}
	for _, character := range text {
		if index == 0 {
			return string(character), true
		}
		index--
	}
	return "", false
}

// position turns a Python index, which may count from the end, into a Go one.
func position(index, length int) (int, bool) {
	if index < 0 {
		index += length
	}
	return index, index >= 0 && index < length
}

var pythonIntPattern = regexp.MustCompile(`^-?[0-9]+(_[0-9]+)*$`)

// pythonInt reads what int() takes. A number too large for any list is still one.
func pythonInt(text string) (int, bool) {
	if !pythonIntPattern.MatchString(text) {
		return 0, false
	}
	n, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
	if err != nil {
		return math.MaxInt, true
	}
	return n, true
}

// Bounds on what templates and values may grow into. Prefect has none; a few
// nested placeholders over a large value would fill the memory.
const (
	maxExpansion = 8 << 20 // bytes put in for placeholders, all together
	maxDepth     = 100     // nesting of objects and lists
)

// ConfigurationError says why a job configuration cannot be built from what the
// user wrote. The fault is in the flow run's configuration, not in the platform.
type ConfigurationError struct {
	Key      string // key of job_configuration, or job variable; may be ""
	Cause    string
	NextStep string
}

func (e *ConfigurationError) Error() string {
	if e.Key == "" {
		return "job configuration: " + e.Cause
	}
	return fmt.Sprintf("job configuration %q: %s", e.Key, e.Cause)
}

// Hint is the next step.
func (e *ConfigurationError) Hint() string { return e.NextStep }

// place is where in the configuration a pass is: the top-level key, and the key
// below it.
type place struct{ key, sub string }

// below is the place of an object's item.
func (p place) below(key string, depth int) place {
	if depth == 0 {
		return place{key: p.key, sub: key}
	}
	return p
}

func tooDeep(at place) error {
	return &ConfigurationError{
		Key: at.key, Cause: fmt.Sprintf("it is nested deeper than %d levels", maxDepth),
		NextStep: "make the job variables flatter",
	}
}

// expansion counts what is put in for placeholders.
type expansion struct{ bytes int }

func (x *expansion) add(at place, bytes int) error {
	x.bytes += bytes
	if x.bytes > maxExpansion {
		return &ConfigurationError{
			Key: at.key, Cause: fmt.Sprintf("its placeholders grow to more than %d MiB", maxExpansion>>20),
			NextStep: "use smaller values, or fewer placeholders for them",
		}
	}
	return nil
}

// sizeOf is about the size of v as JSON. It looks no deeper than a configuration may be.
func sizeOf(v any, depth int) int {
	size := 8
	switch v := v.(type) {
	case string:
		size += len(v)
	case map[string]any:
		for key, item := range v {
			size += len(key)
			if depth < maxDepth {
				size += sizeOf(item, depth+1)
			}
		}
	case []any:
		for _, item := range v {
			if depth < maxDepth {
				size += sizeOf(item, depth+1)
			}
		}
	}
	return size
}
