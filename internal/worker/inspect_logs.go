package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
)

const (
	logPage     = 1000             // lines a request; the maximum is undocumented
	followLook  = 3 * time.Second  // between two looks at the flow run in Prefect
	firstRelook = 5 * time.Second  // between two looks at a job run whose flow run has ended
	lastRelook  = 60 * time.Second // where its doubling ends
)

// Output is the output of one job run's containers.
type Output struct {
	Whereabouts
	prefect *prefect.Client
	client  *northflank.Client
	id      string // of the flow run
	scrub   *secret.Scrubber
}

// Output finds the output of a flow run's newest job run.
func (i *Inspector) Output(ctx context.Context, fr prefect.FlowRun) (*Output, error) {
	w := Locate(fr)
	r := i.reach(ctx, fr, w)
	if r.err != nil {
		return nil, r.err
	}
	w.Project = r.project
	return &Output{
		Whereabouts: w, prefect: i.Preparer.Prefect, client: r.client, id: fr.ID,
		scrub: secret.NewScrubber(append(r.secrets, i.Preparer.Secrets...)...),
	}, nil
}

// Newest returns the newest lines, n at most, oldest first, with secrets hidden.
// It costs a request for each thousand lines, and one more for more than that.
func (o *Output) Newest(ctx context.Context, n int) ([]northflank.LogLine, error) {
	var all []northflank.LogLine
	var memory lineMemory
	q := northflank.LogQuery{RunID: o.JobRun, Start: o.since, LineLimit: min(n, logPage), Direction: northflank.LogsBackward}
	for {
		page, err := o.client.Logs(ctx, o.Project, o.Job, q)
		if err != nil {
			return nil, err
		}
		var older []northflank.LogLine
		for _, l := range page {
			if isNew := memory.isNew(l); isNew || len(all) == 0 || l.Time.Before(all[0].Time) {
				older = append(older, l)
			}
		}
		all = append(older, all...)
		if len(all) >= n || n <= logPage || len(older) == 0 {
			break
		}
		q.End = all[0].Time.Add(time.Millisecond) // some lines of its last millisecond may be missing
	}
	return o.hide(all[max(0, len(all)-n):]), nil
}

// Follow hands over the newest lines, n at most, and then each as it comes, until
// the flow run has ended and its container with it. It tells lost of each
// connection that it has to open again.
func (o *Output) Follow(ctx context.Context, n int, emit func([]northflank.LogLine), lost func(error)) error {
	following, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop()
		ended <- o.awaitEnd(following)
	}()
	memory, q := lineMemory{}, northflank.TailQuery{RunID: o.JobRun, Start: o.since, LineLimit: n}
	for attempt := 0; following.Err() == nil; attempt++ {
		err := o.client.TailLogs(following, o.Project, o.Job, q, func(lines []northflank.LogLine) {
			attempt = 0
			var fresh []northflank.LogLine
			for _, l := range lines {
				if memory.isNew(l) {
					fresh = append(fresh, l)
				}
			}
			emit(o.hide(fresh))
		})
		if following.Err() == nil && err != nil {
			if !isLost(err) {
				stop()
				<-ended
				return err
			}
			lost(err)
		}
		q.Start, q.LineLimit = latest(q.Start, memory.last), logPage
		sleep(following, backoff(attempt, 2*time.Second, time.Minute)) // each connect costs a request
	}
	return <-ended
}

// isLost reports whether a connection was lost rather than refused.
func isLost(err error) bool {
	answer, refused := errors.AsType[*northflank.Error](err)
	return !refused || answer.Status >= 500
}

// awaitEnd returns when nothing more is to be expected: some seconds after the
// flow run and its job run have ended.
func (o *Output) awaitEnd(ctx context.Context) error {
	for {
		fr, err := o.prefect.FlowRun(ctx, o.id)
		if errors.Is(err, prefect.ErrNotFound) || err == nil && fr.StateType != prefect.StatePending && fr.StateType != prefect.StateRunning {
			break // ended, or no news of its container is to be expected here
		}
		if err != nil && !isPassing(err) {
			return err
		}
		if !sleep(ctx, followLook) {
			return ctx.Err()
		}
	}
	for wait := firstRelook; ; wait = min(2*wait, lastRelook) {
		run, err := o.client.GetRun(northflank.WithClass(ctx, northflank.ClassEvidence), o.Project, o.Job, o.JobRun)
		if err == nil && run.Terminal() || errors.Is(err, northflank.ErrNotFound) {
			break
		}
		if err != nil && !isLost(err) {
			return fmt.Errorf("see whether the container has ended: %w", err)
		}
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
	}
	sleep(ctx, streamTail)
	return ctx.Err()
}

// hide hides secrets in lines, as in what goes to a flow run's log.
func (o *Output) hide(lines []northflank.LogLine) []northflank.LogLine {
	for n := range lines {
		lines[n].Text = o.scrub.Text(lines[n].Text)
	}
	return lines
}

// Abort ends the job run, as a worker does once a flow run is to be cancelled.
func (o *Output) Abort(ctx context.Context) error {
	err := o.client.AbortRun(ctx, o.Project, o.Job, o.JobRun)
	if errors.Is(err, northflank.ErrNotFound) || errors.Is(err, northflank.ErrConflict) {
		return nil // it has ended
	}
	return err
}
