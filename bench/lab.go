package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// Where things are, from the repository's root.
const (
	binary       = "bin/prefect-northflank"
	pythonDir    = ".local/python"
	requirements = "test/requirements.txt"
	labDir       = ".local/bench"
	toolsDir     = ".local/bench-bin" // holds the flow program; the stack's folder is emptied
)

// project is the Northflank project of both workers.
const project = "bench"

// lab is everything that is measured with: one Prefect server, one local
// Northflank, and the two workers that are compared.
type lab struct {
	stack      *localstack.Stack
	database   database
	server     *localstack.Prefect
	api        localstack.API // of the server, past the recorders
	northflank *localstack.Northflank

	ours       *contender
	original   *contender // nil when it can't be measured
	noOriginal string     // why
	recorders  []*recorder
	began      time.Time
}

// contender is one of the two workers that are compared, with the proxies
// through which it sees Prefect and Northflank.
type contender struct {
	name                string // also of its work pool
	program             string // its command line; both take the same options
	prefect, northflank *recorder
}

// pair holds the results of both.
type pair[T any] struct {
	ours     T
	original *T
	note     string // why there is no original; "" when there is
}

func openLab(ctx context.Context, sqlite bool) (*lab, error) {
	python, err := localstack.EnsurePython(ctx, localstack.PythonOptions{Dir: pythonDir, Requirements: requirements, Log: os.Stdout})
	if err != nil {
		return nil, err
	}
	program, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	tools, err := installFlowProgram()
	if err != nil {
		return nil, err
	}
	l := &lab{began: time.Now(), database: database{name: "SQLite, Prefect's default"}}
	// Northflank's job runs find the flow program on the path.
	environ := append(os.Environ(), "PATH="+tools+string(filepath.ListSeparator)+os.Getenv("PATH"))
	l.stack, err = localstack.Open(ctx, localstack.Options{Dir: labDir, Binary: program, Python: python, Env: environ})
	if err != nil {
		return nil, err
	}
	if err := l.setUp(ctx, program, sqlite); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// setUp starts the servers and lets each worker create its work pool.
func (l *lab) setUp(ctx context.Context, program string, sqlite bool) (err error) {
	original, problem := ensureOriginal(ctx)
	l.say("starting a Prefect server and a local Northflank")
	if l.northflank, err = l.stack.StartNorthflank(ctx, localstack.NorthflankOptions{Name: "northflank", Project: project}); err != nil {
		return err
	}
	if !sqlite {
		if err := l.startPostgres(ctx); err != nil {
			return err
		}
	}
	if l.server, err = l.stack.StartPrefect(ctx, localstack.PrefectOptions{Name: "prefect", Env: l.database.env}); err != nil {
		return err
	}
	l.api = localstack.API{URL: l.server.APIURL}
	if l.ours, err = l.newContender("ours", program); err != nil {
		return err
	}
	if err := l.introduce(ctx, l.ours); err != nil {
		return err
	}
	if problem == nil {
		l.original, err = l.newContender("original", original)
		if err != nil {
			return err
		}
		problem = l.introduce(ctx, l.original)
	}
	if problem != nil {
		l.original, l.noOriginal = nil, firstLine(problem.Error())
		l.say("the original cannot be measured: %v", problem)
	}
	return ctx.Err()
}

func (l *lab) newContender(name, program string) (*contender, error) {
	prefect, err := startRecorder(l.server.URL)
	if err != nil {
		return nil, err
	}
	l.recorders = append(l.recorders, prefect)
	northflank, err := startRecorder(l.northflank.URL)
	if err != nil {
		return nil, err
	}
	l.recorders = append(l.recorders, northflank)
	return &contender{name: name, program: program, prefect: prefect, northflank: northflank}, nil
}

// introduce starts the contender's worker once: it creates its work pool, and
// its files are in memory afterwards, so that later starts are alike.
func (l *lab) introduce(ctx context.Context, c *contender) error {
	l.say("starting the worker once: %s", c.name)
	return l.withWorker(ctx, c, nil, func(*worker) error { return nil })
}

// close stops everything.
func (l *lab) close() error {
	errs := []error{l.stack.Close()}
	for _, r := range l.recorders {
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}

// patience is how often a request to Prefect is sent. All that the benchmark
// sends may be repeated; on SQLite the server does not answer for up to a minute
// now and then.
const patience = 4

// call speaks to the Prefect server, past the recorders.
func (l *lab) call(ctx context.Context, method, path string, body, answer any) (err error) {
	for range patience {
		if err = l.api.Call(ctx, method, path, body, answer); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (l *lab) say(format string, args ...any) {
	fmt.Printf("%6.1fs  %s\n", time.Since(l.began).Seconds(), fmt.Sprintf(format, args...))
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

// withWorker runs a contender's worker, with settings besides the address of
// Prefect, while use runs, which begins after the worker's first poll.
func (l *lab) withWorker(ctx context.Context, c *contender, settings map[string]string, use func(*worker) error) error {
	w, err := l.startWorker(ctx, c, settings)
	if err != nil {
		return err
	}
	return errors.Join(use(w), w.process.Stop(endsWithin))
}

func (l *lab) startWorker(ctx context.Context, c *contender, settings map[string]string) (*worker, error) {
	env := map[string]string{"PREFECT_API_URL": c.prefect.url + "/api"}
	maps.Copy(env, settings)
	mark := c.prefect.mark()
	w := &worker{began: time.Now()}
	var err error
	w.process, err = l.stack.Start(ctx, localstack.ProcessSpec{
		Name: "worker-" + c.name, Path: c.program, Env: env,
		Args: []string{"worker", "start", "--type", "northflank", "--pool", c.name, "--name", "bench"},
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
		return nil, fmt.Errorf("worker of %s: %w; it wrote:\n%s", c.name, err, lastLines(w.process.Log(), 15))
	}
	w.firstPoll = poll.at
	return w, nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// inTurn measures one contender after the other, so that neither disturbs the
// figures of the other.
func inTurn[T any](ctx context.Context, l *lab, measure func(context.Context, *contender) (T, error)) (pair[T], error) {
	ours, err := measure(ctx, l.ours)
	if err != nil || l.original == nil {
		return pair[T]{ours: ours, note: l.noOriginal}, err
	}
	original, err := measure(ctx, l.original)
	return joined(ctx, ours, original, err)
}

// together measures both contenders at the same time, where that changes no
// figure or both are to see the same.
func together[T any](ctx context.Context, l *lab, measure func(context.Context, *contender) (T, error)) (pair[T], error) {
	if l.original == nil {
		return inTurn(ctx, l, measure)
	}
	var ours, original T
	var oursErr, originalErr error
	var both errgroup.Group
	both.Go(func() error { ours, oursErr = measure(ctx, l.ours); return nil })
	both.Go(func() error { original, originalErr = measure(ctx, l.original); return nil })
	_ = both.Wait()
	if oursErr != nil {
		return pair[T]{}, oursErr
	}
	return joined(ctx, ours, original, originalErr)
}

func joined[T any](ctx context.Context, ours, original T, err error) (pair[T], error) {
	if ctx.Err() != nil {
		return pair[T]{}, context.Cause(ctx)
	}
	if err != nil {
		fmt.Printf("the original could not be measured: %v\n", err)
		return pair[T]{ours: ours, note: firstLine(err.Error())}, nil
	}
	return pair[T]{ours: ours, original: &original}, nil
}

// wait waits for d, or until ctx is done and returns why.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
