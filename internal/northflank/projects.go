package northflank

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
)

// Project is what a project's read answer tells.
type Project struct {
	ID     string
	Name   string
	Region string // "" when Northflank does not say
	Jobs   []Job  // id, name, description and type only
}

// GetProject reads a project and the names of all its jobs in one request.
// Northflank docs: api/project/get-project.
func (c *Client) GetProject(ctx context.Context, projectID string) (Project, error) {
	var data struct {
		ID         string `json:"id"`
		Name       string `json:"name"`
		Deployment struct {
			Region string `json:"region"`
		} `json:"deployment"`
		Jobs []Job `json:"jobs"`
	}
	r, err := c.projectRequest(http.MethodGet, routeProject, projectID, ClassConfirm)
	if err == nil {
		_, err = c.call(ctx, r, &data)
	}
	if err == nil && data.ID == "" {
		err = unusable(r, errNoID.Error())
	}
	if err != nil {
		return Project{}, fmt.Errorf("read project %q: %w", projectID, err)
	}
	return Project{ID: data.ID, Name: data.Name, Region: data.Deployment.Region, Jobs: data.Jobs}, nil
}

// ListedProject is what the list of projects tells of one; its region and jobs
// take a request of their own.
type ListedProject struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
}

// ListProjects lists the projects that the token reaches, 100 a request.
// Northflank docs: api/project/list-projects.
func (c *Client) ListProjects(ctx context.Context) iter.Seq2[ListedProject, error] {
	return pages(ctx, c, "list projects",
		func() (*request, error) {
			return c.accountRequest(http.MethodGet, routeProjects, ClassEvidence, "projects")
		},
		func(data json.RawMessage) ([]ListedProject, error) {
			var page struct {
				Projects []ListedProject `json:"projects"`
			}
			err := json.Unmarshal(data, &page)
			return page.Projects, err
		},
		func(p ListedProject) string { return p.ID })
}

// DeploymentPlan is a compute size that Northflank offers to everybody; an
// account may have others of its own.
type DeploymentPlan struct {
	ID            string   `json:"id"` // "nf-compute-20"
	Name          string   `json:"name"`
	CPU           float64  `json:"cpuResource"`    // vCPU
	MemoryMB      float64  `json:"ramResource"`    // MB
	PricePerHour  *float64 `json:"amountPerHour"`  // in Currency; nil: not told
	PricePerMonth *float64 `json:"amountPerMonth"` // in Currency; nil: not told
	Currency      string   `json:"currency"`       // "usd"
}

// Plans lists the public deployment plans; it needs no token.
// Northflank docs: api/miscellaneous/list-plans.
func (c *Client) Plans(ctx context.Context) ([]DeploymentPlan, error) {
	var data struct {
		Plans []DeploymentPlan `json:"plans"`
	}
	r := &request{method: http.MethodGet, route: routePlans, path: "/v1/plans", class: ClassEvidence, public: true}
	if _, err := c.call(ctx, r, &data); err != nil {
		return nil, fmt.Errorf("list deployment plans: %w", err)
	}
	return data.Plans, nil
}
