// Package estimate answers: what do the flow runs of a work pool cost? It
// multiplies how long they were Running, as Prefect tells it, by Northflank's
// public prices of today. It changes nothing, and leaves deployment plans that
// are not public without a price.
package estimate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// Options say whose flow runs are looked at.
type Options struct {
	Preparer *worker.Preparer
	Accounts *northflank.Accounts
	Pool     prefect.WorkPool
	Days     int    // flow runs that ended within so many days of 24 hours
	Limit    int    // look at so many flow runs at most
	Plan     string // a deployment plan to compare with; "": none

	Progress func(flowRuns int) // told now and then how many were read; nil: not
}

// Report is what was found, the dearest deployment first.
type Report struct {
	Pool     string   `json:"pool"`
	Days     int      `json:"days"`
	FlowRuns int      `json:"flow_runs"` // that ran, and are counted below
	NotBegun int      `json:"not_begun"` // ended without ever being Running; they are not counted
	Cut      bool     `json:"cut"`       // there may be more flow runs than were looked at
	Currency string   `json:"currency"`
	Rows     []Row    `json:"deployments"`
	Total    float64  `json:"total"` // of the rows that have a price
	WithPlan *float64 `json:"total_with_plan,omitempty"`

	LeavesOut []string `json:"leaves_out"` // what Northflank bills besides
}

// leavesOut is what neither Prefect nor Northflank's public lists tell.
var leavesOut = []string{
	"time to pull images and to start Prefect", "waits between a flow's own retries", "storage", "network", "builds",
}

// Row is about the flow runs of one deployment with one deployment plan.
type Row struct {
	Deployment string   `json:"deployment"` // "flow/deployment"
	FlowRuns   int      `json:"flow_runs"`
	Seconds    Quantity `json:"seconds"`
	Cost       Cost     `json:"cost"`
	WithPlan   *Cost    `json:"with_plan,omitempty"` // if they had run as long on that plan

	runs []float64 // seconds, ascending
}

// Quantity is something measured of many flow runs.
type Quantity struct {
	Median float64 `json:"median"`
	P95    float64 `json:"p95"` // nineteen of twenty need no more
	Total  float64 `json:"total"`
}

// Cost is what flow runs cost on a deployment plan.
type Cost struct {
	Plan         string    `json:"plan"`
	GPU          string    `json:"gpu,omitempty"` // "h100-80 x 2"
	PricePerHour *float64  `json:"price_per_hour"`
	GPUAlone     bool      `json:"gpu_alone,omitempty"` // CPU and memory of the plan have no public price
	Unpriced     string    `json:"unpriced,omitempty"`  // why there is no price
	Amount       *Quantity `json:"amount"`              // null without a price
}

// group is the flow runs that have one configuration.
type group struct {
	first   prefect.FlowRun
	seconds []float64
}

// Run reads the history and the prices.
func Run(ctx context.Context, o Options) (Report, error) {
	report := Report{Pool: o.Pool.Name, Days: o.Days, Currency: currency, Rows: []Row{}, LeavesOut: leavesOut}
	groups, err := o.gather(ctx, &report)
	if err != nil {
		return Report{}, err
	}
	catalog := &catalog{accounts: o.Accounts, account: o.Preparer.Account}
	byName := map[string]*Row{}
	for _, g := range groups {
		row, err := o.describe(ctx, catalog, g)
		if err != nil {
			return Report{}, err
		}
		key := row.Deployment + "\n" + row.Cost.Plan + "\n" + row.Cost.GPU + "\n" + row.Cost.Unpriced
		if same := byName[key]; same != nil {
			same.runs = append(same.runs, row.runs...)
			continue
		}
		byName[key] = &row
	}
	var other *Cost
	if o.Plan != "" {
		if other, err = catalog.comparison(ctx, o.Plan); err != nil {
			return Report{}, err
		}
		report.WithPlan = new(float64)
	}
	for _, row := range byName {
		row.finish(other)
		if row.Cost.Amount != nil {
			report.Total += row.Cost.Amount.Total
		}
		if row.WithPlan != nil {
			*report.WithPlan += row.WithPlan.Amount.Total
		}
		report.Rows = append(report.Rows, *row)
	}
	slices.SortFunc(report.Rows, func(a, b Row) int {
		return cmp.Or(-cmp.Compare(a.Cost.total(), b.Cost.total()), -cmp.Compare(a.Seconds.Total, b.Seconds.Total),
			cmp.Compare(a.Deployment, b.Deployment), cmp.Compare(a.Cost.Plan, b.Cost.Plan))
	})
	return report, nil
}

// gather reads the flow runs that ended lately, by configuration.
func (o Options) gather(ctx context.Context, report *Report) ([]*group, error) {
	var groups []*group
	known := map[string]*group{}
	read := 0
	filter := prefect.FlowRunFilter{WorkPool: o.Pool.Name, EndedAfter: time.Now().Add(-time.Duration(o.Days) * 24 * time.Hour)}
	for fr, err := range o.Preparer.Prefect.FlowRuns(ctx, filter) {
		if err != nil {
			return nil, err
		}
		if read == o.Limit {
			report.Cut = true
			break
		}
		read++
		if o.Progress != nil && read%100 == 0 {
			o.Progress(read)
		}
		if fr.TotalRunTime <= 0 {
			report.NotBegun++
			continue
		}
		report.FlowRuns++
		key := configurationKey(fr)
		if known[key] == nil {
			known[key] = &group{first: fr}
			groups = append(groups, known[key])
		}
		known[key].seconds = append(known[key].seconds, fr.TotalRunTime)
	}
	return groups, nil
}

// configurationKey tells flow runs apart whose price may differ: by deployment
// and by what they themselves say of plan and GPU.
func configurationKey(fr prefect.FlowRun) string {
	own := maps.Clone(fr.JobVariables)
	maps.DeleteFunc(own, func(name string, _ any) bool { return !strings.HasPrefix(name, "billing_") })
	text, _ := json.Marshal(own) // it came from JSON
	if fr.DeploymentID == "" {
		return fr.FlowID + string(text)
	}
	return fr.DeploymentID + string(text)
}

// describe says what a group's flow runs are of, and what an hour of them costs:
// with the configuration that the deployment has today.
func (o Options) describe(ctx context.Context, catalog *catalog, g *group) (Row, error) {
	row := Row{runs: g.seconds}
	deployment := "(without a deployment)"
	if id := g.first.DeploymentID; id != "" {
		d, err := o.Preparer.Prefect.Deployment(ctx, id)
		switch {
		case errors.Is(err, prefect.ErrNotFound):
			flow, err := o.Preparer.Prefect.Flow(ctx, g.first.FlowID)
			if err != nil {
				return row, err
			}
			row.Deployment, row.Cost.Unpriced = flow.Name+"/(deleted)", "the deployment was deleted, and its plan is not known any more"
			return row, nil
		case err != nil:
			return row, err
		}
		deployment = d.Name
	}
	prepared, err := o.Preparer.Prepare(ctx, o.Pool, g.first)
	if wrong, ok := errors.AsType[*worker.ConfigurationError](err); ok && prepared != nil {
		row.Deployment = prepared.Flow.Name + "/" + deployment
		row.Cost.Unpriced = fmt.Sprintf("its job variables are wrong: %s", firstLine(wrong))
		return row, nil
	}
	if err != nil {
		return row, fmt.Errorf("prepare a flow run of deployment %q: %w", deployment, err)
	}
	row.Deployment = prepared.Flow.Name + "/" + deployment
	row.Cost, err = catalog.costOf(ctx, prepared.Spec)
	return row, err
}

func firstLine(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}

// finish computes what the flow runs took and cost.
func (r *Row) finish(other *Cost) {
	slices.Sort(r.runs)
	r.FlowRuns = len(r.runs)
	r.Seconds = Quantity{Median: median(r.runs), P95: r.runs[(95*len(r.runs)+99)/100-1]}
	for _, seconds := range r.runs {
		r.Seconds.Total += seconds
	}
	r.Cost.spend(r.Seconds)
	if other != nil {
		r.WithPlan = new(*other)
		r.WithPlan.spend(r.Seconds)
	}
}

// median of ascending values, of which there is at least one.
func median(sorted []float64) float64 {
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// spend fills in the amount for so many seconds.
func (c *Cost) spend(seconds Quantity) {
	if c.PricePerHour == nil {
		return
	}
	perSecond := *c.PricePerHour / 3600
	c.Amount = &Quantity{Median: seconds.Median * perSecond, P95: seconds.P95 * perSecond, Total: seconds.Total * perSecond}
}

func (c Cost) total() float64 {
	if c.Amount == nil {
		return 0
	}
	return c.Amount.Total
}
