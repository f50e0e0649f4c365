// Package packaging keeps the ways in which the program gets to its users: the
// container image, the Northflank template, the systemd unit, the release.
package packaging

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// root is the repository's folder. It is absolute, as some tests run programs
// elsewhere.
var root, rootErr = filepath.Abs("../..")

func read(t *testing.T, path string) string {
	t.Helper()
	if rootErr != nil {
		t.Fatal(rootErr)
	}
	raw, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// find returns what the one group of a pattern matches in a file.
func find(t *testing.T, path, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(read(t, path))
	if m == nil {
		t.Fatalf("%s has nothing that matches %s", path, pattern)
	}
	return m[1]
}

// version is the one that everything is released under.
func version(t *testing.T) string {
	t.Helper()
	return find(t, "internal/cli/version.go", `(?m)^const version = "(.+)"$`)
}
