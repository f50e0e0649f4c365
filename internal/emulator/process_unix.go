//go:build unix

package emulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// filesVariable tells a job run where its mounted files are. Northflank mounts
// them at their absolute path; that path is not written to on a user's machine.
const filesVariable = "NF_EMULATOR_FILES"

// Exit codes of containers that could not run their command, as shells use them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitCannotStart   = 128
)

// drainTime bounds the wait for output after the command has ended.
const drainTime = 2 * time.Second

// processRunner runs each container as a process group in a directory of its
// own: <dir>/<job run id>/<attempt>/ with home (working directory and HOME) and
// files (mounted files).
type processRunner struct {
	once sync.Once
	dir  string
	temp bool // dir is removed at the end
	err  error
}

func newProcessRunner(dataDir string) *processRunner {
	if dataDir == "" {
		return &processRunner{temp: true}
	}
	absolute, err := filepath.Abs(filepath.Join(dataDir, "work"))
	return &processRunner{dir: absolute, err: err}
}

func (p *processRunner) base() (string, error) {
	p.once.Do(func() {
		if p.temp {
			p.dir, p.err = os.MkdirTemp("", "northflank-emulator-")
		}
	})
	return p.dir, p.err
}

func (p *processRunner) close() {
	if p.temp && p.dir != "" {
		os.RemoveAll(p.dir)
	}
}

// Run executes a container.
func (p *processRunner) Run(ctx context.Context, task Task) int {
	fmt.Fprintf(task.Stderr, "emulator: running as a local process; image %s is not pulled\n", task.Image)
	code, err := p.run(ctx, task)
	if err != nil {
		fmt.Fprintf(task.Stderr, "emulator: %v\n", err)
	}
	return code
}

func (p *processRunner) run(ctx context.Context, task Task) (int, error) {
	base, err := p.base()
	if err != nil {
		return exitCannotStart, err
	}
	dir := filepath.Join(base, task.RunID, fmt.Sprint(task.Attempt))
	defer os.RemoveAll(filepath.Dir(dir))
	home, files := filepath.Join(dir, "home"), filepath.Join(dir, "files")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return exitCannotStart, err
	}
	if err := writeFiles(files, task.Files); err != nil {
		return exitCannotStart, err
	}
	env := localEnvironment(task.Env, home, files)
	argv, err := arguments(task)
	if err != nil {
		return exitCannotStart, err
	}
	program, err := lookPath(argv[0], env["PATH"], home)
	if err != nil {
		return exitNotFound, err
	}
	cmd := &exec.Cmd{Path: program, Args: argv, Env: environ(env), Dir: home, SysProcAttr: ownGroup()}
	return supervise(ctx, cmd, task)
}

// supervise starts cmd, hands signals on to its process group, and returns when
// the whole group is gone: when a container's first process ends, all end.
func supervise(ctx context.Context, cmd *exec.Cmd, task Task) (int, error) {
	stdout, err := pipeTo(task.Stdout)
	if err != nil {
		return exitCannotStart, err
	}
	defer stdout.drain()
	stderr, err := pipeTo(task.Stderr)
	if err != nil {
		return exitCannotStart, err
	}
	defer stderr.drain()
	cmd.Stdout, cmd.Stderr = stdout.write, stderr.write
	if err := cmd.Start(); err != nil {
		return exitNotExecutable, err
	}
	group, done := -cmd.Process.Pid, make(chan struct{})
	var signals sync.WaitGroup
	signals.Go(func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
			_ = syscall.Kill(group, syscall.SIGTERM)
		}
		select {
		case <-done:
		case <-task.Killed:
			_ = syscall.Kill(group, syscall.SIGKILL)
		}
	})
	err = cmd.Wait()
	close(done)
	signals.Wait()
	_ = syscall.Kill(group, syscall.SIGKILL)
	return exitCode(cmd.ProcessState, err)
}

// output carries one stream of a process into its log. It is a pipe of our own
// because the one of os/exec waits for descendants that keep it open.
type output struct {
	read, write *os.File
	copied      chan struct{}
}

func pipeTo(to io.Writer) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &output{read: r, write: w, copied: make(chan struct{})}
	go func() {
		defer close(o.copied)
		_, _ = io.Copy(to, r) // ends when every writer, or r, is closed
	}()
	return o, nil
}

// drain waits for what was written before the end, but not for a process that
// left the group and holds the pipe.
func (o *output) drain() {
	o.write.Close()
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	select {
	case <-o.copied:
	case <-timer.C:
	}
	o.read.Close()
	<-o.copied
}

func exitCode(state *os.ProcessState, err error) (int, error) {
	if state == nil {
		return exitCannotStart, err
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return state.ExitCode(), nil
}

// arguments splits entrypoint and command. The image's own entrypoint is passed
// over: those of Prefect's images run the command that they are given.
func arguments(task Task) ([]string, error) {
	argv, err := splitWords(task.Entrypoint)
	if err != nil {
		return nil, fmt.Errorf("custom entrypoint: %w", err)
	}
	command, err := splitWords(task.Command)
	if err != nil {
		return nil, fmt.Errorf("custom command: %w", err)
	}
	if argv = append(argv, command...); len(argv) == 0 {
		return nil, errors.New("the image's entrypoint and command are unknown locally: set a custom command")
	}
	return argv, nil
}

// localEnvironment adds what a process on this machine needs and a container
// gets from its image.
func localEnvironment(from map[string]string, home, files string) map[string]string {
	env := map[string]string{"HOME": home, filesVariable: files}
	for _, name := range []string{"PATH", "LANG", "TMPDIR"} {
		if v, set := os.LookupEnv(name); set {
			env[name] = v
		}
	}
	maps.Copy(env, from)
	env["HOME"], env[filesVariable] = home, files
	return env
}

// writeFiles puts mounted files under dir, whatever their path says.
func writeFiles(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, content := range files {
		target := filepath.Join(dir, filepath.FromSlash(filepath.Clean("/"+name)))
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(target, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// lookPath finds a program with the container's PATH, not with the emulator's.
func lookPath(name, path, dir string) (string, error) {
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for _, folder := range filepath.SplitList(path) {
			candidates = append(candidates, filepath.Join(folder, name))
		}
	}
	for _, c := range candidates {
		if !filepath.IsAbs(c) {
			c = filepath.Join(dir, c)
		}
		if info, err := os.Stat(c); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return c, nil
		}
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}

// lockDir keeps a second emulator out of a data directory.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, errors.New("another emulator uses it")
	}
	return f, nil
}
