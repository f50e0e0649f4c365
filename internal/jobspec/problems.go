package jobspec

import (
	"fmt"
	"strings"
)

// Kind says what sort of thing is wrong with a job variable. The words stay the
// same from release to release: scripts look for them.
type Kind string

// The kinds of problems and warnings.
const (
	KindUnknown       Kind = "unknown-job-variable"
	KindNotInPool     Kind = "not-in-work-pool"     // known, but the pool's template lacks it
	KindNoEffect      Kind = "no-effect"            // given, and reaches nothing
	KindMissing       Kind = "missing-job-variable" // another one needs it, or every flow run does
	KindBlock         Kind = "unknown-block"
	KindType          Kind = "wrong-type"
	KindValue         Kind = "wrong-value"
	KindContradiction Kind = "contradiction" // two that exclude each other
	KindMemory        Kind = "small-memory"
	KindGPU           Kind = "gpu-mismatch"
	KindSecret        Kind = "secret-in-clear"
	KindCommand       Kind = "shell-command"
	KindAnyBuild      Kind = "any-build"    // which build is run is left open
	KindStartsAlone   Kind = "starts-alone" // containers without a flow run
)

// Problem is one job variable that cannot be used as it is.
type Problem struct {
	Kind     Kind
	Variable string
	Value    string // as JSON, secrets hidden; "" when not set
	Origin   Origin
	Cause    string
	NextStep string
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Variable)
	if p.Value != "" {
		b.WriteString(" " + p.Value)
	}
	if from := p.Origin.String(); from != "" {
		b.WriteString(" (" + from + ")")
	}
	b.WriteString(": " + p.Cause)
	if p.NextStep != "" {
		b.WriteString("; " + p.NextStep)
	}
	return b.String()
}

// InvalidError holds everything that is wrong with a flow run's job variables,
// in the order of the table. No value in it is a secret.
type InvalidError struct{ Problems []Problem }

func (e *InvalidError) Error() string {
	if len(e.Problems) == 1 {
		return "job variable " + e.Problems[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d job variables cannot be used:", len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  - " + p.String())
	}
	return b.String()
}

// Hint is the next step that holds whatever the problems are.
func (e *InvalidError) Hint() string {
	return "see every value with its origin: prefect-northflank render"
}
