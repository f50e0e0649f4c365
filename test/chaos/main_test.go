//go:build e2e

// Package chaos holds the tests in which a worker is killed at a request, or an
// answer of one is dropped, in front of a real Prefect server and the local
// Northflank. Flow runs are executed by a small stand-in for Prefect's own
// program, so that hundreds of them run in minutes: it proposes Running, writes
// one line into a ledger, sleeps, and proposes Completed.
//
// `go test` takes a sample of all requests; CHAOS=all takes every one.
package chaos

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

const roleVariable = "CHAOS_ROLE"

// server is the Prefect server that all tests share.
var server *localstack.Prefect

// TestMain is three programs: the tests, the worker that they kill, and, under
// the name prefect, the flow runs' program.
func TestMain(m *testing.M) {
	switch {
	case filepath.Base(os.Args[0]) == "prefect":
		os.Exit(runFlow())
	case os.Getenv(roleVariable) == "worker":
		os.Exit(runWorker())
	}
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
	python, err := localstack.EnsurePython(ctx, localstack.PythonOptions{
		Dir: filepath.Join(root, ".local", "python"), Requirements: filepath.Join(root, "test", "requirements.txt"), Log: os.Stderr,
	})
	if err != nil {
		return 0, err
	}
	stack, err := localstack.Open(ctx, localstack.Options{Dir: filepath.Join(root, ".local", "chaos"), Python: python})
	if err != nil {
		return 0, err
	}
	defer stack.Close()
	if server, err = stack.StartPrefect(ctx, localstack.PrefectOptions{Name: "prefect"}); err != nil {
		return 0, err
	}
	// Job runs find the stand-in where they would find Prefect's program.
	bin, err := os.MkdirTemp("", "chaos-bin-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(bin)
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	if err := os.Symlink(self, filepath.Join(bin, "prefect")); err != nil {
		return 0, err
	}
	if err := os.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH")); err != nil {
		return 0, err
	}
	return m.Run(), nil
}
