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
	"", "worker", "worker start", "pool", "pool create", "pool template", "pool upgrade",
	"credentials", "credentials save", "credentials ls", "webhook", "webhook create", "webhook ls", "webhook delete", "render", "doctor", "runs", "runs logs", "runs cancel", "plans", "gpus", "regions", "projects", "emulator", "emulator switches", "version", "completion",
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
		if strings.Contains(command, " ") && command != "emulator switches" && !strings.Contains(help, "Examples:") {
			t.Errorf("%s --help has no examples", command)
		}
		fmt.Fprintf(&all, "$ prefect-northflank %s\n%s\n", strings.TrimSpace(command+" --help"), help)
	}
	golden(t, file, all.String())
}
