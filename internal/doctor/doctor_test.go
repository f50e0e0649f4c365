package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// TestHealthy finds nothing where nothing is wrong, and says so in the form that
// scripts read.
func TestHealthy(t *testing.T) {
	var report Report
	synctest.Test(t, func(t *testing.T) {
		report = examine(t.Context(), t, newWorld(t, healthy()))
	})
	for _, r := range report.Results {
		if r.Status != OK && !(r.Check == "log-stream" && r.Status == Skipped) {
			t.Errorf("%+v, want nothing wrong", r)
		}
	}
	const most = 8
	if report.Requests > most {
		t.Errorf("it took %d requests to Northflank, want %d at most", report.Requests, most)
	}
	var got bytes.Buffer
	enc := json.NewEncoder(&got)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(report); err != nil {
		t.Fatal(err)
	}
	const file = "testdata/healthy.json"
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("report (-want +got), -update rewrites it:\n%s", diff)
	}
}

// TestHealthyVariants finds nothing in other set-ups that are as they should be.
func TestHealthyVariants(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*setup)
	}{
		{"permissions under their old names", func(s *setup) {
			s.token.Permissions = oldRights()
			s.switches[emulator.SwitchPermissions] = "old"
		}},
		{"permissions that Northflank does not tell", func(s *setup) { s.token.Permissions = nil }},
		{"a Northflank that does not describe tokens", func(s *setup) { s.switches[emulator.SwitchTokenInfo] = "absent" }},
		{"a token restricted to the projects in use", func(s *setup) { s.token.Projects = []string{"data", "training"} }},
		{"an organisation's token with a team", func(s *setup) {
			s.token.Organisation = true
			s.block = with(s.block, "team_id", "acme")
		}},
		{"the only pool of its type", func(s *setup) { s.poolName = "" }},
		{"an empty template, credentials in the deployments", func(s *setup) {
			s.pool.Template, s.poolRef = nil, false
			for _, d := range []*map[string]any{&s.etl, &s.built, &s.gpu} {
				*d = with(*d, "credentials_block", "creds")
			}
		}},
		{"no deployments yet", func(s *setup) { s.etl, s.built, s.gpu = nil, nil, nil }},
		{"no deployments, and a Northflank that does not describe tokens", func(s *setup) {
			s.etl, s.built, s.gpu = nil, nil, nil
			s.switches[emulator.SwitchTokenInfo] = "absent"
		}},
		{"no webhook", func(s *setup) { s.hookURL, s.webhook = "", "https://others.example" }},
		{"lists with cursors", func(s *setup) { s.switches[emulator.SwitchPagination] = "cursor" }},
		{"an address of the Prefect API for flow runs alone", func(s *setup) {
			s.apiURL = "http://10.0.0.1/api"
			for _, d := range []*map[string]any{&s.etl, &s.built, &s.gpu} {
				*d = with(*d, "runtime_environment", map[string]any{"PREFECT_API_URL": testkit.BaseURL})
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := healthy()
				tt.change(s)
				report := examine(t.Context(), t, newWorld(t, s))
				if report.Failures+report.Warnings > 0 {
					t.Errorf("found\n%s", findings(report))
				}
			})
		})
	}
}

// TestEnvironmentAlone looks at Northflank although Prefect is not to be had.
func TestEnvironmentAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := healthy()
		s.wrapPrefect = append(s.wrapPrefect, unreachable)
		s.token.ExpiresAt = time.Now().Add(-time.Hour)
		w := newWorld(t, s)
		w.options.Account = jobspec.Account{BaseURL: northflankURL, Token: secret.New(plantedToken)}
		report := examine(t.Context(), t, w)
		for _, f := range plantedFaults() {
			if (f.name == "Prefect is down" || f.name == "token expired") && !f.finds(report) {
				t.Errorf("%s was not found in\n%s", f.name, findings(report))
			}
		}
	})
}

// TestRunEndsWithTheContext: an interrupted examination is no report.
func TestRunEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, healthy())
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		w.options.Begin = func(check string) {
			if check == "project" {
				cancel(stopped)
			}
		}
		if report, err := Run(ctx, w.options); !errors.Is(err, stopped) || len(report.Results) > 0 {
			t.Errorf("Run() = %+v, %v, want nothing and %v", report, err, stopped)
		}
	})
}
