package jobspec

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// The conversions below accept what Pydantic's lax mode accepts for the same
// target type, since pools and deployments were written against that.

// toInteger converts 3, 3.0, "3" and "3.0"; a fraction is not an integer.
func toInteger(v any) (int, bool) {
	switch v := v.(type) {
	case int:
		return v, true
	case int64:
		return int(v), true
	case float64:
		return integral(v)
	case json.Number:
		return parseInteger(v.String())
	case string:
		return parseInteger(strings.TrimSpace(v))
	}
	return 0, false
}

func parseInteger(text string) (int, bool) {
	if n, err := strconv.Atoi(text); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, false
	}
	return integral(f)
}

func integral(f float64) (int, bool) {
	const exact = 1 << 53 // above it a float64 skips integers
	if f != math.Trunc(f) || math.Abs(f) > exact {
		return 0, false
	}
	return int(f), true
}

// toBoolean converts booleans, 0 and 1, and the words for them.
func toBoolean(v any) (value, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true", "t", "yes", "y", "on", "1":
			return true, true
		case "false", "f", "no", "n", "off", "0":
			return false, true
		}
		return false, false
	}
	n, ok := toInteger(v)
	return n == 1, ok && (n == 0 || n == 1)
}

// toText converts texts and numbers: a commit or a tag that YAML took for a
// number is still what the user wrote. Booleans are not texts.
func toText(v any) (string, bool) {
	if _, isBool := v.(bool); isBool {
		return "", false
	}
	return scalarText(v)
}

// scalarText writes a scalar as Python's str does, which is what Prefect makes
// of values of environment variables: True, 1.0, 5. Objects, lists and null
// are not scalars.
func scalarText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		if v {
			return "True", true
		}
		return "False", true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return pythonFloat(v), true
	case json.Number:
		if !strings.ContainsAny(v.String(), ".eE") {
			return v.String(), true
		}
		f, err := v.Float64()
		return pythonFloat(f), err == nil
	}
	return "", false
}

// pythonFloat is Python's repr of a float: shortest digits, an exponent below
// 1e-4 and from 1e16 on, and always a sign of being a float.
func pythonFloat(f float64) string {
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// typeName names a JSON value's type for messages.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a text"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "a number"
}
