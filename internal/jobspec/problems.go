package jobspec

import (
	"fmt"
	"strings"
)

// Problem is one job variable that cannot be used as it is.
type Problem struct {
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
