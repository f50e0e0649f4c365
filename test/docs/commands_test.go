package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every command in a fenced block marked "bash" is executed by TestCommands
// (build tag e2e), or its page says why not: see stories. The tests of this file
// need no server, and find a page or a command that nobody thought of.

// command is one command of a document: a line, or several that belong together.
type command struct {
	text string
	page string
}

// commands returns what the bash blocks of a page tell the reader to type.
func commands(t *testing.T, page string) []command {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	var all []command
	for _, block := range bashBlocks(string(raw)) {
		for _, text := range splitCommands(block) {
			all = append(all, command{text: text, page: page})
		}
	}
	return all
}

var bashPattern = regexp.MustCompile("(?ms)^([ \t]*)```bash\n(.*?)^[ \t]*```")

// bashBlocks returns the texts of a page's bash blocks, without the indentation
// of those in lists.
func bashBlocks(page string) []string {
	var blocks []string
	for _, m := range bashPattern.FindAllStringSubmatch(page, -1) {
		var text strings.Builder
		for line := range strings.Lines(m[2]) {
			text.WriteString(strings.TrimPrefix(line, m[1]))
		}
		blocks = append(blocks, text.String())
	}
	return blocks
}

var heredocPattern = regexp.MustCompile(`<<'?(\w+)'?`)

// splitCommands splits a block into commands. A command goes on behind a
// backslash, inside quotes, and to the end of a here-document.
func splitCommands(block string) []string {
	var all []string
	var open, end string // the command so far; the line that ends its here-document
	for line := range strings.Lines(block) {
		open += line
		word := strings.TrimSpace(line)
		if end != "" {
			if word != end {
				continue
			}
			end = ""
		} else if m := heredocPattern.FindStringSubmatch(line); m != nil {
			end = m[1]
			continue
		}
		isOpen := strings.HasSuffix(word, `\`) || end == "" && !strings.Contains(open, "<<") && strings.Count(open, "'")%2 == 1
		if isOpen {
			continue
		}
		if text := strings.TrimSpace(open); text != "" && !strings.HasPrefix(text, "#") {
			all = append(all, text)
		}
		open = ""
	}
	if text := strings.TrimSpace(open); text != "" {
		all = append(all, text)
	}
	return all
}

func TestSplitCommands(t *testing.T) {
	t.Parallel()
	const page = "Text\n\n   ```bash\n   ls \\\n     -l\n\n   curl -d '{\n     \"a\": 1\n   }'\n   # why\n   cat > f <<'EOF'\n   it's\n   EOF\n   pwd\n   ```\n```yaml\nno: command\n```\n"
	blocks := bashBlocks(page)
	if len(blocks) != 1 {
		t.Fatalf("bashBlocks found %d blocks, want 1", len(blocks))
	}
	want := []string{"ls \\\n  -l", "curl -d '{\n  \"a\": 1\n}'", "cat > f <<'EOF'\nit's\nEOF", "pwd"}
	if diff := cmp.Diff(want, splitCommands(blocks[0])); diff != "" {
		t.Errorf("splitCommands (-want +got):\n%s", diff)
	}
}

// TestEveryCommandHasAStory: each page with commands is in the table, and the
// table speaks of nothing that is not there.
func TestEveryCommandHasAStory(t *testing.T) {
	t.Parallel()
	for _, path := range pages(t) {
		page, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		typed := commands(t, page)
		s, known := storyOf(page)
		switch {
		case len(typed) > 0 && !known:
			t.Errorf("%s has commands, but no story: add it to stories_test.go, so that a test executes them", page)
		case len(typed) == 0 && known:
			t.Errorf("the story of %s is about a page without commands", page)
		}
		for _, unused := range s.unused(typed) {
			t.Errorf("%s: the story speaks of %q, which no command of the page has", page, unused)
		}
	}
	for _, s := range stories {
		if _, err := os.Stat(filepath.Join(root, s.page)); err != nil {
			t.Errorf("the story of %s is about no page: %v", s.page, err)
		}
	}
}

func storyOf(page string) (story, bool) {
	for _, s := range stories {
		if s.page == page {
			return s, true
		}
	}
	return story{}, false
}

// unused returns what the story says of commands that the page does not have.
func (s story) unused(typed []command) []string {
	var all strings.Builder
	for _, c := range typed {
		all.WriteString(c.text + "\n")
	}
	var missing []string
	for _, e := range s.except {
		if !strings.Contains(all.String(), e.command) {
			missing = append(missing, e.command)
		}
	}
	for _, e := range s.edits {
		if !strings.Contains(all.String(), e.from) {
			missing = append(missing, e.from)
		}
	}
	for _, i := range s.inputs {
		if !strings.Contains(all.String(), i.command) {
			missing = append(missing, i.command)
		}
	}
	return missing
}
