package secret

import (
	"slices"
	"strings"
)

// minPart is the shortest secret that is looked for inside longer text, in
// bytes. A shorter one ("1", "dev") would blank out half of every line, so it
// is hidden only where it stands alone.
const minPart = 5

// Scrubber replaces secrets in text by [Mask]. The nil Scrubber knows no
// secret. It never changes and may be used by many goroutines at once.
type Scrubber struct {
	parts []string            // looked for anywhere
	whole map[string]struct{} // hidden where they are the whole text
}

// NewScrubber returns a Scrubber of the given secrets. Of a secret of several
// lines each longer line is a secret too, since output is handled by lines.
func NewScrubber(secrets ...string) *Scrubber {
	s := &Scrubber{whole: map[string]struct{}{}}
	add := func(text string) {
		if text == "" {
			return
		}
		s.whole[text] = struct{}{}
		if len(text) >= minPart {
			s.parts = append(s.parts, text)
		}
	}
	for _, text := range secrets {
		add(text)
		if !strings.Contains(text, "\n") {
			continue
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); len(line) >= minPart {
				add(line)
			}
		}
	}
	slices.Sort(s.parts)
	s.parts = slices.Compact(s.parts)
	return s
}

// Text returns text with each stretch covered by one or more secrets replaced
// by [Mask]; overlapping secrets leave no rest behind.
func (s *Scrubber) Text(text string) string {
	if s == nil || text == "" {
		return text
	}
	if _, ok := s.whole[text]; ok {
		return Mask
	}
	var covered []bool // by byte of text; nil while nothing was found
	for _, part := range s.parts {
		for from := 0; ; {
			i := strings.Index(text[from:], part)
			if i < 0 {
				break
			}
			if covered == nil {
				covered = make([]bool, len(text))
			}
			for j := from + i; j < from+i+len(part); j++ {
				covered[j] = true
			}
			from += i + 1
		}
	}
	if covered == nil {
		return text
	}
	return mask(text, covered)
}

func mask(text string, covered []bool) string {
	var out strings.Builder
	for i := range len(text) {
		switch {
		case !covered[i]:
			out.WriteByte(text[i])
		case i == 0 || !covered[i-1]:
			out.WriteString(Mask)
		}
	}
	return out.String()
}

// Any returns a copy of a decoded JSON value with every string in it scrubbed,
// keys of objects excepted. Values of other types are returned as they are.
func (s *Scrubber) Any(v any) any {
	switch v := v.(type) {
	case string:
		return s.Text(v)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = s.Any(item)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = s.Any(item)
		}
		return out
	}
	return v
}
