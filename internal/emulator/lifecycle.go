package emulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Why a job run or one of its containers ends before its command does.
var (
	errAborted    = errors.New("aborted")
	errDeadline   = errors.New("deadline exceeded")
	errJobDeleted = errors.New("job deleted")
	errOOM        = errors.New("out of memory")
	errEvicted    = errors.New("evicted")
)

// Kubernetes: a job's retries wait 10 s, 20 s, 40 s ... up to 6 minutes.
const (
	firstBackoff = 10 * time.Second
	maxBackoff   = 6 * time.Minute
)

// closeGrace is what containers get between SIGTERM and SIGKILL when the
// emulator itself ends.
const closeGrace = 2 * time.Second

// exitKilled is 128 + SIGKILL, as an out-of-memory kill shows.
const exitKilled = 137

// live is a job run's whole life after POST /runs.
//
//	RUNNING, active 0 -> container up, active 1 -> exit 0 -> SUCCESS
//	    ^                                       -> else: back-off -> again, or FAILED
func (s *Server) live(ctx context.Context, r *run, task Task, deadline *int) {
	if deadline != nil && *deadline > 0 {
		var cancel context.CancelFunc
		limit := s.config.scaled(time.Duration(*deadline) * time.Second)
		ctx, cancel = context.WithTimeoutCause(ctx, limit, errDeadline)
		defer cancel()
	}
	backoff := firstBackoff
	for {
		code, cause := s.runContainer(ctx, r, task)
		if ctx.Err() != nil {
			s.conclude(r, code, context.Cause(ctx))
			return
		}
		if code == 0 && cause == nil {
			s.conclude(r, 0, nil)
			return
		}
		if task.Attempt >= r.Backoff {
			if cause == nil {
				cause = fmt.Errorf("exit code %d", code)
			}
			s.conclude(r, code, cause)
			return
		}
		if s.pause(ctx, s.config.scaled(backoff)) != nil {
			s.conclude(r, code, context.Cause(ctx))
			return
		}
		task.Attempt++
		backoff = min(2*backoff, maxBackoff)
	}
}

// conclude writes a job run's end; cause nil is success.
func (s *Server) conclude(r *run, code int, cause error) {
	s.mu.Lock()
	r.stop(nil)
	r.stop = nil
	r.Concluded, r.ConcludedAt, r.Active, r.ExitCode = true, time.Now(), 0, code
	r.Completions++
	if cause == nil {
		r.Status, r.Succeeded, r.Reason = StatusSuccess, 1, "completed"
	} else {
		r.Status, r.Failed, r.Reason = StatusFailed, 1, cause.Error()
	}
	if errors.Is(cause, errAborted) { // how this looks is unpublished
		switch s.switches[SwitchAbortedRun] {
		case "gone":
			r.Gone = true
		case "running-concluded":
			r.Status, r.Failed = StatusRunning, 0
		}
	}
	s.keep(r)
	s.tell(r, endEvent(cause))
	s.mu.Unlock()
	r.log.close()
	s.store.flush()
	s.changes.notify()
	s.logger.Info("job run concluded", slog.String("job_id", r.Job), slog.String("job_run_id", r.ID),
		slog.String("reason", r.Reason), slog.Int("exit_code", code))
}

// endEvent names a job run's end. When Northflank says terminate is unpublished.
func endEvent(cause error) string {
	switch {
	case cause == nil:
		return eventSuccess
	case errors.Is(cause, errAborted):
		return eventAbort
	case errors.Is(cause, errJobDeleted):
		return eventTerminate
	}
	return eventFailure
}

// runContainer executes one container. cause is set when it was not its command
// that ended it.
func (s *Server) runContainer(ctx context.Context, r *run, task Task) (code int, cause error) {
	hits := s.faults.forContainer(r.Job, r.ID, r.Image, time.Now())
	task.Container = s.addContainer(r)
	if _, met := delayOf(hits, ActionNeverPulls); met {
		<-ctx.Done()
		s.setContainer(r, taskKilled)
		return 0, context.Cause(ctx)
	}
	s.setContainer(r, taskStarting)
	if d, met := delayOf(hits, ActionSlowStart); met {
		if s.pause(ctx, d) != nil {
			s.setContainer(r, taskKilled)
			return 0, context.Cause(ctx)
		}
	}
	if ctx.Err() != nil {
		s.setContainer(r, taskKilled)
		return 0, context.Cause(ctx)
	}
	code, cause = s.execute(ctx, r, task, hits)
	switch {
	case cause == nil && code == 0:
		s.setContainer(r, taskFinished)
	case cause == nil, errors.Is(cause, errOOM):
		s.setContainer(r, taskFailed)
		s.tellOf(r, eventCrash)
	default:
		s.setContainer(r, taskKilled)
		if errors.Is(cause, errEvicted) {
			s.tellOf(r, eventEviction)
		}
	}
	return code, cause
}

// execute calls the Runner and plays the part of the node: SIGTERM, the grace
// period, SIGKILL, and the faults that strike while the command runs.
func (s *Server) execute(ctx context.Context, r *run, task Task, hits []Fault) (int, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	for _, f := range hits {
		cause := map[Action]error{ActionOOM: errOOM, ActionEvict: errEvicted, ActionAbort: errAborted}[f.Action]
		if cause == nil {
			continue
		}
		stop := end
		if f.Action == ActionAbort { // ends the job run, not just this container
			stop = s.stopOf(r)
		}
		timer := time.AfterFunc(f.Delay, func() { stop(cause) })
		defer timer.Stop()
	}
	s.setContainer(r, taskRunning)
	killed, finished := make(chan struct{}), make(chan struct{})
	task.Killed = killed
	out, errOut := r.log.writer(task.Container, "stdout"), r.log.writer(task.Container, "stderr")
	task.Stdout, task.Stderr = out, errOut
	var node sync.WaitGroup
	node.Go(func() { s.terminate(ctx, r, task.grace, killed, finished) })
	code := s.runner.Run(ctx, task)
	close(finished)
	node.Wait()
	cause := context.Cause(ctx)
	out.flush()
	errOut.flush()
	if errors.Is(cause, errOOM) {
		code = exitKilled
	}
	return code, cause
}

// terminate waits for ctx, which is SIGTERM to the container, and closes killed
// when the grace period is over.
func (s *Server) terminate(ctx context.Context, r *run, grace time.Duration, killed, finished chan struct{}) {
	select {
	case <-finished:
		return
	case <-ctx.Done():
	}
	if errors.Is(context.Cause(ctx), errOOM) {
		grace = 0
	} else {
		s.setContainer(r, taskKilling)
	}
	timer := time.NewTimer(s.config.scaled(grace))
	defer timer.Stop()
	closing := s.ctx.Done()
	for {
		select {
		case <-finished:
			return
		case <-closing:
			closing = nil
			timer.Reset(min(grace, closeGrace))
		case <-timer.C:
			close(killed)
			return
		}
	}
}

func (s *Server) stopOf(r *run) context.CancelCauseFunc {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.stop
}

// addContainer gives a job run a new container, in TASK_STAGING. Its name
// starts with the job run's, as a pod's does.
func (s *Server) addContainer(r *run) string {
	s.mu.Lock()
	now := time.Now()
	c := container{Name: r.Name + "-" + s.hexID(5), Status: taskStaging, CreatedAt: now, UpdatedAt: now}
	r.Containers = append(r.Containers, c)
	s.keep(r)
	s.mu.Unlock()
	s.store.flush()
	s.changes.notify()
	return c.Name
}

// setContainer moves the newest container of a job run on.
func (s *Server) setContainer(r *run, status string) {
	s.mu.Lock()
	c := &r.Containers[len(r.Containers)-1]
	c.Status, c.UpdatedAt = status, time.Now()
	if status == taskRunning {
		r.Active = 1
	} else if status != taskKilling {
		r.Active = 0
	}
	s.keep(r)
	s.mu.Unlock()
	s.store.flush()
	s.changes.notify()
}

// keep writes a job run to the data directory, unless its job was deleted; s.mu
// must be held.
func (s *Server) keep(r *run) {
	if !r.deleted {
		s.store.put(r.path(), r)
	}
}
