package worker

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

const (
	proposalAttempts = 4
	proposalTimeout  = 20 * time.Second
)

// errMoved: the flow run is not in the state any more that a proposal was made
// for. What it is in is recorded in the table.
var errMoved = errors.New("the flow run's state changed meanwhile")

// fresh is how old the knowledge of a flow run's state may be when something is
// proposed on its ground.
const fresh = 2 * time.Second

// proposeFrom proposes a state for a flow run that was, at knownAt, in the state
// with id from. Prefect takes a Pending for a flow run that has ended since, and
// a Scheduled for one that runs: a late proposal, or one repeated blindly after
// its answer was lost, could run a flow twice. So it looks first unless the
// knowledge is fresh, and sends each attempt once.
func (w *Worker) proposeFrom(ctx context.Context, flowRunID, from string, knownAt time.Time, p prefect.StateProposal) (prefect.StateResult, error) {
	p.TransitionID = uuid.NewString()
	var last error
	for attempt := range proposalAttempts {
		if attempt > 0 && !sleep(ctx, backoff(attempt-1, time.Second, 10*time.Second)) {
			return prefect.StateResult{}, ctx.Err()
		}
		if attempt > 0 || time.Since(knownAt) > fresh {
			fr, err := w.Prefect.FlowRun(ctx, flowRunID)
			switch {
			case err != nil:
				return prefect.StateResult{}, err
			case fr.State != nil && fr.State.StateDetails.TransitionID == p.TransitionID:
				return prefect.StateResult{Status: prefect.Accept, State: *fr.State}, nil
			case fr.StateID != from:
				w.table.update(flowRunID, func(t *tracked) { w.refreshRow(t, fr, time.Now()) })
				return prefect.StateResult{}, errMoved
			}
		}
		once, cancel := context.WithTimeout(prefect.WithoutRetry(ctx), proposalTimeout)
		result, err := w.Prefect.SetState(once, flowRunID, p)
		cancel()
		if err == nil || !isPassing(err) || ctx.Err() != nil {
			return result, err
		}
		last = err
	}
	return prefect.StateResult{}, last
}
