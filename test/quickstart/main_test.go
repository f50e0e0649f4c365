//go:build e2e

// Package quickstart holds the tests of the Python package as a user has it: the
// wheel, installed by pip beside Prefect, in front of a real Prefect server and
// the local Northflank. What is typed is what the documents tell to type.
package quickstart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// shared is what all tests use. It is set once, before the first test.
var shared struct {
	root   string            // of the repository
	python localstack.Python // holds Prefect and, once installed, the wheel
	tools  localstack.Python // holds pytest, for the same version of Python
	stack  *localstack.Stack
	server *localstack.Prefect
}

func TestMain(m *testing.M) {
	if os.Getenv(recordVariable) != "" {
		record() // we are the program that a worker class hands over to
		return
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
	var err error
	if shared.root, err = filepath.Abs(filepath.Join("..", "..")); err != nil {
		return 0, err
	}
	if err := run(ctx, "make", "-C", shared.root, "wheel"); err != nil {
		return 0, err
	}
	server, err := setUpPythons(ctx)
	if errors.Is(err, errNoSuchPython) {
		fmt.Printf("Python %s is not here: passed over\n", matrixPython)
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	shared.stack, err = localstack.Open(ctx, localstack.Options{
		Dir: local("quickstart", "stack"), Binary: shared.python.Program("prefect-northflank"), Python: server,
	})
	if err != nil {
		return 0, err
	}
	defer shared.stack.Close()
	database, err := shared.stack.StartDatabase(ctx, "postgres")
	if err != nil {
		return 0, err
	}
	if shared.server, err = shared.stack.StartPrefect(ctx, localstack.PrefectOptions{Name: "prefect", Env: database}); err != nil {
		return 0, err
	}
	if err := installWheel(ctx); err != nil {
		return 0, err
	}
	interrupted := context.AfterFunc(ctx, func() { // nothing of ours is left behind
		shared.stack.Close()
		os.Exit(130)
	})
	defer interrupted()
	return m.Run(), nil
}

// local returns a path in the folder of what is installed or written here.
func local(elements ...string) string {
	return filepath.Join(append([]string{shared.root, ".local"}, elements...)...)
}

// run runs a command to its end; the error holds what it wrote.
func run(ctx context.Context, program string, args ...string) error {
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	return nil
}

// setUpPythons installs Prefect for the commands, and returns the environment
// that server and flow runs are of.
func setUpPythons(ctx context.Context) (server localstack.Python, err error) {
	options := localstack.PythonOptions{
		Dir: local("python"), Requirements: filepath.Join(shared.root, "test", "requirements.txt"), Log: os.Stderr,
	}
	if matrixPython != "" {
		if err := setUpCombination(ctx); err != nil || !strings.HasPrefix(matrixPrefect, "client-") {
			return shared.python, err
		}
		return localstack.EnsurePython(ctx, options)
	}
	shared.tools = localstack.ExistingPython(local("python-tools")) // made by make wheel
	if server, err = localstack.EnsurePython(ctx, options); err != nil {
		return server, err
	}
	options.Dir, options.ClientOnly = local("quickstart", "python"), true
	shared.python, err = localstack.EnsurePython(ctx, options)
	return server, err
}

// installWheel installs the wheel as the README says. Prefect and all that it
// needs are there: no package index is asked.
func installWheel(ctx context.Context) error {
	pip := shared.python.Program("pip")
	uninstall := localstack.ProcessSpec{Path: pip, Args: []string{"uninstall", "--yes", "--quiet", "prefect-northflank"}}
	if _, err := shared.stack.Run(ctx, uninstall, ""); err != nil {
		return err
	}
	install := readme().only("Installation", "bash", "pip install")
	out, err := shared.stack.Run(ctx, shell(install, map[string]string{
		"PIP_FIND_LINKS": filepath.Join(shared.root, "dist"), "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
	}), "")
	if err == nil && !strings.Contains(out, "Successfully installed prefect-northflank-") {
		err = errors.New("no success")
	}
	if err != nil {
		return fmt.Errorf("install the wheel: %w\n%s", err, out)
	}
	return nil
}
