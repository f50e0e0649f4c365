package northflank

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// ListContainers lists the containers of one job run: more than one when
// Northflank retried it, at most 100 here. Northflank docs: api/jobs/containers.
func (c *Client) ListContainers(ctx context.Context, projectID, jobID, runID string) ([]Container, error) {
	var data struct {
		Containers []Container `json:"containers"`
	}
	r, err := c.projectRequest(http.MethodGet, routeContainers, projectID, ClassEvidence, "jobs", jobID, "containers")
	if err == nil {
		r.query = url.Values{"runId": {runID}, "per_page": {strconv.Itoa(PageSize)}}
		_, err = c.call(ctx, r, &data)
	}
	if err != nil {
		return nil, fmt.Errorf("list containers of job run %q: %w", runID, err)
	}
	return data.Containers, nil
}

// UnmarshalJSON reads Northflank's container; its times are Unix seconds.
func (c *Container) UnmarshalJSON(b []byte) error {
	var wire struct {
		Name      string          `json:"name"`
		Status    ContainerStatus `json:"status"`
		CreatedAt wireTime        `json:"createdAt"`
		UpdatedAt wireTime        `json:"updatedAt"`
	}
	if err := json.Unmarshal(b, &wire); err != nil {
		return err
	}
	*c = Container{Name: wire.Name, Status: wire.Status, CreatedAt: wire.CreatedAt.Time, UpdatedAt: wire.UpdatedAt.Time}
	return nil
}
