package prefect

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"
)

// UnmarshalJSON fills UpdatedText beside the fields.
func (d *Deployment) UnmarshalJSON(data []byte) error {
	type plain Deployment
	if err := decode(data, (*plain)(d)); err != nil {
		return err
	}
	if !d.Updated.IsZero() {
		d.UpdatedText = pythonISOFormat(d.Updated)
	}
	return nil
}

// pythonISOFormat is datetime.isoformat() in UTC: microseconds only when there
// are any, offset as +00:00.
func pythonISOFormat(t time.Time) string {
	t = t.UTC()
	if t.Nanosecond()/1000 == 0 {
		return t.Format("2006-01-02T15:04:05+00:00")
	}
	return t.Format("2006-01-02T15:04:05.000000+00:00")
}

// UnmarshalJSON keeps the whole object in Raw beside the fields.
func (f *Flow) UnmarshalJSON(data []byte) error {
	type plain Flow
	if err := decode(data, (*plain)(f)); err != nil {
		return err
	}
	f.Raw = slices.Clone(data)
	return nil
}

// Deployment reads a deployment by id; [ErrNotFound] when it was deleted.
func (c *Client) Deployment(ctx context.Context, id string) (Deployment, error) {
	var deployment Deployment
	if err := c.call(ctx, routeDeployment, request{args: []string{id}}, &deployment); err != nil {
		return Deployment{}, fmt.Errorf("read deployment %s: %w", id, err)
	}
	return deployment, nil
}

// DeploymentByName reads a deployment by its "flow/deployment" name.
func (c *Client) DeploymentByName(ctx context.Context, name string) (Deployment, error) {
	flow, deploymentName, ok := strings.Cut(name, "/")
	if !ok || flow == "" || deploymentName == "" {
		return Deployment{}, &nameError{name}
	}
	var deployment Deployment
	if err := c.call(ctx, routeDeploymentByName, request{args: []string{flow, deploymentName}}, &deployment); err != nil {
		return Deployment{}, fmt.Errorf("read deployment %q: %w", name, err)
	}
	return deployment, nil
}

// Deployments lists the deployments of a work pool.
func (c *Client) Deployments(ctx context.Context, pool string) iter.Seq2[Deployment, error] {
	return func(yield func(Deployment, error) bool) {
		var last []Deployment
		for page := range maxPages {
			body := map[string]any{
				"work_pools": map[string]any{"name": anyOf([]string{pool})},
				"limit":      pageSize, "offset": page * pageSize,
			}
			var deployments []Deployment
			if err := c.call(ctx, routeDeployments, request{body: body}, &deployments); err != nil {
				yield(Deployment{}, fmt.Errorf("list deployments of work pool %q: %w", pool, err))
				return
			}
			if page > 0 && reflect.DeepEqual(deployments, last) {
				yield(Deployment{}, fmt.Errorf("list deployments of work pool %q: %w", pool, errSamePage))
				return
			}
			for _, deployment := range deployments {
				if !yield(deployment, nil) {
					return
				}
			}
			if len(deployments) < pageSize {
				return
			}
			last = deployments
		}
	}
}

// Flow reads a flow by id.
func (c *Client) Flow(ctx context.Context, id string) (Flow, error) {
	var flow Flow
	if err := c.call(ctx, routeFlow, request{args: []string{id}}, &flow); err != nil {
		return Flow{}, fmt.Errorf("read flow %s: %w", id, err)
	}
	return flow, nil
}

// nameError is a deployment's name in the wrong form.
type nameError struct{ name string }

func (e *nameError) Error() string { return fmt.Sprintf("%q is not the name of a deployment", e.name) }

func (e *nameError) Hint() string {
	return "write flow and deployment with a slash between: my-flow/my-deployment; prefect deployment ls shows them"
}
