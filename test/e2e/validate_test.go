//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/localstack"
	"github.com/northflank/prefect-northflank/internal/validate"
)

// TestValidateKnowsPrefect holds what validate says of files with mistakes
// against what Prefect does with them: where a field has the wrong type it
// deploys nothing of the file, and where a job variable has, the server refuses
// the deployment.
func TestValidateKnowsPrefect(t *testing.T) {
	t.Parallel()
	type fate struct {
		Deployments int
		Refusals    []string
	}
	files := wrongFiles(t, "file.txtar", "variables.txtar")
	dir := t.TempDir()
	template := filepath.Join(t.TempDir(), "template.json")
	write := func(path string, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(template, jobspec.BaseJobTemplate())
	for name, text := range files {
		write(filepath.Join(dir, name), text)
	}
	python := localstack.ExistingPython(filepath.Join("..", "..", ".local", "python"))
	out, err := exec.CommandContext(t.Context(), python.Program("python"), "testdata/load_prefect_yaml.py", template, dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	var fates map[string]fate
	if err := json.Unmarshal(out, &fates); err != nil {
		t.Fatal(err)
	}
	lost, refused := 0, 0
	for name, text := range files {
		report, err := validate.Run(t.Context(), name, string(text), validate.Lookups{})
		if err != nil {
			t.Fatal(err)
		}
		has := func(codes ...validate.Code) bool {
			return slices.ContainsFunc(report.Findings, func(f validate.Finding) bool { return slices.Contains(codes, f.Code) })
		}
		got := fates[name]
		if has(validate.CodeSyntax, validate.CodeFile, validate.CodeField) && !readAllTheSame[name] {
			lost++
			if got.Deployments > 0 {
				t.Errorf("%s: Prefect deploys %d of it; validate says %+v", name, got.Deployments, report.Findings)
			}
		} else if got.Deployments == 0 && report.Errors == 0 {
			t.Errorf("%s: Prefect deploys nothing of it; validate says %+v", name, report.Findings)
		}
		if has(validate.Code(jobspec.KindType)) && name != "token for a block" { // which the worker refuses
			refused++
			if len(got.Refusals) == 0 {
				t.Errorf("%s: the Prefect server takes it; validate says %+v", name, report.Findings)
			}
		}
		if len(got.Refusals) > 0 && report.Errors == 0 {
			t.Errorf("%s: the Prefect server refuses it: %s; validate says %+v", name, got.Refusals, report.Findings)
		}
	}
	if lost < 20 || refused < 15 {
		t.Errorf("%d files that Prefect cannot read and %d deployments that it refuses, want 20 and 15 at least", lost, refused)
	}
}

// readAllTheSame are files that Prefect reads, and that fail later.
var readAllTheSame = map[string]bool{
	"nothing behind work_pool":   true, // prefect deploy ends with a TypeError
	"inputs of a step beside it": true, // when the step is run
}

func wrongFiles(t *testing.T, archives ...string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range archives {
		archive, err := txtar.ParseFile(filepath.Join("..", "..", "internal", "validate", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range archive.Files {
			files[file.Name] = file.Data
		}
	}
	return files
}
