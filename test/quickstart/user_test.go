//go:build e2e

package quickstart

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// user is somebody at a shell of their own: a folder, and settings that say
// which Prefect server they use.
type user struct {
	*testing.T
	dir string
	env map[string]string
}

// newUser returns a user of the shared server who has installed the wheel.
func newUser(t *testing.T) *user {
	t.Helper()
	return newUserOf(t, shared.python)
}

// newUserOf returns a user of the shared server with a virtual environment.
func newUserOf(t *testing.T, python localstack.Python) *user {
	t.Helper()
	return &user{T: t, dir: t.TempDir(), env: map[string]string{
		"PATH":            searchPath(python),
		"PREFECT_API_URL": shared.server.APIURL,
		// 10 s is the default of both; nothing else would come of the waiting.
		"PREFECT_WORKER_QUERY_SECONDS": "1",
	}}
}

// searchPath is the PATH of a shell in which a virtual environment is active.
func searchPath(python localstack.Python) string {
	return filepath.Dir(python.Program("python")) + string(filepath.ListSeparator) + os.Getenv("PATH")
}

// shell says how to run lines that are typed at a shell. The last one replaces
// the shell, so that signals arrive.
func shell(lines string, env map[string]string) localstack.ProcessSpec {
	values := map[string]string{"PATH": searchPath(shared.python)}
	maps.Copy(values, env)
	return localstack.ProcessSpec{Path: "/bin/bash", Args: []string{"-e", "-c", strings.TrimSpace(lines)}, Env: values}
}

func (u *user) spec(lines string) localstack.ProcessSpec {
	s := shell(lines, u.env)
	s.Dir = u.dir
	return s
}

// types runs lines of a shell to their end and returns what they printed.
func (u *user) types(lines string) string {
	u.Helper()
	out, err := shared.stack.Run(u.Context(), u.spec(lines), "")
	if err != nil {
		u.Fatal(err)
	}
	return out
}

// runs runs a Python program.
func (u *user) runs(program string) string {
	u.Helper()
	s := u.spec("")
	s.Path, s.Args = "/usr/bin/env", []string{"python", "-c", program}
	out, err := shared.stack.Run(u.Context(), s, "")
	if err != nil {
		u.Fatal(err)
	}
	return out
}

// registering is held while a block is saved: Prefect's client fails when two of
// them register a new kind of block at once.
var registering sync.Mutex

// saves runs a Python program that saves a block, and returns what it printed.
func (u *user) saves(program string) string {
	u.Helper()
	registering.Lock()
	defer registering.Unlock()
	return u.runs(program)
}

func (u *user) writes(file, text string) {
	u.Helper()
	if err := os.WriteFile(filepath.Join(u.dir, file), []byte(text), 0o600); err != nil {
		u.Fatal(err)
	}
}

// starts starts a command that goes on until it is stopped, and returns when it
// has written the text.
func (u *user) starts(command, untilText string) *localstack.Process {
	u.Helper()
	s := u.spec(command)
	s.Name = fmt.Sprintf("%s-%d", notInNames.ReplaceAllString(u.Name(), "-"), time.Now().UnixNano())
	process, err := shared.stack.Start(u.Context(), s)
	if err != nil {
		u.Fatal(err)
	}
	u.Cleanup(process.Kill)
	u.await(untilText, func() bool {
		select {
		case <-process.Done():
			u.Fatalf("%s ended with status %d before it wrote %q:\n%s", command, process.ExitCode(), untilText, process.Log())
		default:
		}
		return strings.Contains(process.Log(), untilText)
	}, process.Log)
	return process
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9]+`)

// patience bounds every wait. A real flow process takes 6 s of one core to start,
// and several share the machine.
const patience = 2 * time.Minute

// await waits until done. When it takes too long the test ends with what was
// last seen.
func (u *user) await(what string, done func() bool, seen func() string) {
	u.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			u.Fatalf("waited %s in vain for %s; %s", patience, what, seen())
		}
		select {
		case <-u.Context().Done():
			u.Fatal(context.Cause(u.Context()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// call sends one request to the shared server and returns the answer.
func call[T any](t testing.TB, method, path string, body any) T {
	t.Helper()
	var answer T
	if err := (localstack.API{URL: shared.server.APIURL}).Call(t.Context(), method, path, body, &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

type flowRun struct {
	ID    string
	Name  string
	State struct{ Type, Name, Message string }
}

// awaitRun waits until the one flow run of a deployment, "flow/deployment", has
// ended, and returns it.
func (u *user) awaitRun(deployment string, worker *localstack.Process) flowRun {
	u.Helper()
	id := call[struct{ ID string }](u, http.MethodGet, "/deployments/name/"+deployment, nil).ID
	final := []string{"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
	var runs []flowRun
	u.await("the flow run of "+deployment+" to end", func() bool {
		runs = call[[]flowRun](u, http.MethodPost, "/flow_runs/filter", map[string]any{
			"deployments": map[string]any{"id": map[string]any{"any_": []string{id}}},
		})
		return len(runs) > 0 && slices.Contains(final, runs[0].State.Type)
	}, func() string { return fmt.Sprintf("flow runs: %+v\nthe worker wrote:\n%s", runs, worker.Log()) })
	if len(runs) != 1 {
		u.Errorf("%s has %d flow runs, want 1", deployment, len(runs))
	}
	return runs[0]
}

// startNorthflank starts a local Northflank that holds a project.
func startNorthflank(t *testing.T, project string) *localstack.Northflank {
	t.Helper()
	northflank, err := shared.stack.StartNorthflank(t.Context(), localstack.NorthflankOptions{
		Name: notInNames.ReplaceAllString(t.Name(), "-") + "-northflank", Project: project,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(northflank.Kill)
	return northflank
}
