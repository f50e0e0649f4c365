package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/worker"
)

const runsCancelHelp = `Cancels flow runs, as the button in Prefect does: the flow gets a minute to end
itself, then the worker ends its container. Of a flow run that was not started
nothing has to be ended.

Without a live worker nobody ends containers: --abort ends the job run at once,
from here.

Examples:
  prefect-northflank runs cancel crazy-otter
  prefect-northflank runs cancel crazy-otter lazy-lynx --pool my-pool
  prefect-northflank runs cancel crazy-otter --abort`

func runsCancelCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "cancel",
		Usage:       "cancel flow runs and end their containers",
		ArgsUsage:   "FLOW_RUN...",
		Description: runsCancelHelp,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "abort", Usage: "abort the job run now, rather than leave it to the worker"},
			poolFlag("look for names in this work `POOL` alone"),
			profileFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return cancelRuns(ctx, cmd, io) },
	}
}

// cancelRuns finds all flow runs before it cancels the first.
func cancelRuns(ctx context.Context, cmd *cli.Command, io Streams) error {
	if cmd.Args().Len() == 0 {
		return usagef("see: "+cmd.FullName()+" --help", "%s needs the name or the id of a flow run", cmd.FullName())
	}
	inspector, err := newInspector(cmd, io)
	if err != nil {
		return err
	}
	var flowRuns []prefect.FlowRun
	for _, word := range cmd.Args().Slice() {
		fr, err := named(ctx, inspector, word, cmd.String("pool"))
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(flowRuns, func(known prefect.FlowRun) bool { return known.ID == fr.ID }) {
			flowRuns = append(flowRuns, fr)
		}
	}
	c := &cancellation{Inspector: inspector, io: io, abort: cmd.Bool("abort"), live: map[string]bool{}}
	var failed []error
	for _, fr := range flowRuns {
		if err := c.cancel(ctx, fr); err != nil {
			failed = append(failed, fmt.Errorf("cancel flow run %q: %w", fr.Name, err))
		}
	}
	return errors.Join(failed...)
}

type cancellation struct {
	*worker.Inspector
	io    Streams
	abort bool
	live  map[string]bool // whether a worker of the pool is online
}

// cancel cancels one flow run, and says what happens next.
func (c *cancellation) cancel(ctx context.Context, fr prefect.FlowRun) error {
	if fr.StateType.Terminal() {
		fmt.Fprintf(c.io.Out, "Flow run %q has ended already: %s.\n", fr.Name, fr.StateName)
		return nil
	}
	result, err := c.Preparer.Prefect.SetState(ctx, fr.ID, prefect.StateProposal{
		Type: prefect.StateCancelling, Name: "Cancelling", Message: "Cancelled by prefect-northflank runs cancel.",
	})
	if err != nil {
		return err
	}
	switch state := result.State; {
	case state.Type == prefect.StateCancelled:
		fmt.Fprintf(c.io.Out, "Flow run %q is cancelled. Nothing had been started for it.\n", fr.Name)
		return nil
	case state.Type != prefect.StateCancelling:
		return hinted{
			fmt.Errorf("prefect did not take it (%s): %s", strings.ToLower(string(result.Status)), result.Reason),
			"see its state: prefect flow-run inspect " + fr.ID,
		}
	}
	return c.endContainer(ctx, fr)
}

// endContainer says who ends the container of a flow run that is cancelling, or
// does it.
func (c *cancellation) endContainer(ctx context.Context, fr prefect.FlowRun) error {
	where := worker.Locate(fr)
	jobRun := fmt.Sprintf("job run %s of job %s", where.JobRun, where.Job)
	switch {
	case c.abort && where.JobRun != "":
		var err error
		if c.Pool.Name != fr.WorkPoolName {
			if c.Pool, err = findPool(ctx, c.Preparer.Prefect, fr.WorkPoolName); err != nil {
				return err
			}
		}
		output, err := c.Output(ctx, fr)
		if err == nil {
			err = output.Abort(ctx)
		}
		if err != nil {
			return fmt.Errorf("it is cancelling, but its job run could not be aborted: %w", err)
		}
		fmt.Fprintf(c.io.Out, "Flow run %q is being cancelled, and %s was aborted. It is Cancelled once a worker has seen that.\n", fr.Name, jobRun)
		return nil
	case where.JobRun == "":
		fmt.Fprintf(c.io.Out, "Flow run %q is being cancelled. Its job run is not known yet: the worker ends it as soon as it is.\n", fr.Name)
	default:
		fmt.Fprintf(c.io.Out, "Flow run %q is being cancelled. The flow gets a minute to end itself; then the worker aborts %s.\n", fr.Name, jobRun)
	}
	live, err := c.isLive(ctx, fr.WorkPoolName)
	if err != nil {
		return fmt.Errorf("it is cancelling; whether a worker is online is not known: %w", err)
	}
	if !live {
		next := "start one: prefect-northflank worker start --pool " + fr.WorkPoolName
		if where.JobRun != "" {
			next += "; or end the container from here: prefect-northflank runs cancel " + fr.ID + " --abort"
		}
		warn(c.io, hinted{fmt.Errorf("no worker of work pool %q is online: nothing ends the container, which goes on to cost money", fr.WorkPoolName), next})
	}
	return nil
}

// isLive reports whether a worker of the pool is online.
func (c *cancellation) isLive(ctx context.Context, pool string) (bool, error) {
	if live, known := c.live[pool]; known {
		return live, nil
	}
	workers, err := c.Preparer.Prefect.Workers(ctx, pool)
	if err != nil {
		return false, err
	}
	c.live[pool] = slices.ContainsFunc(workers, func(w prefect.Worker) bool { return w.Status == "ONLINE" })
	return c.live[pool], nil
}
