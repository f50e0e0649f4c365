package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// findPool reads a work pool of our type.
func findPool(ctx context.Context, client *prefect.Client, name string) (prefect.WorkPool, error) {
	pool, err := client.WorkPool(ctx, name)
	if errors.Is(err, prefect.ErrNotFound) {
		names, _ := client.WorkPoolNames(ctx) // only makes the hint better
		return pool, hinted{
			fmt.Errorf("there is no work pool %q", name),
			nearest(name, names, "create it with: prefect-northflank pool create "+name),
		}
	}
	if err != nil {
		return pool, err
	}
	return pool, checkPoolType(pool)
}

// checkPoolType refuses pools of other workers.
func checkPoolType(pool prefect.WorkPool) error {
	if pool.Type == worker.Type {
		return nil
	}
	return hinted{
		fmt.Errorf("work pool %q is of type %q, not %q", pool.Name, pool.Type, worker.Type),
		"name another work pool; prefect work-pool ls shows them with their types",
	}
}

// nearest is a hint that suggests the known name most like the one given, or
// says something else when none is like it.
func nearest(name string, known []string, otherwise string) string {
	if near, ok := jobspec.NearestName(name, known); ok {
		return fmt.Sprintf("did you mean %q? Otherwise %s", near, otherwise)
	}
	return otherwise
}
