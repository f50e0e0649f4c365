//go:build e2e

package packaging

import (
	"archive/zip"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/northflank/prefect-northflank"

// TestGoInstall installs the program as users do, from a module proxy that holds
// this version: by file, with what the module cache has of other modules. It
// fails when the module cannot be installed by others: a replace directive, a
// file whose name no module may hold, two that differ in case alone, a required
// module that is not named.
func TestGoInstall(t *testing.T) {
	t.Parallel()
	proxy, gopath := t.TempDir(), t.TempDir()
	release := "v" + version(t)
	versions := filepath.Join(proxy, filepath.FromSlash(module), "@v")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"list": release, release + ".mod": read(t, "go.mod"), release + ".info": `{"Version":"` + release + `","Time":"2026-01-01T00:00:00Z"}`,
	} {
		if err := os.WriteFile(filepath.Join(versions, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	zipModule(t, filepath.Join(versions, release+".zip"), module+"@"+release)

	cache, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	downloaded := filepath.Join(strings.TrimSpace(string(cache)), "cache", "download")
	install := exec.CommandContext(t.Context(), "go", "install", "-trimpath", module+"/cmd/prefect-northflank@latest")
	install.Dir = t.TempDir()
	install.Env = append(os.Environ(), "GOPATH="+gopath, "GOMODCACHE="+filepath.Join(gopath, "mod"), "GOBIN="+filepath.Join(gopath, "bin"),
		"GOPROXY="+fileURL(proxy)+","+fileURL(downloaded), "GOSUMDB=off", "GOFLAGS=-modcacherw", "GOWORK=off")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("go install: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(gopath, "bin", "prefect-northflank"), "version").CombinedOutput()
	if want := "prefect-northflank " + version(t) + " (go"; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("version: %v, %q, want %s...", err, out, want)
	}
}

func fileURL(dir string) string { return "file://" + filepath.ToSlash(dir) }

// zipModule writes the module's files as a module proxy has them: what git
// tracks, without modules of their own.
func zipModule(t *testing.T, target, prefix string) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	file, err := os.Create(target)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		raw, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) { // deleted, and not yet committed
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if inOtherModule(name) {
			continue
		}
		w, err := archive.Create(prefix + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

func inOtherModule(name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, err := os.Stat(filepath.Join(root, dir, "go.mod")); err == nil {
			return true
		}
	}
	return false
}
