package emulator

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// plan is a row of GET /v1/plans.
type plan struct {
	ID             string  `json:"id"`
	Name           string  `json:"name"`
	Currency       string  `json:"currency"`
	AmountPerMonth float64 `json:"amountPerMonth"`
	AmountPerHour  float64 `json:"amountPerHour"`
	CPUResource    float64 `json:"cpuResource"` // vCPU
	RAMResource    int     `json:"ramResource"` // MB
}

// plans are Northflank's compute plans, from its docs on resource plans.
func plans() []plan {
	rows := []struct {
		id  string
		cpu float64
		ram int
	}{
		{"nf-compute-10", 0.1, 256},
		{"nf-compute-20", 0.2, 512},
		{"nf-compute-50", 0.5, 1024},
		{"nf-compute-100-1", 1, 1024},
		{"nf-compute-100-2", 1, 2048},
		{"nf-compute-100-4", 1, 4096},
		{"nf-compute-200", 2, 4096},
		{"nf-compute-200-4", 2, 4096},
		{"nf-compute-200-8", 2, 8192},
		{"nf-compute-200-16", 2, 16384},
		{"nf-compute-400", 4, 8192},
		{"nf-compute-400-16", 4, 16384},
		{"nf-compute-800-8", 8, 8192},
		{"nf-compute-800-16", 8, 16384},
		{"nf-compute-800-24", 8, 24576},
		{"nf-compute-800-32", 8, 32768},
		{"nf-compute-800-40", 8, 40960},
		{"nf-compute-1200-24", 12, 24576},
		{"nf-compute-1600-32", 16, 32768},
		{"nf-compute-2000-40", 20, 40960},
	}
	list := make([]plan, 0, len(rows))
	for _, r := range rows {
		list = append(list, plan{ID: r.id, Name: r.id, Currency: "usd", CPUResource: r.cpu, RAMResource: r.ram})
	}
	return list
}

// gpu is a device and the counts that there are plans for: nf-gpu-<id>-<n>g.
type gpu struct {
	id, name  string
	memoryMiB int
	counts    []int
}

func gpus() []gpu {
	return []gpu{
		{"l4-24", "NVIDIA L4", 24 << 10, []int{1, 2, 4, 8}},
		{"a100-40", "NVIDIA A100 40GB", 40 << 10, []int{1, 2, 4, 8}},
		{"a100-80", "NVIDIA A100 80GB", 80 << 10, []int{1, 2, 4, 8}},
		{"h100-80", "NVIDIA H100", 80 << 10, []int{1, 2, 4, 8}},
		{"rtx_pro_6000-96", "NVIDIA RTX PRO 6000", 96 << 10, []int{1, 2, 4, 8}},
		{"h200-141", "NVIDIA H200", 141 << 10, []int{1, 2, 4, 8}},
		{"b200-180", "NVIDIA B200", 180 << 10, []int{8}},
	}
}

// knownPlan reports whether a deployment plan exists. GPU plans are not in the list of plans.
func knownPlan(id string) bool {
	if slices.ContainsFunc(plans(), func(p plan) bool { return p.ID == id }) {
		return true
	}
	return slices.ContainsFunc(gpus(), func(g gpu) bool {
		return slices.ContainsFunc(g.counts, func(n int) bool { return id == fmt.Sprintf("nf-gpu-%s-%dg", g.id, n) })
	})
}

// hoursAMonth is what Northflank's monthly prices count with [inferred].
const hoursAMonth = 720

func (s *Server) listPlans(*request) (answer, *apiError) {
	list := plans()
	for i := range list {
		list[i].AmountPerHour = s.config.Prices[list[i].ID]
		list[i].AmountPerMonth = math.Round(list[i].AmountPerHour*hoursAMonth*100) / 100 // to the cent
	}
	return answer{data: map[string]any{"plans": list}}, nil
}

func (s *Server) listRegions(*request) (answer, *apiError) {
	devices := []map[string]any{}
	for _, g := range gpus() {
		devices = append(devices, map[string]any{
			"id": g.id, "name": g.name, "manufacturer": "nvidia",
			"memoryInfo": map[string]any{"sizeInMiB": g.memoryMiB}, "countOptions": g.counts,
			"pricing": map[string]any{"onDemand": math.Round(s.config.Prices[g.id] * 100)}, // US cents an hour
		})
	}
	regions := []map[string]any{
		{"id": "europe-west", "name": "Europe West", "regionName": "London", "gpuDevices": []any{}},
		{"id": "us-central", "name": "US Central", "regionName": "Iowa", "gpuDevices": devices},
	}
	return answer{data: map[string]any{"regions": regions}}, nil
}

// getAuth describes the token. How permissions are spelled in these arrays is
// unpublished; here they carry the names of the docs.
func (s *Server) getAuth(q *request) (answer, *apiError) {
	if s.switchIs(SwitchTokenInfo, "absent") {
		return answer{}, errRoute()
	}
	t := q.token
	entity := "team"
	if t.Organisation {
		entity = "org"
	}
	project, team := []string{}, []string{}
	for _, name := range t.Permissions {
		if strings.HasPrefix(name, "Account >") {
			team = append(team, name)
		} else {
			project = append(project, name)
		}
	}
	view := map[string]any{
		"id": slug(t.Name), "name": t.Name, "entityType": entity, "entityId": "local", "entityUid": "local",
		"createdAt": stampMillis(time.Unix(0, 0)),
	}
	if !t.ExpiresAt.IsZero() {
		view["expiresAt"] = stampMillis(t.ExpiresAt)
	}
	if t.Permissions != nil {
		view["permissions"] = map[string]any{"teamScope": team, "projectScope": project}
	}
	if t.Projects != nil {
		view["projectRestrictions"] = map[string]any{"enabled": true, "restrictionMode": "in", "projects": t.Projects}
	}
	return answer{data: view}, nil
}

func (s *Server) listTags(*request) (answer, *apiError) {
	tags := sortedByID(s.tags, idOf)
	return answer{data: map[string]any{"tags": tags}}, nil
}

func (s *Server) createTag(q *request) (answer, *apiError) {
	name, _ := q.body["name"].(string)
	if _, taken := s.tags[slug(name)]; taken {
		return answer{}, errConflict("There is already a tag with the same derived identifier")
	}
	return answer{data: s.addTag(q.body, name)}, nil
}

func (s *Server) addTag(body map[string]any, name string) map[string]any {
	tag := map[string]any{"id": slug(name), "name": name, "color": body["color"], "description": body["description"]}
	s.tags[slug(name)] = tag
	s.store.put("tags/"+slug(name)+".json", tag)
	return tag
}

// AddTag gives the team a tag that jobs may carry.
func (s *Server) AddTag(name string) {
	s.mu.Lock()
	s.addTag(nil, name)
	s.mu.Unlock()
	s.store.flush()
}

// Registry is a set of registry credentials. Images are not pulled, so jobs may
// name others too.
type Registry struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Provider string `json:"provider"` // dockerhub, ghcr, custom ...
}

// AddRegistry gives the account registry credentials.
func (s *Server) AddRegistry(r Registry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registries = append(s.registries, r)
}

func (s *Server) listRegistries(q *request) (answer, *apiError) {
	from, to, p, e := s.paginate(q, len(s.registries))
	if e != nil {
		return answer{}, e
	}
	return answer{data: map[string]any{"credentials": append([]Registry{}, s.registries[from:to]...)}, pagination: p}, nil
}

func idOf(object map[string]any) string {
	id, _ := object["id"].(string)
	return id
}

// Build is a build of a build service, for internal deployments.
type Build struct {
	ID     string `json:"id"`
	Branch string `json:"branch"`
	SHA    string `json:"sha"`
	Status string `json:"status"` // SUCCESS, FAILURE, BUILDING ...
}

// AddBuild adds a build, newest last, to a build service.
func (s *Server) AddBuild(projectID, serviceID string, b Build) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.projects[projectID]
	if p == nil {
		return fmt.Errorf("add build: no project %q", projectID)
	}
	p.builds[serviceID] = append(p.builds[serviceID], b)
	return nil
}

// findBuild returns the build that an internal deployment runs: that very build,
// that commit's, or the newest of the branch.
func findBuild(builds []Build, want internalSpec) *Build {
	for _, b := range slices.Backward(builds) {
		if b.Status == "SUCCESS" && (want.BuildID == "" || b.ID == want.BuildID) &&
			(want.Branch == "" || b.Branch == want.Branch) &&
			(want.BuildSHA == "" || want.BuildSHA == "latest" || b.SHA == want.BuildSHA) {
			return &b
		}
	}
	return nil
}

func (s *Server) listJobBuilds(q *request) (answer, *apiError) {
	service := ""
	if in := q.job.spec.Deployment.Internal; in != nil {
		service = in.ID
	}
	return s.listBuilds(q, service)
}

func (s *Server) listServiceBuilds(q *request) (answer, *apiError) {
	return s.listBuilds(q, q.params["service"])
}

func (s *Server) listBuilds(q *request, service string) (answer, *apiError) {
	builds := q.project.builds[service]
	from, to, p, e := s.paginate(q, len(builds))
	if e != nil {
		return answer{}, e
	}
	items := []map[string]any{}
	for i := from; i < to; i++ {
		b := builds[len(builds)-1-i] // newest first
		items = append(items, map[string]any{
			"id": b.ID, "branch": b.Branch, "sha": b.SHA, "status": b.Status,
			"concluded": b.Status == "SUCCESS" || b.Status == "FAILURE", "success": b.Status == "SUCCESS",
		})
	}
	return answer{data: map[string]any{"builds": items}, pagination: p}, nil
}

// getMetrics has the envelope of the real answer and no values: local processes
// are not measured.
func (s *Server) getMetrics(q *request) (answer, *apiError) {
	known := []string{"cpu", "memory", "networkIngress", "networkEgress", "tcpConnections", "diskUsage", "requests", "http4xxResponses", "http5xxResponses", "bandwidth", "bandwidthVolume"}
	types := q.query["metricTypes"]
	if len(types) == 0 {
		types = []string{"cpu"}
	}
	data := map[string]any{}
	for _, t := range types {
		if !slices.Contains(known, t) {
			return answer{}, errQuery("metricTypes", "must be one of ["+strings.Join(known, ", ")+"]")
		}
		data[t] = map[string]any{"metricInfo": map[string]any{"metricType": t}, "values": []any{}}
	}
	if kind := q.query.Get("queryType"); kind != "" && kind != "single" && kind != "range" {
		return answer{}, errQuery("queryType", "must be one of [single, range]")
	}
	return answer{data: data}, nil
}
