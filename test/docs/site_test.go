//go:build e2e

package docs

import (
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSite builds the site, follows its links, and looks that its pages load
// nothing from elsewhere.
func TestSite(t *testing.T) {
	t.Parallel()
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "make", "-C", top, "docs").CombinedOutput(); err != nil {
		t.Fatalf("make docs: %v\n%s", err, out)
	}
	site := readSite(t, filepath.Join(top, "dist", "docs"))
	links := 0
	for path, page := range site {
		for _, m := range attributePattern.FindAllStringSubmatch(page, -1) {
			target, err := url.Parse(strings.ReplaceAll(m[3], "&amp;", "&"))
			switch {
			case err != nil:
				t.Errorf("%s: %v", path, err)
			case target.Scheme == "data":
			case target.IsAbs() || target.Host != "":
				if loads(m[1], m[2]) {
					t.Errorf("%s loads %s: the site must work without a network", path, target)
				}
			default:
				links++
				site.follow(t, path, target)
			}
		}
	}
	if links < 1000 { // each page has the table of contents
		t.Errorf("followed %d links: is the site where this test looks for it?", links)
	}
}

var attributePattern = regexp.MustCompile(`<(\w+)[^>]*?\s(href|src)="([^"]*)"`)

// loads reports whether a browser fetches by itself what an attribute names.
func loads(element, attribute string) bool { return attribute == "src" || element == "link" }

// site holds the texts of the pages by their paths; other files are "".
type site map[string]string

func readSite(t *testing.T, folder string) site {
	t.Helper()
	s := site{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		s[name] = ""
		if err == nil && filepath.Ext(path) == ".html" {
			var text []byte
			text, err = os.ReadFile(path)
			s[name] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// follow checks that a link of a page leads to a file of the site, and to a place
// in it if it names one.
func (s site) follow(t *testing.T, page string, target *url.URL) {
	t.Helper()
	file := page
	if target.Path != "" {
		file = filepath.Join(filepath.Dir(page), target.Path)
	}
	text, exists := s[file]
	switch anchor := target.Fragment; {
	case !exists:
		t.Errorf("%s: link %s leads nowhere", page, target)
	case anchor != "" && filepath.Ext(file) == ".html" && !strings.Contains(text, `id="`+anchor+`"`):
		t.Errorf("%s: link %s: there is no such place on that page", page, target)
	}
}
