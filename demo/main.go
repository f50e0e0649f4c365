// Command demo shows the whole product at work on this machine: a real Prefect
// server, the local Northflank and our worker, the seed's example deployed by
// Prefect's own command line, and three flow runs on their way to the end. It
// types what a user would type, and its exit status says whether all ended as
// they should.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// Where things are, from the repository's root.
const (
	pythonDir    = ".local/python"
	requirements = "test/requirements.txt"
	example      = "examples/basic"
)

// Exit statuses.
const (
	exitAsExpected  = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	keep := flag.Bool("keep", false, "leave everything running at the end")
	end := flag.Bool("stop", false, "only end what a demo left running")
	binary := flag.String("binary", "bin/prefect-northflank", "our program, to be shown")
	dir := flag.String("dir", ".local/demo", "folder of databases, logs and copies")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(exitUsage)
	}
	// The first Ctrl-C stops everything in order, the second ends this program
	// at once: the next demo ends what is left then.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel)
	err := run(ctx, options{binary: *binary, dir: *dir, keep: *keep, end: *end})
	status := exitAsExpected
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "Interrupted: everything was stopped.")
		status = exitInterrupted
	case err != nil:
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		status = exitFailed
	}
	os.Exit(status)
}

type options struct {
	binary, dir string
	keep, end   bool
}

func run(ctx context.Context, o options) error {
	if o.end {
		ended, err := localstack.End(ctx, o.dir)
		if err == nil {
			fmt.Println(endedLine(ended, "Nothing was running."))
		}
		return err
	}
	python, err := localstack.EnsurePython(ctx, localstack.PythonOptions{Dir: pythonDir, Requirements: requirements, Log: os.Stdout})
	if err != nil {
		return err
	}
	program, err := filepath.Abs(o.binary)
	if err != nil {
		return err
	}
	stack, err := localstack.Open(ctx, localstack.Options{Dir: o.dir, Binary: program, Python: python})
	if errors.Is(err, localstack.ErrInUse) {
		return fmt.Errorf("%w: another `make demo` is running here; let it end, or press Ctrl-C there", err)
	} else if err != nil {
		return err
	}
	if len(stack.Ended) > 0 {
		fmt.Println(endedLine(stack.Ended, ""))
	}
	d := &demo{stack: stack, dir: o.dir, began: time.Now()}
	err = d.play(ctx)
	if o.keep && err == nil {
		d.sayWhereThingsAre()
		return stack.Detach()
	}
	return errors.Join(err, stack.Close())
}

func endedLine(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return "Ended what an earlier demo left running: " + strings.Join(names, ", ")
}
