package worker

import (
	"context"
	"sync"
	"time"
)

// actionsAtOnce bounds the actions under way at the same time.
const actionsAtOnce = 8

// minAct is the least time between two actions on a flow run: one that changes
// nothing must not be repeated at full speed.
const minAct = 200 * time.Millisecond

// reconcileLoop decides about every flow run whenever something changed or is
// due, and acts. Actions run beside each other, one at a time for a flow run.
func (w *Worker) reconcileLoop(ctx, work context.Context, actions *sync.WaitGroup) error {
	tokens := make(chan struct{}, actionsAtOnce)
	for {
		w.pulse.beat(loopReconcile)
		next := w.reconcile(time.Now(), func(row tracked, d decision) {
			actions.Go(func() {
				select {
				case tokens <- struct{}{}:
					defer func() { <-tokens }()
				case <-work.Done():
					return
				}
				w.perform(work, row, d)
			})
		})
		select {
		case <-ctx.Done():
			return nil
		case <-w.table.changed:
		case <-time.After(max(time.Until(next), 10*time.Millisecond)):
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// reconcile decides about every flow run, hands what is to be done to act (with
// a copy of the row, marked busy), and returns when to come back at the latest.
func (w *Worker) reconcile(now time.Time, act func(tracked, decision)) time.Time {
	w.table.mu.Lock()
	defer w.table.mu.Unlock()
	next := now.Add(time.Minute)
	look, read := false, false
	for _, t := range w.table.rows {
		w.noteOutcome(t, now)
		if t.busy {
			continue
		}
		if now.Before(t.notBefore) {
			next = earliest(next, t.notBefore)
			continue
		}
		d := decide(now, t.view)
		if t.adopted && !t.settled && t.view.start != notStarted && d.action != doRelease {
			d = decision{action: doSettleIn}
		}
		if !d.lookAt.IsZero() && !d.lookAt.Equal(t.lookAt) {
			look = true
		}
		t.lookAt = d.lookAt
		read = read || d.reread
		if d.action == doNothing {
			if !d.wakeAt.IsZero() {
				next = earliest(next, d.wakeAt)
			}
			continue
		}
		t.busy = true
		act(*t, d)
	}
	if look {
		signal(w.sweepNow)
	}
	if read {
		signal(w.observeNow)
	}
	return next
}

// signal sends to a channel of size 1 without waiting: wake-ups may merge.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// perform does one action. A failed one is tried again later, ever less often:
// decide asks for it as long as it is needed.
func (w *Worker) perform(ctx context.Context, row tracked, d decision) {
	err := w.act(ctx, row, d)
	if err != nil && ctx.Err() == nil {
		w.Stats.ActionFailures.Add(1, d.action.String())
		w.log.WarnContext(ctx, "flow run: "+d.action.String(), "flow_run_id", row.id, "flow_run", row.name, "attempt", row.failures+1, "err", err)
	}
	w.table.update(row.id, func(t *tracked) {
		t.busy = false
		if err == nil {
			t.failures, t.notBefore = 0, time.Now().Add(minAct)
			return
		}
		t.notBefore = time.Now().Add(backoff(t.failures, time.Second, time.Minute))
		t.failures++
	})
}
