//go:build e2e

package quickstart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// originalUser returns a user who has installed prefect-northflank 1.0.1.
func originalUser(t *testing.T) *user {
	t.Helper()
	// 3.12 or later by its metadata, 3.13 at most as what it needs is built for.
	interpreter, found := localstack.FindPython(t.Context(), "3.12")
	if !found {
		interpreter, found = localstack.FindPython(t.Context(), "3.13")
	}
	if !found {
		t.Skip("prefect-northflank 1.0.1 needs Python 3.12 or 3.13, and none was found")
	}
	python, err := localstack.EnsurePython(t.Context(), localstack.PythonOptions{
		Dir: local("bench-original"), Requirements: filepath.Join(shared.root, "bench", "requirements.txt"),
		Interpreter: interpreter, ClientOnly: true, Log: os.Stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	return newUserOf(t, python)
}

const loadBlock = `
import json
from prefect_northflank import Northflank
b = Northflank.load("creds-of-original")
print(json.dumps([b.api_token.get_secret_value(), b.base_url, getattr(b, "team_id", None)]))
`

// What was made with 1.0.1 goes on without a change, and what is made now can be
// used by those who still have 1.0.1.
func TestWhatTheOriginalMade(t *testing.T) {
	t.Parallel()
	const pool, block, deployment = "pool-of-original", "creds-of-original", "my-flow/deployment-of-original"
	original, u := originalUser(t), newUser(t)
	northflank := startNorthflank(t, projectPlaceholder)
	steps := readme().in("Quick Start")
	rename := strings.NewReplacer("my-northflank-pool", pool, "northflank-creds", block, "my-northflank-deployment", "deployment-of-original")

	u.saves("from prefect_northflank import Northflank\nNorthflank.register_type_and_schema()")
	blockType := readRegistered(t).Type
	original.saves(rename.Replace(fillIn(steps[0].text, tokenPlaceholder, northflank)))
	if diff := cmp.Diff(blockType, readRegistered(t).Type); diff != "" {
		t.Errorf("the block type before and after 1.0.1 saved a block (-before +after):\n%s", diff)
	}
	original.types(rename.Replace(steps[1].text))
	original.writes("prefect.yaml", rename.Replace(steps[2].text))
	original.writes("flows.py", readme().only("Basic Flow Example", "python", "my_flow"))
	original.types(rename.Replace(steps[4].text))

	worker := u.starts("prefect worker start --pool "+pool, " started!")
	if run := u.awaitRun(deployment, worker); run.State.Type != "COMPLETED" {
		t.Errorf("the flow run ended %+v, want Completed; the worker wrote:\n%s", run.State, worker.Log())
	}
	if out := u.types("prefect-northflank render --deployment " + deployment + " 2>&1"); !strings.Contains(out, "the API token is stored in clear") {
		t.Errorf("render of the deployment wrote this, want that it tells of the token in clear:\n%s", out)
	}
	if out := u.types("prefect-northflank pool upgrade " + pool); !strings.Contains(out, "credentials_block") {
		t.Errorf("pool upgrade wrote this, want that it tells of new job variables:\n%s", out)
	}
	u.checkBlocks(original, northflank)
}

// checkBlocks checks that the block that 1.0.1 saved can be loaded and saved by
// either package, and nothing is lost.
func (u *user) checkBlocks(original *user, northflank *localstack.Northflank) {
	u.Helper()
	checkJSON(u.T, u.runs(loadBlock), "the block of 1.0.1", northflank.Token, northflank.URL, nil)
	u.saves(`
from prefect_northflank import Northflank
b = Northflank.load("creds-of-original")
b.team_id = "my-team"
b.save("creds-of-original", overwrite=True)
`)
	checkJSON(u.T, u.runs(loadBlock), "the block with a team", northflank.Token, northflank.URL, "my-team")
	checkJSON(u.T, original.runs(loadBlock), "the block with a team, in 1.0.1", northflank.Token, northflank.URL, "my-team")
	original.saves(`
from prefect_northflank import Northflank
b = Northflank.load("creds-of-original")
b.save("creds-of-original", overwrite=True)
`)
	checkJSON(u.T, u.runs(loadBlock), "the block that 1.0.1 saved again", northflank.Token, northflank.URL, "my-team")
}
