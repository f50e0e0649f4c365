package starter

import (
	"regexp"
	"strings"
)

// topLines are the logical lines of a Python source that are not set in, without
// comments; strings and brackets hold physical lines together.
func topLines(source string) []string {
	source = strings.TrimPrefix(strings.ReplaceAll(source, "\r\n", "\n"), "\ufeff")
	var lines []string
	s := scanner{rest: source}
	for s.rest != "" {
		if line := s.line(); line != "" && line[0] != ' ' && line[0] != '\t' && line[0] != '\f' {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// scanner reads Python source text, as far as finding lines and strings takes.
type scanner struct{ rest string }

// line reads a logical line.
func (s *scanner) line() string {
	var b strings.Builder
	depth := 0
	for s.rest != "" {
		switch c := s.rest[0]; {
		case c == '#':
			s.skipComment()
		case c == '"' || c == '\'':
			b.WriteString(s.text())
		case c == '\\' && strings.HasPrefix(s.rest[1:], "\n"):
			s.rest = s.rest[2:]
			b.WriteByte(' ')
		case c == '\n' && depth <= 0:
			s.rest = s.rest[1:]
			return b.String()
		default:
			switch c {
			case '(', '[', '{':
				depth++
			case ')', ']', '}':
				depth--
			}
			b.WriteByte(c)
			s.rest = s.rest[1:]
		}
	}
	return b.String()
}

func (s *scanner) skipComment() {
	end := strings.IndexByte(s.rest, '\n')
	if end < 0 {
		end = len(s.rest)
	}
	s.rest = s.rest[end:]
}

// text reads a string literal with its quotes. One that does not end stops at
// the end of its line, or of the source.
func (s *scanner) text() string {
	quote := s.rest[:1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.rest, triple) {
		quote = triple
	}
	for i := len(quote); i < len(s.rest); i++ {
		switch {
		case s.rest[i] == '\\':
			i++
		case s.rest[i] == '\n' && len(quote) == 1:
			return s.take(i)
		case strings.HasPrefix(s.rest[i:], quote):
			return s.take(i + len(quote))
		}
	}
	return s.take(len(s.rest))
}

func (s *scanner) take(n int) string {
	taken := s.rest[:n]
	s.rest = s.rest[n:]
	return taken
}

// pythonName is what may name a function. Prefect finds others too; we do not.
var pythonName = regexp.MustCompile(`^[\p{L}_][\p{L}\p{N}_]*$`)

func identifier(word string) string {
	if pythonName.MatchString(word) {
		return word
	}
	return ""
}

// flowName is the name that Prefect gives to a flow: that of its decorator, or
// the function's with hyphens (Prefect 3.8: flows.py, Flow.__init__). It is "" when only
// running the file would tell.
func flowName(function, arguments string) string {
	value, given := argument(arguments, "name")
	switch {
	case !given && strings.Contains(arguments, "**"):
		return ""
	case !given:
		return strings.ReplaceAll(function, "_", "-")
	}
	return literal(value)
}

// argument returns the value of a keyword argument, as it is written. arguments is
// what follows the opening bracket of a call.
func argument(arguments, keyword string) (value string, given bool) {
	s := scanner{rest: arguments}
	depth := 0
	var part strings.Builder
	for s.rest != "" && depth >= 0 {
		switch c := s.rest[0]; {
		case c == '"' || c == '\'':
			part.WriteString(s.text())
			continue
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' || c == ']' || c == '}':
			depth--
		}
		if c := s.take(1); depth < 0 || depth == 0 && c == "," {
			name, text, ok := strings.Cut(part.String(), "=")
			if ok && strings.TrimSpace(name) == keyword {
				return strings.TrimSpace(text), true
			}
			part.Reset()
		} else {
			part.WriteString(c)
		}
	}
	return "", false
}

// literal is the text of a plain string literal, "" for any other expression.
func literal(value string) string {
	if len(value) < 2 || value[0] != '"' && value[0] != '\'' {
		return ""
	}
	quote := value[:1]
	text, closed := strings.CutSuffix(value[1:], quote)
	if !closed || strings.ContainsAny(text, quote+"\\\n") {
		return ""
	}
	return text
}
