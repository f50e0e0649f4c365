package prefect

import (
	"context"
	"fmt"
)

// Lists of names are for messages that suggest what was meant: they read one
// page of a listing and no more.

// WorkPools returns work pools.
func (c *Client) WorkPools(ctx context.Context) ([]WorkPool, error) {
	var pools []WorkPool
	if err := c.call(ctx, routeWorkPools, request{body: firstPage()}, &pools); err != nil {
		return nil, fmt.Errorf("list work pools: %w", err)
	}
	return pools, nil
}

// WorkPoolNames returns the names of work pools.
func (c *Client) WorkPoolNames(ctx context.Context) ([]string, error) {
	pools, err := c.WorkPools(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(pools))
	for i, pool := range pools {
		names[i] = pool.Name
	}
	return names, nil
}

// DeploymentNames returns the names of deployments in the form "flow/deployment".
func (c *Client) DeploymentNames(ctx context.Context) ([]string, error) {
	var deployments []Deployment
	if err := c.call(ctx, routeDeployments, request{body: firstPage()}, &deployments); err != nil {
		return nil, fmt.Errorf("list deployments: %w", err)
	}
	if len(deployments) == 0 {
		return nil, nil
	}
	ids := make([]string, len(deployments))
	for i, deployment := range deployments {
		ids[i] = deployment.FlowID
	}
	body := firstPage()
	body["flows"] = map[string]any{"id": anyOf(ids)}
	var flows []Flow
	if err := c.call(ctx, routeFlows, request{body: body}, &flows); err != nil {
		return nil, fmt.Errorf("list flows: %w", err)
	}
	flowNames := make(map[string]string, len(flows))
	for _, flow := range flows {
		flowNames[flow.ID] = flow.Name
	}
	var names []string
	for _, deployment := range deployments {
		if flow, ok := flowNames[deployment.FlowID]; ok {
			names = append(names, flow+"/"+deployment.Name)
		}
	}
	return names, nil
}

func firstPage() map[string]any { return map[string]any{"limit": pageSize, "offset": 0} }
