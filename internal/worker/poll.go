package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// minPoll is the least time between two polls, whoever asks.
const minPoll = 100 * time.Millisecond

// pollBatch is how many flow runs a poll asks for while all that it tells of can
// be submitted: about what is, before the answer is too old to act on. Asking
// for more makes a Prefect server work for nothing in a burst.
const pollBatch = 4 * submissionsAtOnce

// pollLoop asks for scheduled flow runs at the query interval, and at once when
// an event tells of one or others can start now. A failing Prefect only slows it
// down.
func (w *Worker) pollLoop(ctx, work context.Context, submissions *sync.WaitGroup) error {
	failures := 0
	for {
		w.pulse.beat(loopPoll)
		wait := jittered(w.Query)
		const subject = "polling for scheduled flow runs"
		if err := w.poll(ctx, work, submissions); err != nil && ctx.Err() == nil {
			w.said.trouble(ctx, w.log, subject, err)
			wait = backoff(failures, w.Query, 2*time.Minute)
			failures++
		} else {
			w.said.over(ctx, w.log, subject)
			failures = 0
		}
		if w.RunOnce {
			return w.finishOnce(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		case <-w.polled:
			if !sleep(ctx, time.Until(w.polledLast().Add(minPoll))) {
				return nil
			}
		}
	}
}

// finishOnce waits until every flow run of the single poll has ended.
func (w *Worker) finishOnce(ctx context.Context) error {
	for w.table.size() > 0 {
		w.pulse.beat(loopPoll)
		if !sleep(ctx, 100*time.Millisecond) {
			return nil
		}
	}
	return errDone
}

// poll asks once and submits what may start now. The rest stays Scheduled.
func (w *Worker) poll(ctx, work context.Context, submissions *sync.WaitGroup) error {
	pool := w.currentPool()
	if pool.ID == "" {
		return nil
	}
	if err := w.mayStart(); err != nil {
		return err
	}
	w.mu.Lock()
	w.lastPoll = time.Now()
	polledAt := w.lastPoll
	w.mu.Unlock()
	limit := pollBatch
	if w.RunOnce || w.crowded { // once, or past those that cannot start
		limit = prefect.MaxScheduled
	}
	flowRuns, err := w.Prefect.ScheduledFlowRuns(ctx, w.Pool, w.Queues, time.Now().Add(w.Prefetch.Truncate(time.Second)), limit)
	if err != nil {
		if errors.Is(err, prefect.ErrNotFound) {
			return fmt.Errorf("work pool %q or one of its queues %q does not exist: %w", w.Pool, w.Queues, err)
		}
		return err
	}
	w.noteScheduled(flowRuns)
	begun := 0
	for _, fr := range flowRuns {
		added, goOn := w.submit(ctx, work, submissions, pool, fr, polledAt)
		if added {
			begun++
		}
		if !goOn {
			break
		}
	}
	wasCrowded := w.crowded
	w.crowded = len(flowRuns) >= pollBatch && begun < pollBatch/2
	if len(flowRuns) >= limit && (begun > 0 || w.crowded && !wasCrowded) {
		signal(w.polled) // there may be more
	}
	return nil
}

func (w *Worker) polledLast() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lastPoll
}

// takeSlot waits until a submission may begin. It returns false when the poll
// that told of the flow run has become too old to act on: a new one says more
// than a look at each flow run would.
func (w *Worker) takeSlot(ctx context.Context, polledAt time.Time) bool {
	select {
	case w.slots <- struct{}{}:
		return true
	default:
	}
	old := time.After(time.Until(polledAt.Add(fresh)))
	if w.RunOnce {
		old = nil // there is no other poll
	}
	select {
	case w.slots <- struct{}{}:
		return true
	case <-old:
		signal(w.polled)
	case <-ctx.Done():
	}
	return false
}

// submit begins the submission of a flow run as soon as there is room. goOn is
// false when there is none for this or any later one.
func (w *Worker) submit(ctx, work context.Context, submissions *sync.WaitGroup, pool prefect.WorkPool, fr prefect.FlowRun, polledAt time.Time) (begun, goOn bool) {
	if w.table.has(fr.ID) || w.gate.keepsOut(fr, time.Now()) || ctx.Err() != nil {
		return false, ctx.Err() == nil
	}
	if !w.takeSlot(ctx, polledAt) {
		return false, false
	}
	row := &tracked{id: fr.ID, name: fr.Name, flowRun: fr, since: time.Now(), view: view{strangers: -1, policy: policy{timing: w.Timing}}}
	added, full := w.table.add(row, w.Limit)
	if !added {
		<-w.slots
		if full {
			w.log.DebugContext(ctx, "limit reached: later flow runs stay scheduled", "limit", w.Limit)
		}
		return false, !full
	}
	submissions.Go(func() {
		defer func() { <-w.slots }()
		w.runSubmission(work, pool, fr, polledAt)
	})
	return true, true
}

// Healthy reports whether the worker polled lately: within 30 query intervals of
// the last poll, or of the end of a wait that Prefect asked for, as Prefect's own
// health check counts.
func (w *Worker) Healthy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(latest(w.lastPoll, w.Stats.maintenance.get())) < 30*w.Query
}
