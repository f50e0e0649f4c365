package localstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// defaultGrace is how long a process may take to end after SIGTERM, before it
// gets SIGKILL.
const defaultGrace = 5 * time.Second

// ProcessSpec says what to start.
type ProcessSpec struct {
	Name string            // unique in the stack: names the log, starting again appends to it
	Path string            // the program
	Args []string          // its arguments
	Env  map[string]string // set over the stack's environment
	Dir  string            // working folder; "" is the stack's
}

// Process is one child process, leader of its own session, so that a Ctrl-C at
// the terminal reaches only the program that holds the stack. Its methods may
// be called concurrently.
type Process struct {
	Name    string
	LogPath string // standard output and error

	cmd  *exec.Cmd
	from int64         // size of the log when it started
	done chan struct{} // closed once the process was waited for
}

// record is what is written down about a process: enough to know it again.
type record struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`
	Identity string `json:"identity"` // see identity
}

// startProcess starts the command, its output appended to the log, and writes
// the record before it returns.
func startProcess(ctx context.Context, name string, cmd *exec.Cmd, logPath, recordPath string) (*Process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer log.Close() // the child has its own descriptor
	before, err := log.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the log of %s: %w", name, err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, LogPath: logPath, cmd: cmd, from: before.Size(), done: make(chan struct{})}
	err = writeRecord(ctx, recordPath, name, cmd.Process.Pid)
	go func() {
		_ = cmd.Wait() // the state that it leaves in cmd says all
		_ = os.Remove(recordPath)
		close(p.done)
	}()
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("write down process %s: %w", name, err)
	}
	return p, nil
}

func writeRecord(ctx context.Context, path, name string, pid int) error {
	id, err := identity(ctx, pid)
	if errors.Is(err, errNoProcess) {
		return nil // ended already
	} else if err != nil {
		return err
	}
	text, err := json.Marshal(record{Name: name, PID: pid, Identity: id})
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode returns the exit status once Done is closed: -1 when a signal ended
// the process.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends one signal to the process alone. It does nothing after the end.
func (p *Process) Signal(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// Stop asks the process to end by SIGTERM, ends it and its children by SIGKILL
// when it has not after grace, and returns when it has ended.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(grace):
		p.Kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM and was killed", p.Name, grace)
	}
}

// Kill ends the process and the children in its group by SIGKILL, and returns
// when it has ended.
func (p *Process) Kill() {
	select {
	case <-p.done: // its id may be somebody else's by now
	default:
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
		<-p.done
	}
}

// Log returns what the process has written so far. The log file may hold that
// of earlier processes of the same name before it.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	return string(text[min(p.from, int64(len(text))):])
}

// readyWithin is how long a process may take to be ready. A Prefect server with
// a new database takes 10 s on two free cores.
const readyWithin = 90 * time.Second

// awaitReady waits until ready says yes. When it does not, or the process ends
// before, the process is killed and the error says what it last wrote.
func (p *Process) awaitReady(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("not ready within %s", readyWithin))
	defer cancel()
	var problem error
	for problem == nil && !ready() {
		select {
		case <-p.done:
			problem = fmt.Errorf("ended with status %d", p.ExitCode())
		case <-ctx.Done():
			problem = context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if problem == nil {
		return nil
	}
	p.Kill()
	return fmt.Errorf("%s: %w; its log %s ends:\n%s", p.Name, problem, p.LogPath, lastLines(p.Log(), 15))
}

// lastLines returns the last n lines of a text, indented, for an error message.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}

// endStale ends the processes that the records in the folder speak of and that
// still live, and removes the records. It returns the names of those it ended.
// A process that merely has the same id now is left alone.
func endStale(ctx context.Context, folder string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	var live []record
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var r record
		if err := json.Unmarshal(text, &r); err == nil && lives(ctx, r) { // else: cut short by a crash
			live = append(live, r)
		}
	}
	var names []string
	for _, r := range live {
		_ = syscall.Kill(r.PID, syscall.SIGTERM)
		names = append(names, r.Name)
	}
	for _, r := range live {
		if err := awaitEnd(ctx, r); err != nil {
			return names, err
		}
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return names, err
		}
	}
	return names, nil
}

func lives(ctx context.Context, r record) bool {
	id, err := identity(ctx, r.PID)
	return err == nil && id == r.Identity
}

// awaitEnd waits until a process that was sent SIGTERM has ended, with SIGKILL
// for its group after the grace. We are not its parent and cannot wait for it.
func awaitEnd(ctx context.Context, r record) error {
	killAt := time.Now().Add(defaultGrace)
	giveUpAt := killAt.Add(defaultGrace)
	for killed := false; lives(ctx, r); {
		switch now := time.Now(); {
		case now.After(giveUpAt):
			return fmt.Errorf("process %d (%s) of an earlier start does not end, not even by SIGKILL", r.PID, r.Name)
		case now.After(killAt) && !killed:
			_ = syscall.Kill(-r.PID, syscall.SIGKILL)
			killed = true
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// pause waits for d, or until ctx is done and returns why.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
