package validate_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/validate"
)

var update = flag.Bool("update", false, "write golden files anew")

// TestWrongFiles holds every file of testdata/*.txtar against the comments in it
// that say what is wrong where, and keeps all that is said about it in a golden
// file. Those of online.txtar have a Prefect and a Northflank to ask.
func TestWrongFiles(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files, kinds := 0, map[validate.Code]bool{}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var transcript strings.Builder
		for _, file := range archive.Files {
			files++
			lookups := offline()
			if filepath.Base(path) == "online.txtar" {
				lookups = online(t)
			}
			report, err := validate.Run(t.Context(), "prefect.yaml", string(file.Data), lookups)
			if err != nil {
				t.Fatalf("%s: %v", file.Name, err)
			}
			if diff := cmp.Diff(wanted(t, string(file.Data)), foundIn(report)); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", path, file.Name, diff)
			}
			if len(report.Findings) == 0 {
				t.Errorf("%s, %s: nothing is wrong with this file", path, file.Name)
			}
			for _, f := range report.Findings {
				kinds[f.Code] = true
			}
			fmt.Fprintf(&transcript, "-- %s --\n%s", file.Name, written(report))
		}
		checkNoSecrets(t, transcript.String())
		golden(t, strings.TrimSuffix(path, ".txtar")+".golden", transcript.String())
	}
	if files < 60 {
		t.Errorf("%d files with mistakes, want 60 at least", files)
	}
	for _, rule := range validate.Rules() {
		if !kinds[rule.Code] {
			t.Errorf("no file shows %s", rule.Code)
		}
	}
}

var wantComment = regexp.MustCompile(`# want(?:@(\d+))?: ([a-z -]+)`)

// wanted are the findings that a file's comments name, as "line code".
func wanted(t *testing.T, text string) []string {
	var all []string
	for i, line := range strings.Split(text, "\n") {
		for _, m := range wantComment.FindAllStringSubmatch(line, -1) {
			n := i + 1
			if m[1] != "" {
				var err error
				if n, err = strconv.Atoi(m[1]); err != nil {
					t.Fatal(err)
				}
			}
			for code := range strings.FieldsSeq(m[2]) {
				all = append(all, fmt.Sprintf("%3d %s", n, code))
			}
		}
	}
	slices.Sort(all)
	return all
}

func foundIn(r validate.Report) []string {
	var all []string
	for _, f := range r.Findings {
		all = append(all, fmt.Sprintf("%3d %s", f.Line, f.Code))
	}
	slices.Sort(all)
	return all
}

// written shows findings with their places as a person sees them.
func written(r validate.Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%d:%d: %s: %s [%s]\n", f.Line, f.Column, f.Severity, f.Message, f.Code)
		fmt.Fprintf(&b, "    | %s\n    | %s%s\n", f.Excerpt.Text, f.Excerpt.Pad, f.Excerpt.Caret)
		if f.NextStep != "" {
			fmt.Fprintf(&b, "  next: %s\n", f.NextStep)
		}
		if f.Deployments != nil && !slices.Equal(f.Deployments, []string{"etl"}) {
			fmt.Fprintf(&b, "  of: %s\n", strings.Join(f.Deployments, ", "))
		}
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "skipped %s: %s\n", s.Deployment, s.Why)
	}
	return b.String()
}

// checkNoSecrets looks for the secrets that the files hold.
func checkNoSecrets(t *testing.T, text string) {
	t.Helper()
	if i := strings.Index(text, "planted"); i >= 0 {
		t.Errorf("a secret is shown: ...%s", text[max(0, i-200):min(len(text), i+40)])
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is stale, renew it with -update (-want +got):\n%s", path, diff)
	}
}

// offline has an environment and nobody to ask.
func offline() validate.Lookups {
	environ := map[string]string{"COUNT": "3", "BAD_PROJECT": "my_project"}
	return validate.Lookups{Env: func(name string) (string, bool) {
		value, set := environ[name]
		return value, set
	}}
}

const plantedToken = "nf-planted-token"

// online has a Prefect with pools, blocks and variables, and Northflank's plans.
func online(t *testing.T) validate.Lookups {
	l := offline()
	pools := map[string]prefect.WorkPool{}
	for name, template := range templates(t) {
		pools[name] = prefect.WorkPool{ID: "id-of-" + name, Name: name, Type: "northflank", BaseJobTemplate: template}
	}
	pools["process-pool"] = prefect.WorkPool{ID: "id", Name: "process-pool", Type: "process"}
	l.Pool = func(_ context.Context, name string) (prefect.WorkPool, error) {
		pool, ok := pools[name]
		if !ok {
			return pool, fmt.Errorf("read work pool %q: %w", name, prefect.ErrNotFound)
		}
		return pool, nil
	}
	l.PoolNames = func(context.Context) ([]string, error) { return []string{"my-pool", "process-pool"}, nil }
	blocks := map[string]map[string]any{
		"northflank/northflank-creds": {"api_token": plantedToken},
		"northflank/no-token":         {"base_url": "https://api.northflank.com"},
		"secret/database":             {"value": map[string]any{"password": "planted-password"}},
	}
	l.BlockNames = func(context.Context, string) ([]string, error) { return []string{"northflank-creds", "no-token"}, nil }
	l.Prefect.Block = func(_ context.Context, slug, name string) (map[string]any, error) {
		if data, ok := blocks[slug+"/"+name]; ok {
			return data, nil
		}
		return nil, fmt.Errorf("read block %s/%s: %w", slug, name, prefect.ErrNotFound)
	}
	l.Prefect.BlockByID = func(_ context.Context, id string) (map[string]any, error) {
		return nil, fmt.Errorf("read block document %s: %w", id, prefect.ErrNotFound)
	}
	variables := map[string]any{"pool": "my-pool", "word": "not_a_project"}
	l.Prefect.Variable = func(_ context.Context, name string) (any, bool, error) {
		value, found := variables[name]
		return value, found, nil
	}
	l.Plans = func(context.Context) ([]northflank.DeploymentPlan, error) {
		return []northflank.DeploymentPlan{{ID: "nf-compute-20"}, {ID: "nf-compute-50"}, {ID: "nf-compute-100-2"}}, nil
	}
	l.Regions = func(context.Context) ([]northflank.Region, error) {
		return []northflank.Region{{ID: "europe-west", GPUs: []northflank.GPUDevice{{ID: "h100-80", Counts: []int{1, 2, 4, 8}}}}}, nil
	}
	return l
}

// templates are the base job templates of the work pools of type northflank.
func templates(t *testing.T) map[string]json.RawMessage {
	t.Helper()
	all, err := madeTemplates()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var madeTemplates = sync.OnceValues(func() (map[string]json.RawMessage, error) {
	plain := jobspec.BaseJobTemplate()
	own := strings.Replace(string(plain), `"properties":{`, `"properties":{"cost_center":{"type":"integer"},`, 1)
	own = strings.Replace(own, `"job_configuration":{`, `"job_configuration":{"cost_center":"{{ cost_center }}",`, 1)
	original, err := os.ReadFile("../jobspec/testdata/original-base-job-template.json")
	preset, err1 := jobspec.WithDefault(plain, "project_id", "my-project")
	preset, err2 := jobspec.WithDefault(preset, "credentials_block", "northflank-creds")
	wrong, err3 := jobspec.WithDefault(plain, "billing_deployment_plan", "nf compute 50")
	orphaned, err4 := jobspec.WithCredentialsDefault(plain, "4c2f3c1e-4f5e-4b7e-9b1a-0c7f6d1f2a3b")
	return map[string]json.RawMessage{
		"my-pool": plain, "own-pool": json.RawMessage(own), "preset-pool": preset,
		"wrong-pool": wrong, "orphaned-pool": orphaned, "original-pool": original,
	}, errors.Join(err, err1, err2, err3, err4)
})
