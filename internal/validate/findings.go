package validate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// Severity says what a finding means for flow runs.
type Severity string

// The severities, in SARIF's words.
const (
	Error   Severity = "error"   // prefect deploy fails, or flow runs do, or what was written is lost
	Warning Severity = "warning" // it may not be what was meant
	Note    Severity = "note"    // it could not be found out here
)

// Code names a sort of finding, the same in every release. Those of job
// variables are [jobspec.Kind]s.
type Code string

// The codes of findings that are not about the value of a job variable.
const (
	CodeSyntax      Code = "syntax"
	CodeFile        Code = "unreadable-file"
	CodeDuplicate   Code = "duplicate-key"
	CodeKey         Code = "key-without-quotes"
	CodeField       Code = "wrong-field"
	CodeUnknown     Code = "unknown-field"
	CodeMissing     Code = "missing-field"
	CodePool        Code = "unknown-work-pool"
	CodePlaceholder Code = "undefined-placeholder"
	CodeNoValue     Code = "no-placeholder"
	CodeEnvironment Code = "unset-environment"
	CodeVariable    Code = "unknown-variable"
	CodePlan        Code = "unknown-plan"
	CodeGPU         Code = "unknown-gpu"
)

// Rule describes a code.
type Rule struct {
	Code     Code
	Severity Severity // that its findings mostly have
	Text     string
}

// Rules returns every code that a finding can have.
func Rules() []Rule {
	kind := func(k jobspec.Kind, s Severity, text string) Rule { return Rule{Code(k), s, text} }
	return []Rule{
		{CodeSyntax, Error, "The file is not YAML."},
		{CodeFile, Error, "The file is YAML, but not what Prefect can read."},
		{CodeDuplicate, Error, "A key stands twice in one object, and all but the last value are lost."},
		{CodeKey, Error, "YAML takes a key for something else than a text."},
		{CodeField, Error, "A field has the wrong type, for which Prefect passes over every deployment of the file."},
		{CodeUnknown, Error, "Prefect ignores a field that it does not know."},
		{CodeMissing, Warning, "A field is missing that prefect deploy needs where nobody can be asked."},
		{CodePool, Error, "The work pool does not exist."},
		{CodePlaceholder, Error, "Nothing defines a placeholder, and prefect deploy drops what it stands for."},
		{CodeNoValue, Warning, "Something looks like a placeholder and is none, so that it stays as it is written."},
		{CodeEnvironment, Warning, "An environment variable is not set."},
		{CodeVariable, Error, "A Prefect variable does not exist, and becomes an empty text."},
		{CodePlan, Warning, "Northflank lists no such deployment plan."},
		{CodeGPU, Warning, "Northflank does not offer such a GPU, or not that many at a time."},
		kind(jobspec.KindUnknown, Error, "A job variable does not exist, and is ignored."),
		kind(jobspec.KindNotInPool, Error, "The work pool's base job template lacks a job variable, and it is ignored."),
		kind(jobspec.KindNoEffect, Warning, "A job variable has no effect."),
		kind(jobspec.KindMissing, Error, "A job variable is missing."),
		kind(jobspec.KindBlock, Error, "A block does not exist, or holds nothing at the path."),
		kind(jobspec.KindType, Error, "A job variable has the wrong type, for which the Prefect server refuses the deployment."),
		kind(jobspec.KindValue, Error, "A job variable has a value that cannot be used."),
		kind(jobspec.KindContradiction, Error, "Two job variables exclude each other."),
		kind(jobspec.KindMemory, Warning, "A deployment plan has little memory for Prefect."),
		kind(jobspec.KindGPU, Warning, "Deployment plan and GPU do not fit each other."),
		kind(jobspec.KindSecret, Warning, "A secret is, or will be, readable for everybody who may read the file or the deployment."),
		kind(jobspec.KindCommand, Warning, "A command will not do what it seems to."),
		kind(jobspec.KindAnyBuild, Warning, "Which build is run is left open."),
		kind(jobspec.KindStartsAlone, Warning, "Northflank will start containers that belong to no flow run."),
	}
}

// Finding is one thing to object to. No text in it holds a secret.
type Finding struct {
	Code        Code     `json:"code"`
	Severity    Severity `json:"severity"`
	Line        int      `json:"line"`
	Column      int      `json:"column"`
	EndLine     int      `json:"end_line"`
	EndColumn   int      `json:"end_column"` // the first column behind it
	Deployments []string `json:"deployments,omitempty"`
	JobVariable string   `json:"job_variable,omitempty"`
	Message     string   `json:"message"`
	NextStep    string   `json:"next_step,omitempty"`
	Excerpt     Excerpt  `json:"-"`
}

// findings collects what is found, each thing once however many deployments
// share the place.
type findings struct {
	deployment string // the one that is looked at; "" for the file
	all        []*Finding
}

func (f *findings) add(s Severity, code Code, at Span, message, next string) *Finding {
	i := slices.IndexFunc(f.all, func(have *Finding) bool {
		return have.Code == code && have.Line == at.Line && have.Column == at.Column && have.Message == message
	})
	if i < 0 {
		i = len(f.all)
		f.all = append(f.all, &Finding{
			Code: code, Severity: s, Line: at.Line, Column: at.Column, EndLine: at.EndLine, EndColumn: at.EndColumn,
			Message: message, NextStep: next,
		})
	}
	if found := f.all[i]; f.deployment != "" && !slices.Contains(found.Deployments, f.deployment) {
		found.Deployments = append(found.Deployments, f.deployment)
	}
	return f.all[i]
}

// about is add for a job variable.
func (f *findings) about(variable string, s Severity, code Code, at Span, cause, next string) {
	f.add(s, code, at, fmt.Sprintf("job variable %s: %s", variable, cause), next).JobVariable = variable
}

// ordered returns the findings in the order of the file, secrets hidden.
func (f *findings) ordered(scrub *secret.Scrubber) []Finding {
	slices.SortStableFunc(f.all, func(a, b *Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	out := make([]Finding, len(f.all))
	for i, found := range f.all {
		out[i] = *found
		out[i].Message, out[i].NextStep = scrub.Text(found.Message), scrub.Text(found.NextStep)
	}
	return out
}
