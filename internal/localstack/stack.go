package localstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say where a stack lives and what it runs.
type Options struct {
	Dir    string   // the stack's folder: emptied at Open
	Binary string   // our program
	Python Python   // holds Prefect
	Env    []string // environment to start from; nil is that of this process
}

// Stack is a folder and the processes started for it. Its methods may be called
// concurrently, but for Close and Detach, which are called once, at the end.
type Stack struct {
	// Ended names the processes that an earlier stack had left in the folder.
	Ended []string

	options Options
	environ []string
	lock    *os.File

	mu        sync.Mutex
	processes []*Process // guarded by mu; in the order of their start
	folders   []string   // guarded by mu; outside the stack's own, removed at the end
}

// ErrInUse: another process holds a stack in the folder.
var ErrInUse = errors.New("another stack is running in this folder")

// Open takes the folder, ends what an interrupted stack left running in it, and
// empties it.
func Open(ctx context.Context, options Options) (*Stack, error) {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, err
	}
	options.Dir = dir
	lock, ended, err := claim(ctx, dir)
	if err != nil {
		return nil, err
	}
	s := &Stack{options: options, lock: lock, Ended: ended}
	if err := s.prepare(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("prepare folder %s: %w", dir, err)
	}
	return s, nil
}

// End ends what an interrupted or detached stack left running in the folder, and
// returns the names of the processes that it ended.
func End(ctx context.Context, dir string) ([]string, error) {
	if !exists(dir) {
		return nil, nil
	}
	lock, ended, err := claim(ctx, dir)
	if err != nil {
		return ended, err
	}
	return ended, lock.Close()
}

// claim makes the folder ours until the returned file is closed, and ends the
// processes that its last owner left.
func claim(ctx context.Context, dir string) (*os.File, []string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, err
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("folder %s: %w", dir, ErrInUse)
	}
	var ended []string
	if err == nil {
		ended, err = endStale(ctx, filepath.Join(dir, "run"))
	}
	if err != nil {
		lock.Close()
		return nil, ended, err
	}
	return lock, ended, nil
}

func (s *Stack) prepare() error {
	entries, err := os.ReadDir(s.options.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == "lock" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.options.Dir, entry.Name())); err != nil {
			return err
		}
	}
	for _, folder := range []string{"run", "log", "work", "home"} {
		if err := os.Mkdir(s.path(folder), 0o700); err != nil {
			return err
		}
	}
	s.environ = s.environment()
	return nil
}

// environment is what every process of the stack starts from: nothing of the
// user's own Prefect, no usage reports, the stack's programs first on the path.
func (s *Stack) environment() []string {
	environ := s.options.Env
	if environ == nil {
		environ = os.Environ()
	}
	environ = cleanEnviron(environ)
	const loopback = "127.0.0.1,localhost,::1"
	path := []string{filepath.Dir(s.options.Binary), s.options.Python.bin(), lookup(environ, "PATH")}
	return withValues(environ, map[string]string{
		"PATH":                             strings.Join(path, string(filepath.ListSeparator)),
		"PREFECT_HOME":                     s.path("home"),
		"PREFECT_PROFILES_PATH":            s.path("home", "profiles.toml"),
		"PREFECT_SERVER_ANALYTICS_ENABLED": "false",
		"DO_NOT_TRACK":                     "1",
		"NO_COLOR":                         "1",
		"NO_PROXY":                         loopback,
		"no_proxy":                         loopback,
	})
}

func (s *Stack) path(elements ...string) string {
	return filepath.Join(append([]string{s.options.Dir}, elements...)...)
}

// WorkDir is the folder that the stack's processes start in. Callers may put
// files there.
func (s *Stack) WorkDir() string { return s.path("work") }

// Start starts a process.
func (s *Stack) Start(ctx context.Context, spec ProcessSpec) (*Process, error) {
	// No context for the process itself: it ends by Stop, gracefully.
	cmd := exec.Command(spec.Path, spec.Args...)
	s.furnish(cmd, spec)
	p, err := startProcess(ctx, spec.Name, cmd, s.path("log", spec.Name+".log"), s.path("run", spec.Name+".json"))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes = append(s.processes, p)
	return p, nil
}

// Run runs a command in the stack's environment to its end and returns what it
// wrote to standard output. The error holds what it wrote to standard error.
func (s *Stack) Run(ctx context.Context, spec ProcessSpec, input string) (string, error) {
	cmd := exec.CommandContext(ctx, spec.Path, spec.Args...)
	s.furnish(cmd, spec)
	cmd.Stdin = strings.NewReader(input)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second // for children that keep the output open
	out, err := cmd.Output()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed {
		said := strings.TrimSpace(string(out) + string(exit.Stderr))
		return string(out), fmt.Errorf("%s %s: %w\n%s", filepath.Base(spec.Path), strings.Join(spec.Args, " "), err, said)
	}
	return string(out), err
}

func (s *Stack) furnish(cmd *exec.Cmd, spec ProcessSpec) {
	cmd.Env = withValues(s.environ, spec.Env)
	cmd.Dir = spec.Dir
	if cmd.Dir == "" {
		cmd.Dir = s.WorkDir()
	}
}

// Close stops the processes, the last started first, and gives up the folder.
// The files in it stay.
func (s *Stack) Close() error {
	s.mu.Lock()
	processes, folders := s.processes, s.folders
	s.processes, s.folders = nil, nil
	s.mu.Unlock()
	var errs []error
	for i := len(processes) - 1; i >= 0; i-- {
		errs = append(errs, processes[i].Stop(defaultGrace))
	}
	for _, folder := range folders {
		errs = append(errs, os.RemoveAll(folder))
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// Detach gives up the folder and leaves the processes running: the next Open or
// [End] of the folder ends them.
func (s *Stack) Detach() error { return s.lock.Close() }

// freePort returns a loopback port that nothing listens on at the moment.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
