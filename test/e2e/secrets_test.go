//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// Secrets that the test plants. The password of the guarded server is another.
const (
	plantedToken  = "planted-northflank-token-77aa"
	plantedAPIKey = "planted-api-key-91bd"
	plantedBlock  = "planted-block-secret-3f02"
)

var planted = []string{plantedToken, plantedAPIKey, plantedBlock, "planted-password-5c1e"}

// A flow run on a guarded server, and one that crashes, with secrets in every
// place that may hold one: the flow must get them, and nobody else must see them.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	f := newGuardedFixture(t)
	northflank, err := shared.stack.StartNorthflank(t.Context(), localstack.NorthflankOptions{
		Name: processName(t, "northflank-2"), Project: project, Args: []string{"--token", plantedToken, "--verbose"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.stop(northflank.Process) })
	f.northflank = northflank
	delete(f.settings, "NORTHFLANK_API_TOKEN")
	f.settings["PREFECT_API_KEY"] = plantedAPIKey
	f.settings["PREFECT_LOGGING_LEVEL"] = "DEBUG"
	var printed []string
	keep := func(out string) { printed = append(printed, out) }

	keep(f.program(plantedToken+"\n", "credentials", "save", "secret-creds", "--base-url", northflank.URL))
	keep(f.program("", "credentials", "ls", "--output", "json"))
	f.saveSecretBlock("planted", plantedBlock)
	worker := f.startWorker("--verbose")
	variables := map[string]any{
		"credentials":         "{{ prefect.blocks.northflank.secret-creds }}",
		"runtime_environment": map[string]any{"PLANTED": "{{ prefect.blocks.secret.planted }}", "E2E_SHOW": "E2E_SHOWN", "E2E_SHOWN": "shown"},
	}
	greet := f.deploy(deployment{Flow: "greet", JobVariables: variables})
	completed := f.awaitFinal(f.run(greet, runRequest{}))
	if completed.State.Type != "COMPLETED" {
		t.Errorf("the flow run ended %s, want Completed; log:\n%s", completed.State, strings.Join(f.logs(completed.ID), "\n"))
	}
	f.awaitLog(completed.ID, "E2E_SHOWN='shown'")
	crashed := f.awaitFinal(f.run(greet, runRequest{JobVariables: map[string]any{
		"deployment_docker_custom_command": `sh -c 'echo "the secret is $PLANTED"; exit 3'`,
	}}))
	if crashed.State.Type != "CRASHED" || !strings.Contains(crashed.State.Message, "the secret is") {
		t.Errorf("the flow run ended %s, want Crashed with the last output", crashed.State)
	}
	if !slices.ContainsFunc(f.bodies(routeStartRun), func(b localstack.RecordedBody) bool { return strings.Contains(b.Body, plantedBlock) }) {
		t.Error("no job run was given the block's secret")
	}

	keep(f.program("", "render", "--deployment", "greet/"+f.pool))
	keep(f.program("", "render", "--flow-run", completed.ID, "--output", "json"))
	keep(f.program("", "runs", "--pool", f.pool, "--output", "json"))
	output := f.program("", "runs", "logs", crashed.ID)
	if !strings.Contains(output, "the secret is ***") {
		t.Errorf("runs logs shows %q, want the last output without the secret", output)
	}
	keep(output)
	_, requests, _ := strings.Cut(northflank.Log(), "\n") // the first line hands out its own token
	seen := map[string]string{
		"what commands printed":      strings.Join(printed, "\n"),
		"the worker's log":           worker.Log(),
		"the local Northflank's log": requests,
		"the log of a flow run":      strings.Join(f.logs(completed.ID), "\n"),
		"the log of the crashed run": strings.Join(f.logs(crashed.ID), "\n"),
		"the states":                 asText(t, f.states(completed.ID), f.states(crashed.ID)),
		"the stored jobs":            f.storedJobs(plantedToken),
		"the written jobs":           asText(t, f.bodies(routePutJob)),
	}
	for place, text := range seen {
		if text == "" {
			t.Errorf("%s: nothing to look at", place)
		}
		for _, secret := range planted {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s show %s: ...%s...", place, secret, text[max(0, i-200):min(len(text), i+len(secret)+50)])
			}
		}
	}
}

// saveSecretBlock saves a block of Prefect's own type Secret.
func (f *fixture) saveSecretBlock(name, value string) {
	f.Helper()
	blockType := call[object](f, f.api, http.MethodGet, "/block_types/slug/secret", nil)
	schemas := call[[]object](f, f.api, http.MethodPost, "/block_schemas/filter", map[string]any{
		"block_schemas": map[string]any{"block_type_id": map[string]any{"any_": []string{blockType.ID}}},
	})
	if len(schemas) == 0 {
		f.Fatal("the server has no schema of the block type Secret")
	}
	call[object](f, f.api, http.MethodPost, "/block_documents/", map[string]any{
		"name": name, "block_type_id": blockType.ID, "block_schema_id": schemas[0].ID, "data": map[string]any{"value": value},
	})
}

// storedJobs returns the jobs of the project as Northflank shows them.
func (f *fixture) storedJobs(token string) string {
	f.Helper()
	api := localstack.API{URL: f.northflank.URL, Header: map[string]string{"Authorization": "Bearer " + token}}
	list := call[struct {
		Data struct{ Jobs []object }
	}](f, api, http.MethodGet, "/v1/projects/"+project+"/jobs", nil)
	var text strings.Builder
	for _, job := range list.Data.Jobs {
		text.WriteString(asText(f, call[any](f, api, http.MethodGet, "/v1/projects/"+project+"/jobs/"+job.ID, nil)))
	}
	return text.String()
}

func asText(t testing.TB, values ...any) string {
	t.Helper()
	text, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
