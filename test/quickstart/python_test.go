//go:build e2e

package quickstart

import (
	"path/filepath"
	"testing"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// The tests of the Python code itself, in python/tests.
func TestPython(t *testing.T) {
	t.Parallel()
	purelib := `import sysconfig; print(sysconfig.get_path("purelib"), end="")`
	tools, err := shared.stack.Run(t.Context(), localstack.ProcessSpec{Path: shared.tools.Program("python"), Args: []string{"-c", purelib}}, "")
	if err != nil {
		t.Fatal(err)
	}
	out, err := shared.stack.Run(t.Context(), localstack.ProcessSpec{
		Path: shared.python.Program("python"), Args: []string{"-m", "pytest", "--quiet"},
		Dir: filepath.Join(shared.root, "python"), Env: map[string]string{"PYTHONPATH": tools, "PYTHONDONTWRITEBYTECODE": "1"},
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out)
}
