package localstack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// oldestPython is the oldest minor version of Python 3 that the pinned Prefect
// runs on.
const oldestPython = 10

// Python is a virtual environment that holds the pinned Prefect.
type Python struct{ dir string }

func (p Python) bin() string { return filepath.Join(p.dir, "bin") }

// Program returns the path of a program of the environment, "prefect" for one.
func (p Python) Program(name string) string { return filepath.Join(p.bin(), name) }

// seed is the home of a Prefect server that was started once: its database is
// laid out, which takes a new one most of ten seconds.
func (p Python) seed() string { return filepath.Join(p.dir, "server-home") }

// PythonOptions say where the environment is and what it holds.
type PythonOptions struct {
	Dir          string // the environment's folder
	Requirements string // the lock file of what is installed
	// Interpreter is the Python to use: a path or a name on the PATH. "" is
	// the PYTHON of the environment, else python3.
	Interpreter string
	ClientOnly  bool      // no Prefect server will be started from it
	Log         io.Writer // gets a line when something is set up
}

// EnsurePython makes the virtual environment if it is not there, or not what
// the requirements ask for. It takes about half a minute then, and needs a
// Python package index; otherwise it returns at once. Several processes may
// call it for one folder.
func EnsurePython(ctx context.Context, options PythonOptions) (Python, error) {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return Python{}, err
	}
	requirements, err := os.ReadFile(options.Requirements)
	if err != nil {
		return Python{}, fmt.Errorf("read what to install: %w", err)
	}
	sum := sha256.Sum256(requirements)
	want := hex.EncodeToString(sum[:])

	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return Python{}, err
	}
	defer unlock()
	python := Python{dir: dir}
	stamp := filepath.Join(dir, "requirements.sha256") // written last: marks a complete environment
	if have, err := os.ReadFile(stamp); err != nil || string(have) != want || !runs(ctx, python.Program("python")) {
		if err := python.install(ctx, options); err != nil {
			return Python{}, err
		}
		if err := os.WriteFile(stamp, []byte(want), 0o600); err != nil {
			return Python{}, err
		}
	}
	if options.ClientOnly || exists(python.seed()) {
		return python, nil
	}
	if err := python.plantSeed(ctx); err != nil {
		return Python{}, fmt.Errorf("start the Prefect server for the first time: %w", err)
	}
	return python, nil
}

// ExistingPython returns the virtual environment that is in the folder dir.
func ExistingPython(dir string) Python { return Python{dir: dir} }

// FindPython returns a Python of the given minor version, such as "3.12", that
// can make virtual environments: on the PATH or among those that pyenv holds.
func FindPython(ctx context.Context, version string) (path string, found bool) {
	candidates := []string{"python" + version, "python3"}
	if root, err := command(ctx, "pyenv", "root").Output(); err == nil {
		held, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "versions", version+".*", "bin", "python3"))
		candidates = append(candidates, held...)
	}
	const ask = "import sys, venv, ensurepip; sys.exit('%d.%d' % sys.version_info[:2] != sys.argv[1])"
	for _, candidate := range candidates {
		if command(ctx, candidate, "-c", ask, version).Run() == nil {
			return candidate, true
		}
	}
	return "", false
}

func (p Python) install(ctx context.Context, options PythonOptions) error {
	interpreter, err := findPython(ctx, options.Interpreter)
	if err != nil {
		return err
	}
	fmt.Fprintf(options.Log, "Setting up Prefect in %s (once, about half a minute)\n", p.dir)
	if err := os.RemoveAll(p.dir); err != nil {
		return err
	}
	environ := cleanEnviron(os.Environ())
	if err := runQuietly(ctx, environ, interpreter, "-m", "venv", p.dir); err != nil {
		return fmt.Errorf("make a Python virtual environment: %w", err)
	}
	// The lock is complete: nothing is resolved, so no dependency is looked up.
	err = runQuietly(ctx, environ, p.Program("python"), "-m", "pip", "install", "--quiet", "--no-input",
		"--disable-pip-version-check", "--no-deps", "--require-hashes", "--requirement", options.Requirements)
	if err != nil {
		return fmt.Errorf("install %s: %w", options.Requirements, err)
	}
	return nil
}

// findPython returns the path of a Python that is new enough and can make
// virtual environments.
func findPython(ctx context.Context, name string) (string, error) {
	if name == "" {
		name = os.Getenv("PYTHON")
	}
	if name == "" {
		name = "python3"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find Python: %w; install Python 3.%d or later, or name one by PYTHON=/path/to/python3", err, oldestPython)
	}
	const ask = "import sys; print(*sys.version_info[:3], sep='.'); sys.exit(0 if sys.version_info >= (3, %d) else 3); "
	out, err := command(ctx, path, "-c", fmt.Sprintf(ask, oldestPython)).CombinedOutput()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed && exit.ExitCode() == 3 {
		return "", fmt.Errorf("%s is Python %s, but Prefect needs 3.%d or later; name a newer one by PYTHON=/path/to/python3",
			path, strings.TrimSpace(string(out)), oldestPython)
	} else if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w\n%s", path, err, out)
	}
	if out, err := command(ctx, path, "-c", "import venv, ensurepip").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s can't make virtual environments; install its venv module (Debian, Ubuntu: apt install python3-venv), or name another Python by PYTHON=/path/to/python3\n%s",
			path, out)
	}
	return path, nil
}

// plantSeed starts a Prefect server once on an empty home and keeps the home.
func (p Python) plantSeed(ctx context.Context) error {
	folder, err := os.MkdirTemp(p.dir, "seed-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	stack, err := Open(ctx, Options{Dir: folder, Python: p})
	if err != nil {
		return err
	}
	server, err := stack.StartPrefect(ctx, PrefectOptions{Name: "prefect"})
	if err := errors.Join(err, stack.Close()); err != nil {
		return err
	}
	return os.Rename(server.home, p.seed())
}

// runs reports whether the interpreter of an environment still works: the
// Python that it was made from may be gone.
func runs(ctx context.Context, python string) bool {
	return command(ctx, python, "-c", "").Run() == nil
}

func runQuietly(ctx context.Context, environ []string, program string, args ...string) error {
	cmd := command(ctx, program, args...)
	cmd.Env = environ
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// command is exec.CommandContext in a session of its own: an interrupted set-up
// is ended through ctx, not by the terminal's Ctrl-C as well.
func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = cleanEnviron(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second // for children that keep the output open
	return cmd
}

// lockFile takes the lock of a file, made if missing, and returns how to give
// it back. It waits while another process holds it.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = pause(ctx, 100*time.Millisecond)
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}
