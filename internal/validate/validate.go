package validate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// Lookups are what a file is held against. Without Pool, Prefect is not asked;
// without Plans, Northflank is not.
type Lookups struct {
	Pool       func(ctx context.Context, name string) (prefect.WorkPool, error)
	PoolNames  func(ctx context.Context) ([]string, error)
	BlockNames func(ctx context.Context, slug string) ([]string, error)
	Prefect    prefect.Lookup // Env is not used
	Plans      func(ctx context.Context) ([]northflank.DeploymentPlan, error)
	Regions    func(ctx context.Context) ([]northflank.Region, error)

	// Env reads the environment that prefect deploy would run in.
	Env func(name string) (value string, set bool)
	// Token says that an API token of the environment serves deployments that
	// have no credentials.
	Token bool
}

// Skipped is a deployment that was not looked at.
type Skipped struct {
	Deployment string `json:"deployment"`
	Why        string `json:"why"`
}

// Report is what a file's examination found.
type Report struct {
	File        string    `json:"file"`
	Findings    []Finding `json:"findings"`
	Errors      int       `json:"errors"`
	Warnings    int       `json:"warnings"`
	Deployments int       `json:"deployments"` // that were looked at
	Skipped     []Skipped `json:"skipped"`
	NotAsked    []string  `json:"not_asked"` // what could not be checked, and why
}

// checker looks at one file.
type checker struct {
	source   *source
	findings *findings
	world    *world
	secrets  []string
	report   *Report
}

// Run examines the text of a file, which name stands for. It ends early, with
// the context's cause, only when ctx does.
func Run(ctx context.Context, name, text string, l Lookups) (Report, error) {
	report := Report{File: name, Skipped: []Skipped{}, NotAsked: []string{}}
	c := &checker{source: newSource(text), findings: &findings{}, world: newWorld(l), report: &report}
	root := read(text, c.source, c.findings)
	var masks []Span
	if root == nil {
		masks = c.source.likelySecrets()
	} else {
		for _, d := range parse(root, c.findings) {
			c.findings.deployment = d.name
			c.deployment(ctx, d)
			c.findings.deployment = ""
		}
		masks = c.source.secretSpans(root)
	}
	if ctx.Err() != nil {
		return Report{}, context.Cause(ctx)
	}
	c.tellNotAsked()
	report.Findings = c.findings.ordered(secret.NewScrubber(c.secrets...))
	for i := range report.Findings {
		f := &report.Findings[i]
		f.Excerpt = c.source.excerpt(*f, masks)
		switch f.Severity {
		case Error:
			report.Errors++
		case Warning:
			report.Warnings++
		}
	}
	return report, nil
}

func (c *checker) tellNotAsked() {
	tell := func(what, who string, err error) {
		switch {
		case errors.Is(err, errNotAsked):
			c.report.NotAsked = append(c.report.NotAsked, what+": "+who+" was not asked")
		case err != nil:
			c.report.NotAsked = append(c.report.NotAsked, fmt.Sprintf("%s: %s could not be asked: %v", what, who, err))
		}
	}
	tell("work pools, blocks and variables", "Prefect", c.world.prefect)
	tell("deployment plans and GPUs", "Northflank", c.world.northflank)
}

// deployment looks at one deployment, if it is for a pool of ours.
func (c *checker) deployment(ctx context.Context, d *deployment) {
	r := &resolver{world: c.world, source: c.source, findings: c.findings, scope: newScope(), secrets: &c.secrets}
	pool, ours := c.poolOf(ctx, d, r)
	if !ours {
		return
	}
	c.report.Deployments++
	if !d.hasName {
		c.findings.add(Warning, CodeMissing, d.at, "the deployment has no name, and prefect deploy --all passes over it", "write name: and a name")
	}
	if !d.hasEntry {
		c.findings.add(Warning, CodeMissing, d.at, "the deployment has no entrypoint, and prefect deploy fails where it cannot ask for it", "write entrypoint: path/to/file.py:flow_function")
	}
	for _, steps := range [][]step{d.build, d.push} {
		for _, st := range steps {
			r.refer(ctx, st.inputs)
			r.scope.add(st)
		}
	}
	c.pull(ctx, d, r)
	for _, m := range d.fields.members {
		switch m.key {
		case "work_pool", "build", "push", "pull", "triggers", "sla", "schedule", "schedules":
		default:
			r.refer(ctx, m.value)
		}
	}
	v := &variables{checker: c, d: d, resolver: r, pool: pool, values: map[string]any{}, unsure: map[string]bool{}}
	v.check(ctx)
}

// pull looks at the steps that run in the container: what they return is known
// there only, but their blocks and variables must exist.
func (c *checker) pull(ctx context.Context, d *deployment, r *resolver) {
	there := *r
	there.scope = &scope{any: true}
	for _, st := range d.pull {
		there.refer(ctx, st.inputs)
	}
}

// poolOf finds out which pool a deployment is for, and whether it is one of ours.
// Where Prefect cannot be asked the pool has no name.
func (c *checker) poolOf(ctx context.Context, d *deployment, r *resolver) (prefect.WorkPool, bool) {
	name := c.poolName(ctx, d, r)
	if name == "" || c.world.prefect != nil {
		return prefect.WorkPool{}, c.looksOurs(d)
	}
	pool, err := c.world.pool(ctx, name)
	switch {
	case errors.Is(err, prefect.ErrNotFound):
		next := "create it with: prefect-northflank pool create " + name
		names, _ := c.world.lookups.PoolNames(ctx) // only makes the next step better
		if near, ok := jobspec.NearestName(name, names); ok {
			next = fmt.Sprintf("did you mean %q? Otherwise %s", near, next)
		}
		c.findings.add(Error, CodePool, d.pool.value.at, fmt.Sprintf("there is no work pool %q", name), next)
		return prefect.WorkPool{}, c.looksOurs(d)
	case !c.world.answered(err):
		return prefect.WorkPool{}, c.looksOurs(d)
	case pool.Type != worker.Type:
		c.skip(d, fmt.Sprintf("its work pool %q is of type %s", name, pool.Type))
		return pool, false
	}
	return pool, true
}

// poolName is the pool's name with its placeholders replaced, "" when it is not
// known.
func (c *checker) poolName(ctx context.Context, d *deployment, r *resolver) string {
	if d.pool.value == nil {
		return ""
	}
	name, fate := r.text(ctx, d.pool.value, "")
	text, _ := name.(string)
	if fate != known {
		return ""
	}
	return text
}

func (c *checker) skip(d *deployment, why string) {
	c.report.Skipped = append(c.report.Skipped, Skipped{d.name, why})
}

// looksOurs guesses by the job variables, where nobody says what type the pool
// is of: a deployment of which none is ours is another worker's.
func (c *checker) looksOurs(d *deployment) bool {
	if d.variables == nil {
		if d.pool.value == nil {
			c.skip(d, "it names no work pool")
		}
		return d.pool.value != nil
	}
	var strangers []string
	for _, m := range d.variables.object.members {
		name := topOf(m.key)
		_, isOurs := jobspec.Lookup(name)
		near, like := jobspec.NearestName(name, variableNames())
		switch {
		case name == "name" || name == "env" || name == "labels" || name == "command": // every worker's
		case isOurs, like && len(near)-len(name) <= 3: // not a mere part of ours, as image is
			return true
		default:
			strangers = append(strangers, name)
		}
	}
	if len(strangers) > 0 {
		c.skip(d, fmt.Sprintf("none of its job variables is of a northflank pool (%s, ...)", strangers[0]))
		return false
	}
	return true
}

func variableNames() []string {
	var names []string
	for _, v := range jobspec.Variables() {
		names = append(names, v.Name)
	}
	return names
}

// template is the pool's base job template; the default one where the pool is
// not known or has none.
func template(pool prefect.WorkPool) json.RawMessage {
	var o map[string]json.RawMessage
	if len(pool.BaseJobTemplate) == 0 || json.Unmarshal(pool.BaseJobTemplate, &o) == nil && len(o) == 0 {
		return jobspec.BaseJobTemplate()
	}
	return pool.BaseJobTemplate
}
