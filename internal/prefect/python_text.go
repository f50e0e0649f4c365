package prefect

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Prefect puts a value into surrounding text with Python's str(). The functions
// here write the same text for the values that JSON has. One difference is left:
// Python prints the keys of an object in the order in which they were written,
// which a Go map does not keep; here they are sorted.

// pythonText is str(v).
func pythonText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var b strings.Builder
	writePython(&b, v)
	return b.String()
}

// writePython writes repr(v), which for all but a string itself is str(v).
func writePython(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case string:
		writePythonString(b, v)
	case json.Number:
		b.WriteString(pythonNumber(v.String()))
	case float64:
		b.WriteString(pythonFloat(v))
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			writePython(b, item)
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteByte('{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteString(", ")
			}
			writePythonString(b, key)
			b.WriteString(": ")
			writePython(b, v[key])
		}
		b.WriteByte('}')
	default: // an integer type, given by Go code
		fmt.Fprint(b, v)
	}
}

// pythonNumber is the text of a JSON number after Python has read it: an integer
// keeps all its digits, anything with a fraction or an exponent is a float.
func pythonNumber(text string) string {
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			return "0"
		}
		return text
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return text
	}
	return pythonFloat(f)
}

// pythonFloat is repr of a float: the shortest digits that read back as the same
// number, with an exponent below 1e-4 and from 1e16 on.
func pythonFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64) // exponents of two digits or more, as in Python
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// writePythonString is repr of a string: single quotes, unless it holds such and
// no double ones.
func writePythonString(b *strings.Builder, s string) {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b.WriteRune(quote)
	for i, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(b, `\x%02x`, s[i]) // a broken byte, which JSON cannot bring
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteRune(quote)
}
