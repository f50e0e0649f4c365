// Package starter answers: which flows does a folder hold, and what prefect.yaml
// deploys them? It reads Python files without running them, and writes nothing.
package starter

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Flow is a function that Prefect runs as a flow.
type Flow struct {
	Name       string // in Prefect; "" when it is computed and so not known
	Entrypoint string // "etl/flows.py:nightly"
}

// What a folder is searched for, at most. A folder that has more is more than a
// project, and the user names the flows.
const (
	maxDepth    = 8
	maxFiles    = 2000
	maxFileSize = 1 << 20
	maxFlows    = 100
)

// errTooMuch ends the search of a folder.
var errTooMuch = errors.New("too many files")

// FindFlows finds the flows in the Python files of a folder: functions at the
// top level of a file that Prefect's flow decorates. Hidden folders, virtual
// environments and installed packages are passed over, and so are files that
// cannot be read. complete is false when the folder is too large to be searched
// to its end.
func FindFlows(folder fs.FS) (flows []Flow, complete bool, err error) {
	files := 0
	err = fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			return skip(entry)
		case entry.IsDir():
			if name != "." && passedOver(folder, name) {
				return fs.SkipDir
			}
			return nil
		case path.Ext(name) != ".py" || !entry.Type().IsRegular():
			return nil
		}
		if files++; files > maxFiles || len(flows) > maxFlows {
			return errTooMuch
		}
		source, err := readFile(folder, name)
		if err != nil {
			return nil // somebody else's, or gone meanwhile
		}
		flows = append(flows, flowsIn(name, source)...)
		return nil
	})
	complete = !errors.Is(err, errTooMuch)
	if err != nil && complete {
		return nil, false, fmt.Errorf("look for flows: %w", err)
	}
	slices.SortStableFunc(flows, func(a, b Flow) int {
		return cmp.Compare(strings.Count(a.Entrypoint, "/"), strings.Count(b.Entrypoint, "/"))
	})
	return flows, complete, nil
}

func skip(entry fs.DirEntry) error {
	if entry != nil && entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// passedOver reports whether a folder holds no flows of the project.
func passedOver(folder fs.FS, name string) bool {
	if strings.Count(name, "/") >= maxDepth {
		return true
	}
	switch base := path.Base(name); {
	case strings.HasPrefix(base, "."):
		return true
	case slices.Contains([]string{"__pycache__", "node_modules", "site-packages", "venv"}, base):
		return true
	}
	_, err := fs.Stat(folder, name+"/pyvenv.cfg") // Python docs: it marks a virtual environment
	return err == nil
}

func readFile(folder fs.FS, name string) (string, error) {
	f, err := folder.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if len(text) > maxFileSize {
		return "", errTooMuch
	}
	return string(text), err
}

// flowsIn finds the flows of one file.
func flowsIn(file, source string) []Flow {
	if !strings.Contains(source, "prefect") {
		return nil
	}
	var flows []Flow
	names := flowNames{}
	decorators := []string{}
	for _, line := range topLines(source) {
		if strings.HasPrefix(line, "@") {
			decorators = append(decorators, line[1:])
			continue
		}
		if function := definedFunction(line); function != "" {
			for _, decorator := range decorators {
				if arguments, ok := names.decorates(decorator); ok {
					flows = append(flows, Flow{Name: flowName(function, arguments), Entrypoint: file + ":" + function})
					break
				}
			}
		}
		names.learn(line)
		decorators = decorators[:0]
	}
	return flows
}

// definedFunction is the name of the function that a line defines, "" if none.
func definedFunction(line string) string {
	words := strings.Fields(line)
	if len(words) > 0 && words[0] == "async" {
		words = words[1:]
	}
	if len(words) < 2 || words[0] != "def" {
		return ""
	}
	name, _, _ := strings.Cut(words[1], "(")
	return identifier(name)
}

// flowNames are the names by which a file knows Prefect's decorator.
type flowNames map[string]bool

// learn reads an import: "from prefect import flow as f", "import prefect as p".
func (n flowNames) learn(line string) {
	line = strings.NewReplacer("(", " ", ")", " ", "\n", " ", "\\", " ").Replace(line)
	switch words := strings.Fields(line); {
	case len(words) > 3 && words[0] == "from" && words[2] == "import" && (words[1] == "prefect" || words[1] == "prefect.flows"):
		_, list, _ := strings.Cut(line, "import")
		for part := range strings.SplitSeq(list, ",") {
			switch name, as := imported(part); name {
			case "flow":
				n[as] = true
			case "*":
				n["flow"] = true
			}
		}
	case len(words) > 1 && words[0] == "import":
		_, list, _ := strings.Cut(line, "import")
		for part := range strings.SplitSeq(list, ",") {
			if name, as := imported(part); name == "prefect" || name == "prefect.flows" {
				n[as+".flow"] = true
			}
		}
	}
}

// imported reads "name" or "name as other".
func imported(part string) (name, as string) {
	words := strings.Fields(part)
	switch {
	case len(words) == 3 && words[1] == "as":
		return words[0], words[2]
	case len(words) == 1:
		return words[0], words[0]
	}
	return "", ""
}

// decorates reports whether a decorator makes a flow, and with which arguments.
func (n flowNames) decorates(decorator string) (arguments string, ok bool) {
	name, arguments, called := strings.Cut(decorator, "(")
	if !called {
		name = decorator
	}
	return arguments, n[strings.TrimSpace(name)]
}
