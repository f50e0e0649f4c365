package cli_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

const referenceHead = `<!-- Produced from the help texts by: go test ./internal/cli -update -->

# Command line

Every command has a ` + "`--help`" + `; this page is all of them. Answers go to standard output, everything else to standard error. An error
names the object and the cause, and the next step on a line that begins with ` + "`hint:`" + `.

| Exit status | Means |
|---|---|
| 0 | done |
| 1 | the command could not do what was asked |
| 2 | the words of the call are off |
| 130 | interrupted by Ctrl-C before it was done |

On a terminal errors are coloured, unless ` + "`NO_COLOR`" + ` is set, and whatever takes longer than a second says what it waits for.
` + "`prefect-northflank man`" + ` prints all of this as a manual page.

A worker that Ctrl-C or SIGTERM stopped has done its work: 0.

Prefect's settings come from where Prefect's own commands take them: the environment, ` + "`.env`, `prefect.toml`, `pyproject.toml`" + ` and the
profile. ` + "`NORTHFLANK_API_TOKEN`, `NORTHFLANK_API_BASE_URL` and `NORTHFLANK_TEAM_ID`" + ` name an account for flow runs without
credentials of their own; the names that Northflank's own clients read (` + "`NF_API_TOKEN`, `NF_API_HOST`, `NF_HOST`" + `) work too.
`

// TestReferencePage keeps docs/reference/cli.md as the help texts say; -update
// writes it.
func TestReferencePage(t *testing.T) {
	page, err := filepath.Abs("../../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	hermetic(t, nil)
	var all strings.Builder
	all.WriteString(referenceHead)
	for _, command := range commands {
		status, help, _ := run(t, "", append(strings.Fields(command), "--help")...)
		if status != 0 {
			t.Errorf("%s --help: exit status %d", command, status)
		}
		fmt.Fprintf(&all, "\n## %s\n\n```\n%s\n```\n", strings.TrimSpace("prefect-northflank "+command), strings.TrimSpace(help))
	}
	golden(t, page, all.String())
}

// TestReferenceSchema keeps the schema that the examples name as the program
// prints it; -update writes it.
func TestReferenceSchema(t *testing.T) {
	page, err := filepath.Abs("../../examples/prefect.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	hermetic(t, nil)
	status, schema, stderr := run(t, "", "pool", "schema")
	if status != 0 {
		t.Errorf("pool schema: exit status %d: %s", status, stderr)
	}
	golden(t, page, schema)
}
