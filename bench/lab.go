package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	began      time.Time

	mu        sync.Mutex
	recorders []*recorder // guarded by mu
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
	if l.ours, err = l.newContender(contender{name: "ours", pool: "ours", program: program}, nil); err != nil {
		return err
	}
	if err := l.introduce(ctx, l.ours); err != nil {
		return err
	}
	if problem == nil {
		if l.original, err = l.newContender(contender{name: "original", pool: "original", program: original}, nil); err != nil {
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

// own closes a recorder at the end.
func (l *lab) own(r *recorder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recorders = append(l.recorders, r)
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

// clients is how many requests of the benchmark's own are under way at once.
const clients = 8

// inParallel does something n times, some at once, until one fails.
func inParallel(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}
