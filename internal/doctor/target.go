package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// maxDeployments bounds how many deployments are looked at; each takes two or
// three requests to Prefect.
const maxDeployments = 200

// target is what flow runs of one deployment mean on Northflank; where there is
// no deployment, what the work pool or the environment says.
type target struct {
	of           string // `deployment "flow/name"`
	values       map[string]any
	problems     []jobspec.Problem
	warnings     []jobspec.Warning
	err          error  // why there are no values
	errKey       string // the job variable at fault, if one is
	tokenInClear bool

	// Read apart from one another, so that a fault of one does not hide the others.
	account jobspec.Account // without a token when none is configured
	user    *account        // of which this is one; nil without a token
	project string          // "" when not set
}

// gathered reads the deployments of the pool, once. Where Prefect or the pool is
// not to be had it is the environment alone.
func (e *exam) gathered(ctx context.Context) []*target {
	if e.targets != nil {
		return e.targets
	}
	e.targets = []*target{}
	if e.pool.ID != "" {
		e.gatherErr = e.gather(ctx)
		if len(e.targets) == 0 && e.gatherErr == nil {
			e.targets = append(e.targets, e.ofPool(ctx))
		}
	}
	if len(e.targets) == 0 && !e.o.Account.Token.IsZero() {
		e.targets = append(e.targets, &target{of: "environment", account: e.o.Account})
	}
	for _, t := range e.targets {
		e.secrets = append(e.secrets, t.account.Token.Reveal())
	}
	return e.targets
}

func (e *exam) gather(ctx context.Context) error {
	preparer := e.preparer(e.o.Account)
	for d, err := range e.prefect.Deployments(ctx, e.pool.Name) {
		if err != nil {
			return err
		}
		if e.deployments == maxDeployments {
			e.unseen = true
			return nil
		}
		e.deployments++
		t, err := e.ofDeployment(ctx, preparer, d)
		if err != nil {
			return err
		}
		e.targets = append(e.targets, t)
	}
	return nil
}

func (e *exam) preparer(account jobspec.Account) *worker.Preparer {
	return &worker.Preparer{
		Prefect: e.prefect, SettingsEnv: e.o.Settings.Environment(), Account: account,
		WorkerName: "prefect-northflank doctor", Secrets: e.o.Settings.Secrets(),
	}
}

// ofDeployment prepares the next flow run of a deployment.
func (e *exam) ofDeployment(ctx context.Context, preparer *worker.Preparer, d prefect.Deployment) (*target, error) {
	fr := prefect.FlowRun{ID: "FLOW-RUN-ID", Name: "FLOW-RUN-NAME", FlowID: d.FlowID, DeploymentID: d.ID}
	fr.Raw, _ = json.Marshal(fr) // texts and nothing else
	prepared, err := preparer.Prepare(ctx, e.pool, fr)
	if _, wrong := errors.AsType[*worker.ConfigurationError](err); err != nil && !wrong {
		return nil, fmt.Errorf("prepare the next flow run of deployment %q: %w", d.Name, err)
	}
	t := &target{of: fmt.Sprintf("deployment %q", prepared.Flow.Name+"/"+d.Name), tokenInClear: worker.HoldsToken(d.JobVariables)}
	t.blame(err)
	if prepared.Values == nil && aboutCredentials(t.errKey) {
		// The block in the pool's template is gone. Look at all else without it.
		again := e.preparer(jobspec.Account{Token: secret.New("any-token")})
		if prepared, err = again.Prepare(ctx, withoutCredentials(e.pool), fr); prepared != nil {
			t.blame(err)
		}
	}
	if prepared != nil && prepared.Values != nil {
		e.hide(prepared.Values.Secrets)
		t.values, t.warnings = prepared.Values.Values, warningsOf(e.pool, prepared.Values)
	}
	e.read(t)
	return t, nil
}

// hide keeps what came out of blocks out of the report, but for addresses
// without credentials in them: where Northflank's API is, is to be read.
func (e *exam) hide(texts []string) {
	for _, text := range texts {
		if u, err := url.Parse(text); err != nil || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
			e.secrets = append(e.secrets, text)
		}
	}
}

// withoutCredentials is the pool with no place for credentials in its template;
// credentials_block still counts.
func withoutCredentials(pool prefect.WorkPool) prefect.WorkPool {
	var template map[string]map[string]any
	if json.Unmarshal(pool.BaseJobTemplate, &template) == nil {
		delete(template["job_configuration"], "credentials")
		pool.BaseJobTemplate, _ = json.Marshal(template) // it came from JSON
	}
	return pool
}

// warningsOf are what a worker would warn of, whether or not the job variables
// can be used.
func warningsOf(pool prefect.WorkPool, values *prefect.Configuration) []jobspec.Warning {
	origins := make(map[string]jobspec.Origin, len(values.Origins))
	for name, o := range values.Origins {
		origins[name] = jobspec.Origin(o)
	}
	_, warnings, _ := jobspec.Build(jobspec.Input{ // what is wrong is known already
		Values: values.Values, Origins: origins, Unknown: values.Unknown, Unused: values.Unused, Secrets: values.Secrets,
		PoolName: pool.Name, PoolID: pool.ID, FlowRun: anyone, Flow: anyone, Deployment: anyone,
	})
	return slices.DeleteFunc(warnings, func(w jobspec.Warning) bool { return aboutCredentials(w.Variable) })
}

// ofPool is what flow runs get from the pool alone. What is missing in it a
// deployment may bring.
func (e *exam) ofPool(ctx context.Context) *target {
	t := &target{of: fmt.Sprintf("work pool %q", e.pool.Name)}
	template := e.pool.BaseJobTemplate
	if isEmpty(template) {
		template = jobspec.BaseJobTemplate()
	}
	lookup := e.prefect.Lookup()
	values, err := prefect.BuildConfiguration(ctx, lookup, prefect.ConfigurationInput{Template: template})
	if err != nil {
		t.blame(err)
		return t
	}
	e.hide(values.Secrets)
	t.values = values.Values
	if name, _ := t.values["credentials_block"].(string); name != "" {
		delete(t.values, "credentials")
		if data, err := lookup.Block(ctx, jobspec.BlockTypeSlug, name); err == nil {
			t.values["credentials"] = data
		} else if !errors.Is(err, prefect.ErrNotFound) {
			t.err, t.errKey = err, "credentials_block"
		}
	}
	spec, err := part(t.values, e.o.Account, accountVariables...)
	t.blame(err)
	t.account, t.project = spec.Account, t.projectID()
	return t
}

// orphan reports whether the target has no account, for want of credentials.
func (t *target) orphan() bool { return t.user == nil }

// blame notes what an error says about job variables.
func (t *target) blame(err error) {
	if err == nil {
		return
	}
	if invalid, ok := errors.AsType[*jobspec.InvalidError](err); ok {
		t.problems = invalid.Problems
		return
	}
	t.err = err
	if c, ok := errors.AsType[*prefect.ConfigurationError](err); ok {
		t.err, t.errKey = c, c.Key
	}
}

// read fills in account and project. What is wrong with the account is among the
// problems already.
func (e *exam) read(t *target) {
	if t.values == nil {
		return
	}
	t.project = t.projectID()
	if spec, err := part(t.values, e.o.Account, accountVariables...); err == nil {
		t.account = spec.Account
	}
}

var accountVariables = []string{"credentials", "credentials_block", "team_id"}

func (t *target) projectID() string {
	id, _ := t.values["project_id"].(string)
	return id
}

var anyone = jobspec.Named{ID: "id", Name: "name"}

// part builds a flow run from some of its job variables, so that what is wrong
// with others does not matter.
func part(values map[string]any, account jobspec.Account, names ...string) (jobspec.Spec, error) {
	some := map[string]any{"project_id": "any-project"}
	for _, name := range names {
		if v, ok := values[name]; ok {
			some[name] = v
		}
	}
	spec, _, err := jobspec.Build(jobspec.Input{
		Values: some, Account: account, PoolName: "pool", PoolID: "id", WorkerName: "worker", FlowRun: anyone, Flow: anyone,
	})
	return spec, err
}

// partOf is part without regard to whose account it is.
func (t *target) partOf(names ...string) (jobspec.Spec, bool) {
	spec, err := part(t.values, jobspec.Account{Token: secret.New("any-token")}, names...)
	return spec, err == nil && t.values != nil
}

// account is one Northflank account that flow runs use.
type account struct {
	client   *northflank.Client
	of       string // who uses it
	token    secret.Value
	info     northflank.TokenInfo
	usable   bool // the token is accepted
	noLogs   bool // its role may not read logs
	projects []*project
}

// project is one Northflank project that flow runs use.
type project struct {
	id      string
	missing bool // Northflank knows no such project, or the token does not reach it
	read    northflank.Project
	targets []*target
}

// gatherAccounts puts together who uses which account and project.
func (e *exam) gatherAccounts(ctx context.Context) error {
	shared := e.o.Northflank
	observe := shared.Observe
	shared.Observe = func(c northflank.Call) {
		if c.Route != "/plans" && c.Route != "/regions" && c.Status != 0 { // those two take no token and are not counted
			e.spent.Add(1)
		}
		if observe != nil {
			observe(c)
		}
	}
	clients := northflank.NewAccounts(shared)
	known := map[*northflank.Client]*account{}
	for _, t := range e.gathered(ctx) {
		if t.account.Token.IsZero() {
			continue
		}
		client, isNew, err := clients.Client(t.account.BaseURL, t.account.TeamID, t.account.Token)
		if err != nil {
			return fmt.Errorf("%s: %w", t.of, err)
		}
		if isNew {
			known[client] = &account{client: client, of: t.of, token: t.account.Token}
			e.accounts = append(e.accounts, known[client])
		}
		t.user = known[client]
		t.user.add(t)
	}
	return nil
}

func (a *account) add(t *target) {
	if t.project == "" {
		return
	}
	for _, p := range a.projects {
		if p.id == t.project {
			p.targets = append(p.targets, t)
			return
		}
	}
	a.projects = append(a.projects, &project{id: t.project, targets: []*target{t}})
}
