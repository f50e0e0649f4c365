package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var uuidPattern = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.FixedZone("east", 3600))

// TestRequests holds, for each method of the client, what it sends and what it
// makes of the answer.
func TestRequests(t *testing.T) {
	t.Parallel()
	type result = any
	tests := []struct {
		name string
		call func(ctx context.Context, c *Client) (result, error)
		step step
		want string // fmt.Sprint of the result
	}{
		{
			name: "Health",
			call: func(ctx context.Context, c *Client) (result, error) { return nil, c.Health(ctx) },
			step: step{method: "GET", target: "/health", status: 200, answer: "true"},
			want: "<nil>",
		},
		{
			name: "ServerVersion",
			call: func(ctx context.Context, c *Client) (result, error) { return c.ServerVersion(ctx) },
			step: step{method: "GET", target: "/admin/version", status: 200, answer: `"3.8.8"`},
			want: "3.8.8",
		},
		{
			name: "WorkPool",
			call: func(ctx context.Context, c *Client) (result, error) {
				pool, err := c.WorkPool(ctx, "my pool")
				return pool.ID + " " + string(pool.BaseJobTemplate), err
			},
			step: step{method: "GET", target: "/work_pools/my%20pool", status: 200, answer: `{"id":"1","base_job_template":{"z":1,"a":2},"concurrency_limit":null,"new":true}`},
			want: `1 {"z":1,"a":2}`,
		},
		{
			name: "CreateWorkPool",
			call: func(ctx context.Context, c *Client) (result, error) {
				pool, err := c.CreateWorkPool(ctx, "p", "northflank", json.RawMessage(`{"variables":{}}`))
				return pool.Name, err
			},
			step: step{method: "POST", target: "/work_pools/", body: `{"name":"p","type":"northflank","base_job_template":{"variables":{}}}`, status: 201, answer: `{"name":"p"}`},
			want: "p",
		},
		{
			name: "CreateWorkPool without a template",
			call: func(ctx context.Context, c *Client) (result, error) {
				_, err := c.CreateWorkPool(ctx, "p", "northflank", nil)
				return nil, err
			},
			step: step{method: "POST", target: "/work_pools/", body: `{"name":"p","type":"northflank"}`, status: 201, answer: `{}`},
			want: "<nil>",
		},
		{
			name: "UpdateWorkPoolTemplate",
			call: func(ctx context.Context, c *Client) (result, error) {
				return nil, c.UpdateWorkPoolTemplate(ctx, "p", json.RawMessage(`{"a":"<>"}`))
			},
			step: step{method: "PATCH", target: "/work_pools/p", body: `{"base_job_template":{"a":"<>"}}`, status: 204},
			want: "<nil>",
		},
		{
			name: "RenewLease",
			call: func(ctx context.Context, c *Client) (result, error) {
				return nil, c.RenewLease(ctx, "l", 5*time.Minute)
			},
			step: step{method: "POST", target: "/v2/concurrency_limits/leases/l/renew", body: `{"lease_duration":300}`, status: 204},
			want: "<nil>",
		},
		{
			name: "RenewLease for less than the server allows",
			call: func(ctx context.Context, c *Client) (result, error) {
				return nil, c.RenewLease(ctx, "l", time.Second)
			},
			step: step{method: "POST", target: "/v2/concurrency_limits/leases/l/renew", body: `{"lease_duration":60}`, status: 204},
			want: "<nil>",
		},
		{
			name: "WorkQueues",
			call: func(ctx context.Context, c *Client) (result, error) { return c.WorkQueues(ctx, "p", []string{"q"}) },
			step: step{method: "POST", target: "/work_pools/p/queues/filter", body: `{"work_queues":{"name":{"any_":["q"]}},"limit":200,"offset":0}`, status: 200, answer: `[{"id":"1","name":"q","is_paused":true,"concurrency_limit":null,"priority":1}]`},
			want: "[{1 q true <nil> 1}]",
		},
		{
			name: "ScheduledFlowRuns",
			call: func(ctx context.Context, c *Client) (result, error) {
				flowRuns, err := c.ScheduledFlowRuns(ctx, "p", nil, noon, 0)
				return fmt.Sprintln(len(flowRuns), flowRuns[0].ID, flowRuns[0].State == nil, flowRuns[0].JobVariables), err
			},
			step: step{
				method: "POST", target: "/work_pools/p/get_scheduled_flow_runs", body: `{"work_queue_names":[],"scheduled_before":"2026-11-23T11:00:00.123456Z"}`,
				status: 200, answer: `[{"work_pool_id":"1","flow_run":{"id":"f","state":null,"deployment_id":null,"job_variables":{"n":12345678901234567890}}}]`,
			},
			want: "1 f true map[n:12345678901234567890]",
		},
		{
			name: "ScheduledFlowRuns of queues, with a limit above the server's",
			call: func(ctx context.Context, c *Client) (result, error) {
				return c.ScheduledFlowRuns(ctx, "p", []string{"q"}, noon, 1000)
			},
			step: step{method: "POST", target: "/work_pools/p/get_scheduled_flow_runs", body: `{"work_queue_names":["q"],"scheduled_before":"2026-11-23T11:00:00.123456Z","limit":200}`, status: 200, answer: `[]`},
			want: "[]",
		},
		{
			name: "Heartbeat",
			call: func(ctx context.Context, c *Client) (result, error) { return nil, c.Heartbeat(ctx, "p", "w", 30) },
			step: step{method: "POST", target: "/work_pools/p/workers/heartbeat", body: `{"name":"w","heartbeat_interval_seconds":30}`, status: 204},
			want: "<nil>",
		},
		{
			name: "Workers",
			call: func(ctx context.Context, c *Client) (result, error) {
				workers, err := c.Workers(ctx, "p")
				return workers[0].Name + " " + workers[0].Status, err
			},
			step: step{method: "POST", target: "/work_pools/p/workers/filter", body: `{"limit":200,"offset":0}`, status: 200, answer: `[{"name":"w","status":"OFFLINE","last_heartbeat_time":null}]`},
			want: "w OFFLINE",
		},
		{
			name: "FlowRun",
			call: func(ctx context.Context, c *Client) (result, error) {
				flowRun, err := c.FlowRun(ctx, "f")
				return flowRun.State.Message + " " + string(flowRun.Raw), err
			},
			step: step{method: "GET", target: "/flow_runs/f", status: 200, answer: `{"state":{"message":"m"},"extra":1}`},
			want: `m {"state":{"message":"m"},"extra":1}`,
		},
		{
			name: "SetState",
			call: func(ctx context.Context, c *Client) (result, error) {
				r, err := c.SetState(ctx, "f", StateProposal{Type: StatePending, Name: "Pending"})
				return fmt.Sprintln(r.Status, r.State.Name), err
			},
			step: step{
				method: "POST", target: "/flow_runs/f/set_state", body: `{"state":{"type":"PENDING","name":"Pending","state_details":{"flow_run_id":"f","transition_id":"%ID%"}},"force":false}`,
				status: 201, answer: `{"state":{"type":"PENDING","name":"Pending"},"status":"ACCEPT","details":{"type":"accept_details"}}`,
			},
			want: "ACCEPT Pending",
		},
		{
			name: "SetState with everything",
			call: func(ctx context.Context, c *Client) (result, error) {
				r, err := c.SetState(ctx, "f", StateProposal{Type: StateScheduled, Name: "Late", Message: "m", ScheduledTime: noon, TransitionID: "t", Force: true})
				return fmt.Sprintln(r.Status, r.Delay, r.Reason), err
			},
			step: step{
				method: "POST", target: "/flow_runs/f/set_state", body: `{"state":{"type":"SCHEDULED","name":"Late","message":"m","state_details":{"flow_run_id":"f","transition_id":"t","scheduled_time":"2026-11-23T11:00:00.123456Z"}},"force":true}`,
				status: 200, answer: `{"state":null,"status":"WAIT","details":{"delay_seconds":1.5,"reason":"r"}}`,
			},
			want: "WAIT 1.5s r",
		},
		{
			name: "SetLabels",
			call: func(ctx context.Context, c *Client) (result, error) {
				return nil, c.SetLabels(ctx, "f", map[string]any{"prefect.worker.name": "w", "n": 1})
			},
			step: step{method: "PATCH", target: "/flow_runs/f/labels", body: `{"prefect.worker.name":"w","n":1}`, status: 204},
			want: "<nil>",
		},
		{
			name: "SetInfrastructurePID",
			call: func(ctx context.Context, c *Client) (result, error) {
				return nil, c.SetInfrastructurePID(ctx, "f", "pid")
			},
			step: step{method: "PATCH", target: "/flow_runs/f", body: `{"infrastructure_pid":"pid"}`, status: 204},
			want: "<nil>",
		},
		{
			name: "SetInfrastructurePID to nothing",
			call: func(ctx context.Context, c *Client) (result, error) { return nil, c.SetInfrastructurePID(ctx, "f", "") },
			step: step{method: "PATCH", target: "/flow_runs/f", body: `{"infrastructure_pid":null}`, status: 204},
			want: "<nil>",
		},
		{
			name: "Deployment",
			call: func(ctx context.Context, c *Client) (result, error) {
				d, err := c.Deployment(ctx, "d")
				return d.UpdatedText, err
			},
			step: step{method: "GET", target: "/deployments/d", status: 200, answer: `{"updated":"2026-11-23T23:29:12.398538Z"}`},
			want: "2026-11-23T23:29:12.398538+00:00",
		},
		{
			name: "DeploymentByName",
			call: func(ctx context.Context, c *Client) (result, error) {
				d, err := c.DeploymentByName(ctx, "my flow/my/dep")
				return d.UpdatedText, err
			},
			step: step{method: "GET", target: "/deployments/name/my%20flow/my%2Fdep", status: 200, answer: `{"updated":"2026-11-23T23:29:12Z"}`},
			want: "2026-11-23T23:29:12+00:00",
		},
		{
			name: "Flow",
			call: func(ctx context.Context, c *Client) (result, error) {
				f, err := c.Flow(ctx, "f")
				return f.Name + " " + string(f.Raw), err
			},
			step: step{method: "GET", target: "/flows/f", status: 200, answer: `{"name":"n"}`},
			want: `n {"name":"n"}`,
		},
		{
			name: "CreateFlowRun",
			call: func(ctx context.Context, c *Client) (result, error) {
				f, err := c.CreateFlowRun(ctx, "d", NewFlowRun{})
				return f.ID, err
			},
			step: step{method: "POST", target: "/deployments/d/create_flow_run", body: `{"idempotency_key":"%ID%","state":{"type":"SCHEDULED","state_details":{}}}`, status: 201, answer: `{"id":"f"}`},
			want: "f",
		},
		{
			name: "CreateFlowRun with everything",
			call: func(ctx context.Context, c *Client) (result, error) {
				f, err := c.CreateFlowRun(ctx, "d", NewFlowRun{
					Name: "n", Parameters: map[string]any{"p": 1}, JobVariables: map[string]any{"v": "x"}, Tags: []string{"t"}, ScheduledTime: noon, IdempotencyKey: "k",
				})
				return f.ID, err
			},
			step: step{
				method: "POST", target: "/deployments/d/create_flow_run", status: 201, answer: `{"id":"f"}`,
				body: `{"name":"n","parameters":{"p":1},"job_variables":{"v":"x"},"tags":["t"],"idempotency_key":"k","state":{"type":"SCHEDULED","state_details":{"scheduled_time":"2026-11-23T11:00:00.123456Z"}}}`,
			},
			want: "f",
		},
		{
			name: "SendLogs",
			call: func(ctx context.Context, c *Client) (result, error) {
				return nil, c.SendLogs(ctx, []Log{{Name: "n", Level: 20, Message: "m", Timestamp: noon, FlowRunID: "f"}})
			},
			step: step{method: "POST", target: "/logs/", body: `[{"name":"n","level":20,"message":"m","timestamp":"2026-11-23T11:00:00.123456Z","flow_run_id":"f"}]`, status: 201, answer: "null"},
			want: "<nil>",
		},
		{
			name: "SendEvents",
			call: func(ctx context.Context, c *Client) (result, error) {
				return nil, c.SendEvents(ctx, []Event{{ID: "i", Occurred: noon, Event: "e", Resource: map[string]string{"prefect.resource.id": "r"}}})
			},
			step: step{method: "POST", target: "/events", body: `[{"id":"i","occurred":"2026-11-23T11:00:00.123456Z","event":"e","resource":{"prefect.resource.id":"r"},"related":[],"payload":{},"follows":null}]`, status: 204},
			want: "<nil>",
		},
		{
			name: "Block",
			call: func(ctx context.Context, c *Client) (result, error) {
				b, err := c.Block(ctx, "b")
				return b.Data, err
			},
			step: step{method: "GET", target: "/block_documents/b?include_secrets=true", status: 200, answer: `{"data":{"a":1}}`},
			want: "map[a:1]",
		},
		{
			name: "BlockByName",
			call: func(ctx context.Context, c *Client) (result, error) {
				b, err := c.BlockByName(ctx, "s", "n")
				return b.ID, err
			},
			step: step{method: "GET", target: "/block_types/slug/s/block_documents/name/n?include_secrets=true", status: 200, answer: `{"id":"b"}`},
			want: "b",
		},
		{
			name: "BlockDocuments",
			call: func(ctx context.Context, c *Client) (result, error) {
				b, err := c.BlockDocuments(ctx, "s")
				return len(b), err
			},
			step: step{method: "GET", target: "/block_types/slug/s/block_documents", status: 200, answer: `[{},{}]`},
			want: "2",
		},
		{
			name: "BlockDocuments of a type that is not registered",
			call: func(ctx context.Context, c *Client) (result, error) {
				b, err := c.BlockDocuments(ctx, "s")
				return len(b), err
			},
			step: step{method: "GET", target: "/block_types/slug/s/block_documents", status: 404, answer: `{"detail":"Block type not found"}`},
			want: "0",
		},
		{
			name: "EnsureBlockSchema",
			call: func(ctx context.Context, c *Client) (result, error) {
				return c.EnsureBlockSchema(ctx, "t", BlockSchemaDefinition{Fields: json.RawMessage(`{"f":1}`), Version: "1"})
			},
			step: step{method: "POST", target: "/block_schemas/", body: `{"fields":{"f":1},"block_type_id":"t","capabilities":[],"version":"1"}`, status: 200, answer: `{"id":"s"}`},
			want: "s",
		},
		{
			name: "Variable",
			call: func(ctx context.Context, c *Client) (result, error) {
				value, found, err := c.Variable(ctx, "v")
				return fmt.Sprint(value, found), err
			},
			step: step{method: "GET", target: "/variables/name/v", status: 200, answer: `{"name":"v","value":[1.50]}`},
			want: "[1.50] true",
		},
		{
			name: "Variable that does not exist",
			call: func(ctx context.Context, c *Client) (result, error) {
				value, found, err := c.Variable(ctx, "v")
				return fmt.Sprint(value, found), err
			},
			step: step{method: "GET", target: "/variables/name/v", status: 404, answer: `{"detail":"Variable not found."}`},
			want: "<nil> false",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, _ := newScriptedClient(t, testSettings(), test.step)
			got, err := test.call(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(fmt.Sprint(got)) != test.want {
				t.Errorf("%s = %v, want %s", test.name, got, test.want)
			}
		})
	}
}

func TestSetStateAnswers(t *testing.T) {
	t.Parallel()
	const own = "5fd1c0f4-3a62-4a0e-8d6a-1d6f4e5a7b8c"
	answer := func(status, typ, transition, reason string) string {
		return fmt.Sprintf(`{"status":%q,"state":{"type":%q,"state_details":{"transition_id":%q}},"details":{"reason":%q}}`, status, typ, transition, reason)
	}
	tests := []struct {
		name, answer string
		want         Answer
	}{
		{"accepted", answer("ACCEPT", "PENDING", own, ""), Accept},
		{"carried out before, the answer was lost", answer("REJECT", "PENDING", own, "This run has already made this state transition."), Accept},
		{"somebody else's transition", answer("REJECT", "PENDING", "other", ""), Reject},
		{"put into another state", answer("REJECT", "SCHEDULED", own, "Deployment concurrency limit reached."), Reject},
		{"aborted", answer("ABORT", "CANCELLED", "other", "no"), Abort},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, _ := newScriptedClient(t, testSettings(), step{status: 200, answer: test.answer})
			got, err := c.SetState(t.Context(), "f", StateProposal{Type: StatePending, TransitionID: own})
			if err != nil || got.Status != test.want {
				t.Errorf("SetState() = %v, %v, want %v", got.Status, err, test.want)
			}
		})
	}
}

// page is a JSON list of n objects whose ids start at first.
func page(first, n int) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(`{"id":"%d"}`, first+i)
	}
	return "[" + strings.Join(items, ",") + "]"
}

func TestFlowRunsReadsPages(t *testing.T) {
	t.Parallel()
	body := func(offset int) string {
		return fmt.Sprintf(`{"flow_runs":{"state":{"type":{"any_":["PENDING"]}},"end_time":{"after_":"2026-11-23T11:00:00.123456Z"}},"work_pools":{"name":{"any_":["p"]}},"sort":"ID_DESC","limit":200,"offset":%d}`, offset)
	}
	filter := FlowRunFilter{WorkPool: "p", StateTypes: []StateType{StatePending}, EndedAfter: noon}
	c, _ := newScriptedClient(t, testSettings(),
		step{method: "POST", target: "/flow_runs/filter", body: body(0), status: 200, answer: page(0, 200)},
		// One that the first page had too: another flow run came in before it.
		step{method: "POST", target: "/flow_runs/filter", body: body(200), status: 200, answer: page(199, 3)},
	)
	seen := 0
	for flowRun, err := range c.FlowRuns(t.Context(), filter) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint(seen); flowRun.ID != want {
			t.Fatalf("flow run %s, want %s", flowRun.ID, want)
		}
		seen++
	}
	if seen != 202 {
		t.Errorf("%d flow runs, want 202", seen)
	}
}

func TestFlowRunsAsksForManyIDsInParts(t *testing.T) {
	t.Parallel()
	ids := make([]string, 201)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	body := func(ids []string) string {
		list, _ := json.Marshal(ids)
		return fmt.Sprintf(`{"flow_runs":{"id":{"any_":%s}},"sort":"ID_DESC","limit":200,"offset":0}`, list)
	}
	c, _ := newScriptedClient(t, testSettings(),
		step{method: "POST", target: "/flow_runs/filter", body: body(ids[:200]), status: 200, answer: page(0, 1)},
		step{method: "POST", target: "/flow_runs/filter", body: body(ids[200:]), status: 200, answer: page(200, 1)},
	)
	var got []string
	for flowRun, err := range c.FlowRuns(t.Context(), FlowRunFilter{IDs: ids}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, flowRun.ID)
	}
	if diff := cmp.Diff([]string{"0", "200"}, got); diff != "" {
		t.Errorf("FlowRuns() (-want +got):\n%s", diff)
	}
}

func TestFlowRunsOfNoIDsAsksNothing(t *testing.T) {
	t.Parallel()
	c, _ := newScriptedClient(t, testSettings())
	for range c.FlowRuns(t.Context(), FlowRunFilter{IDs: []string{}}) {
		t.Error("a flow run from nowhere")
	}
}

func TestFlowRunsStopsAtAnError(t *testing.T) {
	t.Parallel()
	c, _ := newScriptedClient(t, testSettings(), step{status: 500, answer: `{"exception_message":"Internal Server Error"}`})
	count := 0
	for _, err := range c.FlowRuns(t.Context(), FlowRunFilter{}) {
		count++
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("error = %v, want ErrUnavailable", err)
		}
	}
	if count != 1 {
		t.Errorf("%d items, want the error alone", count)
	}
}

func TestDeploymentsAndWorkersReadPages(t *testing.T) {
	t.Parallel()
	c, _ := newScriptedClient(t, testSettings(),
		step{method: "POST", target: "/deployments/filter", body: `{"work_pools":{"name":{"any_":["p"]}},"limit":200,"offset":0}`, status: 200, answer: page(0, 200)},
		step{method: "POST", target: "/deployments/filter", body: `{"work_pools":{"name":{"any_":["p"]}},"limit":200,"offset":200}`, status: 200, answer: page(200, 1)},
		step{method: "POST", target: "/work_pools/p/workers/filter", body: `{"limit":200,"offset":0}`, status: 200, answer: page(0, 200)},
		step{method: "POST", target: "/work_pools/p/workers/filter", body: `{"limit":200,"offset":200}`, status: 200, answer: page(200, 0)},
	)
	deployments := 0
	for _, err := range c.Deployments(t.Context(), "p") {
		if err != nil {
			t.Fatal(err)
		}
		deployments++
	}
	workers, err := c.Workers(t.Context(), "p")
	if err != nil || deployments != 201 || len(workers) != 200 {
		t.Errorf("%d deployments, %d workers, error %v, want 201, 200 and none", deployments, len(workers), err)
	}
}

func TestDeploymentByNameWantsASlash(t *testing.T) {
	t.Parallel()
	c, _ := newScriptedClient(t, testSettings())
	for _, name := range []string{"", "flow", "/dep", "flow/"} {
		_, err := c.DeploymentByName(t.Context(), name)
		if hint, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); !ok || hint.Hint() == "" {
			t.Errorf("DeploymentByName(%q) error = %v, want one with a hint", name, err)
		}
	}
}

var testBlock = BlockDefinition{
	Type:   BlockTypeDefinition{Name: "Northflank", Slug: "nf", LogoURL: "l", DocumentationURL: "u", Description: "d", CodeExample: "c"},
	Schema: BlockSchemaDefinition{Fields: json.RawMessage(`{}`), Version: "1.0.1"},
}

const (
	typeBody     = `{"name":"Northflank","slug":"nf","logo_url":"l","documentation_url":"u","description":"d","code_example":"c"}`
	typeAnswer   = `{"id":"t","name":"Northflank","slug":"nf","logo_url":"l","documentation_url":"u","description":"d","code_example":"c"}`
	schemaBody   = `{"fields":{},"block_type_id":"t","capabilities":[],"version":"1.0.1"}`
	documentBody = `{"name":"creds","data":{"api_token":"x"},"block_schema_id":"s","block_type_id":"t","is_anonymous":false}`
)

func TestSaveBlock(t *testing.T) {
	t.Parallel()
	notFound := `{"detail":"Block type not found"}`
	readType := step{method: "GET", target: "/block_types/slug/nf", status: 200, answer: typeAnswer}
	schema := step{method: "POST", target: "/block_schemas/", body: schemaBody, status: 201, answer: `{"id":"s"}`}
	document := step{method: "POST", target: "/block_documents/", body: documentBody, status: 201, answer: `{"id":"d"}`}
	tests := []struct {
		name  string
		steps []step
	}{
		{"everything new", []step{
			{method: "GET", target: "/block_types/slug/nf", status: 404, answer: notFound},
			{method: "POST", target: "/block_types/", body: typeBody, status: 201, answer: typeAnswer},
			schema, document,
		}},
		{"type registered by someone else meanwhile", []step{
			{method: "GET", target: "/block_types/slug/nf", status: 404, answer: notFound},
			{method: "POST", target: "/block_types/", body: typeBody, status: 409, answer: `{"detail":"exists"}`},
			readType, schema, document,
		}},
		{"type as it should be", []step{readType, schema, document}},
		{"type out of date", []step{
			{method: "GET", target: "/block_types/slug/nf", status: 200, answer: strings.Replace(typeAnswer, `"d"`, `"old"`, 1)},
			{method: "PATCH", target: "/block_types/t", body: `{"logo_url":"l","documentation_url":"u","description":"d","code_example":"c"}`, status: 204},
			schema, document,
		}},
		{"document exists", []step{
			readType, schema,
			{method: "POST", target: "/block_documents/", body: documentBody, status: 409, answer: `{"detail":"Block already exists"}`},
			{method: "GET", target: "/block_types/slug/nf/block_documents/name/creds?include_secrets=true", status: 200, answer: `{"id":"d"}`},
			{method: "PATCH", target: "/block_documents/d", body: `{"block_schema_id":"s","data":{"api_token":"x"},"merge_existing_data":true}`, status: 204},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, _ := newScriptedClient(t, testSettings(), test.steps...)
			id, err := c.SaveBlock(t.Context(), testBlock, "creds", map[string]any{"api_token": "x"})
			if err != nil || id != "d" {
				t.Errorf("SaveBlock() = %q, %v, want d", id, err)
			}
		})
	}
}

func TestLookupReadsOnce(t *testing.T) {
	t.Parallel()
	c, _ := newScriptedClient(t, testSettings(),
		step{method: "GET", target: "/block_types/slug/s/block_documents/name/n?include_secrets=true", status: 500, answer: `{}`},
		step{method: "GET", target: "/block_types/slug/s/block_documents/name/n?include_secrets=true", status: 200, answer: `{"data":{"a":"b"}}`},
		step{method: "GET", target: "/block_documents/i?include_secrets=true", status: 200, answer: `{"data":{"c":"d"}}`},
		step{method: "GET", target: "/variables/name/v", status: 404, answer: `{"detail":"Variable not found."}`},
	)
	c.settings.environ = map[string]string{"HOME": "/root"}
	lookup := c.Lookup()
	if _, err := lookup.Block(t.Context(), "s", "n"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Block() error = %v, want ErrUnavailable", err)
	}
	for range 2 {
		byName, err1 := lookup.Block(t.Context(), "s", "n")
		byID, err2 := lookup.BlockByID(t.Context(), "i")
		_, found, err3 := lookup.Variable(t.Context(), "v")
		if err := errors.Join(err1, err2, err3); err != nil || byName["a"] != "b" || byID["c"] != "d" || found {
			t.Errorf("lookups = %v, %v, %v, %v", byName, byID, found, err)
		}
	}
	if got := lookup.Env("HOME"); got != "/root" {
		t.Errorf("Env(HOME) = %q, want /root", got)
	}
}

func TestLogsAreCutAndBatched(t *testing.T) {
	t.Parallel()
	settings := testSettings()
	settings.LoggingToAPI.MaxLogSize, settings.LoggingToAPI.BatchSize = 300, 500
	c, _ := newScriptedClient(t, settings)
	line := func(message string) Log {
		return Log{Name: "n", Level: 20, Message: message, Timestamp: noon, FlowRunID: "f"}
	}
	batches, err := c.logBatches([]Log{line("short"), line(strings.Repeat("é\n", 400)), line("short"), line("short"), line("short")})
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for _, batch := range batches {
		sizes = append(sizes, len(batch))
		total := 0
		for _, record := range batch {
			if len(record) > 300 {
				t.Errorf("record of %d bytes, want at most 300", len(record))
			}
			total += len(record)
		}
		if total > 500 {
			t.Errorf("batch of %d bytes, want at most 500", total)
		}
	}
	if diff := cmp.Diff([]int{2, 3}, sizes); diff != "" {
		t.Errorf("lines in each batch (-want +got):\n%s", diff)
	}
	var cut Log
	if err := json.Unmarshal(batches[0][1], &cut); err != nil || !strings.HasSuffix(cut.Message, truncatedMark) || !strings.HasPrefix(cut.Message, "é\né") {
		t.Errorf("cut message %q, %v, want the beginning and the mark", cut.Message, err)
	}
}

func TestSendLogsCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	settings := testSettings()
	settings.LoggingToAPI.Enabled = false
	c, _ := newScriptedClient(t, settings)
	if err := c.SendLogs(t.Context(), []Log{{}}); err != nil {
		t.Error(err)
	}
}

func TestCheckServerVersion(t *testing.T) {
	t.Parallel()
	tests := []struct {
		server      string
		warns, errs bool
	}{
		{"3.8.8", false, false},
		{"3.9.0", false, false},
		{"3.10.1.dev3", false, false},
		{"3.8.7", true, false},
		{"3.6.22", true, false},
		{"3.6.21", false, true},
		{"3.1.15", false, true},
		{"3.8.8rc1", false, false},
		{"2.20.0", false, true},
		{"4.0.0", false, true},
		{"", false, true},
	}
	for _, test := range tests {
		warning, err := compareVersions(test.server, imitatedVersion)
		if (warning != "") != test.warns || (err != nil) != test.errs {
			t.Errorf("compareVersions(%q) = %q, %v, want warning %v, error %v", test.server, warning, err, test.warns, test.errs)
		}
	}
	for _, edit := range []func(*Settings){
		func(s *Settings) { s.ServerVersionCheck = false },
		func(s *Settings) { s.APIURL = "https://api.prefect.cloud/api/accounts/a/workspaces/w" },
	} {
		settings := testSettings()
		edit(settings)
		c, _ := newScriptedClient(t, settings)
		if warning, err := c.CheckServerVersion(t.Context()); warning != "" || err != nil {
			t.Errorf("CheckServerVersion() = %q, %v, want nothing asked", warning, err)
		}
	}
}

func TestRoutesFill(t *testing.T) {
	t.Parallel()
	routes := Routes()
	for _, route := range routes {
		if route.Method == "" || !strings.HasPrefix(route.Path, "/") {
			t.Errorf("route %+v is not complete", route)
		}
		args := slices.Repeat([]string{"a/b"}, strings.Count(route.Path, "{"))
		if got := route.fill(args...); strings.ContainsAny(got, "{}") || strings.Count(got, "a%2Fb") != len(args) {
			t.Errorf("%+v filled = %q", route, got)
		}
	}
	routes[0].Path = "changed"
	if Routes()[0].Path == "changed" {
		t.Error("Routes() gives out its table")
	}
}

func TestObserveIsToldOfEachCall(t *testing.T) {
	t.Parallel()
	settings := testSettings()
	settings.MaxRetries = 0
	transport := &scripted{t: t, steps: []step{
		{status: 200, answer: "{}"},
		{status: 404, answer: `{"detail":"Flow run not found"}`},
		{err: errors.New("torn")},
	}}
	var calls []Call
	c, err := NewClient(ClientOptions{
		Settings: settings, HTTPClient: &http.Client{Transport: transport}, Logger: quiet(),
		Observe: func(call Call) { calls = append(calls, call) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, _ = c.FlowRun(t.Context(), "secret-id")
	}
	var got []string
	for _, call := range calls {
		got = append(got, fmt.Sprint(call.Method, " ", call.Route, " ", call.Status, " ", call.Attempts, " ", call.Err != nil))
	}
	want := []string{"GET /flow_runs/{id} 200 1 false", "GET /flow_runs/{id} 404 1 true", "GET /flow_runs/{id} 0 1 true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestNewClientNeedsAnAPI(t *testing.T) {
	t.Parallel()
	_, err := NewClient(ClientOptions{Settings: DefaultSettings(), Logger: quiet()})
	if e, ok := errors.AsType[*SettingError](err); !ok || e.Name != "PREFECT_API_URL" || e.Hint() == "" {
		t.Errorf("NewClient() error = %v, want one about PREFECT_API_URL with a hint", err)
	}
}

func TestEncodedLen(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "plain", "é😀", "\"\\\n\r\t\b\f\x00\x1f\x7f", "\u2028\u2029<>&", "\xff\ufffd\xc3"} {
		encoded, err := encode(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := encodedLen(text), len(encoded)-2; got != want {
			t.Errorf("encodedLen(%q) = %d, want %d as in %s", text, got, want, encoded)
		}
	}
}
