//go:build e2e

package quickstart

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// The combination to test, both unset for the pinned Prefect on the usual Python.
var (
	matrixPython = os.Getenv("QUICKSTART_PYTHON") // a minor version: 3.10
	// One of testdata/matrix, without .txt. "client-..." is beside a server of the
	// pinned Prefect, "prefect-..." beside one of its own.
	matrixPrefect = os.Getenv("QUICKSTART_PREFECT")
)

var errNoSuchPython = errors.New("no Python of this version")

// setUpCombination installs one combination of Python and Prefect.
func setUpCombination(ctx context.Context) error {
	interpreter, found := localstack.FindPython(ctx, matrixPython)
	if !found {
		return errNoSuchPython
	}
	dir := local("matrix", "python-"+matrixPython+"-"+matrixPrefect)
	if err := os.RemoveAll(dir); err != nil { // what is newest changes
		return err
	}
	if err := run(ctx, interpreter, "-m", "venv", dir); err != nil {
		return err
	}
	shared.python = localstack.ExistingPython(dir)
	requirements := filepath.Join("testdata", "matrix", matrixPrefect+".txt")
	err := run(ctx, shared.python.Program("python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements)
	if err != nil {
		return err
	}
	shared.tools, err = localstack.EnsurePython(ctx, localstack.PythonOptions{
		Dir: local("matrix", "tools-"+matrixPython), Requirements: filepath.Join(shared.root, "python", "requirements.txt"),
		Interpreter: interpreter, ClientOnly: true, Log: os.Stderr,
	})
	return err
}
