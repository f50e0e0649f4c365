// Package docs keeps the documents whole: their links lead somewhere.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// TestRelativeLinks follows every relative link of the documents.
func TestRelativeLinks(t *testing.T) {
	t.Parallel()
	followed := 0
	for _, page := range pages(t) {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range relativeLinks(string(raw)) {
			followed++
			target := filepath.Join(filepath.Dir(page), filepath.FromSlash(link))
			if outside, err := filepath.Rel(root, target); err != nil || strings.HasPrefix(outside, "..") {
				t.Errorf("%s: link %s leads out of the repository", page, link)
			} else if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link %s leads nowhere", page, link)
			}
		}
	}
	if followed < 20 {
		t.Errorf("followed %d links: are the documents where this test looks for them?", followed)
	}
}

// pages returns the documents of the repository.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md"), filepath.Join(root, "CHANGELOG.md")}
	for _, folder := range []string{"docs", "examples"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && filepath.Ext(path) == ".md" {
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

var (
	fencePattern = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```")
	codePattern  = regexp.MustCompile("`[^`\n]*`")
	linkPattern  = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)`)
)

// relativeLinks returns the paths that a document links to, without what stands
// behind a #. Code is no link.
func relativeLinks(page string) []string {
	page = codePattern.ReplaceAllString(fencePattern.ReplaceAllString(page, ""), "")
	var links []string
	for _, m := range linkPattern.FindAllStringSubmatch(page, -1) {
		path, _, _ := strings.Cut(m[1], "#")
		if path == "" || strings.Contains(path, "://") || strings.HasPrefix(path, "mailto:") {
			continue
		}
		links = append(links, path)
	}
	return links
}

func TestRelativeLinksOf(t *testing.T) {
	t.Parallel()
	const page = "See [a](a.md), [b](../b.md#part), [`c`](c) and [web](https://example.com/d.md).\n" +
		"[here](#part) ![image](e.png \"title\") `[f](f.md)`\n```\n[g](g.md)\n```\n[h](h.md)"
	if diff := cmp.Diff([]string{"a.md", "../b.md", "c", "e.png", "h.md"}, relativeLinks(page)); diff != "" {
		t.Errorf("relativeLinks (-want +got):\n%s", diff)
	}
}
