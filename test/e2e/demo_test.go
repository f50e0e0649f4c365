//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// demoRun is one run of the demo, in a folder that all its runs share.
type demoRun struct {
	cmd  *exec.Cmd
	done chan error

	mu  sync.Mutex
	out bytes.Buffer // guarded by mu
}

func (d *demoRun) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.Write(p)
}

func (d *demoRun) output() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.String()
}

// startDemo starts the demo as make does, with the environment of somebody who
// works with Prefect Cloud: the demo must not care.
func startDemo(t *testing.T, program, dir string, args ...string) *demoRun {
	t.Helper()
	args = append([]string{"-dir", dir, "-binary", shared.binary}, args...)
	d := &demoRun{cmd: exec.CommandContext(t.Context(), program, args...), done: make(chan error, 1)}
	d.cmd.Dir = filepath.Join("..", "..")
	d.cmd.Env = append(os.Environ(), "PREFECT_API_URL=http://127.0.0.1:1/api", "PREFECT_API_KEY=of-the-user", "NORTHFLANK_API_TOKEN=of-the-user")
	d.cmd.Stdout, d.cmd.Stderr = d, d
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.done <- d.cmd.Wait() }()
	return d
}

func (d *demoRun) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-d.done:
	case <-time.After(patience):
		t.Fatalf("the demo did not end within %s; it wrote:\n%s", patience, d.output())
	}
	return d.cmd.ProcessState.ExitCode()
}

// awaitOutput waits until the demo has written the text.
func (d *demoRun) awaitOutput(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(patience)
	for !strings.Contains(d.output(), text) {
		select {
		case <-deadline:
			t.Fatalf("the demo did not write %q within %s, but:\n%s", text, patience, d.output())
		case err := <-d.done:
			t.Fatalf("the demo ended (%v) before it wrote %q:\n%s", err, text, d.output())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// The demo is the newcomer's first command. It must end well after one that was
// killed, and after one that was interrupted.
func TestDemo(t *testing.T) {
	t.Parallel()
	program, dir := filepath.Join(t.TempDir(), "demo"), filepath.Join(t.TempDir(), "demo-stack")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./demo")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the demo: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if _, err := localstack.End(context.Background(), dir); err != nil {
			t.Errorf("end what the demos left: %v", err)
		}
	})

	interrupted := startDemo(t, program, dir)
	interrupted.awaitOutput(t, "$ prefect deploy")
	if err := interrupted.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if got := interrupted.wait(t); got != 130 || !strings.Contains(interrupted.output(), "everything was stopped") {
		t.Errorf("an interrupted demo ended with status %d, want 130; it wrote:\n%s", got, interrupted.output())
	}
	if left := records(t, dir); len(left) > 0 {
		t.Errorf("an interrupted demo left %v running", left)
	}

	killed := startDemo(t, program, dir)
	killed.awaitOutput(t, "$ prefect deploy")
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed.wait(t)
	if left := records(t, dir); len(left) != 3 {
		t.Errorf("a killed demo left records of %v, want server, local Northflank and worker", left)
	}

	whole := startDemo(t, program, dir)
	if got := whole.wait(t); got != 0 {
		t.Fatalf("the demo ended with status %d; it wrote:\n%s", got, whole.output())
	}
	for _, want := range []string{"Ended what an earlier demo left running", "2 (put job, start run)", "1 (start run)", "Hello, Northflank!", "all flow runs ended as they should"} {
		if !strings.Contains(whole.output(), want) {
			t.Errorf("the demo did not write %q, but:\n%s", want, whole.output())
		}
	}
	if left := records(t, dir); len(left) > 0 {
		t.Errorf("the demo left %v running", left)
	}
}

// records returns the processes that a stack's folder says are running.
func records(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "run", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
