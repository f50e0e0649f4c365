package worker

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

const (
	// leaseFirst is when a lease is renewed first, unless its deployment sets a
	// grace period: the least that a server can be set to give is 30 s.
	leaseFirst = 20 * time.Second
	// leaseFor is what a lease is renewed for, unless its deployment sets a longer
	// grace period: as by the flow's own process (Prefect 3.8: flow_engine.py).
	leaseFor     = 5 * time.Minute
	leaseLook    = 5 * time.Second  // between two looks which leases are due
	leaseAsk     = 15 * time.Second // for one renewal; a missed one is tried again at the next look
	leasesAtOnce = 8                // renewals at once
)

// lease is the hold of a flow run that is Pending on a slot of its deployment's
// concurrency limit. Once the flow runs, its own process renews it; until then
// nobody does, and a flow run whose container starts slowly loses its slot:
// Prefect gives it to another flow run, and cancels this one when it begins.
type lease struct {
	id      string    // "" when there is none to renew
	renewed time.Time // when it was made, as far as is known, or renewed last
	again   bool      // it was renewed, so that it is known how long it lasts
}

// note keeps the lease that a state tells of. A state told by an event carries
// no details.
func (l *lease) note(state prefect.State, now time.Time) {
	id := state.StateDetails.DeploymentConcurrencyLeaseID
	switch {
	case state.Type != prefect.StatePending:
		*l = lease{}
	case id != "" && l.renewed.IsZero():
		*l = lease{id: id, renewed: now}
	}
}

// leaseDue returns when the lease is to be renewed: with a quarter of its time
// left, in which it is tried again.
func (t *tracked) leaseDue() time.Time {
	grace := t.gracePeriod()
	switch {
	case t.lease.again:
		return t.lease.renewed.Add(max(leaseFor, grace) * 3 / 4)
	case t.adopted:
		return t.lease.renewed // nobody knows how old it is
	case grace != 0:
		return t.lease.renewed.Add(grace * 3 / 4)
	}
	return t.lease.renewed.Add(leaseFirst)
}

// gracePeriod is that of the flow run's deployment; 0 when none is known.
func (t *tracked) gracePeriod() time.Duration {
	if t.prepared == nil || t.prepared.Deployment == nil {
		return 0
	}
	return time.Duration(t.prepared.Deployment.ConcurrencyOptions.GracePeriodSeconds) * time.Second
}

// leaseLoop renews the leases of flow runs that wait for their container.
func (w *Worker) leaseLoop(ctx context.Context) error {
	for sleep(ctx, leaseLook) {
		w.pulse.beat(loopLeases)
		var renewals errgroup.Group
		renewals.SetLimit(leasesAtOnce)
		for _, row := range w.leasesDue(time.Now()) {
			renewals.Go(func() error {
				w.renewLease(ctx, row)
				return nil
			})
		}
		_ = renewals.Wait() // none returns an error
	}
	return nil
}

func (w *Worker) leasesDue(now time.Time) []tracked {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	var rows []tracked
	for _, t := range w.table.rows {
		if t.lease.id != "" && !t.view.over() && !now.Before(t.leaseDue()) {
			rows = append(rows, *t)
		}
	}
	return rows
}

// renewLease renews one. What cannot be renewed any more is told in the flow
// run's log: only when its flow begins does Prefect decide about it.
func (w *Worker) renewLease(ctx context.Context, row tracked) {
	ctx, cancel := context.WithTimeout(prefect.WithoutRetry(ctx), leaseAsk)
	defer cancel()
	const subject = "keeping the concurrency slots of flow runs that start"
	asked := time.Now()
	err := w.Prefect.RenewLease(ctx, row.lease.id, max(leaseFor, row.gracePeriod()))
	switch {
	case err == nil:
		w.said.over(ctx, w.log, subject)
	case errors.Is(err, prefect.ErrGone):
		w.loseLease(ctx, row)
		return
	case ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded):
		w.said.trouble(ctx, w.log, subject, err)
		return
	default:
		return // the worker stops
	}
	w.table.update(row.id, func(t *tracked) {
		if t.lease.id == row.lease.id {
			t.lease.renewed, t.lease.again = asked, true
		}
	})
}

func (w *Worker) loseLease(ctx context.Context, row tracked) {
	lost := false
	w.table.update(row.id, func(t *tracked) {
		if t.lease.id == row.lease.id { // not by the flow's beginning meanwhile
			t.lease.id, lost = "", true
		}
	})
	if !lost {
		return
	}
	w.log.WarnContext(ctx, "flow run lost its concurrency slot before it began", "flow_run_id", row.id, "flow_run", row.name)
	w.flowLogs.add(row.id, levelWarning, "The flow run lost the slot of its deployment's concurrency limit before it began, because the slot was not renewed in time. When it begins, it gets another, or Prefect cancels it if none is free.")
}
