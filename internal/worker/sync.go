package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// setUp makes the pool known, tells Prefect that we are there, and takes over
// what an earlier life of this worker left, before anything new is polled. It
// tries until it succeeds: a server that is just starting is no reason to give up.
func (w *Worker) setUp(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() error { return w.sync(gctx) })
		g.Go(func() error { return w.observe(gctx) })
		err := g.Wait()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if !isPassing(err) {
			return err
		}
		w.said.trouble(ctx, w.log, "connecting to Prefect", err)
		if !sleep(ctx, backoff(attempt, time.Second, 30*time.Second)) {
			return nil
		}
	}
}

// syncLoop repeats sync at the heartbeat interval, and at once when the worker
// channel ended. It never gives up.
func (w *Worker) syncLoop(ctx context.Context) error {
	for {
		select {
		case <-time.After(jittered(w.Heartbeat)):
		case <-w.syncNow:
		case <-ctx.Done():
			return nil
		}
		w.pulse.beat(loopSync)
		const subject = "telling Prefect that the worker is alive"
		if err := w.sync(ctx); err != nil && ctx.Err() == nil {
			w.said.trouble(ctx, w.log, subject, err)
		} else {
			w.said.over(ctx, w.log, subject)
		}
	}
}

// sync sends a heartbeat, reads the pool (making it if allowed) and reads who else
// serves it. Once the pool is known the heartbeat goes first: others take over
// from a worker that Prefect has not heard of for three intervals. Before that
// all go at once, to be ready soon.
func (w *Worker) sync(ctx context.Context) error {
	if w.channel.carriesHeartbeats() {
		return w.readPeers(ctx) // the rest comes by the channel
	}
	known := w.currentPool().ID != ""
	if known {
		if err := w.heartbeat(ctx); err != nil {
			return err
		}
	}
	var pool prefect.WorkPool
	var missed error // the pool may have had to be made first
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.checkServerVersion(gctx) })
	g.Go(func() (err error) {
		pool, err = w.readPool(gctx)
		return err
	})
	g.Go(func() error {
		if !known {
			missed = w.heartbeat(gctx)
		}
		return nil
	})
	g.Go(func() error {
		if err := w.readPeers(gctx); err != nil && !errors.Is(err, prefect.ErrNotFound) {
			return err
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if pool.ID == "" {
		return nil // missing, and not to be made
	}
	if missed != nil {
		if err := w.heartbeat(ctx); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pool = pool
	return nil
}

func (w *Worker) heartbeat(ctx context.Context) error {
	sent := time.Now()
	if err := w.Prefect.Heartbeat(ctx, w.Pool, w.Name, int(w.Heartbeat/time.Second)); err != nil {
		return fmt.Errorf("heartbeat of worker %q: %w", w.Name, err)
	}
	w.beatAt(sent)
	return nil
}

// errFenced: Prefect has not heard of this worker for a while.
var errFenced = errors.New("no heartbeat of this worker reached Prefect lately: others may take over from it, so it starts nothing")

// mayStart reports whether nobody can think yet that this worker is dead: Prefect
// calls it offline three heartbeats after the last one that it took.
func (w *Worker) mayStart() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.lastBeat) > 5*w.Heartbeat/2 {
		return errFenced
	}
	return nil
}

// readPeers reads who serves the pool. Who is about to be declared dead must be
// missing from an answer that is newer than anything seen of him.
func (w *Worker) readPeers(ctx context.Context) error {
	workers, err := w.Prefect.Workers(ctx, w.Pool)
	if err != nil {
		return fmt.Errorf("list the workers of pool %q: %w", w.Pool, err)
	}
	peers := make(map[string]bool, len(workers))
	for _, other := range workers {
		peers[other.Name] = other.Status == "ONLINE"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, online := range w.peers {
		if online && !peers[name] {
			w.log.InfoContext(ctx, "another worker of the pool went offline", "worker", name)
			signal(w.cleanSoon)
		}
	}
	w.peers, w.peersAt = peers, time.Now()
	return nil
}

// readPool returns the pool; its ID is "" when it is missing and not to be made.
func (w *Worker) readPool(ctx context.Context) (prefect.WorkPool, error) {
	pool, err := w.Prefect.WorkPool(ctx, w.Pool)
	if errors.Is(err, prefect.ErrNotFound) {
		if !w.CreatePool {
			w.said.trouble(ctx, w.log, subjectPool, fmt.Errorf("work pool %q not found", w.Pool))
			return prefect.WorkPool{}, nil
		}
		pool, err = w.Prefect.CreateWorkPool(ctx, w.Pool, Type, w.template())
		if err == nil {
			w.log.InfoContext(ctx, "work pool created")
		}
		if errors.Is(err, prefect.ErrConflict) { // another worker was faster
			pool, err = w.Prefect.WorkPool(ctx, w.Pool)
		}
	}
	if err != nil {
		return pool, fmt.Errorf("read work pool %q: %w", w.Pool, err)
	}
	w.said.over(ctx, w.log, subjectPool)
	const subject = "checking the work pool"
	if pool.Type == Type {
		w.said.over(ctx, w.log, subject)
	} else {
		w.said.trouble(ctx, w.log, subject, fmt.Errorf("pool %q is of type %q, but this worker is of type %q", w.Pool, pool.Type, Type))
	}
	if known := w.currentPool(); bytes.Equal(known.BaseJobTemplate, pool.BaseJobTemplate) {
		return pool, nil // checked before
	}
	if isEmptyObject(pool.BaseJobTemplate) {
		if err := w.Prefect.UpdateWorkPoolTemplate(ctx, w.Pool, w.template()); err != nil {
			return pool, fmt.Errorf("give work pool %q its base job template: %w", w.Pool, err)
		}
		pool.BaseJobTemplate = w.template()
	}
	return pool, nil
}

// takePool takes what the worker channel tells of the pool.
func (w *Worker) takePool(ctx context.Context, pool prefect.WorkPool) {
	w.checkType(ctx, pool)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pool = pool
}

func (w *Worker) checkType(ctx context.Context, pool prefect.WorkPool) {
	const subject = "checking the work pool"
	if pool.Type != Type {
		w.said.trouble(ctx, w.log, subject, fmt.Errorf("pool %q is of type %q, but this worker is of type %q", w.Pool, pool.Type, Type))
	} else {
		w.said.over(ctx, w.log, subject)
	}
}

func (w *Worker) template() []byte {
	if w.Template != nil {
		return w.Template
	}
	return jobspec.BaseJobTemplate()
}

// checkServerVersion is done once.
func (w *Worker) checkServerVersion(ctx context.Context) error {
	if w.currentPool().ID != "" {
		return nil
	}
	warning, err := w.Prefect.CheckServerVersion(ctx)
	if warning != "" {
		w.said.trouble(ctx, w.log, "checking the Prefect server", errors.New(warning))
	}
	return err
}

// jittered spreads a period over [0.75, 1.1) of itself, so that many workers
// do not move in step.
func jittered(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.75 + 0.35*rand.Float64()))
}

// backoff doubles from first to last over the attempts (from 0), with jitter.
func backoff(attempt int, first, last time.Duration) time.Duration {
	d := first << min(attempt, 20)
	if d <= 0 || d > last {
		d = last
	}
	return jittered(d)
}

// sleep waits; it returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
