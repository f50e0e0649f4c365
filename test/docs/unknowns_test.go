package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/emulator"
)

// TestUnknowns: what the emulator can do either way, the explanation of what is
// not known lists, and nothing else.
func TestUnknowns(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(root, "docs/explanation/unknowns.md"))
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(string(raw), -1) {
		got = append(got, m[1])
	}
	for _, s := range emulator.SwitchTable() {
		want = append(want, s.Name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("switches of the emulator, and of the page (-emulator +page):\n%s", diff)
	}
}
