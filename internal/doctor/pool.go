package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// checkPool finds the work pool: the one that is named, or the only one of our
// type.
func checkPool(ctx context.Context, e *exam, a *answers) {
	name := e.o.Pool
	var names, ours []string
	for _, p := range e.pools {
		names = append(names, p.Name)
		if p.Type == worker.Type {
			ours = append(ours, p.Name)
		}
	}
	switch {
	case name != "":
	case len(ours) == 1:
		name = ours[0]
	case len(ours) == 0:
		a.fail("create one with: prefect-northflank pool create my-pool", "there is no work pool of type %s", worker.Type)
		return
	default:
		a.fail("name one with --pool", "there are %d work pools of type %s: %s", len(ours), worker.Type, strings.Join(ours, ", "))
		return
	}
	ctx, cancel := ask(ctx)
	defer cancel()
	pool, err := e.prefect.WorkPool(ctx, name)
	switch {
	case errors.Is(err, prefect.ErrNotFound):
		next := "create it with: prefect-northflank pool create " + name
		if near, ok := jobspec.NearestName(name, names); ok {
			next = fmt.Sprintf("did you mean %q? Otherwise %s", near, next)
		}
		a.fail(next, "there is no work pool %q", name)
	case err != nil:
		a.err(Failure, err, "")
	case pool.Type != worker.Type:
		a.fail("name another work pool with --pool; prefect work-pool ls shows them with their types",
			"work pool %q is of type %q, not %q: no worker of this kind serves it", name, pool.Type, worker.Type)
	default:
		e.pool = pool
		a.ok("work pool %q exists", name)
	}
}

// checkTemplate asks what pool upgrade would change.
func checkTemplate(_ context.Context, e *exam, a *answers) {
	_, changes, err := jobspec.UpgradeTemplate(e.pool.BaseJobTemplate)
	switch {
	case isEmpty(e.pool.BaseJobTemplate):
		a.ok("the base job template is empty, which stands for the default one")
	case err != nil:
		a.fail("mend it on the pool's page, or with: prefect work-pool update "+e.pool.Name+" --base-job-template FILE",
			"the base job template cannot be used: %v", err)
	case len(changes) > 0:
		a.warn("bring it up to date with: prefect-northflank pool upgrade "+e.pool.Name,
			"the base job template is of an earlier release: %s", someOf(changes))
	default:
		a.ok("the base job template is up to date")
	}
}

func isEmpty(template json.RawMessage) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(template, &object) == nil && len(object) == 0
}

// someOf names a few of many.
func someOf(items []string) string {
	const most = 3
	if len(items) <= most {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:most], ", "), len(items)-most)
}

func checkPaused(_ context.Context, e *exam, a *answers) {
	if e.pool.IsPaused {
		a.warn("resume it with: prefect work-pool resume "+e.pool.Name, "work pool %q is paused: no flow run of it starts", e.pool.Name)
		return
	}
	a.ok("work pool %q is not paused", e.pool.Name)
}

func checkLimit(_ context.Context, e *exam, a *answers) {
	if limit := e.pool.ConcurrencyLimit; limit != nil && *limit == 0 {
		a.warn("raise it with: prefect work-pool set-concurrency-limit "+e.pool.Name+" 10", "the concurrency limit of work pool %q is 0: no flow run of it starts", e.pool.Name)
		return
	}
	a.ok("the pool's concurrency limit lets flow runs start")
}

func checkQueues(ctx context.Context, e *exam, a *answers) {
	ctx, cancel := ask(ctx)
	defer cancel()
	queues, err := e.prefect.WorkQueues(ctx, e.pool.Name, nil)
	if err != nil {
		a.err(Failure, err, "")
		return
	}
	for _, q := range queues {
		of := fmt.Sprintf("%s --pool %s", q.Name, e.pool.Name)
		if q.IsPaused {
			a.warn("resume it with: prefect work-queue resume "+of, "work queue %q is paused: no flow run of it starts", q.Name)
		}
		if q.ConcurrencyLimit != nil && *q.ConcurrencyLimit == 0 {
			a.warn("lift it with: prefect work-queue clear-concurrency-limit "+of, "the concurrency limit of work queue %q is 0: no flow run of it starts", q.Name)
		}
	}
	if !a.found() {
		a.ok("no work queue is paused")
	}
}

func checkWorkers(ctx context.Context, e *exam, a *answers) {
	ctx, cancel := ask(ctx)
	defer cancel()
	workers, err := e.prefect.Workers(ctx, e.pool.Name)
	if err != nil {
		a.err(Failure, err, "")
		return
	}
	online := 0
	for _, w := range workers {
		if w.Status == "ONLINE" {
			online++
		}
	}
	if online == 0 {
		a.warn("start one with: prefect-northflank worker start --pool "+e.pool.Name, "no worker of the work pool is online: its flow runs wait")
		return
	}
	a.ok("workers online: %d", online)
}

// checkDeployments asks whether the job variables of every deployment make
// requests. Those of credentials have a check of their own.
func checkDeployments(ctx context.Context, e *exam, a *answers) {
	targets := e.gathered(ctx)
	if e.gatherErr != nil {
		a.err(Failure, e.gatherErr, "")
	}
	const correct = "correct it in prefect.yaml and run prefect deploy again, or in the work pool; prefect-northflank render --deployment shows every value with its origin"
	grouped := newGroups()
	for _, t := range targets {
		for _, p := range t.problems {
			if !aboutCredentials(p.Variable) {
				grouped.add(Failure, t.of, "job variable "+withoutStep(p), stepOr(p.NextStep, correct))
			}
		}
		if t.err != nil && !aboutCredentials(t.errKey) {
			grouped.add(Failure, t.of, t.err.Error(), stepOr(hintOf(t.err), correct))
		}
		for _, w := range t.warnings {
			if w.Of == "" { // what of the deployment: the token in clear has its own check
				grouped.add(Warning, t.of, w.String(), "correct it in prefect.yaml and run prefect deploy again, or in the work pool")
			}
		}
	}
	grouped.report(a)
	if e.unseen {
		a.warn("", "only the first %d deployments were looked at", maxDeployments)
	}
	switch {
	case a.found():
	case e.deployments == 0:
		a.ok("the work pool has no deployments yet")
	default:
		a.ok("the job variables of every deployment can be used (%d)", e.deployments)
	}
}

func withoutStep(p jobspec.Problem) string {
	p.NextStep = ""
	return p.String()
}

func stepOr(step, otherwise string) string {
	if step == "" {
		return otherwise
	}
	return step
}

func aboutCredentials(variable string) bool {
	return variable == "credentials" || variable == "credentials_block"
}

func checkClearTokens(ctx context.Context, e *exam, a *answers) {
	var holders []string
	for _, t := range e.gathered(ctx) {
		if t.tokenInClear {
			holders = append(holders, t.of)
		}
	}
	if len(holders) > 0 {
		a.warn(worker.WithoutToken(e.pool), "the API token is stored in clear in the job variables of %s, for everybody who may read them", someOf(holders))
		return
	}
	a.ok("no deployment holds the API token in clear")
}

// checkCredentials asks whether every deployment, or the work pool where there
// is none, leads to a token.
func checkCredentials(ctx context.Context, e *exam, a *answers) {
	grouped := newGroups()
	for _, t := range e.gathered(ctx) {
		for _, p := range t.problems {
			if aboutCredentials(p.Variable) {
				grouped.add(Failure, t.of, "job variable "+withoutStep(p), p.NextStep)
			}
		}
		if t.err != nil && aboutCredentials(t.errKey) {
			grouped.add(Failure, t.of, t.err.Error(), stepOr(hintOf(t.err), "save it again with: prefect-northflank credentials save NAME"))
		}
	}
	grouped.report(a)
	if !a.found() {
		a.ok("a Northflank API token is configured")
	}
}

// groups puts what holds for several deployments into one finding.
type groups struct {
	order []finding
	of    map[finding][]string
}

type finding struct {
	status        Status
	message, next string
}

func newGroups() *groups { return &groups{of: map[finding][]string{}} }

func (g *groups) add(s Status, of, message, next string) {
	f := finding{s, message, next}
	if _, known := g.of[f]; !known {
		g.order = append(g.order, f)
	}
	if !slices.Contains(g.of[f], of) {
		g.of[f] = append(g.of[f], of)
	}
}

func (g *groups) report(a *answers) {
	for _, f := range g.order {
		a.add(f.status, "", f.next, someOf(g.of[f])+": "+f.message)
	}
}
