package validate

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Prefect reads prefect.yaml with PyYAML, which follows YAML 1.1: yes and off are
// booleans, 010 is eight, 1:30 is ninety. PyYAML 6: resolver.py, constructor.py.
var (
	integerPattern = regexp.MustCompile(`^[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*(:[0-5]?[0-9])*)$`)
	floatPattern   = regexp.MustCompile(`^([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// plainScalar is the value of a scalar without quotes: text, bool, int, float64
// or nil. A date stays the text that Prefect makes of it again.
func plainScalar(text string) any {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true
	case "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false
	}
	switch {
	case integerPattern.MatchString(text):
		return integer(strings.ReplaceAll(text, "_", ""))
	case floatPattern.MatchString(text):
		return float(strings.ToLower(strings.ReplaceAll(text, "_", "")))
	}
	return text
}

// integer reads what integerPattern matches; one too large for an int is a float.
func integer(text string) any {
	digits := strings.TrimLeft(text, "+-")
	negative := strings.HasPrefix(text, "-")
	base := 10
	switch {
	case strings.Contains(digits, ":"):
		return sign(negative, sexagesimal(digits))
	case strings.HasPrefix(digits, "0b"):
		base, digits = 2, digits[2:]
	case strings.HasPrefix(digits, "0x"):
		base, digits = 16, digits[2:]
	case strings.HasPrefix(digits, "0") && len(digits) > 1:
		base = 8
	}
	n, err := strconv.ParseInt(digits, base, 0)
	if err != nil {
		f, _ := strconv.ParseFloat(digits, 64)
		return sign(negative, f)
	}
	if negative {
		n = -n
	}
	return int(n)
}

func float(text string) any {
	negative := strings.HasPrefix(text, "-")
	digits := strings.TrimLeft(text, "+-")
	switch {
	case strings.HasSuffix(digits, "inf"):
		return sign(negative, math.Inf(1))
	case strings.HasSuffix(digits, "nan"):
		return math.NaN()
	case strings.Contains(digits, ":"):
		return sign(negative, sexagesimal(digits))
	}
	f, _ := strconv.ParseFloat(digits, 64)
	return sign(negative, f)
}

// sexagesimal reads hours:minutes:seconds.
func sexagesimal(text string) float64 {
	total := 0.0
	for part := range strings.SplitSeq(text, ":") {
		n, _ := strconv.ParseFloat(part, 64)
		total = total*60 + n
	}
	return total
}

// sign returns a number with its sign, as an int where it is one.
func sign(negative bool, f float64) any {
	if negative {
		f = -f
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return int(f)
	}
	return f
}
