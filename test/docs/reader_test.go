//go:build e2e

package docs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// reader is somebody who types the commands of a page, one after the other. What
// a command exports, and the folder that it goes to, stay for the next. A
// command that goes on until it is stopped keeps its terminal: what comes then is
// typed in a new one.
type reader struct {
	*testing.T
	stack     *localstack.Stack
	first     terminal // as each is at its beginning
	now       terminal
	notes     string // folder in which the shell writes down where it is
	settle    func() // waits until what was started has ended
	processes []*localstack.Process
}

type terminal struct {
	env map[string]string
	dir string
}

func newReader(t *testing.T, stack *localstack.Stack, env map[string]string) *reader {
	t.Helper()
	r := &reader{T: t, stack: stack, first: terminal{env, t.TempDir()}, notes: t.TempDir(), settle: func() {}}
	r.openTerminal()
	t.Cleanup(func() {
		for i := len(r.processes) - 1; i >= 0; i-- {
			if err := r.processes[i].Stop(15 * time.Second); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			for _, p := range r.processes {
				t.Logf("%s wrote:\n%s", p.Name, p.Log())
			}
		}
	})
	return r
}

func (r *reader) openTerminal() { r.now = terminal{maps.Clone(r.first.env), r.first.dir} }

// untilReady says of commands that go on until they are stopped what they write
// when they are ready.
var untilReady = []struct{ command, text string }{
	{"prefect-northflank worker start ", " started!"},
	{"prefect worker start ", " started!"},
	{"prefect-northflank emulator --", "is ready"},
	{"prefect server start", "Check out the dashboard"},
}

// types executes a command and returns what it wrote to standard output.
func (r *reader) types(command, input string) string {
	r.Helper()
	for _, u := range untilReady {
		if strings.Contains(command, u.command) && !strings.Contains(command, "--run-once") {
			r.starts(command, u.text)
			r.openTerminal()
			return ""
		}
	}
	script := fmt.Sprintf("trap 'pwd > %[1]s/pwd; env -0 > %[1]s/env' EXIT\n%s\n", r.notes, command)
	out, err := r.stack.Run(r.Context(), localstack.ProcessSpec{
		Path: "/bin/bash", Args: []string{"-e", "-o", "pipefail", "-c", script}, Env: r.now.env, Dir: r.now.dir,
	}, input)
	if err != nil {
		r.Fatalf("%s\n%v", command, err)
	}
	r.now.dir = strings.TrimSpace(r.readNote("pwd"))
	r.now.env = map[string]string{}
	for variable := range strings.SplitSeq(r.readNote("env"), "\x00") {
		if name, value, ok := strings.Cut(variable, "="); ok && name != "_" && name != "SHLVL" {
			r.now.env[name] = value
		}
	}
	return out
}

func (r *reader) readNote(name string) string {
	r.Helper()
	text, err := os.ReadFile(filepath.Join(r.notes, name))
	if err != nil {
		r.Fatal(err)
	}
	return string(text)
}

// starts starts a command that goes on, and returns when it wrote the text. Of
// local Northflanks one at a time is up, since all have one address.
func (r *reader) starts(command, text string) {
	r.Helper()
	for _, p := range r.processes {
		if strings.Contains(command, "emulator") && strings.Contains(p.Name, "emulator") {
			r.settle()
			p.Kill()
		}
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(command, "prefect-northflank "), " ")
	page := strings.NewReplacer("/", "-", ".", "-").Replace(r.Name())
	process, err := r.stack.Start(r.Context(), localstack.ProcessSpec{
		Name: fmt.Sprintf("%s-%d-%s", page, len(r.processes)+1, name),
		Path: "/bin/bash", Args: []string{"-c", "exec " + command}, Env: r.now.env, Dir: r.now.dir,
	})
	if err != nil {
		r.Fatal(err)
	}
	r.processes = append(r.processes, process)
	r.await(command+" to be ready", func() bool {
		select {
		case <-process.Done():
			r.Fatalf("%s ended with status %d:\n%s", command, process.ExitCode(), process.Log())
		default:
		}
		return strings.Contains(process.Log(), text)
	})
}

// patience bounds every wait. A real flow process takes 6 s of one core to start.
const patience = 2 * time.Minute

func (r *reader) await(what string, done func() bool) {
	r.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			r.Fatalf("waited %s in vain for %s", patience, what)
		}
		select {
		case <-r.Context().Done():
			r.Fatal(r.Context().Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
