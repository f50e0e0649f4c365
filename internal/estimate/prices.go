package estimate

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
)

// currency of all amounts. Northflank docs: GPUs are priced in US cents, plans
// in a currency that each names.
const currency = "USD"

// catalog is Northflank's public prices, read when they are first needed.
type catalog struct {
	accounts *northflank.Accounts
	account  jobspec.Account // whose API is asked where no flow run names another

	plans map[string]northflank.DeploymentPlan
	gpus  map[string]float64 // dollars an hour for one, the highest of all regions
}

// gpuPlan is a GPU's deployment plan, which the list of plans leaves out.
// Northflank docs: nf-gpu-<type>-<count>g.
var gpuPlan = regexp.MustCompile(`^nf-gpu-(.+)-([1-9][0-9]?)g$`)

// costOf prices what a flow run asks for.
func (c *catalog) costOf(ctx context.Context, spec jobspec.Spec) (Cost, error) {
	if spec.Account.BaseURL != "" {
		c.account = spec.Account
	}
	plan := spec.Job.Billing.DeploymentPlan
	if spec.Run.Billing != nil && spec.Run.Billing.DeploymentPlan != "" {
		plan = spec.Run.Billing.DeploymentPlan
	}
	var gpu *northflank.GPUConfiguration
	if g := spec.Job.Billing.GPU; g != nil && g.Enabled {
		gpu = g.Configuration
	}
	return c.cost(ctx, plan, gpu)
}

// cost prices a plan with a GPU; nil is the one that the plan names, if it does.
func (c *catalog) cost(ctx context.Context, plan string, gpu *northflank.GPUConfiguration) (Cost, error) {
	cost := Cost{Plan: plan}
	ofGPU := gpuPlan.FindStringSubmatch(plan)
	if gpu == nil && ofGPU != nil {
		count, _ := strconv.Atoi(ofGPU[2]) // digits, by the pattern
		gpu = &northflank.GPUConfiguration{GPUType: ofGPU[1], GPUCount: count}
	}
	if err := c.load(ctx, gpu != nil); err != nil {
		return cost, err
	}
	total := 0.0
	switch listed, known := c.plans[plan]; {
	case known && listed.PricePerHour == nil:
		cost.Unpriced = fmt.Sprintf("Northflank tells no price of plan %s", plan)
	case known && !strings.EqualFold(listed.Currency, currency):
		cost.Unpriced = fmt.Sprintf("plan %s is priced in %s", plan, strings.ToUpper(listed.Currency))
	case known:
		total = *listed.PricePerHour
	case ofGPU == nil:
		cost.Unpriced = fmt.Sprintf("plan %s is not one of Northflank's public plans", plan)
	default:
		cost.GPUAlone = true
	}
	if gpu != nil {
		count := max(gpu.GPUCount, 1)
		cost.GPU = fmt.Sprintf("%s x %d", gpu.GPUType, count)
		price, known := c.gpus[gpu.GPUType]
		if !known && cost.Unpriced == "" {
			cost.Unpriced = fmt.Sprintf("Northflank tells no price of GPU %s", gpu.GPUType)
		}
		total += price * float64(count)
	}
	if cost.Unpriced == "" {
		cost.PricePerHour = &total
	}
	return cost, nil
}

// comparison prices a plan that somebody thinks of, which must have a price.
func (c *catalog) comparison(ctx context.Context, plan string) (*Cost, error) {
	cost, err := c.cost(ctx, plan, nil)
	if err != nil {
		return nil, err
	}
	if cost.Unpriced != "" {
		known := make([]string, 0, len(c.plans))
		for id := range c.plans {
			known = append(known, id)
		}
		slices.Sort(known)
		return nil, &planError{cause: cost.Unpriced, plan: plan, known: known}
	}
	return &cost, nil
}

// planError is a plan that cannot be compared with.
type planError struct {
	cause, plan string
	known       []string
}

func (e *planError) Error() string { return e.cause }

func (e *planError) Hint() string {
	const list = "prefect-northflank plans lists them"
	if near, ok := jobspec.NearestName(e.plan, e.known); ok && near != e.plan {
		return fmt.Sprintf("did you mean %s? %s", near, list)
	}
	return list
}

// load reads the prices once: plans always, GPUs when there is one.
func (c *catalog) load(ctx context.Context, withGPUs bool) error {
	if c.plans != nil && (c.gpus != nil || !withGPUs) {
		return nil
	}
	client, _, err := c.accounts.Client(c.account.BaseURL, c.account.TeamID, c.account.Token)
	if err != nil {
		return err
	}
	if c.plans == nil {
		plans, err := client.Plans(ctx)
		if err != nil {
			return err
		}
		c.plans = map[string]northflank.DeploymentPlan{}
		for _, p := range plans {
			c.plans[p.ID] = p
		}
	}
	if c.gpus != nil || !withGPUs {
		return nil
	}
	regions, err := client.Regions(ctx)
	if err != nil {
		return err
	}
	c.gpus = map[string]float64{}
	for _, r := range regions {
		for _, d := range r.GPUs {
			if price := d.PricePerHour(); price != nil {
				c.gpus[d.ID] = max(c.gpus[d.ID], *price)
			}
		}
	}
	return nil
}
