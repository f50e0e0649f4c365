package validate_test

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/northflank/prefect-northflank/internal/validate"
)

// sarifLog is what SARIF 2.1.0 requires of a log with results, and what GitHub's
// code scanning needs to show one.
type sarifLog struct {
	Schema  string `json:"$schema"`
	Version string `json:"version"`
	Runs    []struct {
		Tool struct {
			Driver struct {
				Name  string `json:"name"`
				Rules []struct {
					ID               string                `json:"id"`
					ShortDescription struct{ Text string } `json:"shortDescription"`
				} `json:"rules"`
			} `json:"driver"`
		} `json:"tool"`
		ColumnKind string `json:"columnKind"`
		Results    []struct {
			RuleID    string                `json:"ruleId"`
			RuleIndex int                   `json:"ruleIndex"`
			Level     string                `json:"level"`
			Message   struct{ Text string } `json:"message"`
			Locations []struct {
				PhysicalLocation struct {
					ArtifactLocation struct{ URI string } `json:"artifactLocation"`
					Region           struct {
						StartLine, StartColumn, EndLine, EndColumn int
					} `json:"region"`
				} `json:"physicalLocation"`
			} `json:"locations"`
		} `json:"results"`
	} `json:"runs"`
}

func TestSARIF(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal(archives, err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range archive.Files {
			report, err := validate.Run(t.Context(), "./my flows/prefect.yaml", string(file.Data), online(t))
			if err != nil {
				t.Fatal(err)
			}
			checkSARIF(t, file.Name, report)
		}
	}
}

func checkSARIF(t *testing.T, name string, report validate.Report) {
	t.Helper()
	raw, err := json.Marshal(report.SARIF("1.2.3"))
	if err != nil {
		t.Fatal(err)
	}
	checkNoSecrets(t, string(raw))
	var log sarifLog
	if err := json.Unmarshal(raw, &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || log.Schema == "" || len(log.Runs) != 1 {
		t.Fatalf("%s: version %q, schema %q, %d runs", name, log.Version, log.Schema, len(log.Runs))
	}
	run := log.Runs[0]
	if run.Tool.Driver.Name == "" || run.ColumnKind != "unicodeCodePoints" || len(run.Results) != len(report.Findings) {
		t.Errorf("%s: tool %q, columns in %q, %d results of %d findings", name, run.Tool.Driver.Name, run.ColumnKind, len(run.Results), len(report.Findings))
	}
	for i, r := range run.Results {
		if rule := run.Tool.Driver.Rules[r.RuleIndex]; rule.ID != r.RuleID || rule.ShortDescription.Text == "" {
			t.Errorf("%s: rule %q at index %d, where %q is", name, r.RuleID, r.RuleIndex, rule.ID)
		}
		if r.Level != string(report.Findings[i].Severity) || r.Message.Text == "" || len(r.Locations) != 1 {
			t.Fatalf("%s: result %+v of finding %+v", name, r, report.Findings[i])
		}
		at := r.Locations[0].PhysicalLocation
		if u, err := url.Parse(at.ArtifactLocation.URI); err != nil || u.IsAbs() || u.Path != "my flows/prefect.yaml" {
			t.Errorf("%s: address %q, want one relative to the repository", name, at.ArtifactLocation.URI)
		}
		// SARIF: lines and columns count from 1, and a region does not end before it begins.
		region := at.Region
		if region.StartLine < 1 || region.StartColumn < 1 || region.EndLine < region.StartLine || region.EndLine == region.StartLine && region.EndColumn < region.StartColumn {
			t.Errorf("%s: region %+v", name, region)
		}
	}
}
