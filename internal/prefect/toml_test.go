package prefect

import (
	"strings"
	"testing"
)

func TestDeepTOMLIsRefused(t *testing.T) {
	t.Parallel()
	dots, open := strings.Repeat("a.", 200), strings.Repeat("[", 200)
	tests := []struct {
		name, text string
		wantLine   int // 0: it is not too deep
	}{
		{"a table", "[x]\ny = 1\n[" + dots + "b]\n", 3},
		{"a key", dots + "b = 1", 1},
		{"lists", "a = '''\n\n'''\nb = " + open, 4},
		{"objects", "a = " + strings.Repeat("{b = ", 200), 1},
		{"behind an open quote", "a = \"b\n" + dots + "b = 1", 2},
		{"behind an escaped quote", `a = "\"" ` + "\n[" + dots + "b]", 2},
		{"behind an open text of several lines", `"""` + dots, 0},
		{"texts", "a = '" + dots + "'\nb = \"" + open + "\" # " + open + "\nc = '''\n" + open + "'''\n", 0},
		{"many numbers on one line", "a = [" + strings.Repeat("1.5, ", 200) + "]", 0},
		{"many tables", strings.Repeat("[[a.b]]\nc = {d = [1]}\n", 200), 0},
		{"nothing", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			line, deep := deepTOML(tt.text)
			if line != tt.wantLine || deep != (tt.wantLine > 0) {
				t.Errorf("deepTOML() = line %d, %t, want line %d", line, deep, tt.wantLine)
			}
			err := decodeTOML(tt.text, new(map[string]any))
			if refused := err != nil && strings.Contains(err.Error(), "nested deeper"); refused != deep {
				t.Errorf("decodeTOML() = %v", err)
			}
		})
	}
}
