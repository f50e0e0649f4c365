package docs

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const environmentPage = "docs/reference/environment.md"

var (
	variablePattern = regexp.MustCompile(`"((?:PREFECT|NORTHFLANK|NF)_[A-Z0-9_]+|NO_COLOR)"`)
	flagPattern     = regexp.MustCompile(`environmentOf\("([a-z-]+)"\)`)
	namePattern     = regexp.MustCompile("`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`")
)

// readBySystem are variables that Go's libraries read, or that a shell has.
var readBySystem = []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// TestEnvironmentVariables compares the reference with the names that are in the
// source of what is shipped.
func TestEnvironmentVariables(t *testing.T) {
	t.Parallel()
	want := map[string]bool{}
	for _, name := range readBySystem {
		want[name] = true
	}
	for _, folder := range []string{"cmd", "internal", "python/src"} {
		for _, text := range sources(t, folder) {
			for _, m := range variablePattern.FindAllStringSubmatch(text, -1) {
				want[m[1]] = true
			}
			for _, m := range flagPattern.FindAllStringSubmatch(text, -1) {
				want["PREFECT_NORTHFLANK_"+strings.ToUpper(strings.ReplaceAll(m[1], "-", "_"))] = true
			}
		}
	}
	maps.DeleteFunc(want, func(name string, _ bool) bool { return notForUsers(name) })

	raw, err := os.ReadFile(filepath.Join(root, environmentPage))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, m := range namePattern.FindAllStringSubmatch(string(raw), -1) {
		got[m[1]] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("%s (-source +page):\n%s", environmentPage, diff)
	}
}

// notForUsers reports whether a name in the source is one that the program sets
// and does not read, or another name of a setting that only Prefect uses.
func notForUsers(name string) bool {
	switch name {
	case "NF_OBJECT_ID", "NF_PROJECT_ID": // for job runs of the local Northflank
		return true
	}
	return strings.HasPrefix(name, "PREFECT__") || // for flow runs
		strings.HasPrefix(name, "PREFECT_SERVER_") || // of profiles, which hold those of a server too
		strings.HasSuffix(name, "_") // the beginning of names
}

// sources returns the texts of the folder's files that are shipped. The table of
// the earlier names of Prefect's settings is left out.
func sources(t *testing.T, folder string) []string {
	t.Helper()
	var texts []string
	aliases := regexp.MustCompile(`(?s)settingAliases = map\[string\]string\{.*?\n\}`)
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{"localstack", "testkit", "testdata"}, entry.Name()) {
			return fs.SkipDir
		}
		extension := filepath.Ext(path)
		if entry.IsDir() || extension != ".go" && extension != ".py" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		raw, err := os.ReadFile(path)
		texts = append(texts, aliases.ReplaceAllString(string(raw), ""))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}
