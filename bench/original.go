package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

const (
	originalDir          = ".local/bench-original"
	originalRequirements = "bench/requirements.txt"
	// originalVariable names the Python that the original is installed for.
	originalVariable = "PYTHON_ORIGINAL"
)

// ensureOriginal installs the original into a virtual environment of its own
// and returns the program that runs its worker.
func ensureOriginal(ctx context.Context) (string, error) {
	interpreter, err := findOriginalPython(ctx)
	if err != nil {
		return "", err
	}
	python, err := localstack.EnsurePython(ctx, localstack.PythonOptions{
		Dir: originalDir, Requirements: originalRequirements, Interpreter: interpreter, Log: os.Stdout,
	})
	if err != nil {
		return "", err
	}
	return python.Program("prefect"), nil
}

// findOriginalPython returns a Python that prefect-northflank 1.0.1 can be
// installed for: 3.12 or later by its metadata, and 3.13 at most, as its
// dependencies are built for.
func findOriginalPython(ctx context.Context) (string, error) {
	if named := os.Getenv(originalVariable); named != "" {
		if !suitsOriginal(ctx, named) {
			return "", fmt.Errorf("%s=%s is not a Python 3.12 or 3.13 that can make virtual environments", originalVariable, named)
		}
		return named, nil
	}
	candidates := append([]string{"python3.12", "python3.13", "python3"}, pyenvPythons(ctx)...)
	for _, candidate := range candidates {
		if suitsOriginal(ctx, candidate) {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("it needs Python 3.12 or 3.13, and none was found; name one by %s=/path/to/python3", originalVariable)
}

// pyenvPythons lists the interpreters that pyenv holds, whether or not one of
// them is selected.
func pyenvPythons(ctx context.Context) []string {
	root, err := exec.CommandContext(ctx, "pyenv", "root").Output()
	if err != nil {
		return nil // no pyenv
	}
	var found []string
	for _, version := range []string{"3.12*", "3.13*"} {
		paths, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "versions", version, "bin", "python3"))
		found = slices.Concat(found, paths)
	}
	return found
}

func suitsOriginal(ctx context.Context, python string) bool {
	const ask = "import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info < (3, 14))"
	return exec.CommandContext(ctx, python, "-c", ask).Run() == nil
}
