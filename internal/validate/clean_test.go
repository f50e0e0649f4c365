package validate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/validate"
)

// TestRightFiles has nothing to object to in files that work, but for the
// warnings that they deserve.
func TestRightFiles(t *testing.T) {
	t.Parallel()
	tests := []struct {
		file string
		want []string
	}{
		{"../../examples/basic/prefect.yaml", []string{
			"warning secret-in-clear credentials", "warning small-memory billing_deployment_plan",
			"warning secret-in-clear credentials", "warning secret-in-clear credentials",
		}},
		{"../../examples/gpu/prefect.yaml", []string{"warning secret-in-clear credentials"}},
		{"../../examples/build-service/prefect.yaml", []string{"warning secret-in-clear credentials"}},
		{"testdata/right.yaml", nil},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.FromSlash(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			got := summary(t, string(text), offline())
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestREADMEOfTheOriginal looks at the files that users of 1.0.1 copied from its
// README: two are as they should be, and in one plan and count of GPUs differ.
func TestREADMEOfTheOriginal(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../test/quickstart/testdata/README-1.0.1.md")
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"warning secret-in-clear credentials", "warning small-memory billing_deployment_plan"},
		{"warning secret-in-clear credentials", "warning gpu-mismatch billing_deployment_plan"},
		{"warning secret-in-clear credentials"},
	}
	var got [][]string
	for _, m := range regexp.MustCompile("(?ms)^ *```yaml\n(.*?)^ *```").FindAllStringSubmatch(string(readme), -1) {
		if strings.Contains(m[1], "deployments:") { // the others are parts of one
			got = append(got, summary(t, m[1], offline()))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func summary(t *testing.T, text string, l validate.Lookups) []string {
	t.Helper()
	report, err := validate.Run(t.Context(), "prefect.yaml", text, l)
	if err != nil {
		t.Fatal(err)
	}
	if report.Deployments == 0 {
		t.Error("no deployment was looked at")
	}
	var all []string
	for _, f := range report.Findings {
		all = append(all, fmt.Sprintf("%s %s %s", f.Severity, f.Code, f.JobVariable))
	}
	return all
}

// TestPoolSetsTheRest needs neither project nor credentials in a deployment
// whose pool has them.
func TestPoolSetsTheRest(t *testing.T) {
	t.Parallel()
	const text = "deployments:\n- name: etl\n  entrypoint: flows.py:etl\n  work_pool:\n    name: preset-pool\n"
	if got := summary(t, text, online(t)); got != nil {
		t.Errorf("findings %q, want none", got)
	}
	if got, want := summary(t, text, offline()), []string{"note missing-job-variable project_id"}; !cmp.Equal(got, want) {
		t.Errorf("findings without a Prefect to ask %q, want %q", got, want)
	}
}

// TestNobodyAnswers goes on without those that do not answer, and says so.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/right.yaml")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	l := online(t)
	l.Pool = func(context.Context, string) (prefect.WorkPool, error) {
		asked++
		return prefect.WorkPool{}, errors.New("connection refused")
	}
	report, err := validate.Run(t.Context(), "prefect.yaml", string(text), l)
	if err != nil || len(report.Findings) > 0 || asked != 1 {
		t.Errorf("Run = %+v, %v and asked %d times, want no finding and one question", report.Findings, err, asked)
	}
	if want := []string{"work pools, blocks and variables: Prefect could not be asked: connection refused"}; !cmp.Equal(report.NotAsked, want) {
		t.Errorf("not asked %q, want %q", report.NotAsked, want)
	}
}

// TestInterrupted ends with the context.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := validate.Run(ctx, "prefect.yaml", "deployments: []", offline()); !errors.Is(err, context.Canceled) {
		t.Errorf("Run with an ended context: %v, want %v", err, context.Canceled)
	}
}
