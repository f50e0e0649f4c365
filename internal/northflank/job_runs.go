package northflank

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
)

// StartRun starts a run of the job with the overrides of req. Northflank has no
// idempotency key: the request is sent once, and after an error
// [MayHaveHappened] tells whether the job run may exist all the same.
// Northflank docs: api/jobs/runs/run-job.
func (c *Client) StartRun(ctx context.Context, projectID, jobID string, req RunRequest) (StartedRun, error) {
	started, err := c.startRun(ctx, projectID, jobID, req)
	if err != nil {
		return StartedRun{}, fmt.Errorf("start job run of job %q: %w", jobID, err)
	}
	return started, nil
}

func (c *Client) startRun(ctx context.Context, projectID, jobID string, req RunRequest) (StartedRun, error) {
	r, err := c.projectRequest(http.MethodPost, routeRuns, projectID, ClassStart, "jobs", jobID, "runs")
	if err != nil {
		return StartedRun{}, err
	}
	if err := r.setBody(req); err != nil {
		return StartedRun{}, err
	}
	r.secrets = req.secretValues()
	var started StartedRun
	if _, err := c.call(ctx, r, &started); err != nil {
		return StartedRun{}, err
	}
	if started.ID == "" {
		return StartedRun{}, unusable(r, errNoID.Error())
	}
	return started, nil
}

// ListRuns lists the runs of a job, 100 a request, each page only when the
// caller gets to it. The order is undocumented (newest first, it seems), so stop
// only when every run that is waited for was seen. Northflank docs: api/jobs/runs/list.
func (c *Client) ListRuns(ctx context.Context, projectID, jobID string) iter.Seq2[JobRun, error] {
	return pages(ctx, c, fmt.Sprintf("list job runs of job %q", jobID),
		func() (*request, error) {
			return c.projectRequest(http.MethodGet, routeRuns, projectID, ClassSweep, "jobs", jobID, "runs")
		},
		func(data json.RawMessage) ([]JobRun, error) {
			var page struct {
				Runs []JobRun `json:"runs"`
			}
			err := json.Unmarshal(data, &page)
			return page.Runs, err
		},
		func(r JobRun) string { return r.ID })
}

// GetRun reads one job run. Northflank docs: api/jobs/runs/get.
func (c *Client) GetRun(ctx context.Context, projectID, jobID, runID string) (JobRun, error) {
	r, err := c.projectRequest(http.MethodGet, routeRun, projectID, ClassSweep, "jobs", jobID, "runs", runID)
	var run JobRun
	if err == nil {
		_, err = c.call(ctx, r, &run)
	}
	if err == nil && run.ID == "" {
		err = unusable(r, errNoID.Error())
	}
	if err != nil {
		return JobRun{}, fmt.Errorf("read job run %q of job %q: %w", runID, jobID, err)
	}
	return run, nil
}

// AbortRun asks for the end of a job run: SIGTERM, then SIGKILL after the grace
// period. nil means that the request was accepted, not that the run has ended.
// A run that is gone or has ended gives [ErrNotFound] or [ErrConflict].
// Northflank docs: api/jobs/runs/abort.
func (c *Client) AbortRun(ctx context.Context, projectID, jobID, runID string) error {
	r, err := c.projectRequest(http.MethodDelete, routeRun, projectID, ClassAbort, "jobs", jobID, "runs", runID)
	if err == nil {
		_, err = c.call(ctx, r, nil)
	}
	if err != nil {
		return fmt.Errorf("abort job run %q of job %q: %w", runID, jobID, err)
	}
	return nil
}

// UnmarshalJSON reads Northflank's job run leniently.
func (r *JobRun) UnmarshalJSON(b []byte) error {
	type plain JobRun // without this method
	wire := struct {
		*plain
		Active       wireCount `json:"active"`
		Succeeded    wireCount `json:"succeeded"`
		Failed       wireCount `json:"failed"`
		BackoffLimit wireCount `json:"backoffLimit"`
		StartedAt    wireTime  `json:"startedAt"`
		ConcludedAt  wireTime  `json:"concludedAt"`
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(b, &wire); err != nil {
		return err
	}
	r.Active, r.Succeeded, r.Failed = int(wire.Active), int(wire.Succeeded), int(wire.Failed)
	r.BackoffLimit = int(wire.BackoffLimit)
	r.StartedAt, r.ConcludedAt = wire.StartedAt.Time, wire.ConcludedAt.Time
	return nil
}
