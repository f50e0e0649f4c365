// Command bench measures our worker beside the Python original,
// prefect-northflank 1.0.1, in one run against the same Prefect server and the
// same local Northflank, and writes bench/RESULTS.md. One file a measurement;
// measurements lists them.
//
// It never fails because something is slow. Its exit status is 1 when a figure
// of ours could not be measured; where the original could not, the results say
// why.
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
	"sync"
	"syscall"
	"time"
)

// resultsFile is where a complete run is written, from the repository's root.
const resultsFile = "bench/RESULTS.md"

// Exit statuses.
const (
	exitMeasured    = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// measurement is one question and how it is answered.
type measurement struct {
	name string // for -only
	run  func(context.Context, *lab) (section, error)
	// aside: the next ones do not wait for its end. It mostly waits itself, and
	// counts.
	aside bool
}

// measurements returns all of them in the order of the report.
func measurements() []measurement {
	return []measurement{
		{name: "start", run: measureStart},
		{name: "idle", run: measureIdle},
		{name: "live", run: measureLive},
		{name: "dispatch", run: measureDispatch},
		{name: "burst", run: measureBurst},
		{name: "requests", run: measureRequests, aside: true},
		{name: "crash", run: measureCrash},
		{name: "hour", run: measureHour},
	}
}

func main() {
	if filepath.Base(os.Args[0]) == flowProgram {
		os.Exit(runFlow(os.Args[1:]))
	}
	var names []string
	for _, m := range measurements() {
		names = append(names, m.name)
	}
	only := flag.String("only", "", "make only the measurements with these comma-separated `names`: "+strings.Join(names, ", "))
	sqlite := flag.Bool("sqlite", false, "let the Prefect server use SQLite, its default, though PostgreSQL is installed")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "Usage: go run ./bench [flags]\n\nWith a flag the results are printed, but not written to %s.\n\n", resultsFile)
		flag.PrintDefaults()
	}
	flag.Parse()
	chosen, err := choose(*only)
	if flag.NArg() > 0 {
		err = fmt.Errorf("unexpected %q", flag.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		flag.Usage()
		os.Exit(exitUsage)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends this program at once
	status := exitMeasured
	err = run(ctx, chosen, *sqlite, flag.NFlag() == 0)
	switch {
	case err != nil && ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "Interrupted: everything was stopped.")
		status = exitInterrupted
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		status = exitFailed
	}
	os.Exit(status)
}

// choose returns the measurements that a comma-separated list names, all for "".
func choose(only string) ([]measurement, error) {
	if only == "" {
		return measurements(), nil
	}
	var chosen []measurement
	for name := range strings.SplitSeq(only, ",") {
		found := false
		for _, m := range measurements() {
			if m.name == name {
				chosen, found = append(chosen, m), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no measurement %q", name)
		}
	}
	return chosen, nil
}

// run makes the measurements and prints the report, and writes it if asked to.
// There is none when a figure of ours is missing.
func run(ctx context.Context, chosen []measurement, sqlite, write bool) error {
	began := time.Now()
	r := report{machine: describeMachine(began)}
	l, err := openLab(ctx, sqlite)
	if err != nil {
		return err
	}
	r.versions, err = l.versions(ctx)
	r.sections = make([]section, len(chosen))
	errs := make([]error, len(chosen))
	var group sync.WaitGroup
	for i, m := range chosen {
		measure := func() {
			l.say("measuring: %s", m.name)
			if r.sections[i], errs[i] = m.run(ctx, l); errs[i] != nil {
				errs[i] = fmt.Errorf("measure %s: %w", m.name, errs[i])
				l.say("%v", errs[i])
			}
		}
		if m.aside {
			group.Go(measure)
		} else {
			measure()
		}
	}
	group.Wait()
	if err := errors.Join(append(errs, err, l.close())...); err != nil {
		return err
	}
	r.took = time.Since(began)
	text := r.markdown()
	fmt.Print("\n", text)
	if !write {
		return nil
	}
	return os.WriteFile(resultsFile, []byte(text), 0o644)
}
