//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/testkit"
)

// The worker's simulations rest on testkit.Prefect. This test holds it against
// the real server: the same requests to both, for every state that a flow run
// can be in and every state that can be proposed, and the answers compared.
func TestFakePrefectIsLikeTheRealOne(t *testing.T) {
	t.Parallel()
	compareFakePrefect(t, busyServerURL(t))
}

// What the servers answer to everything else that the client asks.
func TestFakePrefectAnswersLikeTheRealOne(t *testing.T) {
	t.Parallel()
	compareFakePrefectAnswers(t, busyServerURL(t))
}

// twin is one of the two servers.
type twin struct {
	client     *http.Client
	url        string
	deployment string
}

// twins returns both servers, each with the same work pool and deployment in it.
func twins(t *testing.T, apiURL string) (realOne, fake twin, fakeServer *testkit.Prefect, pool string) {
	t.Helper()
	pool = fmt.Sprintf("twin-%d", time.Now().UnixNano())
	fakeServer = testkit.NewPrefect()
	fakeServer.AddPool(testkit.PoolSpec{Name: pool})
	fake = twin{client: &http.Client{Transport: fakeServer.Transport()}, url: testkit.BaseURL}
	fake.deployment = fakeServer.AddDeployment(testkit.DeploymentSpec{Name: "d", Flow: pool, Pool: pool, JobVariables: map[string]any{"a": 1.0}, Tags: []string{"t"}})
	realOne = twin{client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}, url: apiURL}
	realOne.ask(t, http.MethodPost, "/work_pools/", map[string]any{"name": pool, "type": "northflank"})
	_, answer := realOne.ask(t, http.MethodPost, "/flows/", map[string]any{"name": pool})
	flow, _ := answer.(map[string]any)
	_, answer = realOne.ask(t, http.MethodPost, "/deployments/", map[string]any{
		"name": "d", "flow_id": flow["id"], "work_pool_name": pool, "job_variables": map[string]any{"a": 1.0}, "tags": []string{"t"},
	})
	realOne.deployment = idOf(answer)
	return realOne, fake, fakeServer, pool
}

func idOf(answer any) string {
	object, _ := answer.(map[string]any)
	id, _ := object["id"].(string)
	return id
}

// ask sends a request; a busy server is asked again.
func (w twin) ask(t *testing.T, method, path string, body any) (int, any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		// Without it the server takes the client for an old one and drops the lease.
		req.Header.Set("User-Agent", "prefect/3.8.8 (API 0.8.4)")
		resp, err := w.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusServiceUnavailable {
			time.Sleep(200 * time.Millisecond)
			continue
		}
		var answer any
		_ = json.Unmarshal(got, &answer) // nothing stays nil
		return resp.StatusCode, answer
	}
	t.Fatalf("%s %s: the server stays busy", method, path)
	return 0, nil
}

// outcome is what both servers must agree on.
type outcome struct {
	Code                 int
	Status, State        string
	Reason, Message      string
	RunCount             any
	RetryType            any
	Started, Ended, Next bool
	Lease                bool
	ScheduledTimeIsSet   bool
}

// step is a state to propose.
type stateStep struct {
	Type, Name string
	ID         string // transition id
	Force      bool
	Suspended  bool
	Result     bool // with a stored result
}

func (s stateStep) body() map[string]any {
	details := map[string]any{}
	if s.ID != "" {
		details["transition_id"] = s.ID
	}
	if s.Suspended {
		details["pause_reschedule"] = true
	}
	state := map[string]any{"type": s.Type, "state_details": details}
	if s.Name != "" {
		state["name"] = s.Name
	}
	if s.Type == "COMPLETED" {
		state["data"] = map[string]any{"type": "unpersisted"}
		if s.Result {
			state["data"] = map[string]any{"type": "reference", "storage_key": "k"}
		}
	}
	return map[string]any{"state": state, "force": s.Force}
}

// play makes a flow run, leads it the way and proposes the last state.
func (w twin) play(t *testing.T, pid bool, retries int, steps []stateStep) outcome {
	t.Helper()
	created := map[string]any{}
	if retries > 0 {
		created["empirical_policy"] = map[string]any{"retries": retries, "retry_delay": 0}
	}
	_, answer := w.ask(t, http.MethodPost, "/deployments/"+w.deployment+"/create_flow_run", created)
	id := idOf(answer)
	if pid {
		w.ask(t, http.MethodPatch, "/flow_runs/"+id, map[string]any{"infrastructure_pid": "job:run"})
	}
	var o outcome
	for _, s := range steps {
		code, answer := w.ask(t, http.MethodPost, "/flow_runs/"+id+"/set_state", s.body())
		result, _ := answer.(map[string]any)
		details, _ := result["details"].(map[string]any)
		o = outcome{Code: code, Status: fmt.Sprint(result["status"]), Reason: fmt.Sprint(details["reason"])}
	}
	_, answer = w.ask(t, http.MethodGet, "/flow_runs/"+id, nil)
	run, _ := answer.(map[string]any)
	state, _ := run["state"].(map[string]any)
	details, _ := state["state_details"].(map[string]any)
	policy, _ := run["empirical_policy"].(map[string]any)
	o.State = fmt.Sprintf("%v/%v %v/%v", run["state_type"], run["state_name"], state["type"], state["name"])
	o.Message = fmt.Sprint(state["message"])
	o.RunCount, o.RetryType = run["run_count"], policy["retry_type"]
	o.Started, o.Ended, o.Next = run["start_time"] != nil, run["end_time"] != nil, run["next_scheduled_start_time"] != nil
	o.Lease = details["deployment_concurrency_lease_id"] != nil
	o.ScheduledTimeIsSet = details["scheduled_time"] != nil
	return o
}

func compareFakePrefect(t *testing.T, apiURL string) {
	realOne, fake, _, _ := twins(t, apiURL)
	pending := stateStep{Type: "PENDING", ID: "11111111-1111-4111-8111-111111111111"}
	running := stateStep{Type: "RUNNING"}
	ways := map[string][]stateStep{
		"scheduled":         nil,
		"pending":           {pending},
		"submitting":        {pending, {Type: "PENDING", Name: "Submitting"}},
		"running":           {pending, running},
		"paused":            {pending, running, {Type: "PAUSED"}},
		"suspended":         {pending, running, {Type: "PAUSED", Name: "Suspended", Suspended: true}},
		"cancelling":        {pending, {Type: "CANCELLING"}},
		"cancelled":         {pending, {Type: "CANCELLED"}},
		"completed":         {pending, running, {Type: "COMPLETED"}},
		"completed, result": {pending, running, {Type: "COMPLETED", Result: true}},
		"failed":            {pending, running, {Type: "FAILED"}},
		"crashed":           {pending, {Type: "CRASHED"}},
		"handed back":       {pending, {Type: "SCHEDULED"}},
	}
	proposals := []stateStep{
		pending,
		{Type: "PENDING"},
		{Type: "PENDING", Name: "Submitting"},
		{Type: "SCHEDULED"},
		{Type: "SCHEDULED", Name: "Late"},
		{Type: "RUNNING"},
		{Type: "PAUSED"},
		{Type: "CANCELLING"},
		{Type: "CANCELLED"},
		{Type: "COMPLETED"},
		{Type: "FAILED"},
		{Type: "CRASHED"},
	}
	compare := func(name string, pid bool, retries int, steps []stateStep) {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			want, got := realOne.play(t, pid, retries, steps), fake.play(t, pid, retries, steps)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%+v (-real +fake):\n%s", steps, diff)
			}
		})
	}
	for from, way := range ways {
		for _, force := range []bool{false, true} {
			for _, p := range proposals {
				p.Force = force
				steps := append(append([]stateStep(nil), way...), p)
				compare(fmt.Sprintf("%s, %s %s %.1s force %v", from, p.Type, p.Name, p.ID, force), false, 0, steps)
			}
		}
	}
	compare("scheduled with pid is cancelled", true, 0, []stateStep{{Type: "CANCELLING"}})
	compare("handed back with pid is cancelled", true, 0, []stateStep{pending, {Type: "SCHEDULED"}, {Type: "CANCELLING"}})
	failed := stateStep{Type: "FAILED"}
	compare("retried", false, 1, []stateStep{pending, running, failed})
	compare("retried, running again", false, 1, []stateStep{pending, running, failed, running})
	compare("retried in vain", false, 1, []stateStep{pending, running, failed, running, failed})
	compare("retried, cancelled", false, 1, []stateStep{pending, running, failed, {Type: "CANCELLING"}})
}

// request is one of a list that both servers get. In its path {run} is the flow
// run made last, {deployment} the deployment, {pool} the work pool, and {none} an
// id that nobody has.
type request struct {
	method, path string
	body         any
	deleted      string // what goes before it is sent: deployment, pool or run
}

func compareFakePrefectAnswers(t *testing.T, apiURL string) {
	realOne, fake, fakeServer, pool := twins(t, apiURL)
	const none = "99999999-9999-4999-8999-999999999999"
	type object = map[string]any
	filter := func(conditions object) object {
		return object{"sort": "ID_DESC", "limit": 200, "offset": 0, "flow_runs": conditions, "work_pools": object{"name": object{"any_": []string{pool}}}}
	}
	states := func(types ...string) object { return object{"state": object{"type": object{"any_": types}}} }
	set := func(typ string) object { return object{"state": object{"type": typ}} }
	soon := time.Now().Add(time.Minute).UTC()
	event := object{
		"id": none, "occurred": soon, "event": "e", "resource": object{"prefect.resource.id": "r"}, "related": []any{}, "payload": object{}, "follows": nil,
	}
	requests := []request{
		{"GET", "/health", nil, ""},
		{"GET", "/admin/version", nil, ""},
		{"GET", "/csrf-token?client=" + none, nil, ""},
		{"POST", "/deployments/{deployment}/create_flow_run", object{"name": "one", "job_variables": object{"b": "x"}, "tags": []string{"u"}, "idempotency_key": "k" + pool}, ""},
		{"POST", "/deployments/{deployment}/create_flow_run", object{"idempotency_key": "k" + pool}, ""},
		{"POST", "/deployments/{none}/create_flow_run", object{}, ""},
		{"GET", "/flow_runs/{run}", nil, ""},
		{"GET", "/flow_runs/{none}", nil, ""},
		{"GET", "/deployments/name/{pool}/none", nil, ""},
		{"GET", "/deployments/{none}", nil, ""},
		{"GET", "/flows/{none}", nil, ""},
		{"POST", "/work_pools/{pool}/get_scheduled_flow_runs", object{"work_queue_names": []string{}, "scheduled_before": soon}, ""},
		{"POST", "/work_pools/{pool}/get_scheduled_flow_runs", object{"work_queue_names": []string{"none"}, "scheduled_before": soon}, ""},
		{"POST", "/work_pools/{pool}/get_scheduled_flow_runs", object{"limit": 201}, ""},
		{"POST", "/work_pools/none/get_scheduled_flow_runs", object{}, ""},
		{"GET", "/work_pools/none", nil, ""},
		{"GET", "/work_pools/{pool}", nil, ""},
		{"POST", "/work_pools/", object{"name": pool, "type": "northflank"}, ""},
		{"POST", "/work_pools/", object{"name": "prefect-x", "type": "northflank"}, ""},
		{"PATCH", "/work_pools/none", object{"base_job_template": object{}}, ""},
		{"POST", "/work_pools/{pool}/workers/heartbeat", object{"name": "w", "heartbeat_interval_seconds": 30}, ""},
		{"POST", "/work_pools/none/workers/heartbeat", object{"name": "w", "heartbeat_interval_seconds": 30}, ""},
		{"POST", "/work_pools/{pool}/workers/filter", object{"limit": 200, "offset": 0}, ""},
		{"GET", "/work_pools/{pool}", nil, ""},
		{"PATCH", "/flow_runs/{run}", object{"infrastructure_pid": "job:run"}, ""},
		{"PATCH", "/flow_runs/{none}", object{"infrastructure_pid": "job:run"}, ""},
		{"PATCH", "/flow_runs/{run}/labels", object{"l": "1", "n": 2}, ""},
		{"PATCH", "/flow_runs/{none}/labels", object{"l": "1"}, ""},
		{"POST", "/flow_runs/{run}/set_state", set("PENDING"), ""},
		{"POST", "/flow_runs/{run}/set_state", set("NONSENSE"), ""},
		{"POST", "/flow_runs/{none}/set_state", set("PENDING"), ""},
		{"POST", "/flow_runs/filter", filter(object{}), ""},
		{"POST", "/flow_runs/filter", filter(states("PENDING", "RUNNING")), ""},
		{"POST", "/flow_runs/filter", filter(states("RUNNING")), ""},
		{"POST", "/flow_runs/filter", object{"limit": 201}, ""},
		{"POST", "/flow_runs/filter", object{"flow_runs": object{"nonsense": 1}}, ""},
		{"POST", "/logs/", []object{{"name": "n", "level": 20, "message": "m", "timestamp": soon, "flow_run_id": none}}, ""},
		{"POST", "/logs/", []object{{"name": "n", "level": 20, "message": "m", "timestamp": soon, "worker_id": none}}, ""},
		{"POST", "/events", []object{event}, ""},
		{"POST", "/events", []object{{"id": none}}, ""},
		{"POST", "/v2/concurrency_limits/leases/{none}/renew", object{"lease_duration": 300}, ""},
		{"POST", "/v2/concurrency_limits/leases/{none}/renew", object{"lease_duration": 59}, ""},
		{"GET", "/variables/name/none", nil, ""},
		{"GET", "/block_documents/{none}?include_secrets=true", nil, ""},
		{"GET", "/block_types/slug/none/block_documents/name/none?include_secrets=true", nil, ""},
		{"GET", "/block_types/slug/none", nil, ""},
		// A claimed run outlives its deployment, a scheduled one does not.
		{"GET", "/flow_runs/{run}", nil, "deployment"},
		{"GET", "/deployments/{deployment}", nil, ""},
		{"POST", "/flow_runs/{run}/set_state", set("SCHEDULED"), ""},
		{"POST", "/flow_runs/{run}/set_state", set("PENDING"), ""},
		{"POST", "/flow_runs/{run}/set_state", set("CRASHED"), ""},
		{"POST", "/flow_runs/filter", filter(object{"end_time": object{"after_": soon.Add(-time.Hour)}}), ""},
		{"POST", "/flow_runs/filter", filter(object{"end_time": object{"after_": soon}}), ""},
		{"GET", "/flow_runs/{run}", nil, "pool"},
		{"POST", "/work_pools/{pool}/workers/heartbeat", object{"name": "w", "heartbeat_interval_seconds": 30}, ""},
		{"POST", "/flow_runs/filter", filter(object{}), ""},
		{"GET", "/flow_runs/{run}", nil, "run"},
		{"POST", "/flow_runs/{run}/set_state", set("CRASHED"), ""},
	}
	var realRun, fakeRun string
	for _, r := range requests {
		fill := func(w twin, run string) string {
			return strings.NewReplacer("{run}", run, "{deployment}", w.deployment, "{pool}", pool, "{none}", none).Replace(r.path)
		}
		switch r.deleted {
		case "deployment":
			realOne.ask(t, http.MethodDelete, "/deployments/"+realOne.deployment, nil)
			fakeServer.DeleteDeployment(fake.deployment)
		case "pool":
			realOne.ask(t, http.MethodDelete, "/work_pools/"+pool, nil)
			fakeServer.DeletePool(pool)
		case "run":
			realOne.ask(t, http.MethodDelete, "/flow_runs/"+realRun, nil)
			fakeServer.DeleteFlowRun(fakeRun)
		}
		wantCode, want := realOne.ask(t, r.method, fill(realOne, realRun), r.body)
		gotCode, got := fake.ask(t, r.method, fill(fake, fakeRun), r.body)
		if strings.HasSuffix(r.path, "/create_flow_run") && wantCode < 300 {
			realRun, fakeRun = idOf(want), idOf(got)
		}
		if wantCode != gotCode {
			t.Errorf("%s %s: real %d %v, fake %d %v", r.method, r.path, wantCode, want, gotCode, got)
			continue
		}
		if wantCode == http.StatusUnprocessableEntity {
			continue // complaints differ in wording
		}
		if diff := cmp.Diff(plain(want), plain(got)); diff != "" {
			t.Errorf("%s %s (-real +fake):\n%s", r.method, r.path, diff)
		}
	}
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// plain replaces what differs between any two servers: ids, times, names made up.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		same := map[string]any{}
		for key, item := range v {
			switch key {
			case "estimated_run_time", "estimated_start_time_delta", "total_run_time", "created_by", "traceparent":
				continue // depend on the clock, or say who asked
			}
			same[key] = plain(item)
		}
		return same
	case []any:
		same := make([]any, len(v))
		for i, item := range v {
			same[i] = plain(item)
		}
		if len(same) > 0 {
			if _, text := same[0].(string); text { // tags come in any order
				slices.SortFunc(same, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
		return same
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return "a time"
		}
		return uuids.ReplaceAllString(v, "an id")
	}
	return v
}
