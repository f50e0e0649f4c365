//go:build e2e

package quickstart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Program and package are of one version, and pip has little to download.
func TestWheel(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	version := u.runs("import prefect_northflank; print(prefect_northflank.__version__, end='')")
	if got := u.types("prefect-northflank version"); !strings.HasPrefix(got, "prefect-northflank "+version+" ") {
		t.Errorf("the package is version %s, but the program says %s", version, got)
	}
	wheels, err := filepath.Glob(filepath.Join(shared.root, "dist", "prefect_northflank-"+version+"-*.whl"))
	if err != nil || len(wheels) == 0 {
		t.Fatalf("there is no wheel of version %s (%v)", version, err)
	}
	const most = 10 << 20 // bytes
	for _, wheel := range wheels {
		if info, err := os.Stat(wheel); err != nil || info.Size() > most {
			t.Errorf("%s: %v, %v; want at most %d bytes", wheel, info, err, most)
		}
	}
}

// installInto installs the wheel into a folder of its own, and returns a user
// whose Python finds it there. What is given to pip says which wheel.
func installInto(t *testing.T, what string) (u *user, target string) {
	t.Helper()
	u = newUser(t)
	target = filepath.Join(u.dir, "target")
	u.types("pip install --quiet --disable-pip-version-check --no-index --no-deps --target " + target + " " + what)
	u.env["PYTHONPATH"] = target
	return u, target
}

// pip --target puts programs elsewhere than it writes down.
func TestInstalledIntoAFolder(t *testing.T) {
	t.Parallel()
	u, target := installInto(t, "prefect-northflank --find-links "+filepath.Join(shared.root, "dist"))
	got := u.runs("from prefect_northflank import _program; print(_program.find(), end='')")
	if want := filepath.Join(target, "bin", "prefect-northflank"); got != want {
		t.Errorf("the program found is %s, want %s", got, want)
	}
}

// Where there is no program for a platform, its wheel installs, and says what to
// do when the program is asked for.
func TestWheelWithoutProgram(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), "make", "-C", shared.root, "wheel/any"); err != nil {
		t.Fatal(err)
	}
	u, target := installInto(t, filepath.Join(shared.root, "dist", "prefect_northflank-*-py3-none-any.whl"))
	prefect := shared.python.Program("prefect")
	u.env["PATH"] = "/usr/bin:/bin"
	for _, command := range []string{
		filepath.Join(target, "bin", "prefect-northflank") + " worker start",
		prefect + " worker start --pool no-pool --type northflank",
	} {
		_, err := shared.stack.Run(t.Context(), u.spec(command), "")
		if err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), "go install") {
			t.Errorf("%s ended so: %v; want exit status 1 and how to install the program", command, err)
		}
	}
	// With a program on the PATH it is as good as any.
	u.env["PATH"] = searchPath(shared.python)
	if out := u.types(filepath.Join(target, "bin", "prefect-northflank") + " version"); !strings.HasPrefix(out, "prefect-northflank ") {
		t.Errorf("with a program on the PATH, version wrote %q", out)
	}
}
