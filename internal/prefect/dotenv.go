package prefect

import (
	"fmt"
	"regexp"
	"strings"
)

// parseDotenv reads a .env file as python-dotenv 1.x does, which Prefect uses.
// The Go libraries for such files differ from it in ways that matter here: they
// expand $NAME without braces, which tears passwords apart, or do not expand
// ${NAME} from the environment.
//
// A line that cannot be read is skipped and reported by number in bad.
func parseDotenv(text string, environ map[string]string) (values map[string]string, bad []int) {
	r := &dotenvReader{rest: strings.TrimPrefix(text, "\ufeff"), line: 1}
	values = map[string]string{}
	for {
		r.match(dotenvBlank)
		if r.rest == "" {
			return values, bad
		}
		line := r.line
		key, value, set, ok := r.binding()
		if !ok {
			r.match(dotenvRestOfLine)
		}
		if set {
			value = expandDotenv(value, values, environ)
			ok = ok && len(value) <= maxDotenvValue
		}
		switch {
		case !ok:
			bad = append(bad, line)
		case set:
			values[key] = value
		}
	}
}

// maxDotenvValue bounds a value, in bytes: lines such as A=${A}${A} double it.
const maxDotenvValue = 1 << 20

var (
	dotenvBlank       = regexp.MustCompile(`^[\s\v]*`)
	dotenvSpace       = regexp.MustCompile(`^[ \t\f\v]*`)
	dotenvExport      = regexp.MustCompile(`^(?:export[ \t\f\v]+)?`)
	dotenvQuotedKey   = regexp.MustCompile(`^'([^']+)'`)
	dotenvKey         = regexp.MustCompile(`^([^=#\s\v]+)`)
	dotenvSingle      = regexp.MustCompile(`(?s)^'((?:\\.|[^'\\])*)'`)
	dotenvDouble      = regexp.MustCompile(`(?s)^"((?:\\.|[^"\\])*)"`)
	dotenvPlain       = regexp.MustCompile(`^([^\r\n]*)`)
	dotenvComment     = regexp.MustCompile(`^(?:[ \t\f\v]*#[^\r\n]*)?`)
	dotenvEnd         = regexp.MustCompile(`^[ \t\f\v]*(?:\r\n|\n|\r|$)`)
	dotenvRestOfLine  = regexp.MustCompile(`^[^\r\n]*(?:\r\n|\r|\n)?`)
	dotenvTailComment = regexp.MustCompile(`[\s\v]+#.*`)
	dotenvVariable    = regexp.MustCompile(`\$\{([^}:]*)(:-([^}]*))?\}`)
	dotenvDoubleEsc   = regexp.MustCompile(`\\[\\'"abfnrtv]`)
	dotenvSingleEsc   = regexp.MustCompile(`\\[\\']`)
)

type dotenvReader struct {
	rest string
	line int // 1 is the first
}

// match takes the pattern off the front of the rest.
func (r *dotenvReader) match(pattern *regexp.Regexp) (group string, ok bool) {
	m := pattern.FindStringSubmatch(r.rest)
	if m == nil {
		return "", false
	}
	r.line += strings.Count(m[0], "\n")
	r.rest = r.rest[len(m[0]):]
	if len(m) > 1 {
		group = m[1]
	}
	return group, true
}

// binding reads one line, or more when a quoted value goes over several. Set is
// false for a comment and for a key without "=", which has no value.
func (r *dotenvReader) binding() (key, value string, set, ok bool) {
	if !strings.HasPrefix(r.rest, "#") {
		r.match(dotenvExport)
		pattern := dotenvKey
		if strings.HasPrefix(r.rest, "'") {
			pattern = dotenvQuotedKey
		}
		if key, ok = r.match(pattern); !ok {
			return "", "", false, false
		}
		r.match(dotenvSpace)
		if strings.HasPrefix(r.rest, "=") {
			if value, ok = r.value(); !ok {
				return "", "", false, false
			}
			set = true
		}
	}
	r.match(dotenvComment)
	_, ok = r.match(dotenvEnd)
	return key, value, set, ok
}

func (r *dotenvReader) value() (value string, ok bool) {
	r.rest = r.rest[1:]
	before := len(r.rest)
	r.match(dotenvSpace)
	spaced := len(r.rest) < before
	switch {
	case spaced && strings.HasPrefix(r.rest, "#"):
		return "", true
	case strings.HasPrefix(r.rest, "'"):
		value, ok = r.match(dotenvSingle)
		return dotenvSingleEsc.ReplaceAllStringFunc(value, unescapeDotenv), ok
	case strings.HasPrefix(r.rest, `"`):
		value, ok = r.match(dotenvDouble)
		return dotenvDoubleEsc.ReplaceAllStringFunc(value, unescapeDotenv), ok
	}
	value, _ = r.match(dotenvPlain)
	return strings.TrimSpace(dotenvTailComment.ReplaceAllString(value, "")), true
}

func unescapeDotenv(escape string) string {
	if i := strings.IndexByte("abfnrtv", escape[1]); i >= 0 {
		return "\a\b\f\n\r\t\v"[i : i+1]
	}
	return escape[1:]
}

// expandDotenv replaces ${NAME} and ${NAME:-default}, from earlier lines first
// and then from the environment, in quoted values too.
func expandDotenv(value string, earlier, environ map[string]string) string {
	return dotenvVariable.ReplaceAllStringFunc(value, func(whole string) string {
		m := dotenvVariable.FindStringSubmatch(whole)
		if v, ok := earlier[m[1]]; ok {
			return v
		}
		if v, ok := environ[m[1]]; ok {
			return v
		}
		return m[3]
	})
}

func badLinesText(path string, bad []int) string {
	return fmt.Sprintf("%s: lines passed over, they are not NAME=value: %v", path, bad)
}
