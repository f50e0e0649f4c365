// Package deps keeps the directions in which our packages import one another.
package deps

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/northflank/prefect-northflank"

// anything marks a package that may import every other one.
const anything = "*"

// mayImport says, for each package, which others of ours it may import. Secret
// may be imported by all but the emulator. A new package is entered here with
// the question that it answers in its package comment.
var mayImport = map[string][]string{
	"cmd/prefect-northflank": {"internal/cli"},
	"internal/cli":           {anything},
	"internal/worker":        {"internal/prefect", "internal/northflank", "internal/jobspec"},
	"internal/jobspec":       {"internal/northflank"},
	"internal/prefect":       {},
	"internal/northflank":    {},
	"internal/status":        {},
	"internal/secret":        {},
	"internal/localstack":    {},
	"internal/testkit":       {anything},
	"demo":                   {"internal/localstack"},
	"bench":                  {"internal/localstack"},

	// Never northflank: one misreading of the API must not sit on both sides.
	"internal/emulator": {},
}

// pure packages compute: no files, no network, no environment, no processes.
var pure = map[string][]string{
	"internal/jobspec": {"os", "os/exec", "net", "net/http"},
}

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestImportDirections(t *testing.T) {
	t.Parallel()
	for _, pkg := range listPackages(t) {
		name := ours(pkg.ImportPath)
		if strings.HasPrefix(name, "test/") {
			continue // tests as a whole may import anything
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s is not in the table: say what it may import", name)
			continue
		}
		imports := pkg.Imports
		if name == "internal/emulator" { // nor may its tests lean on the client
			imports = slices.Concat(imports, pkg.TestImports, pkg.XTestImports)
		}
		for _, imported := range imports {
			if slices.Contains(pure[name], imported) {
				t.Errorf("%s imports %s, but it must stay pure", name, imported)
			}
			if problem := judge(name, allowed, ours(imported)); problem != "" {
				t.Errorf("%s imports %s: %s", name, ours(imported), problem)
			}
		}
	}
}

// judge returns why the package name may not import imported, "" when it may.
// Both are paths inside the module; imported is "" for other people's packages.
func judge(name string, allowed []string, imported string) string {
	switch {
	case imported == "" || imported == name:
		return ""
	case imported == "internal/testkit" && name != "internal/testkit":
		return "test helpers are for tests alone"
	case imported == "internal/secret" && name != "internal/emulator":
		return ""
	case slices.Contains(allowed, anything) || slices.Contains(allowed, imported):
		return ""
	default:
		return "not one of " + strings.Join(append(allowed, "nothing else of ours"), ", ")
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, pkg, imported string
		want                bool
	}{
		{"a foreign package", "internal/prefect", "", true},
		{"along the table", "internal/worker", "internal/jobspec", true},
		{"against the table", "internal/jobspec", "internal/worker", false},
		{"the emulator and the client", "internal/emulator", "internal/northflank", false},
		{"the emulator and secret", "internal/emulator", "internal/secret", false},
		{"secret anywhere else", "internal/northflank", "internal/secret", true},
		{"test helpers in the program", "internal/cli", "internal/testkit", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := judge(tt.pkg, mayImport[tt.pkg], tt.imported) == ""
			if got != tt.want {
				t.Errorf("%s may import %s = %t, want %t", tt.pkg, tt.imported, got, tt.want)
			}
		})
	}
}

// ours returns the path inside this module, "" for a package of anybody else.
func ours(importPath string) string {
	name, found := strings.CutPrefix(importPath, module+"/")
	if !found {
		return ""
	}
	return name
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", "e2e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg goPackage
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, pkg)
	}
	if len(packages) < 2 {
		t.Fatalf("go list found %d packages, want the whole module", len(packages))
	}
	return packages
}
