package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestRecorderTellsWhatPassed(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Answer", r.Method+" "+r.URL.Path)
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
		response.Body.Close()
		if got, want := response.Header.Get("Answer"), "POST "+path; got != want {
			t.Errorf("the server answered %q, want %q", got, want)
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
	if later, _ := r.since(mark); len(later) != 2 || count(later, isPoll) != 1 {
		t.Errorf("since(mark) = %+v, want two requests, one of them a poll", later)
	}
	if err := r.awaitQuiet(t.Context(), time.Millisecond); err != nil {
		t.Errorf("awaitQuiet: %v", err)
	}
}
