package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// sleeper is the command of a crowd's containers. Each takes a megabyte or two of
// memory, and no processor time.
const sleeper = "sleep 86400"

// beatEvery is how often flow runs tell that they live: as ours asks them to,
// which is as often as Prefect lets them.
const beatEvery = 30 * time.Second

// crowd is many flow runs at once. Their containers only sleep; the benchmark
// tells Prefect for all of them what their flows would tell: that they run, and
// every now and then that they live.
type crowd struct {
	l          *lab
	deployment string
	pool       string // its id

	mu    sync.Mutex
	alive []string // guarded by mu; those that run
}

// newCrowd makes an empty crowd on the contender's work pool.
func (l *lab) newCrowd(ctx context.Context, c *contender) (*crowd, error) {
	deployment, err := l.deploy(ctx, c, sleeper)
	if err != nil {
		return nil, err
	}
	pool, err := l.poolID(ctx, c)
	return &crowd{l: l, deployment: deployment, pool: pool}, err
}

// poolID returns the id of the contender's work pool.
func (l *lab) poolID(ctx context.Context, c *contender) (string, error) {
	var pool struct{ ID string }
	err := l.call(ctx, http.MethodGet, "/work_pools/"+url.PathEscape(c.pool), nil, &pool)
	return pool.ID, err
}

// schedule triggers n flow runs, to start now, and returns their ids.
func (cr *crowd) schedule(ctx context.Context, n int) ([]string, error) {
	ids := make([]string, n)
	return ids, inParallel(ctx, n, func(ctx context.Context, i int) (err error) {
		ids[i], err = cr.l.schedule(ctx, cr.deployment, nil)
		return err
	})
}

// size is how many of the flow runs run.
func (cr *crowd) size() int {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	return len(cr.alive)
}

// begin tells that flow runs run, whose containers were started.
func (cr *crowd) begin(ctx context.Context, ids []string) error {
	err := inParallel(ctx, len(ids), func(ctx context.Context, i int) error {
		return propose(ctx, cr.l.api, ids[i], "RUNNING")
	})
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.alive = append(cr.alive, ids...)
	return err
}

// beating sends heartbeats, each flow run's at another second, while use runs.
func (cr *crowd) beating(ctx context.Context, use func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var beats sync.WaitGroup
	defer beats.Wait()
	defer cancel(nil)
	beats.Go(func() {
		for second := 0; wait(ctx, time.Second) == nil; second++ {
			if err := cr.beat(ctx, second); err != nil {
				cancel(fmt.Errorf("send heartbeats: %w", err))
			}
		}
	})
	return use(ctx)
}

// beat sends the heartbeats that are due in a second.
func (cr *crowd) beat(ctx context.Context, second int) error {
	const seconds = int(beatEvery / time.Second)
	var events []event
	cr.mu.Lock()
	for i := second % seconds; i < len(cr.alive); i += seconds {
		events = append(events, heartbeat(cr.alive[i], cr.pool))
	}
	cr.mu.Unlock()
	if len(events) == 0 {
		return nil
	}
	return sendEvents(ctx, cr.l.api, events...)
}
