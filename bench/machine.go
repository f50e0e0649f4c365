package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// describeMachine tells where and when the run began. What this system does not
// tell is left out.
func describeMachine(now time.Time) table {
	t := table{head: []string{"machine", ""}}
	add := func(what, text string) {
		if text = strings.TrimSpace(text); text != "" {
			t.rows = append(t.rows, []string{what, text})
		}
	}
	add("date", now.UTC().Format("2006-01-02 15:04 UTC"))
	add("processor", valueAfter(read("/proc/cpuinfo"), "model name", ":"))
	add("cores", fmt.Sprint(runtime.NumCPU()))
	if bytes, err := kilobytes(read("/proc/meminfo"), "MemTotal:"); err == nil {
		add("memory", fmt.Sprintf("%.1f GB", float64(bytes)/1e9))
	}
	system := strings.Trim(valueAfter(read("/etc/os-release"), "PRETTY_NAME", "="), `"`)
	add("system", strings.TrimSpace(fmt.Sprintf("%s %s/%s %s", system, runtime.GOOS, runtime.GOARCH, read("/proc/sys/kernel/osrelease"))))
	load, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	add("load before the run (average of a minute)", load)
	return t
}

// versions tells what was compared, on what.
func (l *lab) versions(ctx context.Context) (table, error) {
	t := table{head: []string{"versions", ""}}
	ours, err := l.stack.Program(ctx, localstack.ProgramOptions{Args: []string{"version"}})
	if err != nil {
		return t, err
	}
	t.rows = append(t.rows, []string{"ours", strings.TrimSpace(strings.TrimSpace(ours) + " " + commit(ctx))})
	if l.original != nil {
		const ask = `import platform as p, importlib.metadata as m; v = m.version; ` +
			`print(f"prefect-northflank {v('prefect-northflank')} (prefect {v('prefect')}, Python {p.python_version()})")`
		python := filepath.Join(filepath.Dir(l.original.program), "python")
		text, err := l.stack.Run(ctx, localstack.ProcessSpec{Path: python, Args: []string{"-c", ask}}, "")
		if err != nil {
			return t, err
		}
		t.rows = append(t.rows, []string{"original", strings.TrimSpace(text)})
	} else {
		t.rows = append(t.rows, []string{"original", "not measured: " + l.noOriginal})
	}
	var server string
	if err := l.call(ctx, http.MethodGet, "/admin/version", nil, &server); err != nil {
		return t, err
	}
	t.rows = append(t.rows,
		[]string{"Prefect server", server + ", on the same machine"},
		[]string{"its database", l.database.name},
		[]string{"Northflank", "the local one of `prefect-northflank emulator`, on the same machine"})
	return t, nil
}

// commit names what was measured; "" where git can't tell.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return ""
	}
	return "at commit " + string(out)
}

// read returns a file's content, "" if it cannot be read.
func read(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}

// valueAfter returns what follows a name and a separator in the first line that
// begins with the name.
func valueAfter(text, name, separator string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, separator); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
