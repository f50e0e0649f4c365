package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestRecorderTellsWhatPassed(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
	}))
	defer server.Close()
	r, err := startRecorder(server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	send := func(path string) {
		response, err := http.Post(r.url+path, "application/json", strings.NewReader("sent"))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if got, err := io.ReadAll(response.Body); string(got) != "POST "+path+" sent" || err != nil {
			t.Errorf("the server answered %q, %v, want the request", got, err)
		}
	}
	const poll = "/api/work_pools/p/get_scheduled_flow_runs"
	send(poll)
	mark, before := r.mark(), time.Now()
	const change = "/api/flow_runs/6e8f3d2c-9a51-4b7e-8c3d-2f1a0b9c8d7e/set_state"
	send(change)
	send(poll)
	found, err := r.await(t.Context(), mark, isPoll)
	if err != nil || found.path != poll || found.at.Before(before) {
		t.Errorf("await(isPoll) = %+v, %v, want the poll after the mark", found, err)
	}
	later, _ := r.since(mark)
	if len(later) != 2 || count(later, isPoll) != 1 || later[0].answer != "" || later[1].answer != "POST "+poll+" sent" {
		t.Errorf("since(mark) = %+v, want two requests, the second a poll with its answer", later)
	}
	if later[0].body != "sent" || later[1].body != "" {
		t.Errorf("bodies %q and %q were kept, want that of the change to a flow run alone", later[0].body, later[1].body)
	}
	if at, ok := pollThatTold(later, "scheduled_flow"); !ok || at != later[1].at {
		t.Errorf("pollThatTold = %s, %t, want the poll at %s", at, ok, later[1].at)
	}
	if at, ok := pollThatTold(later, "another"); ok {
		t.Errorf("pollThatTold of what no answer holds = %s, want none", at)
	}
	if second, err := r.awaitNumber(t.Context(), 0, 2, isPoll); err != nil || second.at != later[1].at {
		t.Errorf("awaitNumber(2, isPoll) = %+v, %v, want the second poll", second, err)
	}
	if err := r.awaitQuiet(t.Context(), time.Millisecond); err != nil {
		t.Errorf("awaitQuiet: %v", err)
	}
}

func TestRecorderRefuses(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	r, err := startRecorder(server.URL, isEventStream)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for path, want := range map[string]int{"/api/events/out": http.StatusForbidden, "/api/events": http.StatusOK} {
		response, err := http.Get(r.url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("GET %s was answered with %d, want %d", path, response.StatusCode, want)
		}
	}
}
