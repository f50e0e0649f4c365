// Package docs keeps the documents whole: their links lead somewhere, their
// references equal the source, and their commands do what they say.
package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
			if problem := follow(page, link); problem != "" {
				t.Errorf("%s: link %s %s", page, link, problem)
			}
		}
	}
	if followed < 20 {
		t.Errorf("followed %d links: are the documents where this test looks for them?", followed)
	}
}

// follow returns what is wrong with a link of a page, "" when nothing is.
func follow(page, link string) string {
	path, anchor, _ := strings.Cut(link, "#")
	target := page
	if path != "" {
		target = filepath.Join(filepath.Dir(page), filepath.FromSlash(path))
	}
	if outside, err := filepath.Rel(root, target); err != nil || strings.HasPrefix(outside, "..") {
		return "leads out of the repository"
	} else if _, err := os.Stat(target); err != nil {
		return "leads nowhere"
	}
	if anchor == "" {
		return ""
	}
	raw, err := os.ReadFile(target)
	if err != nil {
		return err.Error()
	}
	if !slices.Contains(anchors(string(raw)), anchor) {
		return "names no heading of " + target
	}
	return ""
}

var (
	headingPattern = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInAnchors   = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors returns the names that GitHub gives to a page's headings.
func anchors(page string) []string {
	var names []string
	for _, m := range headingPattern.FindAllStringSubmatch(fencePattern.ReplaceAllString(page, ""), -1) {
		name := strings.ReplaceAll(notInAnchors.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
		names = append(names, name)
	}
	return names
}

// pages returns the documents of the repository.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md"), filepath.Join(root, "CHANGELOG.md"), filepath.Join(root, "SECURITY.md")}
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

// relativeLinks returns what a document links to in this repository. Code is no
// link.
func relativeLinks(page string) []string {
	page = codePattern.ReplaceAllString(fencePattern.ReplaceAllString(page, ""), "")
	var links []string
	for _, m := range linkPattern.FindAllStringSubmatch(page, -1) {
		if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
			continue
		}
		links = append(links, m[1])
	}
	return links
}

func TestRelativeLinksOf(t *testing.T) {
	t.Parallel()
	const page = "See [a](a.md), [b](../b.md#part), [`c`](c) and [web](https://example.com/d.md).\n" +
		"[here](#part) ![image](e.png \"title\") `[f](f.md)`\n```\n[g](g.md)\n```\n[h](h.md)"
	if diff := cmp.Diff([]string{"a.md", "../b.md#part", "c", "#part", "e.png", "h.md"}, relativeLinks(page)); diff != "" {
		t.Errorf("relativeLinks (-want +got):\n%s", diff)
	}
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	const page = "# Run `it` (twice)\n\n```bash\n# no heading\n```\n\n## What's new, 1.0.1\n"
	if diff := cmp.Diff([]string{"run-it-twice", "whats-new-101"}, anchors(page)); diff != "" {
		t.Errorf("anchors (-want +got):\n%s", diff)
	}
}
