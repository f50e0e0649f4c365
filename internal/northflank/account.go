package northflank

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"time"
)

// TokenInfo is what Northflank tells of an API token.
type TokenInfo struct {
	Name         string
	Organisation bool      // it reaches projects by the team form of the paths only
	ExpiresAt    time.Time // zero: never, or not told
	// Permissions of its role, in Northflank's spelling, which is not documented;
	// empty when Northflank does not tell any.
	Permissions []string
	restriction projectRestriction
}

type projectRestriction struct {
	Enabled  bool     `json:"enabled"`
	Mode     string   `json:"restrictionMode"` // in or notIn
	Projects []string `json:"projects"`
}

// Reaches reports whether the role's restriction to projects lets the token
// reach a project.
func (t TokenInfo) Reaches(projectID string) bool {
	if !t.restriction.Enabled {
		return true
	}
	return slices.Contains(t.restriction.Projects, projectID) == (t.restriction.Mode != "notIn")
}

// GetToken describes the token that requests are made with. [ErrNotFound] where
// Northflank does not serve this yet: it came in 2026. Northflank's Python
// client: get.auth.
func (c *Client) GetToken(ctx context.Context) (TokenInfo, error) {
	var data struct {
		Name        string   `json:"name"`
		EntityType  string   `json:"entityType"`
		ExpiresAt   wireTime `json:"expiresAt"`
		Permissions *struct {
			Team    []string `json:"teamScope"`
			Project []string `json:"projectScope"`
			Org     []string `json:"orgScope"`
		} `json:"permissions"`
		Restriction projectRestriction `json:"projectRestrictions"`
	}
	r := &request{method: http.MethodGet, route: routeToken, path: "/v1" + routeToken, class: ClassEvidence}
	if _, err := c.call(ctx, r, &data); err != nil {
		return TokenInfo{}, fmt.Errorf("read the API token's role: %w", err)
	}
	info := TokenInfo{
		Name: data.Name, Organisation: data.EntityType == "org", ExpiresAt: data.ExpiresAt.Time, restriction: data.Restriction,
	}
	if p := data.Permissions; p != nil {
		info.Permissions = slices.Concat(p.Team, p.Project, p.Org)
	}
	return info, nil
}

// RegistryCredentials are credentials for images of a private registry.
type RegistryCredentials struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Provider    string `json:"provider"`
	RegistryURL string `json:"registryUrl"`
}

// ListRegistries lists the account's registry credentials, without secrets.
// Northflank docs: api/integrations/list-registries.
func (c *Client) ListRegistries(ctx context.Context) iter.Seq2[RegistryCredentials, error] {
	return pages(ctx, c, "list registry credentials",
		func() (*request, error) {
			return c.accountRequest(http.MethodGet, routeRegistries, ClassEvidence, "integrations", "registries")
		},
		func(data json.RawMessage) ([]RegistryCredentials, error) {
			var page struct {
				Credentials []RegistryCredentials `json:"credentials"`
			}
			err := json.Unmarshal(data, &page)
			return page.Credentials, err
		},
		func(r RegistryCredentials) string { return r.ID })
}

// Build is one build of a build service.
type Build struct {
	ID     string `json:"id"`
	Branch string `json:"branch"`
	SHA    string `json:"sha"`
	Status string `json:"status"` // SUCCESS, FAILURE, BUILDING, ...
}

// ListBuilds lists the builds of a build service, 100 a request; the order is
// undocumented. Northflank docs: api/services/build/list-builds.
func (c *Client) ListBuilds(ctx context.Context, projectID, serviceID string) iter.Seq2[Build, error] {
	return pages(ctx, c, fmt.Sprintf("list builds of service %q", serviceID),
		func() (*request, error) {
			return c.projectRequest(http.MethodGet, routeBuilds, projectID, ClassEvidence, "services", serviceID, "build")
		},
		func(data json.RawMessage) ([]Build, error) {
			var page struct {
				Builds []Build `json:"builds"`
			}
			err := json.Unmarshal(data, &page)
			return page.Builds, err
		},
		func(b Build) string { return b.ID })
}

// Region is a place where projects can be.
type Region struct {
	ID       string      `json:"id"`   // "europe-west"
	Name     string      `json:"name"` // "Europe West"
	Location string      `json:"regionName"`
	GPUs     []GPUDevice `json:"gpuDevices"`
}

// GPUDevice is a GPU that a region offers.
type GPUDevice struct {
	ID           string `json:"id"` // "h100-80"
	Name         string `json:"name"`
	Manufacturer string `json:"manufacturer"`
	Counts       []int  `json:"countOptions"` // how many of them a container may have
	Memory       struct {
		MiB float64 `json:"sizeInMiB"` // 0: not told
	} `json:"memoryInfo"`
	Pricing struct {
		OnDemand *float64 `json:"onDemand"` // US cents an hour; nil: not told
	} `json:"pricing"`
}

// PricePerHour is what one GPU costs, in US dollars; nil when it is not told.
func (d GPUDevice) PricePerHour() *float64 {
	if d.Pricing.OnDemand == nil {
		return nil
	}
	return new(*d.Pricing.OnDemand / 100)
}

// Regions lists Northflank's own regions; it needs no token. Northflank docs:
// api/miscellaneous/list-regions.
func (c *Client) Regions(ctx context.Context) ([]Region, error) {
	var data struct {
		Regions []Region `json:"regions"`
	}
	r := &request{method: http.MethodGet, route: routeRegions, path: "/v1" + routeRegions, class: ClassEvidence, public: true}
	if _, err := c.call(ctx, r, &data); err != nil {
		return nil, fmt.Errorf("list regions: %w", err)
	}
	return data.Regions, nil
}
