package cli_test

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/cli"
	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

// Secrets that no message may show.
const (
	plantedToken    = "eyJhbGciOiJIUzI1NiJ9.planted-northflank-token"
	plantedKey      = "pnu_planted_prefect_key"
	plantedPassword = "planted-password"
)

// hermetic gives the test an environment without settings of its user, an empty
// home and an empty working directory, and then sets env.
func hermetic(t testing.TB, env map[string]string) {
	t.Helper()
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		for _, prefix := range []string{"PREFECT_", "NORTHFLANK_", "NF_"} {
			if strings.HasPrefix(name, prefix) {
				t.Setenv(name, "") // restores it after the test
				os.Unsetenv(name)
			}
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Chdir(t.TempDir())
	for name, value := range env {
		t.Setenv(name, value)
	}
}

// run runs a command line in this process.
func run(t testing.TB, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = cli.MainContext(t.Context(), append([]string{"prefect-northflank"}, args...),
		cli.Streams{In: strings.NewReader(stdin), Out: &out, Err: &err})
	return status, out.String(), err.String()
}

// newServer serves a Prefect in memory that holds what the tests speak about:
// pools of several kinds, a deployment of each, credentials.
func newServer(t testing.TB) (p *testkit.Prefect, apiURL string) {
	t.Helper()
	p = testkit.NewPrefect()
	furnish(p)
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return p, server.URL + "/api"
}

func furnish(p *testkit.Prefect) {
	p.AddBlock("northflank", "northflank-creds", map[string]any{"api_token": plantedToken, "base_url": "https://api.northflank.com"}, "api_token")
	p.AddBlock("northflank", "no-token", map[string]any{"base_url": "https://api.northflank.com"}, "api_token")
	p.AddBlock("northflank", "no-address", map[string]any{"api_token": plantedToken, "base_url": "api.northflank.com"}, "api_token")
	p.AddBlock("secret", "database", map[string]any{"value": map[string]any{"password": plantedPassword}}, "value")
	p.AddPool(testkit.PoolSpec{Name: "my-pool", Template: jobspec.BaseJobTemplate()})
	p.AddPool(testkit.PoolSpec{Name: "broken-pool", Template: []byte(`{"variables":{}}`)})
	p.AddPool(testkit.PoolSpec{Name: "process-pool", Type: "process"})
	p.AddPool(testkit.PoolSpec{Name: "gone-pool"})
	for _, pool := range []string{"my-pool", "broken-pool", "process-pool", "gone-pool"} {
		p.AddDeployment(testkit.DeploymentSpec{Flow: "my-flow", Name: "of-" + pool, Pool: pool})
	}
	p.DeletePool("gone-pool")
}

// writeFiles writes files into the working directory.
func writeFiles(t testing.TB, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// newClient is a client of the API with the settings of the environment.
func newClient(t testing.TB, api string) (*prefect.Client, *prefect.Settings) {
	t.Helper()
	settings, err := prefect.LoadSettings(prefect.LoadOptions{Environ: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	settings.APIURL = api
	client, err := prefect.NewClient(prefect.ClientOptions{Settings: settings, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return client, settings
}
