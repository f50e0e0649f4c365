package validate

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// Excerpt is a finding's line of the file, for people: secrets hidden, cut to a
// readable length.
type Excerpt struct {
	Text       string
	Pad, Caret string // below it: what leads to the place, and a mark of its length
}

// excerpt shows where a finding is.
func (s *source) excerpt(f Finding, masks []Span) Excerpt {
	line := []rune(s.line(f.Line))
	hidden := make([]bool, len(line))
	for _, m := range masks {
		if f.Line < m.Line || f.Line > m.EndLine {
			continue
		}
		from, to := 0, len(line)
		if f.Line == m.Line {
			from = m.Column - 1
		}
		if f.Line == m.EndLine {
			to = m.EndColumn - 1
		}
		for i := max(from, 0); i < min(to, len(line)); i++ {
			hidden[i] = true
		}
	}
	begin := min(f.Column-1, len(line))
	end := len(line)
	if f.EndLine == f.Line {
		end = min(f.EndColumn-1, len(line))
	}
	before, inside := printable(line[:begin], hidden[:begin]), printable(line[begin:max(begin, end)], hidden[begin:max(begin, end)])
	after := printable(line[max(begin, end):], hidden[max(begin, end):])
	if begin > 0 && begin < len(line) && hidden[begin] && hidden[begin-1] { // inside of a secret
		inside = strings.TrimPrefix(inside, secret.Mask)
	}
	if end > begin && end < len(line) && hidden[end] && hidden[end-1] {
		after = strings.TrimPrefix(after, secret.Mask)
	}
	before, after = lastOf(before), firstOf(after)
	return Excerpt{
		Text: strings.TrimRight(before+inside+after, " \t"),
		Pad:  strings.Map(blank, before), Caret: strings.Repeat("^", max(1, utf8.RuneCountInString(inside))),
	}
}

// blank keeps tabs, so that what is below stands in line.
func blank(r rune) rune {
	if r == '\t' {
		return r
	}
	return ' '
}

// printable hides secrets, and what a terminal would take for a command.
func printable(line []rune, hidden []bool) string {
	var b strings.Builder
	for i, r := range line {
		switch {
		case hidden[i] && (i == 0 || !hidden[i-1]):
			b.WriteString(secret.Mask)
		case hidden[i]:
		case unicode.IsPrint(r) || r == '\t':
			b.WriteRune(r)
		default:
			b.WriteRune('?')
		}
	}
	return b.String()
}

const readable = 100 // characters on each side of a place

func lastOf(text string) string {
	if runes := []rune(text); len(runes) > readable {
		return "..." + string(runes[len(runes)-readable:])
	}
	return text
}

func firstOf(text string) string {
	if runes := []rune(text); len(runes) > readable {
		return string(runes[:readable]) + "..."
	}
	return text
}

// secretSpans are the places of all values that look like secrets: in the whole
// file, since any line may be shown.
func (s *source) secretSpans(v *value) []Span {
	var spans []Span
	var visit func(name string, v *value)
	visit = func(name string, v *value) {
		for _, item := range v.list {
			visit(name, item)
		}
		if v.object != nil {
			for _, m := range v.object.members {
				visit(m.key, m.value)
			}
			return
		}
		text, isText := v.text()
		if !isText {
			text = v.written
		}
		if !isPlaceholder(text) && holdsSecret(name, text) {
			spans = append(spans, s.wholeSpan(v))
		}
	}
	visit("", v)
	return spans
}

// holdsSecret reports whether a value looks like a secret. Job variables that
// say where credentials are, such as credentials_block, hold none.
func holdsSecret(name, text string) bool {
	if _, isJobVariable := jobspec.Lookup(name); isJobVariable {
		return name == varCredentials || jobspec.LooksSecret("", text)
	}
	return jobspec.LooksSecret(name, text)
}

// isPlaceholder reports whether a text is placeholders and nothing else.
func isPlaceholder(text string) bool {
	for _, p := range prefect.FindPlaceholders(text) {
		text = strings.ReplaceAll(text, p.Text, "")
	}
	return strings.TrimSpace(text) == ""
}

var keyAndValue = regexp.MustCompile(`^[\s-]*["']?([\w.-]+)["']?\s*:\s*(\S.*)$`)

// likelySecrets are the places of what looks like a secret in lines that could
// not be read as YAML.
func (s *source) likelySecrets() []Span {
	var spans []Span
	for i, line := range s.lines {
		end := utf8.RuneCountInString(line) + 1
		m := keyAndValue.FindStringSubmatchIndex(line)
		switch {
		case m != nil && strings.HasPrefix(line[m[4]:], "{{"): // a placeholder without quotes
		case m != nil && holdsSecret(line[m[2]:m[3]], line[m[4]:m[5]]):
			spans = append(spans, Span{i + 1, utf8.RuneCountInString(line[:m[4]]) + 1, i + 1, end})
		case jobspec.LooksSecret("", line):
			spans = append(spans, Span{i + 1, 1, i + 1, end})
		}
	}
	return spans
}

// wholeSpan is a value's place with all of its lines: those that follow and are
// indented further than the line that it begins in.
func (s *source) wholeSpan(v *value) Span {
	at := v.at
	if !strings.Contains(strings.TrimSuffix(v.written, "\n"), "\n") && utf8.RuneCountInString(v.written) <= at.EndColumn-at.Column {
		return at
	}
	indent := indentOf(s.line(at.Line))
	for n := at.Line + 1; n <= len(s.lines); n++ {
		line := s.line(n)
		if strings.TrimSpace(line) != "" && indentOf(line) <= indent {
			break
		}
		at.EndLine, at.EndColumn = n, utf8.RuneCountInString(line)+1
	}
	return at
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " -")) }
