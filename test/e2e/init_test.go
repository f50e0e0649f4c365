//go:build e2e

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

const initFlows = `"""Flows of a new project."""

from prefect import flow


@flow(log_prints=True)
def begun():
    print("It begins.")


@flow(name="Begun too")
def second():
    pass
`

// What init writes is what Prefect's own deploy takes, wherever the code is, and
// the flows of a folder end Completed with nothing else done.
func TestInit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.pool = processName(t, "new-pool")
	for _, code := range []string{"local", "image", "git"} {
		folder := t.TempDir()
		for name, text := range map[string]string{
			"flows.py": initFlows, ".git/HEAD": "ref: refs/heads/main\n",
			".git/config": "[remote \"origin\"]\n\turl = https://git.example/me/flows.git\n",
		} {
			path := filepath.Join(folder, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		args := []string{"init", "--pool", f.pool, "--credentials", "init-creds", "--project", project, "--code", code, "--image", "ghcr.io/me/flows:1.0"}
		out, err := shared.stack.Program(t.Context(), localstack.ProgramOptions{Args: args, Env: f.settings, Dir: folder})
		if err != nil {
			t.Fatal(err)
		}
		if want := code == "local"; strings.Contains(out, "Created work pool") != want || strings.Contains(out, "Saved credentials block") != want {
			t.Errorf("--code %s: init printed %q; want a new pool and block: %t", code, out, want)
		}
		if out, err = shared.stack.Prefect(t.Context(), shared.server, folder, "--no-prompt", "deploy", "--all"); err != nil {
			t.Fatalf("--code %s: %v\n%s", code, err, out)
		}
		for _, name := range []string{"begun/northflank", "Begun%20too/northflank"} {
			deployment := call[struct {
				ID        string
				PullSteps []map[string]map[string]any `json:"pull_steps"`
				WorkPool  string                      `json:"work_pool_name"`
			}](f, f.api, http.MethodGet, "/deployments/name/"+name, nil)
			want := map[string]map[string]string{
				"local": {"prefect.deployments.steps.set_working_directory": folder},
				"image": {"prefect.deployments.steps.set_working_directory": "/opt/app"},
				"git":   {"prefect.deployments.steps.git_clone": "https://git.example/me/flows.git"},
			}[code]
			for step, value := range want {
				got := deployment.PullSteps[0][step]
				if deployment.WorkPool != f.pool || got["directory"] != value && got["repository"] != value {
					t.Errorf("--code %s: deployment %s is %+v, want step %s with %s", code, name, deployment, step, value)
				}
			}
			if code == "local" && name == "begun/northflank" {
				id := f.run(deployment.ID, runRequest{})
				f.startWorker()
				if fr := f.awaitFinal(id); fr.State.Type != "COMPLETED" {
					t.Fatalf("flow run is %s\n%s", fr.State, f.workerLogs())
				}
				f.awaitLog(id, "It begins.")
			}
		}
	}
	estimate := f.program("", "estimate", "--pool", f.pool)
	if !strings.Contains(estimate, "begun/northflank") || !strings.Contains(estimate, "Last 7 days: 1 flow run, ") {
		t.Errorf("estimate printed %q, want the flow run that ended", estimate)
	}
}
