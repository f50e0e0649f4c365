package cli_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// commands are all that can be asked for help.
var commands = []string{
	"", "init", "worker", "worker start", "pool", "pool create", "pool template", "pool schema", "pool upgrade",
	"credentials", "credentials save", "credentials ls", "webhook", "webhook create", "webhook ls", "webhook delete", "render", "validate", "doctor", "runs", "runs logs", "runs cancel", "estimate", "plans", "gpus", "regions", "projects", "emulator", "emulator switches", "man", "version", "completion",
}

// TestHelp keeps every help text in a golden file, and on one screen.
func TestHelp(t *testing.T) {
	file, err := filepath.Abs("testdata/help.txt")
	if err != nil {
		t.Fatal(err)
	}
	hermetic(t, nil)
	const maxLines, maxColumns = 40, 132
	var all bytes.Buffer
	for _, command := range commands {
		status, help, _ := run(t, "", append(strings.Fields(command), "--help")...)
		if status != 0 {
			t.Errorf("%s --help: exit status %d", command, status)
		}
		if n := strings.Count(help, "\n"); n > maxLines {
			t.Errorf("%s --help has %d lines, want %d at most", command, n, maxLines)
		}
		for line := range strings.Lines(help) {
			if n := utf8.RuneCountInString(line) - 1; n > maxColumns {
				t.Errorf("%s --help has a line of %d characters, want %d at most: %s", command, n, maxColumns, line)
			}
		}
		if !strings.Contains(help, "Examples:") {
			t.Errorf("%s --help has no examples", command)
		}
		fmt.Fprintf(&all, "$ prefect-northflank %s\n%s\n", strings.TrimSpace(command+" --help"), help)
	}
	golden(t, file, all.String())
}

// The manual page has a section for each command.
func TestManualIsWhole(t *testing.T) {
	hermetic(t, nil)
	status, page, _ := run(t, "", "man")
	if status != 0 {
		t.Errorf("exit status %d", status)
	}
	for _, command := range commands {
		if command == "" {
			continue
		}
		if want := `.SS "prefect\-northflank ` + strings.ReplaceAll(command, "-", `\-`); !strings.Contains(page, want) {
			t.Errorf("the manual page has no %s", want)
		}
	}
	if strings.Count(page, ".SS ") < len(commands)-1 {
		t.Errorf("the manual page has %d sections, want one for each of %d commands", strings.Count(page, ".SS "), len(commands)-1)
	}
}
