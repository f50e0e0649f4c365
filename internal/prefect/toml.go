package prefect

import (
	"errors"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
)

// decodeTOML reads TOML that is no deeper than a configuration may be: for each
// level the library copies all levels above it, so that a line of 100 kB would
// fill the memory.
func decodeTOML(text string, into any) error {
	if line, deep := deepTOML(text); deep {
		return fmt.Errorf("line %d: it is nested deeper than %d levels", line, maxDepth)
	}
	_, err := toml.Decode(text, into)
	return err
}

// deepTOML finds the line of a key of too many parts, or of too many brackets
// in one another. It looks for nothing else that is wrong.
func deepTOML(text string) (line int, deep bool) {
	line = 1
	parts, brackets := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\n':
			line, parts = line+1, 0
		case ',', '=':
			parts = 0
		case '.':
			parts++
		case '[', '{':
			brackets, parts = brackets+1, 0
		case ']', '}':
			brackets--
		case '#':
			i += untilLineEnds(text[i:]) - 1
		case '"', '\'':
			length := quotedTOML(text[i:])
			line += strings.Count(text[i:i+length], "\n")
			i += length - 1
		}
		if parts >= maxDepth || brackets > maxDepth {
			return line, true
		}
	}
	return 0, false
}

// quotedTOML is the length of the quoted text at the beginning of text. One that
// is left open ends with its line, or with the file when it may have several.
func quotedTOML(text string) int {
	quote, end := text[:1], untilLineEnds(text)
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(text, triple) {
		quote, end = triple, len(text)
	}
	for i := len(quote); i < end; i++ {
		switch {
		case text[i] == '\\' && quote[0] == '"':
			i++
		case strings.HasPrefix(text[i:], quote):
			return i + len(quote)
		}
	}
	return end
}

// untilLineEnds is how many bytes the first line of text has, without its end.
func untilLineEnds(text string) int {
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		return i
	}
	return len(text)
}

func tomlProblem(err error) string {
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		return fmt.Sprintf("line %d: %s", parse.Position.Line, parse.Message)
	}
	return err.Error()
}
