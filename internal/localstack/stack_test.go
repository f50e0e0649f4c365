package localstack

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests; a pass takes milliseconds.
const patience = 20 * time.Second

func openStack(t *testing.T, dir string) *Stack {
	t.Helper()
	stack, err := Open(t.Context(), Options{Dir: dir, Binary: "/bin/sh", Env: []string{"PATH=" + os.Getenv("PATH"), "PREFECT_API_KEY=of-the-user"}})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return stack
}

// startShell starts a shell script and returns when it has written "ready".
func startShell(t *testing.T, stack *Stack, name, script string) *Process {
	t.Helper()
	process, err := stack.Start(t.Context(), ProcessSpec{Name: name, Path: "/bin/sh", Args: []string{"-c", script}})
	if err != nil {
		t.Fatalf("Start(%s): %v", name, err)
	}
	await(t, name+" to write ready", func() bool { return strings.Contains(process.Log(), "ready") })
	return process
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for %s", patience, what)
		}
		if err := pause(t.Context(), 5*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProcessEnvironment(t *testing.T) {
	t.Parallel()
	stack := openStack(t, t.TempDir())
	out, err := stack.Run(t.Context(), ProcessSpec{Path: "/bin/sh", Args: []string{"-c", "env; pwd; cat"}, Env: map[string]string{"EXTRA": "1"}}, "typed")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PREFECT_HOME=" + stack.path("home"), "PREFECT_PROFILES_PATH=" + stack.path("home", "profiles.toml"), "DO_NOT_TRACK=1", "EXTRA=1", stack.WorkDir(), "typed"} {
		if !strings.Contains(out, want) {
			t.Errorf("environment, folder and input lack %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "of-the-user") {
		t.Errorf("the user's own setting reached a process of the stack:\n%s", out)
	}
	if err := stack.Close(); err != nil {
		t.Error(err)
	}
}

func TestRunTellsWhatWentWrong(t *testing.T) {
	t.Parallel()
	stack := openStack(t, t.TempDir())
	defer stack.Close()
	_, err := stack.Run(t.Context(), ProcessSpec{Path: "/bin/sh", Args: []string{"-c", "echo half; echo broken >&2; exit 3"}}, "")
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "broken") {
		t.Errorf("Run of a failing command: error %v, want its status and what it wrote", err)
	}
}

func TestCloseStopsTheLastStartedFirst(t *testing.T) {
	t.Parallel()
	stack := openStack(t, t.TempDir())
	const script = `trap 'echo NAME >> stopped; exit 0' TERM; echo ready; while :; do sleep 0.01; done`
	for _, name := range []string{"server", "worker"} {
		startShell(t, stack, name, strings.ReplaceAll(script, "NAME", name))
	}
	if err := stack.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(stack.WorkDir(), "stopped"))
	if diff := cmp.Diff("worker\nserver\n", string(got)); diff != "" || err != nil {
		t.Errorf("order of stopping (-want +got), error %v:\n%s", err, diff)
	}
	if left, _ := filepath.Glob(stack.path("run", "*")); len(left) > 0 {
		t.Errorf("records left after Close: %v", left)
	}
}

func TestStopKillsWhatIgnoresIt(t *testing.T) {
	t.Parallel()
	stack := openStack(t, t.TempDir())
	defer stack.Close()
	process := startShell(t, stack, "stubborn", `trap '' TERM; sleep 600 & echo $! > child; echo ready; wait`)
	text, err := os.ReadFile(filepath.Join(stack.WorkDir(), "child"))
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Stop(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("Stop of a process that ignores SIGTERM: error %v, want one that says it was killed", err)
	}
	if got := process.ExitCode(); got != -1 {
		t.Errorf("ExitCode of a killed process = %d, want -1", got)
	}
	await(t, "the end of the killed process's child", func() bool {
		_, err := identity(t.Context(), child)
		return errors.Is(err, errNoProcess)
	})
}

func TestOneOwnerAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := openStack(t, dir)
	process := startShell(t, first, "worker", "echo ready; exec sleep 600")
	if _, err := Open(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("Open of a folder in use: error %v, want %v", err, ErrInUse)
	}
	if _, err := End(t.Context(), dir); !errors.Is(err, ErrInUse) {
		t.Errorf("End of a folder in use: error %v, want %v", err, ErrInUse)
	}
	select {
	case <-process.Done():
		t.Error("the process of the stack in use was ended")
	default:
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenEndsWhatWasLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := openStack(t, dir)
	process := startShell(t, first, "worker", "echo ready; exec sleep 600")
	if err := first.Detach(); err != nil {
		t.Fatal(err)
	}
	second := openStack(t, dir)
	if diff := cmp.Diff([]string{"worker"}, second.Ended); diff != "" {
		t.Errorf("Ended (-want +got):\n%s", diff)
	}
	select {
	case <-process.Done():
	case <-time.After(patience):
		t.Error("the process left by the first stack still runs")
	}
	if exists(process.LogPath) {
		t.Error("the folder was not emptied")
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

func TestEndLeavesOtherProcessesAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stack := openStack(t, dir)
	if err := stack.Detach(); err != nil {
		t.Fatal(err)
	}
	bystander := exec.CommandContext(t.Context(), "sleep", "600")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bystander.Wait() }()
	defer func() { _ = bystander.Process.Kill() }()
	text, err := json.Marshal(record{Name: "worker", PID: bystander.Process.Pid, Identity: "another start"})
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]string{"worker.json": string(text), "cut-short.json": `{"name":"emu`}
	for name, text := range records {
		if err := os.WriteFile(filepath.Join(dir, "run", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if ended, err := End(t.Context(), dir); err != nil || len(ended) > 0 {
		t.Errorf("End = %v, %v, want nothing ended", ended, err)
	}
	if _, err := identity(t.Context(), bystander.Process.Pid); err != nil {
		t.Errorf("a process that merely has the recorded id was ended: %v", err)
	}
}

func TestAwaitReadyTellsOfAnEnd(t *testing.T) {
	t.Parallel()
	stack := openStack(t, t.TempDir())
	defer stack.Close()
	process, err := stack.Start(t.Context(), ProcessSpec{Name: "server", Path: "/bin/sh", Args: []string{"-c", "echo no such database; exit 4"}})
	if err != nil {
		t.Fatal(err)
	}
	err = process.awaitReady(t.Context(), func() bool { return false })
	if err == nil || !strings.Contains(err.Error(), "status 4") || !strings.Contains(err.Error(), "no such database") {
		t.Errorf("awaitReady of a process that ended: error %v, want its status and its last words", err)
	}
}

func TestAwaitReadyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	stack := openStack(t, t.TempDir())
	defer stack.Close()
	process := startShell(t, stack, "server", "echo ready; exec sleep 600")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupted"))
	if err := process.awaitReady(ctx, func() bool { return false }); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("awaitReady under an ended context: error %v, want its cause", err)
	}
	select {
	case <-process.Done():
	default:
		t.Error("the process that never was ready still runs")
	}
}

func TestLogIsThatOfOneStart(t *testing.T) {
	t.Parallel()
	stack := openStack(t, t.TempDir())
	defer stack.Close()
	for _, word := range []string{"first", "second"} {
		process, err := stack.Start(t.Context(), ProcessSpec{Name: "worker", Path: "/bin/sh", Args: []string{"-c", "echo " + word}})
		if err != nil {
			t.Fatal(err)
		}
		if process.ExitCode() != 0 || process.Log() != word+"\n" {
			t.Errorf("Log of the %s start = %q", word, process.Log())
		}
	}
}
