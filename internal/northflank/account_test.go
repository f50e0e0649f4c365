package northflank

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestGetToken(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, data string
		want       TokenInfo
		reaches    map[string]bool
	}{
		{
			"team", `{"id":"t","name":"worker","entityType":"team","expiresAt":"2027-03-21T15:01:17.000Z","permissions":{"projectScope":["p"],"teamScope":["t"]}}`,
			TokenInfo{Name: "worker", ExpiresAt: time.Date(2027, 3, 21, 15, 1, 17, 0, time.UTC), Permissions: []string{"t", "p"}},
			map[string]bool{"data": true},
		},
		{
			"organisation", `{"name":"worker","entityType":"org","expiresAt":null,"projectRestrictions":{"enabled":true,"restrictionMode":"in","projects":["data"]}}`,
			TokenInfo{Name: "worker", Organisation: true},
			map[string]bool{"data": true, "other": false},
		},
		{
			"all projects but some", `{"entityType":"team","permissions":{},"projectRestrictions":{"enabled":true,"restrictionMode":"notIn","projects":["data"]}}`,
			TokenInfo{},
			map[string]bool{"data": false, "other": true},
		},
		{
			"restriction switched off", `{"entityType":"team","projectRestrictions":{"enabled":false,"restrictionMode":"in","projects":["data"]}}`,
			TokenInfo{},
			map[string]bool{"other": true},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := scripted(t, step{want: "GET /v1/auth", body: `{"data":` + tt.data + `}`})
			c.team = "never in this path"
			got, err := c.GetToken(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(TokenInfo{})); diff != "" {
				t.Errorf("GetToken() (-want +got):\n%s", diff)
			}
			for project, want := range tt.reaches {
				if got.Reaches(project) != want {
					t.Errorf("Reaches(%q) = %t, want %t", project, !want, want)
				}
			}
		})
	}
}

func TestGetTokenWhereItIsNotServed(t *testing.T) {
	t.Parallel()
	c := scripted(t, step{want: "GET /v1/auth", status: 404, body: `{"error":{"status":404,"message":"Not found. The requested route does not exist"}}`})
	if _, err := c.GetToken(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("GetToken() = %v, want ErrNotFound", err)
	}
}

func TestListRegistries(t *testing.T) {
	t.Parallel()
	const page = "page=1&per_page=100"
	c := scripted(t, step{
		want: "GET /v1/teams/acme/integrations/registries?" + page,
		body: `{"data":{"credentials":[{"id":"hub","name":"Hub","provider":"dockerhub","registryUrl":"https://index.docker.io"}]},"pagination":{"hasNextPage":false,"count":1}}`,
	})
	c.team = "acme"
	got, err := collect(c.ListRegistries(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	want := []RegistryCredentials{{ID: "hub", Name: "Hub", Provider: "dockerhub", RegistryURL: "https://index.docker.io"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ListRegistries() (-want +got):\n%s", diff)
	}
}

func TestListBuilds(t *testing.T) {
	t.Parallel()
	c := scripted(t, step{
		want: "GET /v1/projects/data/services/flows/build?page=1&per_page=100",
		body: `{"data":{"builds":[{"id":"one-1","branch":"main","sha":"abc","status":"SUCCESS","concluded":true,"createdAt":1774105277}]},"pagination":{"hasNextPage":false,"count":1}}`,
	})
	got, err := collect(c.ListBuilds(t.Context(), "data", "flows"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Build{{ID: "one-1", Branch: "main", SHA: "abc", Status: "SUCCESS"}}, got); diff != "" {
		t.Errorf("ListBuilds() (-want +got):\n%s", diff)
	}
}

func TestListProjects(t *testing.T) {
	t.Parallel()
	c := scripted(t,
		step{
			want: "GET /v1/teams/acme/projects?page=1&per_page=100",
			body: `{"data":{"projects":[{"id":"data","name":"Data","description":"pipelines"}]},"pagination":{"hasNextPage":true,"cursor":"c","count":1}}`,
		},
		step{
			want: "GET /v1/teams/acme/projects?cursor=c&per_page=100",
			body: `{"data":{"projects":[{"id":"web","name":"Web"}]},"pagination":{"hasNextPage":false,"count":1}}`,
		})
	c.team = "acme"
	got, err := collect(c.ListProjects(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]ListedProject{{ID: "data", Name: "Data", Description: "pipelines"}, {ID: "web", Name: "Web"}}, got); diff != "" {
		t.Errorf("ListProjects() (-want +got):\n%s", diff)
	}
}

func TestRegions(t *testing.T) {
	t.Parallel()
	c := scripted(t, step{
		want: "GET /v1/regions",
		body: `{"data":{"regions":[{"id":"us-central","name":"US Central","regionName":"Iowa","gpuDevices":[
			{"id":"h100-80","name":"H100","manufacturer":"nvidia","memoryInfo":{"sizeInMiB":81920},"countOptions":[1,2],"pricing":{"onDemand":274}},
			{"id":"new","name":"New","countOptions":[8],"pricing":null}]},{"id":"europe-west","name":"Europe West"}]}}`,
	})
	c.team = "never in this path"
	got, err := c.Regions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h100 := GPUDevice{ID: "h100-80", Name: "H100", Manufacturer: "nvidia", Counts: []int{1, 2}}
	h100.Memory.MiB, h100.Pricing.OnDemand = 81920, new(274.0)
	want := []Region{
		{ID: "us-central", Name: "US Central", Location: "Iowa", GPUs: []GPUDevice{h100, {ID: "new", Name: "New", Counts: []int{8}}}},
		{ID: "europe-west", Name: "Europe West"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Regions() (-want +got):\n%s", diff)
	}
	if price := h100.PricePerHour(); price == nil || *price != 2.74 {
		t.Errorf("PricePerHour() = %v, want 2.74", price)
	}
	if price := got[0].GPUs[1].PricePerHour(); price != nil {
		t.Errorf("PricePerHour() without a price = %v, want none", *price)
	}
}
