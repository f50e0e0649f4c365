package validate

import (
	"context"
	"errors"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// world is [Lookups] that remembers who did not answer, and asks no more.
type world struct {
	lookups    Lookups
	prefect    error // why Prefect is not asked; nil: it is
	northflank error

	pools   map[string]prefect.WorkPool
	names   map[string][]string // of blocks, by type
	plans   []northflank.DeploymentPlan
	regions []northflank.Region
}

var errNotAsked = errors.New("not asked")

func newWorld(l Lookups) *world {
	w := &world{lookups: l, pools: map[string]prefect.WorkPool{}, names: map[string][]string{}}
	if l.Pool == nil {
		w.prefect = errNotAsked
	}
	if l.Plans == nil {
		w.northflank = errNotAsked
	}
	return w
}

func (w *world) env(name string) (string, bool) {
	if w.lookups.Env == nil {
		return "", false
	}
	return w.lookups.Env(name)
}

func (w *world) hasBlock(ctx context.Context, slug, name string) (exists, asked bool) {
	if w.prefect != nil {
		return false, false
	}
	_, err := w.lookups.Prefect.Block(ctx, slug, name)
	return err == nil, w.answered(err)
}

// answered notes an error that is no answer.
func (w *world) answered(err error) bool {
	if err == nil || errors.Is(err, prefect.ErrNotFound) {
		return true
	}
	w.prefect = err
	return false
}

// pool reads a work pool, once.
func (w *world) pool(ctx context.Context, name string) (prefect.WorkPool, error) {
	if pool, read := w.pools[name]; read {
		return pool, nil
	}
	pool, err := w.lookups.Pool(ctx, name)
	if err == nil {
		w.pools[name] = pool
	}
	return pool, err
}

func (w *world) blockNames(ctx context.Context, slug string) []string {
	if _, read := w.names[slug]; !read {
		w.names[slug], _ = w.lookups.BlockNames(ctx, slug) // only makes the next step better
	}
	return w.names[slug]
}

func (w *world) variable(ctx context.Context, name string) (content any, exists, asked bool) {
	if w.prefect != nil {
		return nil, false, false
	}
	content, exists, err := w.lookups.Prefect.Variable(ctx, name)
	return content, exists, w.answered(err)
}

// listedPlans reads Northflank's deployment plans, once.
func (w *world) listedPlans(ctx context.Context) ([]northflank.DeploymentPlan, error) {
	if w.plans == nil && w.northflank == nil {
		w.plans, w.northflank = w.lookups.Plans(ctx)
	}
	return w.plans, w.northflank
}

// listedRegions reads Northflank's regions, once.
func (w *world) listedRegions(ctx context.Context) ([]northflank.Region, error) {
	if w.regions == nil && w.northflank == nil {
		w.regions, w.northflank = w.lookups.Regions(ctx)
	}
	return w.regions, w.northflank
}
