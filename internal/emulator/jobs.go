package emulator

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Handlers of projects and jobs. All run with Server.mu held.

func (s *Server) listProjects(q *request) (answer, *apiError) {
	all := sortedByID(s.projects, func(p *project) string { return p.ID })
	all = slices.DeleteFunc(all, func(p *project) bool { return !q.token.reaches(p.ID) })
	from, to, p, e := s.paginate(q, len(all))
	if e != nil {
		return answer{}, e
	}
	items := []map[string]any{}
	for _, p := range all[from:to] {
		items = append(items, map[string]any{"id": p.ID, "name": p.Name, "description": p.Description})
	}
	return answer{data: map[string]any{"projects": items}, pagination: p}, nil
}

func (s *Server) createProject(q *request) (answer, *apiError) {
	name, _ := q.body["name"].(string)
	if _, taken := s.projects[slug(name)]; taken {
		return answer{}, errConflict("There is already a project with the same derived identifier")
	}
	p := newProject(slug(name), name, time.Now())
	p.Description, _ = q.body["description"].(string)
	if region, ok := q.body["region"].(string); ok {
		p.Region = region
	}
	s.projects[p.ID] = p
	s.store.put(p.path(), p)
	s.changes.notify()
	return answer{data: projectView(p)}, nil
}

func (s *Server) getProject(q *request) (answer, *apiError) {
	return answer{data: projectView(q.project)}, nil
}

func projectView(p *project) map[string]any {
	jobs := []map[string]any{}
	for _, j := range sortedJobs(p) {
		jobs = append(jobs, map[string]any{
			"id": j.ID, "appId": j.appID(), "name": j.Name, "description": j.spec.Description, "jobType": j.Type,
		})
	}
	return map[string]any{
		"id": p.ID, "name": p.Name, "description": p.Description, "createdAt": stampMillis(p.CreatedAt),
		"deployment": map[string]any{"region": p.Region}, "cluster": cluster(),
		"services": []any{}, "jobs": jobs, "addons": []any{},
	}
}

func cluster() map[string]any { return map[string]any{"id": "nf-local", "name": "nf-local"} }

// sortedJobs is the order of lists: oldest job first, ties by id. The real
// order is unpublished.
func sortedJobs(p *project) []*job {
	return slices.SortedFunc(maps.Values(p.jobs), func(a, b *job) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
}

func sortedByID[T any](m map[string]T, id func(T) string) []T {
	return slices.SortedFunc(maps.Values(m), func(a, b T) int { return strings.Compare(id(a), id(b)) })
}

func (s *Server) listJobs(q *request) (answer, *apiError) {
	all := sortedJobs(q.project)
	from, to, p, e := s.paginate(q, len(all))
	if e != nil {
		return answer{}, e
	}
	items := []map[string]any{}
	for _, j := range all[from:to] {
		items = append(items, j.listed())
	}
	return answer{data: map[string]any{"jobs": items}, pagination: p}, nil
}

// listed is a job as lists show it: no settings, no environment, no image.
func (j *job) listed() map[string]any {
	view := map[string]any{
		"id": j.ID, "uid": j.UID, "appId": j.appID(), "name": j.Name, "projectId": j.Project,
		"tags": append([]string{}, j.spec.Tags...), "jobType": j.Type,
		"disabledCI": j.DisabledCI, "disabledCD": j.DisabledCD, "suspended": j.Suspended,
	}
	if j.spec.Description != "" {
		view["description"] = j.spec.Description
	}
	return view
}

// getJob leaves out what the real answer leaves out: runtimeEnvironment, image,
// metadata and runOnSourceChange.
func (s *Server) getJob(q *request) (answer, *apiError) {
	j := q.job
	view := j.listed()
	view["createdAt"] = stampMillis(j.CreatedAt)
	view["cluster"] = cluster()
	view["billing"] = map[string]any{"deploymentPlan": j.spec.Billing.DeploymentPlan}
	deployment := map[string]any{"region": q.project.Region}
	if sent, ok := j.Body["deployment"].(map[string]any); ok {
		for _, name := range []string{"docker", "buildpack", "storage"} {
			if v, given := sent[name]; given {
				deployment[name] = v
			}
		}
	}
	view["deployment"] = deployment
	settings := map[string]any{
		"backoffLimit": j.spec.Settings.BackoffLimit, "activeDeadlineSeconds": j.spec.Settings.ActiveDeadlineSeconds,
	}
	if c := j.spec.Settings.Cron; c != nil {
		settings["cron"] = map[string]any{
			"schedule": c.Schedule, "concurrencyPolicy": capitalise(cmp.Or(c.ConcurrencyPolicy, "allow")),
		}
	}
	view["settings"] = settings
	return answer{data: view}, nil
}

func capitalise(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// written is a job as writes answer it: what was sent, in plain, and what the
// platform added.
func (j *job) written() map[string]any {
	view := maps.Clone(j.Body)
	maps.Copy(view, map[string]any{
		"id": j.ID, "appId": j.appID(), "name": j.Name, "jobType": j.Type, "cluster": cluster(),
		"status": map[string]any{}, "createdAt": stampMillis(j.CreatedAt), "updatedAt": stampMillis(j.UpdatedAt),
	})
	return view
}

func (s *Server) createJob(q *request) (answer, *apiError) {
	name, _ := q.body["name"].(string)
	if _, taken := q.project.jobs[slug(name)]; taken {
		e := errConflict("There is already a job with the same derived identifier")
		if s.switchIs(SwitchDuplicateJob, "400") {
			e.Status = 400
		}
		return answer{}, e
	}
	return s.putJob(q)
}

// putJob creates or replaces; what the body leaves out is reset.
func (s *Server) putJob(q *request) (answer, *apiError) {
	body := nestSettings(q.body)
	name, _ := body["name"].(string)
	if e := s.checkReferences(body); e != nil {
		return answer{}, e
	}
	j, known := q.project.jobs[slug(name)]
	if !known {
		j = &job{ID: slug(name), UID: s.hexID(24), Project: q.project.ID, CreatedAt: time.Now()}
	}
	j.Name = name
	if e := s.saveJob(j, body); e != nil {
		return answer{}, e
	}
	q.project.jobs[j.ID], q.job = j, j
	return answer{data: j.written()}, nil
}

func (s *Server) saveJob(j *job, body map[string]any) *apiError {
	if err := j.setBody(body); err != nil {
		return &apiError{Status: 500, Message: err.Error()}
	}
	j.DisabledCI, _ = body["disabledCI"].(bool)
	j.UpdatedAt = time.Now()
	s.store.put(j.path(), j)
	s.changes.notify()
	return nil
}

// nestSettings brings a body of /jobs/manual or /jobs/cron into the shape of /jobs.
func nestSettings(body map[string]any) map[string]any {
	if _, flat := body["backoffLimit"]; !flat {
		return body
	}
	body = maps.Clone(body)
	settings, schedule := map[string]any{}, map[string]any{}
	for name, into := range map[string]map[string]any{
		"backoffLimit": settings, "runOnSourceChange": settings, "activeDeadlineSeconds": settings,
		"schedule": schedule, "suspended": schedule, "concurrencyPolicy": schedule,
	} {
		if v, given := body[name]; given {
			into[name] = v
			delete(body, name)
		}
	}
	if len(schedule) > 0 {
		settings["cron"] = schedule
	}
	body["settings"] = settings
	return body
}

// patchJob merges objects and replaces lists and maps of free keys. Whether the
// real service merges or replaces is unpublished.
func (s *Server) patchJob(q *request) (answer, *apiError) {
	body := mergeBody(q.job.Body, q.body)
	if e := s.checkReferences(body); e != nil {
		return answer{}, e
	}
	if e := s.saveJob(q.job, body); e != nil {
		return answer{}, e
	}
	return answer{data: q.job.written()}, nil
}

func mergeBody(old, patch map[string]any) map[string]any {
	merged := maps.Clone(old)
	for name, v := range patch {
		before, wasObject := merged[name].(map[string]any)
		after, isObject := v.(map[string]any)
		if wasObject && isObject && (name == "billing" || name == "settings") {
			inner := maps.Clone(before)
			maps.Copy(inner, after)
			v = inner
		}
		merged[name] = v
	}
	return merged
}

// checkReferences refuses a plan or tag that the account does not have.
// Northflank docs: tags must exist on the team. The answers are unpublished.
func (s *Server) checkReferences(body map[string]any) *apiError {
	found := problems{}
	billing, _ := body["billing"].(map[string]any)
	if plan, given := billing["deploymentPlan"].(string); given {
		s.checkPlan(found, plan)
	}
	if tags, given := body["tags"].([]any); given {
		kept := []any{}
		for _, t := range tags {
			name, _ := t.(string)
			if _, known := s.tags[slug(name)]; known {
				kept = append(kept, t)
			} else if s.switchIs(SwitchUnknownTag, "refuse") {
				found.add("tags", "contains "+name+", which is not a tag of the team")
			}
		}
		body["tags"] = kept
	}
	if len(found) > 0 {
		return errBody(found)
	}
	return nil
}

func (s *Server) checkPlan(found problems, plan string) {
	if !knownPlan(plan) && s.switchIs(SwitchUnknownPlan, "refuse") {
		found.add("billing.deploymentPlan", "is not a deployment plan of this account: "+plan)
	}
}

func (s *Server) deleteJob(q *request) (answer, *apiError) {
	if q.job.active() && s.switchIs(SwitchDeleteActive, "409") {
		return answer{}, errConflict("The job has active runs")
	}
	for _, r := range q.job.runs {
		if r.stop != nil {
			r.stop(errJobDeleted)
		}
		r.deleted = true
		r.log.close()
		s.store.remove(r.path())
		s.store.remove(r.logPath())
	}
	delete(q.project.jobs, q.job.ID)
	s.store.remove(q.job.path())
	s.changes.notify()
	return answer{data: map[string]any{}}, nil
}

func (s *Server) getDeployment(q *request) (answer, *apiError) {
	view := map[string]any{}
	sent, _ := q.job.Body["deployment"].(map[string]any)
	for _, name := range []string{"internal", "docker", "buildpack"} {
		if v, given := sent[name]; given {
			view[name] = v
		}
	}
	if x := q.job.spec.Deployment.External; x != nil {
		external, _ := sent["external"].(map[string]any)
		_, private := external["credentials"]
		view["external"] = map[string]any{"imagePath": x.ImagePath, "privateImage": private, "registryProvider": "dockerhub"}
	}
	return answer{data: view}, nil
}

func (s *Server) updateDeployment(q *request) (answer, *apiError) {
	before, _ := q.job.Body["deployment"].(map[string]any)
	deployment := maps.Clone(before)
	if deployment == nil {
		deployment = map[string]any{}
	}
	if _, given := q.body["external"]; given {
		delete(deployment, "internal")
	}
	if _, given := q.body["internal"]; given {
		delete(deployment, "external")
	}
	maps.Copy(deployment, q.body)
	if name, problem := oneSource(deployment); problem != "" {
		return answer{}, errBody(map[string][]string{name: {problem}})
	}
	body := maps.Clone(q.job.Body)
	body["deployment"] = deployment
	if e := s.saveJob(q.job, body); e != nil {
		return answer{}, e
	}
	return answer{data: map[string]any{}}, nil
}

// getEnvironment shows the job's own variables, the inherited ones or both.
func (s *Server) getEnvironment(q *request) (answer, *apiError) {
	own, inherited := q.job.spec.RuntimeEnvironment, s.inherited(q.project, q.job)
	env := map[string]string{}
	show := cmp.Or(q.query.Get("show"), "all")
	switch show {
	case "this":
		maps.Copy(env, own)
	case "inherited":
		maps.Copy(env, inherited)
	case "all":
		maps.Copy(env, inherited)
		maps.Copy(env, own)
	default:
		return answer{}, errQuery("show", "must be one of [this, inherited, all]")
	}
	if q.query.Get("replaceTemplatedValues") == "true" {
		env = expandTemplates(env)
	}
	files, _ := q.job.Body["runtimeFiles"].(map[string]any)
	if files == nil {
		files = map[string]any{}
	}
	return answer{data: map[string]any{"runtimeEnvironment": env, "runtimeFiles": files}}, nil
}

// getEnvironmentDetails says where each variable comes from.
func (s *Server) getEnvironmentDetails(q *request) (answer, *apiError) {
	details := map[string]any{}
	for name, value := range s.inherited(q.project, q.job) {
		details[name] = map[string]any{"value": value, "inherited": true}
	}
	for name, value := range q.job.spec.RuntimeEnvironment {
		details[name] = map[string]any{"value": value, "inherited": false}
	}
	return answer{data: map[string]any{"runtimeEnvironment": details}}, nil
}

func (s *Server) updateEnvironment(q *request) (answer, *apiError) {
	body := maps.Clone(q.job.Body)
	maps.Copy(body, q.body)
	if e := s.saveJob(q.job, body); e != nil {
		return answer{}, e
	}
	return answer{data: map[string]any{}}, nil
}

// pauseJob stops CI, CD and the schedule. Whether it keeps job runs from being
// started is unpublished; here it does not.
func (s *Server) pauseJob(q *request) (answer, *apiError) {
	return s.setPaused(q, true, true, true)
}

func (s *Server) resumeJob(q *request) (answer, *apiError) {
	if !q.job.Suspended && !q.job.DisabledCI && !q.job.DisabledCD {
		return answer{}, errConflict("The job is not paused")
	}
	keep := func(name string) bool { v, _ := q.body[name].(bool); return v }
	return s.setPaused(q, keep("suspended"), keep("disabledCI"), keep("disabledCD"))
}

func (s *Server) setPaused(q *request, suspended, ci, cd bool) (answer, *apiError) {
	q.job.Suspended, q.job.DisabledCI, q.job.DisabledCD = suspended, ci, cd
	s.store.put(q.job.path(), q.job)
	s.changes.notify()
	return answer{data: map[string]any{}}, nil
}
