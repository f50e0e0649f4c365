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
	fields := statFields(stat)
	const userTime, systemTime = 11, 12 // fields 14 and 15, counted from field 3
	if len(fields) <= systemTime {
		return u, fmt.Errorf("process status %q has too few fields", stat)
	}
	u.cpu, err = ticks(fields[userTime : systemTime+1])
	return u, err
}

// statFields returns the fields of /proc/PID/stat from the third on: the command
// in the second is in brackets and may hold anything.
func statFields(stat string) []string { return strings.Fields(stat[strings.LastIndex(stat, ")")+1:]) }

// ticks adds up processor times.
func ticks(fields []string) (sum time.Duration, err error) {
	for _, field := range fields {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("processor time %q: %w", field, err)
		}
		sum += time.Duration(n) * clockTick
	}
	return sum, nil
}

// machineCPU is the processor time that the whole machine has spent at work, on
// all cores together.
func machineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("the machine's processor time is measured on Linux only: %w", err)
	}
	return parseMachineCPU(string(text))
}

// parseMachineCPU reads the first line of /proc/stat; see proc(5).
func parseMachineCPU(stat string) (time.Duration, error) {
	fields := strings.Fields(firstLine(stat))
	const fewest = 8 // cpu user nice system idle iowait irq softirq
	if len(fields) < fewest || fields[0] != "cpu" {
		return 0, fmt.Errorf("%q are no processor times", firstLine(stat))
	}
	return ticks([]string{fields[1], fields[2], fields[3], fields[6], fields[7]})
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
