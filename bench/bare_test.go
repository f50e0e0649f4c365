package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUsualPattern(t *testing.T) {
	t.Parallel()
	const a, b, c = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"
	set := func(id string) request {
		return request{method: "POST", path: "/api/flow_runs/" + id + "/set_state", body: `{"of":"` + id + `"}`}
	}
	patch := func(id string) request { return request{method: "PATCH", path: "/api/flow_runs/" + id} }
	got := usualPattern([]request{
		{method: "POST", path: "/api/flow_runs/filter"},
		set(a), set(b), set(a), patch(b), set(c), patch(c),
		{method: "POST", path: "/api/logs/"},
	})
	want := []request{
		{method: "POST", path: "/api/flow_runs/" + anyFlowRun + "/set_state", body: `{"of":"` + anyFlowRun + `"}`},
		{method: "PATCH", path: "/api/flow_runs/" + anyFlowRun},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(request{})); diff != "" {
		t.Errorf("usualPattern (-want +got):\n%s", diff)
	}
}
