//go:build e2e

// Package chaos holds the tests in which a worker is killed at a request, or an
// answer of one is dropped, in front of a real Prefect server and the local
// Northflank. Flow runs are executed by the stand-in for Prefect's own program
// (internal/testkit/standin), so that hundreds of them run in minutes.
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
	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// server is the Prefect server that all tests share.
var server *localstack.Prefect

func TestMain(m *testing.M) {
	standin.Main() // the worker that the tests kill, and the flow runs' program
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
	env, err := stack.StartDatabase(ctx, "postgres")
	if err != nil {
		return 0, err
	}
	if server, err = stack.StartPrefect(ctx, localstack.PrefectOptions{Name: "prefect", Env: env}); err != nil {
		return 0, err
	}
	// Job runs find the stand-in where they would find Prefect's program.
	bin, err := os.MkdirTemp("", "chaos-bin-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(bin)
	if err := standin.Install(bin); err != nil {
		return 0, err
	}
	if err := os.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH")); err != nil {
		return 0, err
	}
	return m.Run(), nil
}
