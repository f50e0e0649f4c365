package localstack

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestCallWaitsForABusyServer(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable) // a Prefect server on SQLite under load
			return
		}
		fmt.Fprintf(w, `{"name":%q}`, r.Header.Get("Authorization"))
	}))
	defer server.Close()
	var answer struct{ Name string }
	api := API{URL: server.URL, Header: map[string]string{"Authorization": "Basic x"}}
	if err := api.Call(t.Context(), http.MethodPost, "/flows/", map[string]any{"name": "f"}, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Name != "Basic x" || requests.Load() != 2 {
		t.Errorf("answer %+v after %d requests, want the header back after 2", answer, requests.Load())
	}
}

func TestCallReportsARefusal(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	err := API{URL: server.URL}.Call(t.Context(), http.MethodGet, "/nothing", nil, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "GET /nothing: 404") {
		t.Errorf("Call of an unknown path: error %v, want the request and its status", err)
	}
}
