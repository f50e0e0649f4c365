package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// contender is one of the two workers that are compared, on a work pool of its
// own, with the proxies through which it sees Prefect and Northflank.
type contender struct {
	name    string // ours or original
	pool    string
	program string // its command line; both take the same options
	args    []string
	env     map[string]string // settings besides the address of Prefect

	platform            *localstack.Northflank // nil: that of the lab
	prefect, northflank *recorder
}

// newContender gives a contender its proxies. Requests to Prefect that are
// refused, if any, are answered with 403.
func (l *lab) newContender(c contender, refused func(request) bool) (*contender, error) {
	if c.platform == nil {
		c.platform = l.northflank
	}
	var err error
	if c.prefect, err = startRecorder(l.server.URL, refused); err != nil {
		return nil, err
	}
	l.own(c.prefect)
	if c.northflank, err = startRecorder(c.platform.URL, nil); err != nil {
		return nil, err
	}
	l.own(c.northflank)
	return &c, nil
}

// variation is how a measurement wants a contender.
type variation struct {
	name     string                 // added to the name of its work pool
	platform *localstack.Northflank // nil: that of the lab
	args     []string
	env      map[string]string
	refused  func(request) bool // of its requests to Prefect
}

// vary returns the contender with a work pool and proxies of its own: what
// others left in theirs does not concern it.
func (l *lab) vary(ctx context.Context, c *contender, v variation) (*contender, error) {
	other := contender{
		name: c.name, pool: c.pool + "-" + v.name, program: c.program,
		args: v.args, env: v.env, platform: v.platform,
	}
	var pool struct {
		Type     string         `json:"type"`
		Template map[string]any `json:"base_job_template"`
	}
	if err := l.call(ctx, http.MethodGet, "/work_pools/"+url.PathEscape(c.pool), nil, &pool); err != nil {
		return nil, err
	}
	if err := l.call(ctx, http.MethodPost, "/work_pools/", map[string]any{
		"name": other.pool, "type": pool.Type, "base_job_template": pool.Template,
	}, nil); err != nil {
		return nil, err
	}
	return l.newContender(other, v.refused)
}

// startPlatform starts a local Northflank for one measurement, which may stop it
// when it is done: that ends its job runs too.
func (l *lab) startPlatform(ctx context.Context, name string, args ...string) (*localstack.Northflank, error) {
	return l.stack.StartNorthflank(ctx, localstack.NorthflankOptions{Name: "northflank-" + name, Project: project, Args: args})
}

// noLimit lets a local Northflank take any number of requests.
var noLimit = []string{"--rate-limit", "0"}

// introduce starts the contender's worker once: it creates its work pool, and
// its files are in memory afterwards, so that later starts are alike.
func (l *lab) introduce(ctx context.Context, c *contender) error {
	l.say("starting the worker once: %s", c.name)
	return l.withWorker(ctx, c, func(*worker) error { return nil })
}

// worker is a running worker that has polled.
type worker struct {
	process   *localstack.Process
	began     time.Time // just before its process was started
	firstPoll time.Time // when Prefect was first asked for flow runs
}

// Bounds of a worker's start and end. Neither is a judgement: they tell a slow
// worker from one that will never do it.
const (
	pollsWithin = 2 * time.Minute
	endsWithin  = 30 * time.Second
)

// withWorker runs a contender's worker while use runs, which begins after the
// worker's first poll.
func (l *lab) withWorker(ctx context.Context, c *contender, use func(*worker) error) error {
	w, err := l.startWorker(ctx, c)
	if err != nil {
		return err
	}
	return errors.Join(use(w), w.process.Stop(endsWithin))
}

func (l *lab) startWorker(ctx context.Context, c *contender) (*worker, error) {
	env := map[string]string{"PREFECT_API_URL": c.prefect.url + "/api"}
	maps.Copy(env, c.env)
	mark := c.prefect.mark()
	w := &worker{began: time.Now()}
	var err error
	w.process, err = l.stack.Start(ctx, localstack.ProcessSpec{
		Name: "worker-" + c.pool, Path: c.program, Env: env,
		Args: append([]string{"worker", "start", "--type", "northflank", "--pool", c.pool, "--name", "bench"}, c.args...),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, pollsWithin, fmt.Errorf("it has not polled within %s", pollsWithin))
	defer cancel()
	ctx, ended := context.WithCancelCause(ctx)
	defer ended(nil)
	go func() {
		select {
		case <-w.process.Done():
			ended(fmt.Errorf("it ended with status %d", w.process.ExitCode()))
		case <-ctx.Done():
		}
	}()
	poll, err := c.prefect.await(ctx, mark, isPoll)
	if err != nil {
		w.process.Kill()
		return nil, fmt.Errorf("worker of %s: %w; it wrote:\n%s", c.pool, err, lastLines(w.process.Log(), 15))
	}
	w.firstPoll = poll.at
	return w, nil
}
