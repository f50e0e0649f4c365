//go:build e2e

package quickstart

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const registerByPython = `
from prefect_northflank import Northflank
Northflank.register_type_and_schema()
print("position" in Northflank._to_block_schema().fields["properties"]["api_token"])
`

// registered is all that the server knows of the kind of block, with ids,
// check sums and times of change.
type registered struct {
	Type    map[string]any
	Schemas []any
}

func readRegistered(t *testing.T) registered {
	t.Helper()
	blockType := call[map[string]any](t, http.MethodGet, "/block_types/slug/northflank", nil)
	return registered{blockType, call[[]any](t, http.MethodPost, "/block_schemas/filter", map[string]any{
		"block_schemas": map[string]any{"block_type_id": map[string]any{"any_": []any{blockType["id"]}}},
	})}
}

// The program and the Python class register the same block type and schema:
// whichever comes second changes nothing. It is not parallel, as it removes the
// type in between, and with it all blocks.
func TestBlockIsTheSameFromBothSides(t *testing.T) {
	u := newUser(t)
	byPython := func() (numbersFields bool) { return strings.TrimSpace(u.runs(registerByPython)) == "True" }
	byProgram := func(name string) {
		u.types("echo planted-token | prefect-northflank credentials save " + name + " --team-id my-team")
	}
	check := func(second string, before registered, numbersFields bool) {
		t.Helper()
		after := readRegistered(t)
		if !numbersFields { // Prefect before 3.6.25: the program's fields have numbers nevertheless
			before.Schemas, after.Schemas = nil, nil
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("block type and schemas before and after %s registered them (-before +after):\n%s", second, diff)
		}
	}

	numbersFields := byPython()
	before := readRegistered(t)
	byProgram("saved-by-program")
	check("the program", before, numbersFields)

	call[any](t, http.MethodDelete, "/block_types/"+before.Type["id"].(string), nil)
	byProgram("saved-by-program")
	before = readRegistered(t)
	byPython()
	check("the Python class", before, numbersFields)

	const load = `
import json
from prefect_northflank import Northflank
b = Northflank.load("saved-by-program")
print(json.dumps([b.api_token.get_secret_value(), b.base_url, b.team_id]))
`
	checkJSON(t, u.runs(load), "the block that the program saved, loaded by Python", "planted-token", "https://api.northflank.com", "my-team")
}

// checkJSON checks that a program printed a list of these values.
func checkJSON(t *testing.T, out, what string, want ...any) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var got []any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
		t.Errorf("%s: %v in %s", what, err, out)
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
