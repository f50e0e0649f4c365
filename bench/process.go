package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what a process has taken of the machine so far.
type usage struct {
	memory, peak int64 // resident, bytes: now and at most
	cpu          time.Duration
}

// usageOf reads it from /proc, which only Linux has.
func usageOf(pid int) (usage, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if errors.Is(err, os.ErrNotExist) {
		return usage{}, fmt.Errorf("memory of a process is measured on Linux only: %w", err)
	} else if err != nil {
		return usage{}, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	return parseUsage(string(status), string(stat))
}

// clockTick is the unit of processor times in /proc/PID/stat: sysconf(_SC_CLK_TCK)
// is 100 a second on every architecture that Go runs on.
const clockTick = time.Second / 100

// parseUsage reads /proc/PID/status and /proc/PID/stat; see proc(5).
func parseUsage(status, stat string) (u usage, err error) {
	if u.memory, err = kilobytes(status, "VmRSS:"); err != nil {
		return u, err
	}
	if u.peak, err = kilobytes(status, "VmHWM:"); err != nil {
		return u, err
	}
	// The command in field 2 is in brackets and may hold anything.
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	const userTime, systemTime = 11, 12 // fields 14 and 15, counted from field 3
	if len(fields) <= systemTime {
		return u, fmt.Errorf("process status %q has too few fields", stat)
	}
	for _, i := range []int{userTime, systemTime} {
		ticks, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return u, fmt.Errorf("processor time in %q: %w", stat, err)
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	return u, nil
}

// kilobytes reads a line such as "VmRSS:   123 kB" (of 1024 bytes) as bytes. It
// reads /proc/meminfo as well.
func kilobytes(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == name && fields[2] == "kB" {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n * 1024, err
		}
	}
	return 0, fmt.Errorf("no line %q in %q", name, text)
}
