package cli

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

const runsLogsHelp = `Prints what the container of a flow run wrote, as Northflank keeps it: up to 30
days, and until the job is deleted. What the flow itself logged is in Prefect
too: prefect flow-run logs.

Secrets of the flow run's configuration are masked.

Examples:
  prefect-northflank runs logs crazy-otter
  prefect-northflank runs logs crazy-otter --follow --tail 20
  prefect-northflank runs logs 6f1f3f2e-0c5b-4d43-9c57-4f5c2b6f9d10 --timestamps`

// maxTail is how many lines can be asked for: a request of the account's each
// thousand.
const maxTail = 10_000

func runsLogsCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "logs",
		Usage:       "print the output of a flow run's container",
		ArgsUsage:   "FLOW_RUN",
		Description: runsLogsHelp,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the container has ended"},
			&cli.IntFlag{Name: "tail", Aliases: []string{"n"}, Usage: fmt.Sprintf("begin with the newest `N` lines, %d at most", maxTail), Value: 1000},
			&cli.BoolFlag{Name: "timestamps", Usage: "begin each line with its time"},
			poolFlag("look for the name in this work `POOL` alone"),
			profileFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return printLogs(ctx, cmd, io) },
	}
}

func isFlowRunID(word string) bool { return uuid.Validate(word) == nil }

func printLogs(ctx context.Context, cmd *cli.Command, io Streams) error {
	word, err := oneArgument(cmd, "the name or the id of the flow run")
	if err != nil {
		return err
	}
	tail := cmd.Int("tail")
	if tail < 1 || tail > maxTail {
		return usagef("for example --tail 100", "--tail %d: it must be from 1 to %d", tail, maxTail)
	}
	inspector, err := newInspector(cmd, io)
	if err != nil {
		return err
	}
	fr, err := named(ctx, inspector, word, cmd.String("pool"))
	if err != nil {
		return err
	}
	output, err := inspector.Output(ctx, fr)
	if err != nil {
		return err
	}
	if output.JobRun == "" {
		return hinted{
			fmt.Errorf("flow run %q has no job run: it is %s", fr.Name, fr.StateName),
			"see what it waits for: prefect-northflank runs --pool " + fr.WorkPoolName,
		}
	}
	show := func(lines []northflank.LogLine) {
		for _, l := range lines {
			if cmd.Bool("timestamps") {
				fmt.Fprintf(io.Out, "%s ", l.Time.UTC().Format("2006-01-02T15:04:05.000Z"))
			}
			fmt.Fprintln(io.Out, l.Text)
		}
	}
	if cmd.Bool("follow") {
		return output.Follow(ctx, tail, show, func(err error) { warn(io, fmt.Errorf("%w; connecting again", err)) })
	}
	lines, err := output.Newest(ctx, tail)
	if err != nil {
		return err
	}
	show(lines)
	switch {
	case len(lines) == 0:
		fmt.Fprintf(io.Err, "Job run %s of job %s has written nothing, or Northflank does not keep it any more.\n", output.JobRun, output.Job)
	case len(lines) == tail && tail < maxTail:
		fmt.Fprintf(io.Err, "There may be older lines: show them with --tail %d.\n", min(10*tail, maxTail))
	}
	return nil
}
