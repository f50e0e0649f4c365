package hostile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

// maker makes one input.
type maker struct {
	rng   *rand.Rand
	seeds [][]any
}

// change is one kind of change to a text, which may come to about size bytes.
type change func(m *maker, text []byte, size int) []byte

var (
	// changes are those that leave the size about as it is.
	changes = []change{(*maker).flip, (*maker).truncate, (*maker).drop, (*maker).splice, (*maker).odd, (*maker).replace, (*maker).number}
	// growths are those that fill an input up to its size.
	growths = []change{(*maker).repeat, (*maker).nest, (*maker).long, (*maker).number, (*maker).list, (*maker).object, (*maker).lines}
)

// args makes the arguments of one call out of a seed, and returns how many
// bytes of text they hold: one text comes to about size bytes, the others stay.
func (m *maker) args(size int) (args []any, length int) {
	args = slices.Clone(m.seeds[m.rng.IntN(len(m.seeds))])
	var texts []int
	for i, arg := range args {
		switch arg := arg.(type) {
		case string, []byte:
			texts = append(texts, i)
			if m.rng.IntN(4) == 0 { // what this argument is in another seed
				args[i] = m.seeds[m.rng.IntN(len(m.seeds))][i]
			}
		case int:
			if m.rng.IntN(4) == 0 {
				args[i] = m.pickInt(arg)
			}
		case bool:
			args[i] = arg != (m.rng.IntN(4) == 0)
		default:
			panic(fmt.Sprintf("hostile: no inputs are made of a %T", arg))
		}
	}
	chosen := texts[m.rng.IntN(len(texts))]
	for _, i := range texts {
		text, isString := args[i].(string)
		raw := []byte(text)
		if !isString {
			raw = slices.Clone(args[i].([]byte))
		}
		if i == chosen {
			raw = m.text(raw, size)
		}
		length += len(raw)
		if args[i] = any(raw); isString {
			args[i] = string(raw)
		}
	}
	return args, length
}

// text makes a hostile text out of a good one. It is never empty.
func (m *maker) text(text []byte, size int) []byte {
	for range m.rng.IntN(4) {
		text = pick(m.rng, changes)(m, text, size)
	}
	if size > len(text) {
		text = pick(m.rng, growths)(m, text, size)
		text = append(text, bytes.Repeat([]byte(" "), max(0, size-len(text)))...)
	} else if m.rng.IntN(4) == 0 {
		text = text[:size]
	}
	if len(text) == 0 {
		text = []byte{byte(m.rng.IntN(256))}
	}
	return text
}

func (m *maker) pickInt(given int) int {
	return pick(m.rng, []int{given + 1, -given, 0, -1, 100 + m.rng.IntN(500), math.MaxInt, math.MinInt})
}

func pick[T any](rng *rand.Rand, all []T) T { return all[rng.IntN(len(all))] }

// at is a place in a text, its end included.
func (m *maker) at(text []byte) int { return m.rng.IntN(len(text) + 1) }

// part is the bounds of any part of a text.
func (m *maker) part(text []byte) (from, to int) {
	a, b := m.at(text), m.at(text)
	return min(a, b), max(a, b)
}

// value is the bounds of a value in a text of JSON, or else of what stands
// between two marks of TOML or dotenv; so what replaces it is parsed as often as
// not. Sometimes it is the whole text.
func (m *maker) value(text []byte) (from, to int) {
	marks := pick(m.rng, []string{":", ":", "=", ":[,={ \n", ""})
	if marks == "" {
		return 0, len(text)
	}
	from = m.at(text)
	if i := bytes.IndexAny(text[from:], marks); i >= 0 {
		from += i + 1
	}
	decoder := json.NewDecoder(bytes.NewReader(text[from:]))
	if decoder.Decode(new(json.RawMessage)) == nil {
		return from, from + int(decoder.InputOffset())
	}
	to = len(text)
	if i := bytes.IndexAny(text[from:], ",]}\n"); i >= 0 {
		to = from + i
	}
	return from, to
}

// put replaces what lies between two places.
func put(text []byte, from, to int, with []byte) []byte {
	return slices.Concat(text[:from], with, text[to:])
}

func (m *maker) flip(text []byte, _ int) []byte {
	text = slices.Clone(text)
	for range 1 + m.rng.IntN(8) {
		if len(text) > 0 {
			text[m.rng.IntN(len(text))] ^= 1 << m.rng.IntN(8)
		}
	}
	return text
}

func (m *maker) truncate(text []byte, _ int) []byte { return text[:m.at(text)] }

func (m *maker) drop(text []byte, _ int) []byte {
	from, to := m.part(text)
	return put(text, from, to, nil)
}

// splice puts the end of any text of the seeds behind the beginning of this one.
func (m *maker) splice(text []byte, _ int) []byte {
	switch other := pick(m.rng, pick(m.rng, m.seeds)).(type) {
	case string:
		return slices.Concat(text[:m.at(text)], []byte(other)[m.at([]byte(other)):])
	case []byte:
		return slices.Concat(text[:m.at(text)], other[m.at(other):])
	default:
		return text
	}
}

// oddities are what texts seldom hold: no UTF-8, control characters, characters
// that end lines or turn their direction, and the marks of the formats.
var oddities = []string{
	"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x00", "\x1b[31m", "\x1b]0;t\x07", "\x7f", "\u0085", "\u2028", "\u202e", "\ufeff", "\r", "\r\n", "\n",
	`"`, `'`, `"""`, `'''`, `\`, `\u0000`, `\ud800`, `\x`, "{{", "}}", "${", "}", "]", "#", "=", ":", ",", "%00", "../", "-->", "+00:00", "İ", "ſ", "\U0001F469\u200D\U0001F680",
}

func (m *maker) odd(text []byte, _ int) []byte {
	for range 1 + m.rng.IntN(4) {
		place := m.at(text)
		text = put(text, place, place, []byte(pick(m.rng, oddities)))
	}
	return text
}

// replace puts a value of another kind into the place of one.
func (m *maker) replace(text []byte, _ int) []byte {
	from, to := m.value(text)
	return put(text, from, to, []byte(pick(m.rng, []string{"null", "true", "0", "-1", `""`, "[]", "{}", "[null]", `{"":null}`, `"\u0000"`, "{{ a }}", ""})))
}

// number puts a number that fits no machine into the place of a value.
func (m *maker) number(text []byte, size int) []byte {
	from, to := m.value(text)
	digits := bytes.Repeat([]byte{'0' + byte(m.rng.IntN(10))}, max(1, size-len(text)))
	forms := []string{"%s", "-%s", "0.%s", "1e%s", "1e-%s", `"%s"`, "%s.%[1]s", "+%s", "0x%s"}
	return put(text, from, to, fmt.Appendf(nil, pick(m.rng, forms), digits))
}

// repeat repeats a part.
func (m *maker) repeat(text []byte, size int) []byte {
	from, to := m.part(text)
	if from == to {
		return text
	}
	return put(text, to, to, bytes.Repeat(text[from:to], (size-len(text))/(to-from)))
}

// nest puts a value deep into brackets, closed or left open.
func (m *maker) nest(text []byte, size int) []byte {
	brackets := pick(m.rng, [][2]string{
		{"[", "]"},
		{`{"a":`, "}"},
		{`[{"a":`, "}]"},
		{`{"items":[`, "]}"},
		{`{"$ref":`, "}"},
		{`{"anyOf":[`, "]}"},
		{`{"properties":{"a":`, "}}"},
		{`{"error":`, "}"},
		{`{"details":[`, "]}"},
		{"{{ ", " }}"},
		{"${", "}"},
		{"$(", ")"},
		{"a = [", "]"},
		{"{a = ", "}"},
		{"[[", "]]"},
		{"[a.", "]"},
		{"a.", ""},
		{`\"`, `\"`},
		{"<a>", "</a>"},
		{"/", ""},
	})
	from, to := m.value(text)
	depth := (size - len(text)) / len(brackets[0]+brackets[1])
	if m.rng.IntN(2) == 0 {
		depth = min(depth, 1+m.rng.IntN(10_000)) // encoding/json goes so deep, and no deeper
	}
	value := slices.Concat(bytes.Repeat([]byte(brackets[0]), depth), text[from:to])
	if m.rng.IntN(4) > 0 {
		value = append(value, bytes.Repeat([]byte(brackets[1]), depth)...)
	}
	return put(text, from, to, value)
}

// long puts one character many times into a value, or makes it a long string.
func (m *maker) long(text []byte, size int) []byte {
	letters := []string{"x", " ", "\t", "\n", `\\`, `\"`, `\u0000`, `\ud800`, "\xff", "\x00", "\x1b", "é", "\u0301", "{{ a }}", "${A}", "a.", "a,", "-", "/", "'", `"`, "#"}
	letter := []byte(pick(m.rng, letters))
	run := bytes.Repeat(letter, max(0, size-len(text))/len(letter))
	from, to := m.value(text)
	if m.rng.IntN(2) == 0 {
		return put(text, from, to, slices.Concat([]byte{'"'}, run, []byte{'"'}))
	}
	place := from + m.rng.IntN(to-from+1)
	return put(text, place, place, run)
}

// list makes a value the element of a long list.
func (m *maker) list(text []byte, size int) []byte {
	from, to := m.value(text)
	element := append(slices.Clone(text[from:to]), ',')
	value := slices.Concat([]byte{'['}, bytes.Repeat(element, max(1, (size-len(text))/len(element))))
	value[len(value)-1] = ']'
	return put(text, from, to, value)
}

// object makes a value that of many keys.
func (m *maker) object(text []byte, size int) []byte {
	from, to := m.value(text)
	value := []byte{'{'}
	for i := 0; len(value) < size-len(text); i++ {
		value = append(strconv.AppendInt(append(value, '"', 'k'), int64(i), 36), '"', ':')
		value = append(append(value, text[from:to]...), ',')
	}
	value[len(value)-1] = '}'
	return put(text, from, to, value)
}

// lines puts many assignments, in the ways of dotenv and TOML, between two lines.
func (m *maker) lines(text []byte, size int) []byte {
	form := pick(m.rng, []string{"K%d=1\n", "export K%d='x'\n", "k%d = [1, 2]\n", "[t%d]\n", "[[a]]\nb.c%d = {}\n", "A=${K%d:-x}\n", "# %d\n", "k: &a%d [*a]\n", "- %d\n"})
	place := m.at(text)
	place += bytes.IndexByte(text[place:], '\n') + 1
	var added []byte
	for i := 0; len(added) < size-len(text); i++ {
		added = fmt.Appendf(added, form, i)
	}
	return put(text, place, place, added)
}
