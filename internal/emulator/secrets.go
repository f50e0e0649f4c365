package emulator

import (
	"maps"
	"path"
	"slices"
	"time"
)

// secretGroup hands variables down to the jobs that it is linked to. Guarded by
// Server.mu.
type secretGroup struct {
	ID        string         `json:"id"`
	Project   string         `json:"project"`
	CreatedAt time.Time      `json:"createdAt"`
	UpdatedAt time.Time      `json:"updatedAt"`
	Body      map[string]any `json:"body"`

	spec secretSpec
}

type secretSpec struct {
	Name         string `json:"name"`
	SecretType   string `json:"secretType"`
	Priority     int    `json:"priority"`
	Type         string `json:"type"`
	Restrictions struct {
		Restricted bool `json:"restricted"`
		NFObjects  []struct {
			ID   string `json:"id"`
			Type string `json:"type"`
		} `json:"nfObjects"`
		Tags              []string `json:"tags"`
		TagMatchCondition string   `json:"tagMatchCondition"`
	} `json:"restrictions"`
	Secrets struct {
		Variables map[string]string `json:"variables"`
	} `json:"secrets"`
}

func (g *secretGroup) path() string { return path.Join("secrets", g.Project, g.ID+".json") }

func (g *secretGroup) setBody(body map[string]any) error {
	g.Body, g.spec = body, secretSpec{}
	return convert(body, &g.spec)
}

// reaches reports whether a job inherits the group. An unrestricted group
// reaches every job of the project; a restricted one those it names, by id or
// by tag.
func (g *secretGroup) reaches(j *job) bool {
	r := g.spec.Restrictions
	if g.spec.SecretType == "arguments" { // for builds only
		return false
	}
	if !r.Restricted {
		return true
	}
	for _, object := range r.NFObjects {
		if object.Type == "job" && object.ID == j.ID {
			return true
		}
	}
	return tagsMatch(r.Tags, r.TagMatchCondition, j.spec.Tags)
}

// tagsMatch reports whether an object has all wanted tags (condition "and") or
// any of them.
func tagsMatch(wanted []string, condition string, has []string) bool {
	matched := 0
	for _, tag := range wanted {
		if slices.Contains(has, tag) {
			matched++
		}
	}
	if condition == "and" {
		return len(wanted) > 0 && matched == len(wanted)
	}
	return matched > 0
}

// inherited is what the secret groups give a job; the higher priority wins.
func (s *Server) inherited(p *project, j *job) map[string]string {
	groups := sortedByID(p.secrets, func(g *secretGroup) string { return g.ID })
	slices.SortStableFunc(groups, func(a, b *secretGroup) int { return a.spec.Priority - b.spec.Priority })
	env := map[string]string{}
	for _, g := range groups {
		if g.reaches(j) {
			maps.Copy(env, g.spec.Secrets.Variables)
		}
	}
	return env
}

func (g *secretGroup) view(values bool) map[string]any {
	view := map[string]any{
		"id": g.ID, "projectId": g.Project, "createdAt": stampMillis(g.CreatedAt), "updatedAt": stampMillis(g.UpdatedAt),
	}
	for name, v := range g.Body {
		if name != "secrets" || values {
			view[name] = v
		}
	}
	return view
}

func (s *Server) listSecrets(q *request) (answer, *apiError) {
	groups := sortedByID(q.project.secrets, func(g *secretGroup) string { return g.ID })
	from, to, p, e := s.paginate(q, len(groups))
	if e != nil {
		return answer{}, e
	}
	items := []map[string]any{}
	for _, g := range groups[from:to] {
		items = append(items, g.view(false))
	}
	return answer{data: map[string]any{"secrets": items}, pagination: p}, nil
}

func (s *Server) createSecret(q *request) (answer, *apiError) {
	name, _ := q.body["name"].(string)
	if _, taken := q.project.secrets[slug(name)]; taken {
		return answer{}, errConflict("There is already a secret with the same derived identifier")
	}
	return s.putSecret(q)
}

func (s *Server) putSecret(q *request) (answer, *apiError) {
	name, _ := q.body["name"].(string)
	g := q.project.secrets[slug(name)]
	if g == nil {
		g = &secretGroup{ID: slug(name), Project: q.project.ID, CreatedAt: time.Now()}
	}
	return s.saveSecret(q, g, q.body)
}

func (s *Server) saveSecret(q *request, g *secretGroup, body map[string]any) (answer, *apiError) {
	if err := g.setBody(body); err != nil {
		return answer{}, &apiError{Status: 500, Message: err.Error()}
	}
	g.UpdatedAt = time.Now()
	q.project.secrets[g.ID] = g
	s.store.put(g.path(), g)
	return answer{data: g.view(true)}, nil
}

func (s *Server) secretOf(q *request) (*secretGroup, *apiError) {
	id := q.params["secret"]
	if g := q.project.secrets[id]; g != nil {
		return g, nil
	}
	return nil, errMissing("secret group", id)
}

func (s *Server) getSecret(q *request) (answer, *apiError) {
	g, e := s.secretOf(q)
	if e != nil {
		return answer{}, e
	}
	return answer{data: g.view(true)}, nil
}

// patchSecret replaces each member that is given, arrays and maps included.
func (s *Server) patchSecret(q *request) (answer, *apiError) {
	g, e := s.secretOf(q)
	if e != nil {
		return answer{}, e
	}
	body := maps.Clone(g.Body)
	maps.Copy(body, q.body)
	return s.saveSecret(q, g, body)
}

func (s *Server) deleteSecret(q *request) (answer, *apiError) {
	g, e := s.secretOf(q)
	if e != nil {
		return answer{}, e
	}
	delete(q.project.secrets, g.ID)
	s.store.remove(g.path())
	return answer{data: map[string]any{}}, nil
}
