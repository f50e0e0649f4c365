package prefect

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNames(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/work_pools/filter", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"name":"a"},{"name":"b"}]`)
	})
	mux.HandleFunc("POST /api/deployments/filter", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"name":"daily","flow_id":"1"},{"name":"weekly","flow_id":"2"},{"name":"of a flow that was just deleted","flow_id":"3"}]`)
	})
	var asked any
	mux.HandleFunc("POST /api/flows/filter", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewDecoder(r.Body).Decode(&asked)
		fmt.Fprint(w, `[{"id":"2","name":"report"},{"id":"1","name":"load"}]`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	settings := DefaultSettings()
	settings.APIURL, settings.CSRFEnabled = server.URL+"/api", false
	client, err := NewClient(ClientOptions{Settings: settings, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}

	pools, err := client.WorkPoolNames(t.Context())
	if diff := cmp.Diff([]string{"a", "b"}, pools); diff != "" || err != nil {
		t.Errorf("WorkPoolNames() error %v, mismatch (-want +got):\n%s", err, diff)
	}
	deployments, err := client.DeploymentNames(t.Context())
	if diff := cmp.Diff([]string{"load/daily", "report/weekly"}, deployments); diff != "" || err != nil {
		t.Errorf("DeploymentNames() error %v, mismatch (-want +got):\n%s", err, diff)
	}
	want := map[string]any{"limit": 200.0, "offset": 0.0, "flows": map[string]any{"id": map[string]any{"any_": []any{"1", "2", "3"}}}}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("filter of flows mismatch (-want +got):\n%s", diff)
	}
}

func TestCreateWorkPoolPaused(t *testing.T) {
	t.Parallel()
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body json.RawMessage
		_ = json.NewDecoder(r.Body).Decode(&body)
		bodies = append(bodies, string(body))
		fmt.Fprint(w, `{"id":"1"}`)
	}))
	t.Cleanup(server.Close)
	settings := DefaultSettings()
	settings.APIURL, settings.CSRFEnabled = server.URL, false
	client, err := NewClient(ClientOptions{Settings: settings, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateWorkPool(t.Context(), "p", "northflank", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreatePausedWorkPool(t.Context(), "p", "northflank", json.RawMessage(`{"b":1,"a":2}`)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"name":"p","type":"northflank"}`,
		`{"name":"p","type":"northflank","base_job_template":{"b":1,"a":2},"is_paused":true}`,
	}
	if diff := cmp.Diff(want, bodies); diff != "" {
		t.Errorf("bodies mismatch (-want +got):\n%s", diff)
	}
}
