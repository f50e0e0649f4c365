package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const messagesPage = "docs/reference/messages.md"

// statesOf are the functions and constants of internal/worker whose texts are
// messages of states.
var statesOf = []string{
	"pendingMessage", "submittingMessage", "returningMessage", "handBackNow", "handBackForRetry", "cancelMessage",
	"cancelDeploymentGone", "submitFailed", "whatHappened",
}

// TestMessages compares the reference of messages with what the source of the
// worker writes.
func TestMessages(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(root, messagesPage))
	if err != nil {
		t.Fatal(err)
	}
	page := sections(string(raw))
	source := readMessages(t, "internal/worker", "internal/webhook")
	for section, want := range map[string]map[string]bool{
		"Warnings": source.warnings, "Other lines": source.infos, "The flow run's log": source.flowLog, "State messages": source.states,
	} {
		if len(want) == 0 {
			t.Errorf("%s: the source has no message: does this test look in the right place?", section)
		}
		got := slices.Sorted(maps.Keys(page[section]))
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), got); diff != "" {
			t.Errorf("%s, section %q (-source +page):\n%s", messagesPage, section, diff)
		}
	}
}

var messagePattern = regexp.MustCompile("(?m)^\\|(?: [A-Z][A-Za-z]+ \\|)? `([^`]+)` \\|")

// sections returns the messages in the tables of a page by the heading above.
func sections(page string) map[string]map[string]bool {
	found := map[string]map[string]bool{}
	for _, part := range regexp.MustCompile(`(?m)^##+ `).Split(page, -1)[1:] {
		heading, text, _ := strings.Cut(part, "\n")
		found[heading] = map[string]bool{}
		for _, m := range messagePattern.FindAllStringSubmatch(text, -1) {
			found[heading][m[1]] = true
		}
	}
	return found
}

// messages are what packages write, with … for what is filled in.
type messages struct {
	warnings, infos, flowLog, states map[string]bool
	constants                        map[string]string // of the packages, by name
}

func readMessages(t *testing.T, folders ...string) messages {
	t.Helper()
	m := messages{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]string{}}
	var paths []string
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	for _, file := range files {
		for _, declaration := range file.Decls {
			if general, ok := declaration.(*ast.GenDecl); ok {
				m.readNames(m.constants, general)
			}
		}
	}
	for _, file := range files {
		for _, declaration := range file.Decls {
			m.readState(declaration)
			if function, ok := declaration.(*ast.FuncDecl); ok {
				m.readCalls(function)
			}
		}
	}
	return m
}

// readNames reads what names stand for inside a node.
func (m messages) readNames(names map[string]string, node ast.Node) {
	ast.Inspect(node, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.ValueSpec:
			for i, value := range n.Values {
				names[n.Names[i].Name] = m.text(names, value)
			}
		case *ast.AssignStmt:
			if name, ok := n.Lhs[0].(*ast.Ident); ok && len(n.Rhs) == 1 {
				names[name.Name] = m.text(names, n.Rhs[0])
			}
		}
		return true
	})
}

// readCalls reads the messages of the calls in a function that log.
func (m messages) readCalls(function *ast.FuncDecl) {
	names := maps.Clone(m.constants)
	m.readNames(names, function)
	ast.Inspect(function, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		into, at := m.of(lastName(selector.X), selector.Sel.Name)
		if into == nil {
			return true
		}
		text := strings.TrimSuffix(m.text(names, call.Args[at]), "\n…")
		if text != "" && text != "…" { // what is passed on was read where it was made
			into[text] = true
		}
		return true
	})
}

// of returns what kind of messages a method writes, and which argument they are.
func (m messages) of(receiver, method string) (into map[string]bool, argument int) {
	switch receiver + "." + method {
	case "log.WarnContext":
		return m.warnings, 1
	case "log.Warn":
		return m.warnings, 0
	case "log.InfoContext":
		return m.infos, 1
	case "said.trouble":
		return m.warnings, 2
	case "flowLogs.add":
		return m.flowLog, 2
	}
	return nil, 0
}

// readState reads what a declaration that makes messages of states says.
func (m messages) readState(declaration ast.Decl) {
	var names []string
	switch d := declaration.(type) {
	case *ast.FuncDecl:
		names = []string{d.Name.Name}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if value, ok := spec.(*ast.ValueSpec); ok {
				names = append(names, value.Names[0].Name)
			}
		}
	}
	if !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(statesOf, name) }) {
		return
	}
	ast.Inspect(declaration, func(node ast.Node) bool {
		literal, ok := node.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		// A message is a sentence: the words that are filled into one, and what is
		// logged, are not.
		text := strings.TrimSpace(strings.TrimPrefix(filledIn(unquote(literal)), "…\n"))
		if len(text) > 20 && text[0] >= 'A' && text[0] <= 'Z' {
			m.states[text] = true
		}
		return true
	})
}

// text returns what an expression says, with … for what is not known here.
func (m messages) text(names map[string]string, expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.BasicLit:
		return filledIn(unquote(e))
	case *ast.Ident:
		return names[e.Name]
	case *ast.BinaryExpr:
		return m.text(names, e.X) + "…"
	case *ast.CallExpr:
		if lastName(e.Fun) == "Subject" { // of a warning about a job variable
			return "job variable …"
		}
	}
	return ""
}

func lastName(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func unquote(literal *ast.BasicLit) string {
	text, _ := strconv.Unquote(literal.Value) // the parser has read it
	return text
}

var verbPattern = regexp.MustCompile(`(%[a-z])+`)

// filledIn puts … for the verbs of a format.
func filledIn(format string) string {
	return verbPattern.ReplaceAllString(strings.ReplaceAll(format, "%q", `"…"`), "…")
}
