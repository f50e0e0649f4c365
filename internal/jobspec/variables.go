package jobspec

import (
	"regexp"
	"sync"
)

// Type is what a job variable holds.
type Type string

// The types of job variables.
const (
	TypeText        Type = "text"
	TypeInteger     Type = "integer"
	TypeBoolean     Type = "boolean"
	TypeTextList    Type = "list of texts"
	TypeTextMap     Type = "map of texts"
	TypeEnvironment Type = "map of texts or null"
	TypeCredentials Type = "Northflank block"
)

// Level says what a job variable decides about.
type Level string

// The levels of job variables.
const (
	LevelJob    Level = "job"     // part of the Northflank job: flow runs that differ in it need jobs of their own
	LevelRun    Level = "job run" // an override of one job run
	LevelWorker Level = "worker"  // what the worker does; Northflank never sees it
)

// Section groups job variables in the documentation.
type Section string

// The sections, in the order in which they are documented.
const (
	SectionAccount     Section = "Account and project"
	SectionImage       Section = "Image"
	SectionCommand     Section = "Command"
	SectionEnvironment Section = "Environment and files"
	SectionCompute     Section = "Compute"
	SectionJob         Section = "Job"
	SectionLimits      Section = "Limits and retries"
	SectionWorker      Section = "Worker"
)

// Variable is one row of the table of job variables. The base job template,
// the documentation and the checks are made from it.
type Variable struct {
	Name        string
	Type        Type
	NotNull     bool // the template's schema does not offer null
	Default     any  // nil: none
	Title       string
	Description string
	Place       string // path in the request to Northflank, or what the worker does with it
	Section     Section
	Level       Level
	Original    bool // also in prefect-northflank 1.0.1, with this name, type and default

	// What a value must be. Constraint says it in words, to follow "must be";
	// the others are checked by machine where they are set.
	Constraint string
	OneOf      []string
	Min, Max   int // of an integer; Max 0: no bounds
	Pattern    *regexp.Regexp
	MaxLength  int    // of a text in characters; 0: any
	Example    string // a value that works, for messages
}

// maxInt32 bounds counts and seconds that Northflank hands to Kubernetes.
const maxInt32 = 1<<31 - 1

// Northflank docs, api/jobs: the patterns of the create body.
var (
	refPattern   = regexp.MustCompile(`^[a-zA-Z](-?[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*)?$`)
	slugPattern  = regexp.MustCompile(`^[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*$`)
	credPattern  = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
	planPattern  = regexp.MustCompile(`^[a-zA-Z0-9]+([-_][a-zA-Z0-9]+)*$`) // documented without "_", yet nf-gpu-rtx_pro_6000-96-1g has it
	imagePattern = regexp.MustCompile(`^(?:(?:https?://)?([a-zA-Z0-9\-]+\.[a-zA-Z0-9.\-]+)(/v1)?)?(?:/)?([a-zA-Z/-9.\-_]+)(?::([a-zA-Z/-9.\-_:]+)|@([a-zA-Z/-9.\-_:]+))$`)
)

// Variables returns the table of job variables, in the order in which forms
// show them. The caller may keep it but not change it.
func Variables() []Variable { return table() }

// Lookup returns the row of the named job variable.
func Lookup(name string) (Variable, bool) {
	i, ok := rows()[name]
	if !ok {
		return Variable{}, false
	}
	return table()[i], true
}

var rows = sync.OnceValue(func() map[string]int {
	byName := make(map[string]int, len(table()))
	for i, v := range table() {
		byName[v.Name] = i
	}
	return byName
})

var table = sync.OnceValue(func() []Variable {
	var all []Variable
	for _, part := range [][]Variable{
		baseVariables, accountVariables, computeVariables, imageVariables,
		commandVariables, environmentVariables, limitVariables, workerVariables,
	} {
		all = append(all, part...)
	}
	return all
})
