//go:build e2e

package quickstart

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readmeOfOriginal is the README that came with prefect-northflank 1.0.1, to the
// letter: what its users have typed, and have in their files.
const readmeOfOriginal = "testdata/README-1.0.1.md"

// block is a fenced block of a document.
type block struct {
	section  string // the heading that it stands under
	language string
	text     string // without the indentation of the fence
}

type document []block

var (
	headingPattern = regexp.MustCompile(`^#+ (.*)$`)
	fencePattern   = regexp.MustCompile("^( *)```([a-z]*)$")
)

func readme() document {
	raw, err := os.ReadFile(readmeOfOriginal)
	if err != nil {
		panic(err) // the tests' own file
	}
	return parseDocument(string(raw))
}

func parseDocument(text string) document {
	var blocks document
	var section, indentation string
	var open *block
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		fence := fencePattern.FindStringSubmatch(line)
		heading := headingPattern.FindStringSubmatch(line)
		switch {
		case fence != nil && open == nil:
			indentation, open = fence[1], &block{section: section, language: fence[2]}
		case fence != nil:
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indentation) + "\n"
		case heading != nil:
			section = heading[1]
		}
	}
	return blocks
}

// in returns the blocks of a section.
func (d document) in(section string) document {
	var some document
	for _, b := range d {
		if b.section == section {
			some = append(some, b)
		}
	}
	return some
}

// only returns the text of the one block of the section and language that has
// part in it.
func (d document) only(section, language, part string) string {
	var found []string
	for _, b := range d.in(section) {
		if b.language == language && strings.Contains(b.text, part) {
			found = append(found, b.text)
		}
	}
	if len(found) != 1 {
		panic(fmt.Sprintf("%d blocks of %s in section %q of %s hold %q, want one", len(found), language, section, readmeOfOriginal, part))
	}
	return found[0]
}

func TestParseDocument(t *testing.T) {
	t.Parallel()
	const text = "# Title\n```bash\nls\n```\n## Steps\n1. Do:\n   ```yaml\n   a:\n     b: c\n\n   d: e\n   ```\n"
	want := document{
		{section: "Title", language: "bash", text: "ls\n"},
		{section: "Steps", language: "yaml", text: "a:\n  b: c\n\nd: e\n"},
	}
	if diff := cmp.Diff(want, parseDocument(text), cmp.AllowUnexported(block{})); diff != "" {
		t.Errorf("parseDocument (-want +got):\n%s", diff)
	}
}
