package localstack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakePython writes a program that answers as a Python would: to the question
// for its version, then to the one for its venv module.
func fakePython(t *testing.T, version string, versionStatus, venvStatus string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "python3")
	script := "#!/bin/sh\ncase \"$2\" in *version_info*) echo " + version + "; exit " + versionStatus + ";; *) exit " + venvStatus + ";; esac\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindPython(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, interpreter, wantErr string
	}{
		{"fit", fakePython(t, "3.12.1", "0", "0"), ""},
		{"too old", fakePython(t, "3.8.18", "3", "0"), "is Python 3.8.18, but Prefect needs 3.10 or later; name a newer one by PYTHON="},
		{"no venv module", fakePython(t, "3.12.1", "0", "1"), "apt install python3-venv"},
		{"missing", filepath.Join(t.TempDir(), "python3"), "install Python 3.10 or later"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := findPython(t.Context(), tt.interpreter)
			switch {
			case tt.wantErr == "" && (err != nil || got != tt.interpreter):
				t.Errorf("findPython(%q) = %q, %v, want it as it is", tt.interpreter, got, err)
			case tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)):
				t.Errorf("findPython(%q): error %v, want one that says %q", tt.interpreter, err, tt.wantErr)
			}
		})
	}
}

// FindPython takes the name with the version, then python3 if it is of the
// version, then what pyenv holds.
func TestFindPythonOfAVersion(t *testing.T) {
	const suits, another = "exit 0", "exit 1"
	tests := []struct {
		name     string
		programs map[string]string // on the PATH: what each does
		held     bool              // pyenv holds one
		want     string
	}{
		{"by its name", map[string]string{"python3.12": suits, "python3": suits}, true, "python3.12"},
		{"python3", map[string]string{"python3.12": another, "python3": suits}, true, "python3"},
		{"held by pyenv", map[string]string{"python3": another}, true, "versions/3.12.7/bin/python3"},
		{"none", map[string]string{"python3": another}, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(path, does string) {
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte("#!/bin/sh\n"+does+"\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for name, does := range tt.programs {
				write(filepath.Join(dir, name), does)
			}
			if tt.held {
				write(filepath.Join(dir, "pyenv"), "echo "+dir)
				write(filepath.Join(dir, "versions", "3.11.9", "bin", "python3"), suits)
				write(filepath.Join(dir, "versions", "3.12.7", "bin", "python3"), suits)
			}
			t.Setenv("PATH", dir)
			got, found := FindPython(t.Context(), "3.12")
			if found != (tt.want != "") || strings.TrimPrefix(got, dir+"/") != tt.want {
				t.Errorf("FindPython(3.12) = %q, %t, want %q", got, found, tt.want)
			}
		})
	}
}
