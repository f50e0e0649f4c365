// Package deps keeps the directions in which our packages import one another.
package deps

import (
	"errors"
	"go/build"
	"io/fs"
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
	"cmd/prefect-northflank":   {"internal/cli"},
	"internal/cli":             {anything},
	"internal/worker":          {"internal/prefect", "internal/northflank", "internal/jobspec"},
	"internal/doctor":          {"internal/worker", "internal/prefect", "internal/northflank", "internal/jobspec"},
	"internal/validate":        {"internal/worker", "internal/prefect", "internal/northflank", "internal/jobspec"},
	"internal/jobspec":         {"internal/northflank"},
	"internal/prefect":         {},
	"internal/probe":           {"internal/northflank"},
	"internal/estimate":        {"internal/worker", "internal/prefect", "internal/northflank", "internal/jobspec"},
	"internal/starter":         {},
	"internal/northflank":      {},
	"internal/status":          {"internal/worker"},
	"internal/secret":          {},
	"internal/webhook":         {},
	"internal/localstack":      {},
	"internal/hostile":         {},
	"internal/testkit":         {anything},
	"internal/testkit/standin": {"internal/worker", "internal/prefect", "internal/northflank", "internal/jobspec"},
	"demo":                     {"internal/localstack"},
	"bench":                    {"internal/localstack"},

	// Never northflank: one misreading of the API must not sit on both sides.
	"internal/emulator": {},
}

// pure packages compute: no files, no network, no environment, no processes.
var pure = map[string][]string{
	"internal/jobspec":  {"os", "os/exec", "net", "net/http"},
	"internal/validate": {"os", "os/exec", "net", "net/http"},
}

// elsewhere holds folders that the table is not about: tests as a whole may
// import anything, tools is a module of its own, the rest holds no Go.
var elsewhere = []string{"test", "tools", "python", "docs", "examples"}

func TestImportDirections(t *testing.T) {
	t.Parallel()
	for name, pkg := range packages(t) {
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
	case forTests(imported) && !forTests(name):
		return "test helpers are for tests alone"
	case imported == "internal/secret" && name != "internal/emulator":
		return ""
	case slices.Contains(allowed, anything) || slices.Contains(allowed, imported):
		return ""
	default:
		return "not one of " + strings.Join(append(allowed, "nothing else of ours"), ", ")
	}
}

func forTests(name string) bool {
	return name == "internal/hostile" || name == "internal/testkit" || strings.HasPrefix(name, "internal/testkit/")
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
		{"hostile input in the program", "internal/cli", "internal/hostile", false},
		{"test programs in the program", "internal/cli", "internal/testkit/standin", false},
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

// packages reads the imports of every package of the module outside test/, by
// its path inside the module. It reads the sources itself, rather than ask `go
// list`, so that the test cache notices when one changes.
func packages(t *testing.T) map[string]*build.Package {
	t.Helper()
	root := filepath.Join("..", "..")
	context := build.Default
	context.BuildTags = append(context.BuildTags, "e2e")
	found := make(map[string]*build.Package)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		if hidden := strings.HasPrefix(entry.Name(), ".") && path != root; hidden || slices.Contains(elsewhere, name) {
			return filepath.SkipDir
		}
		pkg, err := context.ImportDir(path, 0)
		if _, empty := errors.AsType[*build.NoGoError](err); empty {
			return nil
		}
		found[name] = pkg
		return err
	})
	if err != nil {
		t.Fatalf("read the packages: %v", err)
	}
	if found["cmd/prefect-northflank"] == nil {
		t.Fatalf("read %d packages, cmd/prefect-northflank not among them", len(found))
	}
	return found
}
