package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const unitPath = "deploy/prefect-northflank.service"

// unit holds a systemd unit's settings by section and name.
type unit map[string]map[string][]string

func readUnit(t *testing.T) unit {
	t.Helper()
	u := unit{}
	section := ""
	for line := range strings.Lines(read(t, unitPath)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
			u[section] = map[string][]string{}
		default:
			name, value, ok := strings.Cut(line, "=")
			if !ok || section == "" {
				t.Fatalf("%s: %q is no setting", unitPath, line)
			}
			u[section][name] = append(u[section][name], value)
		}
	}
	return u
}

func TestUnit(t *testing.T) {
	t.Parallel()
	u := readUnit(t)
	for name, want := range map[string]string{
		"Type":            "exec",
		"EnvironmentFile": "/etc/prefect-northflank/worker.env",
		"Restart":         "on-failure",
		"KillSignal":      "SIGTERM", // the worker's own way to end: flow runs go on
		"DynamicUser":     "yes",
		"NoNewPrivileges": "yes",
		"ProtectSystem":   "strict",
		"ProtectHome":     "yes",
		// A call that is refused is an error, rather than the end of the worker.
		"SystemCallErrorNumber": "EPERM",
		"CapabilityBoundingSet": "",
	} {
		if got := strings.Join(u["Service"][name], " "); got != want || len(u["Service"][name]) != 1 {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
	const command = "/usr/local/bin/prefect-northflank worker start --pool ${WORK_POOL} --name %H"
	if got := u["Service"]["ExecStart"]; len(got) != 1 || got[0] != command {
		t.Errorf("ExecStart=%q, want %q", got, command)
	}
	for _, line := range []string{"WORK_POOL=", "NORTHFLANK_API_TOKEN=", "PREFECT_API_URL=", "/etc/prefect-northflank/worker.env"} {
		if !strings.Contains(read(t, "docs/how-to/install.md"), line) {
			t.Errorf("docs/how-to/install.md does not tell of %s", line)
		}
	}
}

// What systemd itself says of the unit, where there is one.
func TestUnitForSystemd(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze")
	}
	// The program need not be installed here.
	installed := filepath.Join(t.TempDir(), filepath.Base(unitPath))
	text := strings.Replace(read(t, unitPath), "/usr/local/bin/prefect-northflank", "/bin/sh", 1)
	if err := os.WriteFile(installed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", installed).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// 0 is a service that can do nothing, 100 one that can do everything. Without
	// the network, which the worker needs, it would be about 4.
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--no-pager", "--offline=true", "--threshold=15", installed).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "unrecognized option") { // before systemd 250
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}
