package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// errNoProcess: no such process, or one that ended and waits to be reaped.
var errNoProcess = errors.New("no such process")

// identity returns a string that names a live process for ever: process ids are
// used again, but not one with the same start time in the same boot of the
// machine.
func identity(ctx context.Context, pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	switch {
	case err == nil:
		return linuxIdentity(string(stat))
	case exists("/proc/self/stat"):
		return "", errNoProcess
	default:
		return psIdentity(ctx, pid)
	}
}

// linuxIdentity takes state and start time (fields 3 and 22, proc(5)) out of
// /proc/PID/stat. The command in field 2 is in brackets and may hold anything.
func linuxIdentity(stat string) (string, error) {
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	const state, startTime = 0, 19 // counted from field 3
	if len(fields) <= startTime {
		return "", fmt.Errorf("process status %q has too few fields", stat)
	}
	if fields[state] == "Z" || fields[state] == "X" {
		return "", errNoProcess
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the id of this boot: %w", err)
	}
	return strings.TrimSpace(string(boot)) + " " + fields[startTime], nil
}

// psIdentity asks ps, where there is no /proc (macOS, the BSDs).
func psIdentity(ctx context.Context, pid int) (string, error) {
	out, err := exec.CommandContext(ctx, "ps", "-o", "state=,lstart=", "-p", strconv.Itoa(pid)).Output()
	if _, gone := errors.AsType[*exec.ExitError](err); gone {
		return "", errNoProcess
	} else if err != nil {
		return "", fmt.Errorf("ask ps about process %d: %w", pid, err)
	}
	state, started, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if strings.HasPrefix(state, "Z") {
		return "", errNoProcess
	}
	return strings.TrimSpace(started), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
