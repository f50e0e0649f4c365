package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testPattern = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	funcPattern = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(t \*testing\.T\)`)
)

// TestBehavioursAreHeld checks that each row of the page about Prefect's own worker
// names tests, and that there are such tests.
func TestBehavioursAreHeld(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(root, "docs", "reference", "stock-worker.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := allTests(t)
	rows := 0
	for line := range strings.Lines(string(raw)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Prefect's worker |") {
			continue
		}
		rows++
		cells := strings.Split(strings.TrimSpace(line), " | ")
		held := strings.TrimSuffix(cells[len(cells)-1], " |")
		tests := testPattern.FindAllStringSubmatch(held, -1)
		if len(cells) != 3 || len(tests) == 0 && held != "nothing to test" {
			t.Errorf("a row without its test: %s", line)
		}
		for _, name := range tests {
			if !known[name[1]] {
				t.Errorf("there is no %s: %s", name[1], line)
			}
		}
	}
	if rows < 20 {
		t.Errorf("the page has %d rows: is its table where this test looks for it?", rows)
	}
}

// allTests are the names of the repository's tests.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == ".local":
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		raw, err := os.ReadFile(path)
		for _, m := range funcPattern.FindAllStringSubmatch(string(raw), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
