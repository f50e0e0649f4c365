package localstack

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	own, err := identity(t.Context(), os.Getpid())
	if err != nil {
		t.Fatalf("identity of this process: %v", err)
	}
	if again, err := identity(t.Context(), os.Getpid()); err != nil || again != own {
		t.Errorf("identity of this process = %q, %v the second time, want %q", again, err, own)
	}
	child := exec.CommandContext(t.Context(), "sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if other, err := identity(t.Context(), child.Process.Pid); err != nil || other == own {
		t.Errorf("identity of another process = %q, %v, want one of its own", other, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if _, err := identity(t.Context(), child.Process.Pid); !errors.Is(err, errNoProcess) {
		t.Errorf("identity of an ended process: error %v, want %v", err, errNoProcess)
	}
}

func TestPsIdentity(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ps"); err != nil {
		t.Skip("no ps here")
	}
	if got, err := psIdentity(t.Context(), os.Getpid()); err != nil || strings.Count(got, ":") != 2 {
		t.Errorf("psIdentity of this process = %q, %v, want a start time", got, err)
	}
	if got, err := psIdentity(t.Context(), 1<<30); !errors.Is(err, errNoProcess) {
		t.Errorf("psIdentity of no process = %q, %v, want %v", got, err, errNoProcess)
	}
}

func TestLinuxIdentity(t *testing.T) {
	t.Parallel()
	if !exists("/proc/sys/kernel/random/boot_id") {
		t.Skip("not Linux")
	}
	const rest = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	tests := []struct {
		name, stat string
		wantSuffix string
		wantErr    bool
	}{
		{"running", "42 (sleep) S" + rest, " 4711", false},
		{"a command with brackets and spaces", "42 (a) b) (c) R" + rest, " 4711", false},
		{"a zombie", "42 (sleep) Z" + rest, "", true},
		{"cut short", "42 (sleep) S 1 2", "", true},
		{"no command", "42", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := linuxIdentity(tt.stat)
			if !strings.HasSuffix(got, tt.wantSuffix) || (err != nil) != tt.wantErr {
				t.Errorf("linuxIdentity(%q) = %q, %v, want it to end in %q, error %t", tt.stat, got, err, tt.wantSuffix, tt.wantErr)
			}
		})
	}
}
