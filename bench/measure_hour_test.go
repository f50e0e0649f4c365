package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCostIn(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	var requests []request
	for _, run := range []string{"a", "b"} { // a minute each
		requests = append(requests, request{at: began, method: "PUT", path: "/v1/projects/p/jobs"}, request{at: began, method: "POST", path: "/v1/projects/p/jobs/" + run + "/runs"})
		for i := range 7 {
			requests = append(requests, request{at: began.Add(time.Duration(i) * 10 * time.Second), method: "GET", path: "/v1/projects/p/jobs/" + run + "/runs/" + run})
		}
	}
	got, err := costIn(requests, 2, time.Minute)
	if want := (cost{fixed: 3, period: 10 * time.Second}); got != want || err != nil {
		t.Errorf("costIn = %+v, %v, want %+v", got, err, want)
	}
	if got, want := got.of(time.Hour), 363.0; got != want {
		t.Errorf("cost of an hour = %g, want %g", got, want)
	}
	if _, err := costIn(requests[:3], 1, time.Minute); err == nil {
		t.Error("costIn of one look: no error")
	}
}

func TestHourTable(t *testing.T) {
	t.Parallel()
	all := []load{{"A", "short", 100, time.Minute}, {"B", "300 long", 300, time.Hour}, {"C", "900 long", 900, time.Hour}}
	simulated := map[string]simulation{
		"A": {passed: true, requests: 122},
		"B": {passed: true, requests: 330, crashes: []time.Duration{4 * time.Second, 2 * time.Second, 3 * time.Second}},
		"C": {requests: 1010, crashes: []time.Duration{time.Hour}},
	}
	got, err := hourTable(all, simulated, &cost{fixed: 5, period: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"short", "122", "1.22", "", "", "1100", "11.00", "9.0"},
		{"300 long", "330", "1.10", "3.00 s", "4.00 s", "109500", "365.00", "332"},
		{"900 long", "1010, and the test failed", "1.12", "3600 s", "3600 s", "328500", "365.00", "325"},
		{"most flow runs at once for an hour within 1000 requests", "300", "", "", "", "2.7", "", "1 : 110"},
	}
	if diff := cmp.Diff(want, got.rows); diff != "" {
		t.Errorf("hourTable (-want +got):\n%s", diff)
	}
	delete(simulated, "B")
	if _, err := hourTable(all, simulated, nil); err == nil || !strings.Contains(err.Error(), "simulation B") {
		t.Errorf("hourTable without a simulation: error %v, want one that names it", err)
	}
}
