//go:build e2e

package quickstart

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// Placeholders of the README.
const (
	projectPlaceholder = "your-northflank-project-id"
	tokenPlaceholder   = `"your-northflank-api-token"`
)

// fillIn puts the token of the local Northflank into a program that saves
// credentials, and, since it is not the real one, its address.
func fillIn(program, placeholder string, northflank *localstack.Northflank) string {
	return strings.ReplaceAll(program, placeholder, fmt.Sprintf("%q, base_url=%q", northflank.Token, northflank.URL))
}

// What the README told users of 1.0.1 to do, from top to bottom, works word for
// word.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	northflank := startNorthflank(t, projectPlaceholder)
	steps := readme().in("Quick Start")
	if len(steps) != 5 {
		t.Fatalf("the Quick Start has %d blocks, want the 5 that this test follows", len(steps))
	}
	saveCredentials, createPool, prefectYAML, startWorker, deployAndRun := steps[0].text, steps[1].text, steps[2].text, steps[3].text, steps[4].text

	u.saves(fillIn(saveCredentials, tokenPlaceholder, northflank))
	u.types(createPool)
	u.writes("prefect.yaml", prefectYAML)
	u.writes("flows.py", readme().only("Basic Flow Example", "python", "my_flow"))
	worker := u.starts(startWorker, " started!")
	checkIsProgram(t, worker)
	u.types(deployAndRun)
	run := u.awaitRun("my-flow/my-northflank-deployment", worker)
	if run.State.Type != "COMPLETED" {
		t.Errorf("the flow run ended %+v, want Completed; the worker wrote:\n%s", run.State, worker.Log())
	}

	// What is deployed like this holds the token in clear. That is pointed out.
	if out := u.types("prefect-northflank render --deployment my-flow/my-northflank-deployment 2>&1"); !strings.Contains(out, "the API token is stored in clear") ||
		!strings.Contains(out, "credentials_block") || strings.Contains(out, northflank.Token) {
		t.Errorf("render of the deployment wrote this, want that it tells of the token in clear and of credentials_block, without the token:\n%s", out)
	}
	if err := worker.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if got := worker.ExitCode(); got != 0 {
		t.Errorf("the worker ended with status %d, want 0; it wrote:\n%s", got, worker.Log())
	}
}

// checkIsProgram checks that a process has become our program, with nothing of
// Python left.
func checkIsProgram(t *testing.T, process *localstack.Process) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	executable, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", process.PID()))
	if err != nil || filepath.Base(executable) != "prefect-northflank" {
		t.Errorf("the worker's process runs %q (%v), want prefect-northflank", executable, err)
	}
}

// The other examples of the README, and its section on tokens.
func TestExamples(t *testing.T) {
	t.Parallel()
	tests := []struct {
		section    string
		pool       string
		file, flow string // of the flow that the README does not show
		deployment string
	}{
		{"GPU Configuration Example", "northflank-gpu-pool", "train_model.py", "training_flow", "training-flow/gpu-training"},
		{"Build Service Deployment Example", "my-northflank-pool", "flows.py", "my_flow", "my-flow/my-build-deployment"},
	}
	const project, blockName = "proj-123456", "my-creds"
	northflank := startNorthflank(t, project)
	token := readme().only("API Token Setup", "python", "credentials.save")
	newUser(t).saves(strings.ReplaceAll(fillIn(token, `"nf-..."`, northflank), "my-northflank-creds", blockName))
	for _, tt := range tests {
		t.Run(tt.section, func(t *testing.T) {
			t.Parallel()
			u := newUser(t)
			// The pool of the Quick Start may be made at the same time.
			pool := tt.pool + "-of-examples"
			u.types("prefect work-pool create --type northflank " + pool)
			u.writes("prefect.yaml", strings.ReplaceAll(readme().only(tt.section, "yaml", "deployments:"), tt.pool, pool))
			u.writes(tt.file, "from prefect import flow\n\n@flow\ndef "+tt.flow+"():\n    return 1\n")
			worker := u.starts("prefect worker start --pool "+pool, " started!")
			u.types("prefect deploy --all\nprefect deployment run " + tt.deployment)
			if run := u.awaitRun(tt.deployment, worker); run.State.Type != "COMPLETED" {
				t.Errorf("the flow run ended %+v, want Completed; the worker wrote:\n%s", run.State, worker.Log())
			}
		})
	}
}
