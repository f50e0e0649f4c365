package worker

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

// A pool whose environment has a default templates what deployments add to it, as
// Prefect does. The worker's own secrets are not to be had that way.
func TestPrepareWithholdsTheWorkersSecrets(t *testing.T) {
	t.Parallel()
	server := testkit.NewPrefect()
	t.Cleanup(server.Close)
	server.AddPool(testkit.PoolSpec{Name: "my-pool", Template: json.RawMessage(`{
		"job_configuration": {"env": "{{ env }}", "project_id": "p", "credentials": {"api_token": "pool-token"}},
		"variables": {"properties": {"env": {"type": "object", "default": {"STAGE": "{{ $STAGE }}"}}}}
	}`)})
	asked := map[string]any{"REGION": "{{ $REGION }}"}
	environ := []string{"PREFECT_API_URL=" + testkit.BaseURL, "STAGE=live", "REGION=north"}
	for _, name := range withheld {
		asked["MY_"+name] = "{{ $" + name + " }}"
		environ = append(environ, name+"=planted-secret")
	}
	deployment := server.AddDeployment(testkit.DeploymentSpec{Name: "d", Pool: "my-pool", JobVariables: map[string]any{"env": asked}})
	id := server.Schedule(testkit.FlowRunSpec{Deployment: deployment})

	settings, err := prefect.LoadSettings(prefect.LoadOptions{Environ: environ, Dir: t.TempDir(), HomeDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := prefect.NewClient(prefect.ClientOptions{
		Settings: settings, Logger: slog.New(slog.DiscardHandler), HTTPClient: &http.Client{Transport: server.Transport()},
	})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := client.WorkPool(t.Context(), "my-pool")
	if err != nil {
		t.Fatal(err)
	}
	flowRun, err := client.FlowRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	prepared, err := (&Preparer{Prefect: client, WorkerName: "w"}).Prepare(t.Context(), pool, flowRun)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"STAGE": "live", "REGION": "north"}
	for _, name := range withheld {
		want["MY_"+name] = ""
	}
	if diff := cmp.Diff(want, prepared.Values.Values["env"]); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}
