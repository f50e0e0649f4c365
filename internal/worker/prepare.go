package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// Preparer turns a flow run into the requests that it means on Northflank. It
// sends nothing there; the tools use it to show what a worker would do.
type Preparer struct {
	Prefect     *prefect.Client
	SettingsEnv map[string]string // Prefect settings that the flow run inherits
	Account     jobspec.Account   // of the worker's environment
	WorkerName  string
	Secrets     []string // of the Prefect settings, to be masked wherever a value is shown

	mu          sync.Mutex
	flows       map[string]prefect.Flow // flows never change their name
	deployments deployments
}

// maxCachedFlows bounds Preparer.flows; the cache is emptied beyond it.
const maxCachedFlows = 1000

// Prepared is what a flow run means on Northflank, and what led to it.
type Prepared struct {
	Deployment *prefect.Deployment // nil: the flow run has none
	Flow       prefect.Flow
	Values     *prefect.Configuration
	Spec       jobspec.Spec
	Warnings   []jobspec.Warning
}

// The job variables that are resolved here, before the pure part.
const (
	varName             = "name"
	varCredentials      = "credentials"
	varCredentialsBlock = "credentials_block"
	blockTypeSlug       = "northflank"
)

// errDeploymentGone: the flow run's deployment was deleted.
var errDeploymentGone = errors.New("the deployment no longer exists")

// ConfigurationError is a flow run's own configuration being wrong: trying
// again cannot help.
type ConfigurationError struct{ Err error }

func (e *ConfigurationError) Error() string { return e.Err.Error() }
func (e *ConfigurationError) Unwrap() error { return e.Err }

// Prepare reads what the flow run's configuration refers to and renders it.
// A [*ConfigurationError] is the flow run's fault, errDeploymentGone its
// deployment's end; any other error is Prefect's and may pass.
func (p *Preparer) Prepare(ctx context.Context, pool prefect.WorkPool, fr prefect.FlowRun) (*Prepared, error) {
	return p.prepare(ctx, pool, fr, time.Time{})
}

// prepare is Prepare for a flow run that was seen at a time: its deployment may
// be as it was then.
func (p *Preparer) prepare(ctx context.Context, pool prefect.WorkPool, fr prefect.FlowRun, seen time.Time) (*Prepared, error) {
	out := &Prepared{}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		out.Flow, err = p.flow(gctx, fr.FlowID)
		return err
	})
	if fr.DeploymentID != "" {
		g.Go(func() error {
			d, err := p.deployments.get(gctx, fr.DeploymentID, seen, p.Prefect.Deployment)
			if errors.Is(err, prefect.ErrNotFound) {
				return errDeploymentGone
			}
			out.Deployment = &d
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, p.render(ctx, pool, fr, out)
}

// render fills in out from its deployment and flow.
func (p *Preparer) render(ctx context.Context, pool prefect.WorkPool, fr prefect.FlowRun, out *Prepared) error {
	template := pool.BaseJobTemplate
	if isEmptyObject(template) {
		template = jobspec.BaseJobTemplate()
	}
	in := prefect.ConfigurationInput{Template: template, FlowRun: fr.JobVariables}
	if out.Deployment != nil {
		in.Deployment = out.Deployment.JobVariables
	}
	lookup := withhold(p.Prefect.Lookup())
	values, err := prefect.BuildConfiguration(ctx, lookup, in)
	if err != nil {
		return classify(err)
	}
	if err := p.resolveCredentials(ctx, lookup, values); err != nil {
		return classify(err)
	}
	out.Values = values
	resolveName(values, fr, out.Flow)
	spec, warnings, err := jobspec.Build(p.input(pool, fr, out))
	if err != nil {
		return &ConfigurationError{err}
	}
	out.Spec, out.Warnings = spec, append(warnings, clearTokens(pool, fr, out)...)
	return nil
}

// withheld are variables of the worker's environment that {{ $NAME }} does not
// give to flow runs: whoever may write a pool's template or a deployment's
// environment would learn what Northflank and operators alone are to know.
var withheld = []string{"NORTHFLANK_API_TOKEN", "NF_API_TOKEN", "NORTHFLANK_WEBHOOK_SECRET", "PREFECT_NORTHFLANK_STATUS_TOKEN"}

func withhold(lookup prefect.Lookup) prefect.Lookup {
	given := lookup.Env
	lookup.Env = func(name string) string {
		if slices.Contains(withheld, name) {
			return ""
		}
		return given(name)
	}
	return lookup
}

// classify tells a wrong configuration from a Prefect that does not answer.
func classify(err error) error {
	if errors.Is(err, prefect.ErrUnavailable) || errors.Is(err, prefect.ErrUnauthorized) ||
		errors.Is(err, prefect.ErrForbidden) || errors.Is(err, context.Canceled) {
		return err
	}
	return &ConfigurationError{err}
}

// resolveCredentials reads the block that credentials_block names. Of a block
// that does not exist, nothing is put in the place of credentials.
func (p *Preparer) resolveCredentials(ctx context.Context, lookup prefect.Lookup, values *prefect.Configuration) error {
	name, ok := values.Values[varCredentialsBlock].(string)
	if !ok || name == "" {
		return nil
	}
	data, err := lookup.Block(ctx, blockTypeSlug, name)
	if errors.Is(err, prefect.ErrNotFound) {
		delete(values.Values, varCredentials) // not another block's; jobspec reports what is missing
		return nil
	}
	if err != nil {
		return fmt.Errorf("job variable %s: %w", varCredentialsBlock, err)
	}
	values.Values[varCredentials] = data
	origin := values.Origins[varCredentialsBlock]
	origin.Via = "block " + blockTypeSlug + "/" + name
	values.Origins[varCredentials] = origin
	if token, ok := data["api_token"].(string); ok {
		values.Secrets = append(values.Secrets, token)
	}
	return nil
}

// resolveName fills ctx.flow and ctx.flow_run placeholders of the job's name.
func resolveName(values *prefect.Configuration, fr prefect.FlowRun, flow prefect.Flow) {
	name, ok := values.Values[varName].(string)
	if !ok {
		return
	}
	resolved, ok := prefect.ApplyValues(name, map[string]any{"ctx": map[string]any{
		"flow": decoded(flow.Raw), "flow_run": decoded(fr.Raw),
	}})
	if !ok {
		delete(values.Values, varName)
		return
	}
	values.Values[varName] = resolved
}

func decoded(raw json.RawMessage) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return map[string]any{}
	}
	return v
}

func (p *Preparer) input(pool prefect.WorkPool, fr prefect.FlowRun, out *Prepared) jobspec.Input {
	origins := make(map[string]jobspec.Origin, len(out.Values.Origins))
	for k, o := range out.Values.Origins {
		origins[k] = jobspec.Origin(o)
	}
	in := jobspec.Input{
		Values: out.Values.Values, Origins: origins,
		Unknown: out.Values.Unknown, Unused: out.Values.Unused, Secrets: slices.Concat(slices.DeleteFunc(slices.Clone(out.Values.Secrets), isPlainAddress), p.Secrets),
		PoolName: pool.Name, PoolID: pool.ID, WorkerName: p.WorkerName, WorkerID: p.Prefect.WorkerID(),
		FlowRun: jobspec.Named{ID: fr.ID, Name: fr.Name}, Flow: jobspec.Named{ID: out.Flow.ID, Name: out.Flow.Name},
		SettingsEnv: p.SettingsEnv, Account: p.Account,
	}
	if out.Deployment != nil {
		in.Deployment = jobspec.Named{ID: out.Deployment.ID, Name: out.Deployment.Name}
	}
	return in
}

func (p *Preparer) flow(ctx context.Context, id string) (prefect.Flow, error) {
	p.mu.Lock()
	f, ok := p.flows[id]
	p.mu.Unlock()
	if ok {
		return f, nil
	}
	f, err := p.Prefect.Flow(ctx, id)
	if err != nil {
		return f, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flows == nil || len(p.flows) >= maxCachedFlows {
		p.flows = map[string]prefect.Flow{}
	}
	p.flows[id] = f
	return f, nil
}

func isEmptyObject(raw json.RawMessage) bool {
	var m map[string]json.RawMessage
	return len(raw) == 0 || json.Unmarshal(raw, &m) == nil && len(m) == 0
}

// isPlainAddress reports whether a text out of a block is an address without
// credentials, such as an account's base URL: no secret.
func isPlainAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.User == nil && u.RawQuery == ""
}
