package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// Runs of each start. A start of the original takes seconds of both processors.
const (
	startsOurs     = 20
	startsOriginal = 5
)

// starts are the waits of one contender.
type starts struct {
	toPoll    []time.Duration // process start to first poll
	toVersion []time.Duration // process start of the version command to its end
}

// measureStart tells how long it takes until a worker is there for flow runs,
// and until the program has said its version.
func measureStart(ctx context.Context, l *lab) (section, error) {
	p, err := inTurn(ctx, l, func(ctx context.Context, c *contender) (starts, error) {
		runs := startsOurs
		if c == l.original {
			runs = startsOriginal
		}
		var s starts
		for range runs {
			toPoll, err := l.timeFirstPoll(ctx, c)
			if err != nil {
				return s, err
			}
			toVersion, err := l.timeVersion(ctx, c)
			if err != nil {
				return s, err
			}
			s.toPoll, s.toVersion = append(s.toPoll, toPoll), append(s.toVersion, toVersion)
		}
		return s, nil
	})
	return section{
		title: "Start",
		text: "From the start of the worker's process to the arrival of its first request for scheduled flow runs at Prefect, " +
			"seen by a proxy in front of the server. The work pool exists, and the worker was started once before. " +
			"Beside it the wall time of the command that prints the version: `prefect-northflank version`, and `prefect --version` in the original's environment, which has no command of its own.",
		table: comparison(
			figure(p, "start to first poll, median", showDuration, func(s starts) time.Duration { return median(s.toPoll) }),
			words(p, "spread", func(s starts) string { return spread(s.toPoll) }),
			figure(p, "version command, median", showDuration, func(s starts) time.Duration { return median(s.toVersion) }),
			words(p, "spread", func(s starts) string { return spread(s.toVersion) }),
		),
		note: p.note,
	}, err
}

func (l *lab) timeFirstPoll(ctx context.Context, c *contender) (took time.Duration, err error) {
	err = l.withWorker(ctx, c, func(w *worker) error {
		took = w.firstPoll.Sub(w.began)
		return nil
	})
	return took, err
}

func (l *lab) timeVersion(ctx context.Context, c *contender) (time.Duration, error) {
	word := "version"
	if c == l.original {
		word = "--version"
	}
	began := time.Now()
	_, err := l.stack.Run(ctx, localstack.ProcessSpec{Path: c.program, Args: []string{word}}, "")
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", filepath.Base(c.program), word, err)
	}
	return time.Since(began), nil
}
