package validate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/northflank/prefect-northflank/internal/hostile"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/northflank/prefect-northflank/internal/validate"
)

// FuzzRun reads any text as a prefect.yaml: it ends, every finding has a place
// in the file, a text and a rule, and what is looked up does not decide whether
// it goes on.
func FuzzRun(f *testing.F) { fuzzRun(f) }

func fuzzRun(f hostile.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			f.Add(string(file.Data))
		}
	}
	right, err := os.ReadFile("testdata/right.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(right))
	rules := map[validate.Code]bool{}
	for _, rule := range validate.Rules() {
		rules[rule.Code] = true
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := 1 + strings.Count(text, "\n") + strings.Count(text, "\r") + strings.Count(text, "\u0085") + strings.Count(text, "\u2028") + strings.Count(text, "\u2029")
		for _, lookups := range []validate.Lookups{offline(), online(t)} {
			report, err := validate.Run(t.Context(), "prefect.yaml", text, lookups)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range report.Findings {
				if found.Line < 1 || found.Line > lines || found.Column < 1 || found.Message == "" || !rules[found.Code] {
					t.Errorf("finding %+v of a file of %d lines", found, lines)
				}
				if utf8.ValidString(text) && !utf8.ValidString(found.Message) {
					t.Errorf("message %q is not UTF-8", found.Message)
				}
			}
		}
	})
}
