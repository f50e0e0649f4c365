//go:build e2e

// Package e2e holds the tests against a real Prefect server, the local
// Northflank and real flow processes. They build the program, install Prefect
// into the repository's own virtual environment, and share one server. Each
// test has its own work pool, local Northflank and worker.
package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/northflank/prefect-northflank/internal/localstack"
	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// shared is what all tests use. It is set once, before the first test.
var shared struct {
	binary string
	python localstack.Python
	stack  *localstack.Stack
	server *localstack.Prefect
}

func TestMain(m *testing.M) {
	standin.Main() // the worker with short waits, and the program of its flow runs
	status, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func runTests(m *testing.M) (int, error) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return 0, err
	}
	binary := filepath.Join(root, ".local", "bin", "prefect-northflank")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/prefect-northflank")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build the program: %w\n%s", err, out)
	}
	python, err := localstack.EnsurePython(ctx, localstack.PythonOptions{
		Dir: filepath.Join(root, ".local", "python"), Requirements: filepath.Join(root, "test", "requirements.txt"), Log: os.Stderr,
	})
	if err != nil {
		return 0, err
	}
	stack, err := localstack.Open(ctx, localstack.Options{Dir: filepath.Join(root, ".local", "e2e"), Binary: binary, Python: python})
	if err != nil {
		return 0, err
	}
	defer stack.Close()
	database, err := stack.StartDatabase(ctx, "postgres")
	if err != nil {
		return 0, err
	}
	settings := map[string]string{
		// How often the server looks for workers that are offline: every 15 s otherwise.
		"PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "2",
	}
	maps.Copy(settings, database)
	if shared.server, err = stack.StartPrefect(ctx, localstack.PrefectOptions{Name: "prefect", Env: settings}); err != nil {
		return 0, err
	}
	shared.binary, shared.python, shared.stack = binary, python, stack
	interrupted := context.AfterFunc(ctx, func() { // nothing of ours is left behind
		stack.Close()
		os.Exit(130)
	})
	defer interrupted()
	return m.Run(), nil
}
