package worker

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const waitsPage = "../../docs/reference/waits.md"

// TestTimingDoc keeps the table of docs/reference/waits.md as Timing says: each
// wait with its default and with the words of its comment.
func TestTimingDoc(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(waitsPage)
	if err != nil {
		t.Fatal(err)
	}
	comments := timingComments(t)
	defaults := reflect.ValueOf(Timing{}.withDefaults())
	var want []string
	for i, field := range reflect.VisibleFields(defaults.Type()) {
		comment := comments[field.Name]
		if comment == "" {
			t.Errorf("Timing.%s has no comment for the page", field.Name)
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s |", field.Name, durationText(defaults.Field(i).Interface()), comment))
	}
	got := regexp.MustCompile("(?m)^\\| `[A-Z].*$").FindAllString(string(raw), -1)
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("%s is stale (-page +code):\n%s\nits table should be\n%s", waitsPage, diff, strings.Join(want, "\n"))
	}
}

// timingComments reads the comments of Timing's fields from its source.
func timingComments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "timing.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Timing" {
			return true
		}
		for _, field := range spec.Type.(*ast.StructType).Fields.List {
			comments[field.Names[0].Name] = strings.TrimSpace(field.Comment.Text())
		}
		return false
	})
	return comments
}

// durationText writes waits as the page does: 20 s, 10 min; lists with commas.
func durationText(v any) string {
	switch v := v.(type) {
	case time.Duration:
		if v >= 2*time.Minute && v%time.Minute == 0 {
			return fmt.Sprintf("%d min", v/time.Minute)
		}
		return fmt.Sprintf("%d s", v/time.Second)
	case []time.Duration:
		texts := make([]string, len(v))
		for i, d := range v {
			texts[i] = durationText(d)
		}
		return strings.Join(texts, ", ")
	}
	return fmt.Sprint(v)
}
