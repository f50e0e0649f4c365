package northflank

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

func fullJob() JobRequest {
	return JobRequest{
		Name: "pf x", Description: "a job", Infrastructure: &Infrastructure{Architecture: "arm"},
		Tags:    []string{"prefect"},
		Billing: Billing{DeploymentPlan: "nf-compute-20", GPU: &GPU{Enabled: true, Configuration: &GPUConfiguration{GPUType: "h100-80", GPUCount: 2, Timesliced: new(false)}}},
		Deployment: Deployment{
			External:           &ExternalImage{ImagePath: "prefecthq/prefect:3-python3.12", Credentials: "dockerhub"},
			Docker:             &Docker{ConfigType: "customEntrypointCustomCommand", CustomEntrypoint: "sh -c", CustomCommand: "'prefect flow-run execute'"},
			Storage:            &Storage{EphemeralStorage: &EphemeralStorage{StorageSize: 2048}, ShmSize: 64},
			GPU:                &GPU{Enabled: true, Configuration: &GPUConfiguration{GPUType: "h100-80", GPUCount: 2}},
			GracePeriodSeconds: new(0),
			Metadata:           &Metadata{Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}},
		},
		HealthChecks: []any{map[string]any{"protocol": "HTTP"}},
		Settings:     JobSettings{RunOnSourceChange: "never", ActiveDeadlineSeconds: new(3600)},
	}
}

func minimalJob() JobRequest {
	return JobRequest{
		Name: "pf x", Billing: Billing{DeploymentPlan: "nf-compute-20"},
		Deployment: Deployment{Internal: &InternalBuild{ID: "svc", Branch: "main", BuildSHA: "latest", BuildID: "b-1"}, Buildpack: &Buildpack{ConfigType: "customProcess", CustomProcess: "worker"}},
	}
}

func fullRun() RunRequest {
	return RunRequest{
		RuntimeEnvironment: map[string]string{"K": "V", "EMPTY": ""},
		RuntimeFiles:       map[string]RuntimeFile{"/etc/f": {Data: "aGk=", Encoding: "utf-8"}},
		Billing:            &Billing{DeploymentPlan: "nf-compute-50"},
		Deployment:         &Deployment{Docker: &Docker{ConfigType: "customCommand", CustomCommand: "prefect flow-run execute"}},
	}
}

// The bodies are compared with files, since they are what Northflank sees.
func TestRequestBodies(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]any{
		"put_job_full.json": fullJob(), "put_job_minimal.json": minimalJob(),
		"start_run_full.json": fullRun(), "start_run_empty.json": RunRequest{},
	} {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, b)
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	body := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	at := time.Date(2026, 3, 21, 15, 1, 17, 0, time.UTC)
	run := `{"id":"r-1","runName":"pf-x-abc","status":"RUNNING","concluded":false,"active":1,"succeeded":0,"failed":0,"backoffLimit":2,"startedAt":"2026-03-21T15:01:17Z","concludedAt":null}`
	wantRun := JobRun{ID: "r-1", Name: "pf-x-abc", Status: JobRunRunning, Active: 1, BackoffLimit: 2, StartedAt: at}
	job := `{"id":"pf-x","appId":"/t/data/pf-x","name":"pf x","description":"d","projectId":"data","jobType":"manual","createdAt":"2026-03-21T15:01:17.000Z"}`
	wantJob := Job{ID: "pf-x", Name: "pf x", Description: "d", ProjectID: "data", JobType: "manual", CreatedAt: at}

	tests := []struct {
		name   string
		step   step // want without the prefix of the project
		call   func(context.Context, *Client) (any, error)
		result any
	}{
		{
			name:   "put job",
			step:   step{want: "PUT /jobs", wantBody: body(fullJob()), body: `{"data":` + job + `}`},
			call:   func(ctx context.Context, c *Client) (any, error) { return c.PutJob(ctx, "data", fullJob()) },
			result: wantJob,
		}, {
			name:   "get job",
			step:   step{want: "GET /jobs/pf-x", body: `{"data":` + job + `}`},
			call:   func(ctx context.Context, c *Client) (any, error) { return c.GetJob(ctx, "data", "pf-x") },
			result: wantJob,
		}, {
			name:   "list jobs",
			step:   step{want: "GET /jobs?page=1&per_page=100", body: `{"data":{"jobs":[` + job + `]},"pagination":{"hasNextPage":false,"count":1}}`},
			call:   func(ctx context.Context, c *Client) (any, error) { return collect(c.ListJobs(ctx, "data")) },
			result: []Job{wantJob},
		}, {
			name: "delete job",
			step: step{want: "DELETE /jobs/pf-x", body: `{"data":{}}`},
			call: func(ctx context.Context, c *Client) (any, error) { return nil, c.DeleteJob(ctx, "data", "pf-x") },
		}, {
			name:   "start run",
			step:   step{want: "POST /jobs/pf-x/runs", wantBody: body(fullRun()), body: `{"data":{"id":"r-1","runName":"pf-x-abc"}}`},
			call:   func(ctx context.Context, c *Client) (any, error) { return c.StartRun(ctx, "data", "pf-x", fullRun()) },
			result: StartedRun{ID: "r-1", Name: "pf-x-abc"},
		}, {
			name: "start run without overrides",
			step: step{want: "POST /jobs/pf-x/runs", wantBody: "{}", status: 201, body: `{"data":{"id":"r-1"}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.StartRun(ctx, "data", "pf-x", RunRequest{})
			},
			result: StartedRun{ID: "r-1"},
		}, {
			name:   "list runs",
			step:   step{want: "GET /jobs/pf-x/runs?page=1&per_page=100", body: `{"data":{"runs":[` + run + `]}}`},
			call:   func(ctx context.Context, c *Client) (any, error) { return collect(c.ListRuns(ctx, "data", "pf-x")) },
			result: []JobRun{wantRun},
		}, {
			name:   "get run",
			step:   step{want: "GET /jobs/pf-x/runs/r-1", body: `{"data":` + run + `}`},
			call:   func(ctx context.Context, c *Client) (any, error) { return c.GetRun(ctx, "data", "pf-x", "r-1") },
			result: wantRun,
		}, {
			name: "abort run",
			step: step{want: "DELETE /jobs/pf-x/runs/r-1", body: ``},
			call: func(ctx context.Context, c *Client) (any, error) { return nil, c.AbortRun(ctx, "data", "pf-x", "r-1") },
		}, {
			name: "containers",
			step: step{want: "GET /jobs/pf-x/containers?per_page=100&runId=r-1", body: `{"data":{"runId":"r-1","containers":[{"name":"pf-x-abc-1","status":"TASK_RUNNING","createdAt":1774105277,"updatedAt":1774105277.5}]}}`},
			call: func(ctx context.Context, c *Client) (any, error) { return c.ListContainers(ctx, "data", "pf-x", "r-1") },
			result: []Container{{
				Name: "pf-x-abc-1", Status: ContainerRunning, CreatedAt: at, UpdatedAt: at.Add(500 * time.Millisecond),
			}},
		}, {
			name: "logs",
			step: step{
				want: "GET /jobs/pf-x/logs?direction=backward&endTime=2026-03-21T15%3A01%3A18.000Z&lineLimit=250&queryType=range&runId=r-1&startTime=2026-03-21T15%3A01%3A17.000Z",
				body: `{"data":[{"containerId":"c","log":"stdout F hi","ts":"2026-03-21T15:01:17Z"}]}`,
			},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.Logs(ctx, "data", "pf-x", LogQuery{RunID: "r-1", Start: at, End: at.Add(time.Second), LineLimit: 250, Direction: LogsBackward})
			},
			result: []LogLine{{ContainerID: "c", Time: at, Stream: "stdout", Text: "hi"}},
		}, {
			name:   "project",
			step:   step{want: "GET ", body: `{"data":{"id":"data","name":"Data","deployment":{"region":"europe-west"},"jobs":[{"id":"pf-x","name":"pf x","description":"d","jobType":"manual"}],"services":[]}}`},
			call:   func(ctx context.Context, c *Client) (any, error) { return c.GetProject(ctx, "data") },
			result: Project{ID: "data", Name: "Data", Region: "europe-west", Jobs: []Job{{ID: "pf-x", Name: "pf x", Description: "d", JobType: "manual"}}},
		},
	}
	for _, tt := range tests {
		for team, prefix := range map[string]string{"": "/v1/projects/data", "my team": "/v1/teams/my%20team/projects/data"} {
			t.Run(tt.name+"/team "+team, func(t *testing.T) {
				t.Parallel()
				st := tt.step
				method, rest, _ := strings.Cut(st.want, " ")
				st.want = method + " " + prefix + rest
				c := scripted(t, st)
				c.team = team
				got, err := tt.call(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.result, got); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestPlans(t *testing.T) {
	t.Parallel()
	c := scripted(t, step{
		want: "GET /v1/plans",
		body: `{"data":{"plans":[{"id":"nf-compute-20","name":"Compute 20","currency":"USD","amountPerMonth":5.4,"amountPerHour":0.0075,"cpuResource":0.2,"ramResource":512}]}}`,
	})
	c.team = "never in this path"
	got, err := c.Plans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []DeploymentPlan{{ID: "nf-compute-20", Name: "Compute 20", CPU: 0.2, MemoryMB: 512, PricePerHour: new(0.0075), PricePerMonth: new(5.4), Currency: "USD"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Plans() (-want +got):\n%s", diff)
	}
}

func TestPathValuesAreEscaped(t *testing.T) {
	t.Parallel()
	c := scripted(t, step{want: "DELETE /v1/projects/a%2Fb/jobs/c%3Fd/runs/e%20%23f", body: `{}`})
	if err := c.AbortRun(t.Context(), "a/b", "c?d", "e #f"); err != nil {
		t.Fatal(err)
	}
	// An empty id would address the collection: DELETE /jobs/ instead of a job.
	for _, id := range []string{"", ".", ".."} {
		if err := c.DeleteJob(t.Context(), "data", id); !errors.Is(err, ErrInvalid) || MayHaveHappened(err) {
			t.Errorf("DeleteJob(%q) = %v, want ErrInvalid and nothing sent", id, err)
		}
		if _, err := collect(c.ListRuns(t.Context(), id, "pf-x")); !errors.Is(err, ErrInvalid) {
			t.Errorf("ListRuns(project %q) = %v, want ErrInvalid", id, err)
		}
	}
}

func TestLenientDecoding(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 21, 15, 1, 17, 0, time.UTC)
	tests := []struct {
		name, data string
		want       JobRun
	}{
		{"unknown fields", `{"id":"r","status":"SUCCESS","new":{"a":[1]}}`, JobRun{ID: "r", Status: JobRunSuccess}},
		{"unknown status", `{"id":"r","status":"ABORTED","concluded":true}`, JobRun{ID: "r", Status: "ABORTED", Concluded: true}},
		{"nulls", `{"id":"r","runName":null,"status":null,"concluded":null,"active":null,"startedAt":null,"concludedAt":null}`, JobRun{ID: "r"}},
		{"empty times", `{"id":"r","startedAt":"","concludedAt":""}`, JobRun{ID: "r"}},
		{"unreadable times", `{"id":"r","startedAt":"soon","concludedAt":{}}`, JobRun{ID: "r"}},
		{"time with offset", `{"id":"r","startedAt":"2026-03-21T16:01:17+01:00"}`, JobRun{ID: "r", StartedAt: at}},
		{"time without offset", `{"id":"r","startedAt":"2026-03-21T15:01:17"}`, JobRun{ID: "r", StartedAt: at}},
		{"time in seconds", `{"id":"r","startedAt":1774105277}`, JobRun{ID: "r", StartedAt: at}},
		{"time in milliseconds", `{"id":"r","startedAt":1774105277000}`, JobRun{ID: "r", StartedAt: at}},
		{"float counts", `{"id":"r","active":1.0,"failed":"1","succeeded":true}`, JobRun{ID: "r", Active: 1, Failed: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := scripted(t, step{want: "GET /v1/projects/data/jobs/j/runs/r", body: `{"data":` + tt.data + `,"extra":1}`})
			got, err := c.GetRun(t.Context(), "data", "j", "r")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("GetRun() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestJobRunTerminal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		run  JobRun
		want bool
	}{
		{JobRun{Status: JobRunRunning}, false},
		{JobRun{Status: JobRunRunning, Concluded: true}, true},
		{JobRun{Status: JobRunSuccess}, true},
		{JobRun{Status: JobRunFailed}, true},
		{JobRun{Status: "ABORTED"}, false},
		{JobRun{Status: "ABORTED", Concluded: true}, true},
		{JobRun{}, false},
	} {
		if got := tt.run.Terminal(); got != tt.want {
			t.Errorf("%+v.Terminal() = %v, want %v", tt.run, got, tt.want)
		}
	}
}
