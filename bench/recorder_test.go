package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestRecorderTellsWhatPassed(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path)
	}))
	defer server.Close()
	r, err := startRecorder(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	send := func(path string) {
		response, err := http.Post(r.url+path, "application/json", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if got, err := io.ReadAll(response.Body); string(got) != "POST "+path || err != nil {
			t.Errorf("the server answered %q, %v, want the request", got, err)
		}
	}
	const poll = "/api/work_pools/p/get_scheduled_flow_runs"
	send(poll)
	mark, before := r.mark(), time.Now()
	send("/api/flow_runs/filter")
	send(poll)
	found, err := r.await(t.Context(), mark, isPoll)
	if err != nil || found.path != poll || found.at.Before(before) {
		t.Errorf("await(isPoll) = %+v, %v, want the poll after the mark", found, err)
	}
	later, _ := r.since(mark)
	if len(later) != 2 || count(later, isPoll) != 1 || later[0].answer != "" || later[1].answer != "POST "+poll {
		t.Errorf("since(mark) = %+v, want two requests, the second a poll with its answer", later)
	}
	if at, ok := pollThatTold(later, "scheduled_flow"); !ok || at != later[1].at {
		t.Errorf("pollThatTold = %s, %t, want the poll at %s", at, ok, later[1].at)
	}
	if at, ok := pollThatTold(later, "another"); ok {
		t.Errorf("pollThatTold of what no answer holds = %s, want none", at)
	}
	if err := r.awaitQuiet(t.Context(), time.Millisecond); err != nil {
		t.Errorf("awaitQuiet: %v", err)
	}
}
