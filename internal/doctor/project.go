package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
)

// checkProject asks whether every project that flow runs are to run in exists,
// and whether the token reaches it.
func checkProject(ctx context.Context, e *exam, a *answers) {
	none := true
	e.eachProject(func(acc *account, p *project) {
		none = false
		if !acc.info.Reaches(p.id) {
			p.missing = true
			a.fail("add it to the role's projects in Northflank, or use another token", "the token's role is restricted to other projects than %q", p.id)
			return
		}
		ctx, cancel := ask(ctx)
		defer cancel()
		read, err := acc.client.GetProject(ctx, p.id)
		switch {
		case e.refusedBefore(a, err):
		case errors.Is(err, northflank.ErrForbidden): // reading a project is no right to run in it
			a.err(Warning, err, "")
		case err != nil:
			p.missing = errors.Is(err, northflank.ErrNotFound)
			e.trouble(a, err, "")
		default:
			p.read = read
			a.ok("project %q is in region %s", p.id, stepOr(read.Region, "unknown"))
		}
	})
	e.skipOrphans(a, func(t *target) bool { return t.project != "" })
	if none && !a.found() {
		because, _ := e.blocked([]string{"deployments"}, e.outcome)
		a.skip(because.Because, "no deployment names a project yet")
	}
}

// skipOrphans says that the check was not made for deployments that have no
// account, where it concerns them.
func (e *exam) skipOrphans(a *answers, concerns func(*target) bool) {
	var names []string
	for _, t := range e.targets {
		if t.orphan() && t.values != nil && concerns(t) {
			names = append(names, t.of)
		}
	}
	if len(names) > 0 {
		a.skip("credentials", "not checked for %s, whose credentials are missing", someOf(names))
	}
}

// checkPlan compares deployment plans with the public list. An account can have
// plans of its own on clusters of its own, so that an unknown one is a doubt.
func checkPlan(ctx context.Context, e *exam, a *answers) {
	grouped := newGroups()
	for _, t := range e.targets {
		spec, ok := t.partOf("billing_deployment_plan")
		if !ok || spec.Run.Billing == nil {
			continue
		}
		for _, d := range jobspec.PlanDoubts(spec.Run.Billing.DeploymentPlan, e.plans) {
			grouped.add(Warning, t.of, d.Text, d.NextStep)
		}
	}
	grouped.report(a)
	if !a.found() {
		a.ok("deployment plans are known")
	}
}

// checkGPU compares GPUs with those that Northflank's regions offer, and with
// those of the project's own. Regions are read only when a GPU is asked for.
func checkGPU(ctx context.Context, e *exam, a *answers) {
	grouped := newGroups()
	var regions []northflank.Region
	unplaced := false
	for _, t := range e.targets {
		gpu := t.gpu()
		if gpu == nil {
			continue
		}
		if regions == nil {
			ctx, cancel := ask(ctx)
			var err error
			regions, err = e.accounts[0].client.Regions(ctx)
			cancel()
			if err != nil {
				e.trouble(a, err, "")
				return
			}
		}
		region := e.regionOf(t)
		unplaced = unplaced || region == ""
		for _, d := range jobspec.GPUDoubts(*gpu, regions, region) {
			grouped.add(Warning, t.of, d.Text, d.NextStep)
		}
	}
	grouped.report(a)
	if because, blocked := e.blocked([]string{"credentials", "project"}, e.outcome); unplaced && blocked {
		a.skip(because.Because, "not checked for the project's region, which is not known")
	}
	if !a.found() {
		a.ok("the GPUs that are asked for are offered, if any are")
	}
}

// gpu is the GPU that a target asks for; nil if none.
func (t *target) gpu() *northflank.GPUConfiguration {
	spec, ok := t.partOf("billing_deployment_plan", "billing_gpu_enabled", "billing_gpu_type", "billing_gpu_count")
	if !ok || spec.Job.Billing.GPU == nil {
		return nil
	}
	return spec.Job.Billing.GPU.Configuration
}

// regionOf is the region that a target's project is in, "" when it is not known.
func (e *exam) regionOf(t *target) string {
	for _, acc := range e.accounts {
		for _, p := range acc.projects {
			if slices.Contains(p.targets, t) {
				return p.read.Region
			}
		}
	}
	return ""
}

// checkRegistry asks whether the credentials for private images exist.
func checkRegistry(ctx context.Context, e *exam, a *answers) {
	grouped := newGroups()
	e.each(func(acc *account) {
		wanted := map[string][]string{} // who wants it, by id
		for _, t := range e.targets {
			if id := t.registry(); id != "" && t.user == acc {
				wanted[id] = append(wanted[id], t.of)
			}
		}
		if len(wanted) == 0 {
			return
		}
		ctx, cancel := ask(ctx)
		defer cancel()
		var ids []string
		for r, err := range acc.client.ListRegistries(ctx) {
			if errors.Is(err, northflank.ErrForbidden) {
				a.skip("", "not checked: the token may not list registry credentials, which flow runs do not need")
				return
			}
			if err != nil {
				e.trouble(a, err, "")
				return
			}
			ids = append(ids, r.ID)
		}
		for id, who := range wanted {
			if slices.Contains(ids, id) {
				continue
			}
			next := "create them in Northflank (Account settings > Registries), or correct deployment_external_credentials"
			if near, ok := jobspec.NearestName(id, ids); ok {
				next = fmt.Sprintf("did you mean %q? Otherwise %s", near, next)
			}
			for _, of := range who {
				grouped.add(Failure, of, fmt.Sprintf("there are no registry credentials %q", id), next)
			}
		}
	})
	grouped.report(a)
	e.skipOrphans(a, func(t *target) bool { return t.registry() != "" })
	if !a.found() {
		a.ok("the registry credentials that are asked for exist, if any are")
	}
}

// registry is the id of the registry credentials that a target names, "" if none.
func (t *target) registry() string {
	spec, ok := t.partOf("deployment_external_credentials")
	if !ok || spec.Run.Deployment.External == nil {
		return ""
	}
	return spec.Run.Deployment.External.Credentials
}

// build is the build that a target names; nil if none.
func (t *target) build() *northflank.InternalBuild {
	spec, ok := t.partOf("deployment_internal_id", "deployment_internal_branch", "deployment_internal_build_sha", "deployment_internal_build_id")
	if !ok { // without what is wrong with the commit
		spec, ok = t.partOf("deployment_internal_id", "deployment_internal_branch")
	}
	if !ok {
		return nil
	}
	return spec.Run.Deployment.Internal
}

// maxServices bounds how many build services are looked at; each takes a request.
const maxServices = 10

// checkBuilds asks whether the build services have the builds that deployments
// run.
func checkBuilds(ctx context.Context, e *exam, a *answers) {
	grouped := newGroups()
	builds := map[string][]northflank.Build{}
	asked := false
	e.eachProject(func(acc *account, p *project) {
		for _, t := range p.targets {
			want := t.build()
			if want == nil || len(builds) == maxServices {
				continue
			}
			asked = true
			if p.missing {
				a.skip("project", "not checked for %s: its project is out of reach", t.of)
				continue
			}
			key := p.id + "/" + want.ID
			if _, read := builds[key]; !read {
				var err error
				if builds[key], err = newestBuilds(ctx, acc.client, p.id, want.ID); err != nil {
					if !e.refusedBefore(a, err) {
						e.trouble(a, err, "")
					}
					return
				}
			}
			if !slices.ContainsFunc(builds[key], func(b northflank.Build) bool { return serves(b, *want) }) {
				grouped.add(Failure, t.of, fmt.Sprintf("build service %q has no finished build%s", want.ID, ofWhat(*want)),
					"build it in Northflank first, or correct branch, commit and build of the job variables")
			}
		}
	})
	grouped.report(a)
	e.skipOrphans(a, func(t *target) bool { return t.build() != nil })
	switch {
	case a.found():
	case asked:
		a.ok("the builds that deployments run are there")
	default:
		a.ok("no deployment runs the build of a build service")
	}
}

// newestBuilds reads one page: 100 builds.
func newestBuilds(ctx context.Context, client *northflank.Client, projectID, service string) ([]northflank.Build, error) {
	ctx, cancel := ask(ctx)
	defer cancel()
	builds := []northflank.Build{}
	for b, err := range client.ListBuilds(ctx, projectID, service) {
		if err != nil {
			return nil, err
		}
		if builds = append(builds, b); len(builds) == northflank.PageSize {
			break
		}
	}
	return builds, nil
}

// serves reports whether a build is one that the job run would use.
func serves(b northflank.Build, want northflank.InternalBuild) bool {
	return b.Status == "SUCCESS" && (want.BuildID == "" || b.ID == want.BuildID) &&
		(want.Branch == "" || b.Branch == want.Branch) &&
		(want.BuildSHA == "" || want.BuildSHA == "latest" || strings.EqualFold(b.SHA, want.BuildSHA))
}

func ofWhat(want northflank.InternalBuild) string {
	var parts []string
	for name, value := range map[string]string{"branch": want.Branch, "commit": want.BuildSHA, "build": want.BuildID} {
		if value != "" && value != "latest" {
			parts = append(parts, fmt.Sprintf("%s %q", name, value))
		}
	}
	slices.Sort(parts)
	if len(parts) == 0 {
		return ""
	}
	return " of " + strings.Join(parts, " and ")
}

// checkLogStream opens the log socket of a job that exists.
func checkLogStream(ctx context.Context, e *exam, a *answers) {
	e.eachProject(func(acc *account, p *project) {
		switch {
		case acc.noLogs:
			a.skip("permissions", "not checked: the token's role may not read logs")
			return
		case len(p.read.Jobs) == 0:
			return
		}
		ctx, cancel := ask(ctx)
		defer cancel()
		err := acc.client.CheckTail(ctx, p.id, p.read.Jobs[0].ID)
		switch {
		case err == nil:
			a.ok("the log stream of a job opens")
		case exhausting(err):
			e.trouble(a, err, "")
		default:
			a.add(Warning, "", stepOr(hintOf(err), "let proxies on the way pass websockets on (headers Upgrade and Connection)"),
				"the log stream does not open, so that stream_output shows nothing: "+err.Error())
		}
	})
	if !a.found() {
		because, _ := e.blocked([]string{"project"}, e.outcome)
		a.skip(because.Because, "no job is known whose log could be followed")
	}
}
