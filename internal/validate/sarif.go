package validate

import (
	"net/url"
	"path/filepath"
	"strings"
)

// SARIF is a report for programs that show findings beside the lines of a
// change. OASIS: Static Analysis Results Interchange Format 2.1.0.
type SARIF struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool       sarifTool     `json:"tool"`
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	Version        string      `json:"version"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID            Code         `json:"id"`
	Short         sarifText    `json:"shortDescription"`
	HelpURI       string       `json:"helpUri"`
	Configuration sarifDefault `json:"defaultConfiguration"`
}

type sarifDefault struct {
	Level Severity `json:"level"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID    Code            `json:"ruleId"`
	RuleIndex int             `json:"ruleIndex"`
	Level     Severity        `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	Physical sarifPhysical `json:"physicalLocation"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   sarifRegion   `json:"region"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn"`
	EndLine     int `json:"endLine"`
	EndColumn   int `json:"endColumn"`
}

const (
	home     = "https://github.com/northflank/prefect-northflank"
	helpPage = home + "/blob/main/docs/how-to/check-a-prefect-yaml.md"
)

// SARIF returns the report of a release of this product in that form.
func (r Report) SARIF(version string) SARIF {
	run := sarifRun{
		Tool:       sarifTool{sarifDriver{Name: "prefect-northflank", Version: version, InformationURI: home}},
		ColumnKind: "unicodeCodePoints", Results: []sarifResult{},
	}
	index := map[Code]int{}
	for i, rule := range Rules() {
		index[rule.Code] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{rule.Code, sarifText{rule.Text}, helpPage, sarifDefault{rule.Severity}})
	}
	for _, f := range r.Findings {
		message := f.Message
		if f.NextStep != "" {
			message += ". Next: " + f.NextStep
		}
		run.Results = append(run.Results, sarifResult{
			RuleID: f.Code, RuleIndex: index[f.Code], Level: f.Severity, Message: sarifText{message},
			Locations: []sarifLocation{{sarifPhysical{
				sarifArtifact{uriOf(r.File)}, sarifRegion{f.Line, f.Column, f.EndLine, f.EndColumn},
			}}},
		})
	}
	return SARIF{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}}
}

// uriOf is a path as a URI: relative, as it was given, or of a file.
func uriOf(path string) string {
	slashes := strings.TrimPrefix(filepath.ToSlash(path), "./")
	u := url.URL{Path: slashes}
	if filepath.IsAbs(path) {
		u.Scheme = "file"
	}
	return u.String()
}
