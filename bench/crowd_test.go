package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// Whoever of a crowd runs gives one sign of life in each interval.
func TestCrowdBeats(t *testing.T) {
	t.Parallel()
	beats := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var events []event
		if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
			t.Error(err)
		}
		for _, e := range events {
			beats[e.Resource["prefect.resource.id"]+" in "+e.Related[0]["prefect.resource.id"]]++
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	const n = 70
	cr := &crowd{l: &lab{api: localstack.API{URL: server.URL}}, pool: "P"}
	for i := range n {
		cr.alive = append(cr.alive, fmt.Sprint(i))
	}
	for second := range int(beatEvery / time.Second) {
		if err := cr.beat(t.Context(), second+1000); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if got := beats[fmt.Sprintf("prefect.flow-run.%d in prefect.work-pool.P", i)]; got != 1 {
			t.Errorf("flow run %d gave %d signs of life, want one", i, got)
		}
	}
}
