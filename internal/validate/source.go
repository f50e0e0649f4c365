package validate

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Span is a stretch of the file: lines and columns count from 1, columns in
// characters, and the end is the first column behind it.
type Span struct{ Line, Column, EndLine, EndColumn int }

// value is what stands in the file, with its place.
type value struct {
	at      Span
	scalar  any      // text, bool, int, float64 or nil; of a list and an object nil
	plain   bool     // a scalar without quotes
	list    []*value // nil unless a list
	object  *object  // nil unless an object
	written string   // a scalar as it is written, without quotes
}

// object is a mapping in the order of the file, what it merges in included.
type object struct{ members []member }

type member struct {
	key   string
	keyAt Span
	value *value
}

// get returns the member of a key.
func (o *object) get(key string) (member, bool) {
	if o != nil {
		for _, m := range o.members {
			if m.key == key {
				return m, true
			}
		}
	}
	return member{}, false
}

// set replaces a key, or adds it.
func (o *object) set(m member) {
	for i := range o.members {
		if o.members[i].key == m.key {
			o.members[i] = m
			return
		}
	}
	o.members = append(o.members, m)
}

// text returns a value that is a text.
func (v *value) text() (string, bool) {
	if v == nil {
		return "", false
	}
	text, ok := v.scalar.(string)
	return text, ok
}

// texts calls visit for every text in v, at any depth.
func (v *value) texts(visit func(in *value, text string)) {
	if text, isText := v.text(); isText {
		visit(v, text)
	}
	for _, item := range v.list {
		item.texts(visit)
	}
	if v.object != nil {
		for _, m := range v.object.members {
			m.value.texts(visit)
		}
	}
}

func (v *value) isNull() bool { return v.scalar == nil && v.list == nil && v.object == nil }

// typeName names a value's type for messages.
func (v *value) typeName() string {
	switch v.scalar.(type) {
	case string:
		return "a text"
	case bool:
		return "true or false"
	case int, float64:
		return "a number"
	}
	switch {
	case v.list != nil:
		return "a list"
	case v.object != nil:
		return "an object"
	}
	return "null"
}

// Bounds on what a file may unfold into; aliases of aliases would fill the memory.
const (
	maxValues = 20_000
	maxDepth  = 100
)

// source is the text of a file by lines.
type source struct{ lines []string }

// lineBreak is what YAML 1.1 takes for the end of a line.
var lineBreak = regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]")

func newSource(text string) *source {
	return &source{lineBreak.Split(strings.TrimPrefix(text, "\ufeff"), -1)}
}

// line returns a line of the file, "" beyond its end.
func (s *source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	return s.lines[n-1]
}

// rest is a line from a column on.
func (s *source) rest(line, column int) string {
	runes := []rune(s.line(line))
	if column < 1 || column > len(runes) {
		return ""
	}
	return string(runes[column-1:])
}

// reader turns YAML nodes into values.
type reader struct {
	source   *source
	findings *findings
	left     int                 // values that may still be made
	spans    map[*yaml.Node]Span // of nodes that were read: aliases come back to them
}

// read reads the one document of a file. What is wrong with it goes into
// findings; the value is nil when nothing can be made of it.
func read(text string, s *source, f *findings) *value {
	loader := yaml.NewDecoder(strings.NewReader(text))
	var document, another yaml.Node
	switch err := loader.Decode(&document); {
	case errors.Is(err, io.EOF):
		f.add(Error, CodeFile, Span{1, 1, 1, 1}, "the file is empty", "write deployments: and below it one - for each deployment")
		return nil
	case err != nil:
		f.syntax(s, err)
		return nil
	}
	if err := loader.Decode(&another); err == nil {
		at := pointAt(another.Line, another.Column)
		f.add(Error, CodeFile, at, "a second document begins here, and Prefect takes files of one only", "remove the line with --- before it")
		return nil
	} else if !errors.Is(err, io.EOF) {
		f.syntax(s, err)
		return nil
	}
	r := &reader{source: s, findings: f, left: maxValues, spans: map[*yaml.Node]Span{}}
	v, err := r.value(&document, 0)
	if err != nil {
		f.add(Error, CodeFile, err.at, err.cause, err.next)
		return nil
	}
	return v
}

// refusal is why a file as a whole cannot be read.
type refusal struct {
	at          Span
	cause, next string
}

// syntax notes what the YAML library objects to.
func (f *findings) syntax(s *source, err error) {
	line, column, cause := 1, 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if where, ok := errors.AsType[*yaml.LoadError](err); ok {
		cause = where.Message
		if where.Mark.Line > 0 {
			line, column = where.Mark.Line, where.Mark.Column
		} else { // the library does not say where characters are that YAML does not take
			line, column = s.unprintable()
		}
		if s.isEnd(line) && where.ContextMark.Line > 0 { // a quote that is not closed: show where it begins
			line, column = where.ContextMark.Line, where.ContextMark.Column
		}
		if where.ContextMsg != "" && where.ContextMark.Line > 0 && where.ContextMark.Line < where.Mark.Line {
			cause += fmt.Sprintf(" (%s that begins in line %d)", where.ContextMsg, where.ContextMark.Line)
		}
	}
	if s.isEnd(line) {
		for line = len(s.lines); line > 1 && strings.TrimSpace(s.line(line)) == ""; line-- {
		}
		column = utf8.RuneCountInString(s.line(line)) + 1
	}
	f.add(Error, CodeSyntax, pointAt(line, column), "not YAML: "+cause, nextOfSyntax(s.rest(line, column)))
}

// unprintable is where the first control character stands, or what is not UTF-8.
func (s *source) unprintable() (line, column int) {
	for i, text := range s.lines {
		for j, r := range []rune(text) {
			if r < ' ' && r != '\t' || r == 0x7f || r == utf8.RuneError {
				return i + 1, j + 1
			}
		}
	}
	return 1, 1
}

// isEnd reports whether nothing stands in a line or behind it.
func (s *source) isEnd(n int) bool {
	for ; n <= len(s.lines); n++ {
		if strings.TrimSpace(s.line(n)) != "" {
			return false
		}
	}
	return true
}

func nextOfSyntax(rest string) string {
	switch {
	case strings.HasPrefix(rest, "\t"):
		return "indent with spaces; YAML takes no tabs"
	case strings.HasPrefix(rest, "@"), strings.HasPrefix(rest, "`"), strings.HasPrefix(rest, "%"):
		return "write the value in quotes"
	}
	return "look at indentation, quotes and brackets of this line and the one before it; prefect deploy passes over a file that it cannot read"
}

// pointAt is a span of one character.
func pointAt(line, column int) Span {
	line, column = max(line, 1), max(column, 1)
	return Span{line, column, line, column + 1}
}

func (r *reader) value(n *yaml.Node, depth int) (*value, *refusal) {
	at := r.spanOf(n)
	if r.left--; r.left < 0 || depth > maxDepth {
		return nil, &refusal{at, "its aliases unfold into too much, or into themselves", "write out what the alias stands for"}
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return r.value(n.Content[0], depth)
	case yaml.AliasNode:
		return r.value(n.Alias, depth+1)
	case yaml.SequenceNode:
		v := &value{at: at, list: []*value{}}
		for _, item := range n.Content {
			inner, err := r.value(item, depth+1)
			if err != nil {
				return nil, err
			}
			v.list = append(v.list, inner)
		}
		return v, nil
	case yaml.MappingNode:
		return r.mapping(n, at, depth)
	}
	return r.scalar(n, at)
}

func (r *reader) mapping(n *yaml.Node, at Span, depth int) (*value, *refusal) {
	v := &value{at: at, object: &object{}}
	own := &object{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, item := n.Content[i], n.Content[i+1]
		keyAt := r.spanOf(key)
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			if strings.HasPrefix(r.source.rest(at.Line, at.Column), "{{") {
				return nil, &refusal{at, "YAML takes a placeholder without quotes for an object", `write it in quotes: "{{ ... }}"`}
			}
			return nil, &refusal{keyAt, "a key must be a text", "write the key as a text"}
		}
		inner, err := r.value(item, depth+1)
		if err != nil {
			return nil, err
		}
		if key.Tag == "!!merge" {
			if err := v.object.merge(inner, keyAt); err != nil {
				return nil, err
			}
			continue
		}
		m := member{r.key(key, keyAt), keyAt, inner}
		if first, twice := own.get(m.key); twice {
			r.findings.add(Error, CodeDuplicate, keyAt, fmt.Sprintf("%q stands here a second time, and what line %d says is lost", m.key, first.keyAt.Line), "remove one of the two")
		}
		own.set(m)
	}
	for _, m := range own.members { // over what was merged in
		v.object.set(m)
	}
	return v, nil
}

// merge takes in the members of what << names: of a list, the first that has a
// key counts.
func (o *object) merge(v *value, at Span) *refusal {
	switch {
	case v.object != nil:
		for _, m := range v.object.members {
			o.set(m)
		}
		return nil
	case v.list != nil:
		for i := len(v.list) - 1; i >= 0; i-- {
			if v.list[i].object == nil {
				return &refusal{v.list[i].at, "<< merges objects only", "name an anchor of an object"}
			}
			if err := o.merge(v.list[i], at); err != nil {
				return err
			}
		}
		return nil
	}
	return &refusal{at, "<< merges objects only, and this is " + v.typeName(), "name an anchor of an object: <<: *name"}
}

// key is a mapping's key as Prefect sees it: YAML's words for true and false
// are no texts.
func (r *reader) key(n *yaml.Node, at Span) string {
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		return n.Value
	}
	if _, isText := plainScalar(n.Value).(string); !isText {
		r.findings.add(Error, CodeKey, at, fmt.Sprintf("YAML does not take the key %s for a text", n.Value), fmt.Sprintf("write it in quotes: %q", n.Value))
	}
	return n.Value
}

const yamlTags = "tag:yaml.org,2002:"

func (r *reader) scalar(n *yaml.Node, at Span) (*value, *refusal) {
	v := &value{at: at, written: n.Value}
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	v.plain = !quoted
	if n.Style&yaml.TaggedStyle == 0 {
		v.scalar = n.Value
		if v.plain {
			v.scalar = plainScalar(n.Value)
		}
		return v, nil
	}
	switch tag := strings.TrimPrefix(n.LongTag(), yamlTags); tag {
	case "str", "binary", "timestamp":
		v.scalar = n.Value
	case "int", "float", "bool", "null":
		v.scalar = plainScalar(n.Value)
	default:
		return nil, &refusal{pointAt(n.Line, n.Column), fmt.Sprintf("Prefect does not read values with the tag %s", n.Tag), "remove the tag"}
	}
	return v, nil
}

var properties = regexp.MustCompile(`^(?:[&!]\S*\s+)+`) // of a node: anchor and tag

// spanOf is where a node stands. A value of several lines ends with its first.
func (r *reader) spanOf(n *yaml.Node) Span {
	span, read := r.spans[n]
	if !read {
		span = r.source.spanOf(n)
		r.spans[n] = span
	}
	return span
}

func (s *source) spanOf(n *yaml.Node) Span {
	line, column := max(n.Line, 1), max(n.Column, 1)
	rest := s.rest(line, column)
	if n.Kind == yaml.ScalarNode {
		if skipped := properties.FindString(rest); skipped != "" {
			column += utf8.RuneCountInString(skipped)
			rest = rest[len(skipped):]
		}
	}
	length := 1
	switch {
	case n.Kind == yaml.AliasNode:
		length = 1 + utf8.RuneCountInString(n.Value)
	case n.Kind != yaml.ScalarNode:
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
	case strings.HasPrefix(rest, `"`), strings.HasPrefix(rest, `'`):
		length = quotedLength(rest)
	case strings.HasPrefix(rest, n.Value):
		length = utf8.RuneCountInString(n.Value)
	default: // goes on in the next line
		length = utf8.RuneCountInString(rest)
	}
	return Span{line, column, line, column + max(length, 1)}
}

var quotedText = regexp.MustCompile(`^(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')`)

// quotedLength is how long a text in quotes is, in characters, in its first line.
func quotedLength(rest string) int {
	if whole := quotedText.FindString(rest); whole != "" {
		return utf8.RuneCountInString(whole)
	}
	return utf8.RuneCountInString(rest)
}

// find returns where a part of a value's text stands: in its own lines, or else
// the value.
func (s *source) find(v *value, part string) Span {
	last := v.at.Line + strings.Count(v.written, "\n") + 1
	for n := v.at.Line; n <= last; n++ {
		line, from := s.line(n), 0
		if n == v.at.Line {
			from = len(line) - len(s.rest(n, v.at.Column))
		}
		if i := strings.Index(line[from:], part); i >= 0 {
			column := utf8.RuneCountInString(line[:from+i]) + 1
			return Span{n, column, n, column + utf8.RuneCountInString(part)}
		}
	}
	return v.at
}
