package northflank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
)

var errNoID = errors.New("it has no id")

// PutJob creates the job or replaces the one of the same name; safe to repeat.
// Northflank docs: api/jobs/put.
func (c *Client) PutJob(ctx context.Context, projectID string, req JobRequest) (Job, error) {
	job, err := c.putJob(ctx, projectID, req)
	if err != nil {
		return Job{}, fmt.Errorf("save job %q: %w", req.Name, err)
	}
	return job, nil
}

func (c *Client) putJob(ctx context.Context, projectID string, req JobRequest) (Job, error) {
	r, err := c.projectRequest(http.MethodPut, routeJobs, projectID, ClassStart, "jobs")
	if err != nil {
		return Job{}, err
	}
	if err := r.setBody(req); err != nil {
		return Job{}, err
	}
	var job Job
	if _, err := c.call(ctx, r, &job); err != nil {
		return Job{}, err
	}
	if job.ID == "" {
		return Job{}, unusable(r, errNoID.Error())
	}
	return job, nil
}

// GetJob reads a job. Northflank docs: api/jobs/get.
func (c *Client) GetJob(ctx context.Context, projectID, jobID string) (Job, error) {
	r, err := c.projectRequest(http.MethodGet, routeJob, projectID, ClassConfirm, "jobs", jobID)
	var job Job
	if err == nil {
		_, err = c.call(ctx, r, &job)
	}
	if err == nil && job.ID == "" {
		err = unusable(r, errNoID.Error())
	}
	if err != nil {
		return Job{}, fmt.Errorf("read job %q: %w", jobID, err)
	}
	return job, nil
}

// ListJobs lists all jobs of the project, 100 a request; Northflank has no
// filter. Northflank docs: api/jobs/list.
func (c *Client) ListJobs(ctx context.Context, projectID string) iter.Seq2[Job, error] {
	return pages(ctx, c, fmt.Sprintf("list jobs of project %q", projectID),
		func() (*request, error) {
			return c.projectRequest(http.MethodGet, routeJobs, projectID, ClassSweep, "jobs")
		},
		func(data json.RawMessage) ([]Job, error) {
			var page struct {
				Jobs []Job `json:"jobs"`
			}
			err := json.Unmarshal(data, &page)
			return page.Jobs, err
		},
		func(j Job) string { return j.ID })
}

// DeleteJob deletes a job and the history of its runs. Running ones are killed,
// so make sure that there are none. Northflank docs: api/jobs/delete.
func (c *Client) DeleteJob(ctx context.Context, projectID, jobID string) error {
	r, err := c.projectRequest(http.MethodDelete, routeJob, projectID, ClassCleanup, "jobs", jobID)
	if err == nil {
		_, err = c.call(ctx, r, nil)
	}
	if err != nil {
		return fmt.Errorf("delete job %q: %w", jobID, err)
	}
	return nil
}

// UnmarshalJSON reads Northflank's job leniently.
func (j *Job) UnmarshalJSON(b []byte) error {
	type plain Job // without this method
	wire := struct {
		*plain
		CreatedAt wireTime `json:"createdAt"`
	}{plain: (*plain)(j)}
	if err := json.Unmarshal(b, &wire); err != nil {
		return err
	}
	j.CreatedAt = wire.CreatedAt.Time
	return nil
}
