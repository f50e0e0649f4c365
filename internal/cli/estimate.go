package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/estimate"
	"github.com/northflank/prefect-northflank/internal/worker"
)

const estimateHelp = `Says what the flow runs of a work pool cost lately: how long each was Running, as
Prefect tells it, times the price of its deployment plan and GPU today, by
deployment. With --plan also what they would cost on another deployment plan, if
they took as long there.

Northflank bills a container from its start to its end. Time to pull the image, to
start Prefect and between a flow's own retries is not in Prefect's figures, and so
not in these; nor are storage, network, builds and credits.

Examples:
  prefect-northflank estimate --pool my-pool
  prefect-northflank estimate --pool my-pool --days 30 --plan nf-compute-50
  prefect-northflank estimate --pool my-pool --output json`

// Bounds of what is read of Prefect: 200 flow runs a request.
const (
	maxEstimateDays = 366
	maxEstimateRuns = 100_000
)

func estimateCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "estimate",
		Usage:       "say what the flow runs of a work pool cost",
		Description: estimateHelp,
		Flags: []cli.Flag{
			poolFlag("work `POOL` to look at (default: the only one of type northflank)"),
			&cli.IntFlag{Name: "days", Usage: "look at flow runs that ended in the last `N` days", Value: 7},
			&cli.StringFlag{Name: "plan", Usage: "compare with this deployment `PLAN`"},
			&cli.IntFlag{Name: "limit", Aliases: []string{"l"}, Usage: "look at `N` flow runs at most", Value: 5000},
			outputFlag(), profileFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return printEstimate(ctx, cmd, io) },
	}
}

func printEstimate(ctx context.Context, cmd *cli.Command, io Streams) error {
	asJSON, err := wantsJSON(cmd)
	if err == nil {
		err = noArguments(cmd)
	}
	if err != nil {
		return err
	}
	days, limit := cmd.Int("days"), cmd.Int("limit")
	if days < 1 || days > maxEstimateDays {
		return usagef("for example --days 30", "--days %d: it must be from 1 to %d", days, maxEstimateDays)
	}
	if limit < 1 || limit > maxEstimateRuns {
		return usagef("for example --limit 20000", "--limit %d: it must be from 1 to %d", limit, maxEstimateRuns)
	}
	client, settings, err := connect(cmd, io)
	if err != nil {
		return err
	}
	pool, err := onlyPool(ctx, client, cmd.String("pool"))
	if err != nil {
		return err
	}
	report, err := estimate.Run(ctx, estimate.Options{
		Preparer: &worker.Preparer{
			Prefect: client, SettingsEnv: settings.Environment(), Account: environmentAccount(), Secrets: settings.Secrets(),
		},
		Accounts: newAccounts(slog.New(slog.DiscardHandler), false), Pool: pool, Days: days, Limit: limit, Plan: cmd.String("plan"),
		Progress: func(n int) { waitingFor(io.Err, fmt.Sprintf("reading flow runs from Prefect: %d", n)) },
	})
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(io.Out, report)
	}
	return tellEstimate(io, report)
}

func tellEstimate(io Streams, r estimate.Report) error {
	if r.FlowRuns == 0 {
		fmt.Fprintf(io.Err, "No flow run of work pool %q that ended in the last %s had begun. Look further back with --days.\n", r.Pool, count(r.Days, "day"))
		return nil
	}
	rows := [][]string{{"DEPLOYMENT", "PLAN", "FLOW RUNS", "MEDIAN", "P95", "MEDIAN COST", "P95 COST", "TOTAL"}}
	if r.WithPlan != nil {
		rows[0] = append(rows[0], "WITH "+r.Rows[0].WithPlan.Plan)
	}
	for _, row := range r.Rows {
		cells := []string{
			plain(row.Deployment), orDash(row.Cost.Plan), strconv.Itoa(row.FlowRuns), lasting(row.Seconds.Median), lasting(row.Seconds.P95),
		}
		amount := row.Cost.Amount
		if amount == nil {
			cells = append(cells, "-", "-", "-")
		} else {
			cells = append(cells, money(amount.Median), money(amount.P95), money(amount.Total))
		}
		if row.WithPlan != nil {
			cells = append(cells, money(row.WithPlan.Amount.Total))
		}
		rows = append(rows, cells)
	}
	if err := printTable(io.Out, rows...); err != nil {
		return err
	}
	fmt.Fprintf(io.Out, "\nLast %s: %s, %s", count(r.Days, "day"), count(r.FlowRuns, "flow run"), money(r.Total))
	if r.WithPlan != nil {
		fmt.Fprintf(io.Out, "; with %s: %s", r.Rows[0].WithPlan.Plan, money(*r.WithPlan))
	}
	fmt.Fprintln(io.Out, ".")
	tellLimits(io.Err, r)
	return nil
}

// tellLimits says what the figures do not hold.
func tellLimits(w io.Writer, r estimate.Report) {
	fmt.Fprintf(w, "Not in these figures: %s.\n", strings.Join(r.LeavesOut, ", "))
	var reasons []string
	gpuAlone := false
	for _, row := range r.Rows {
		gpuAlone = gpuAlone || row.Cost.GPUAlone || row.WithPlan != nil && row.WithPlan.GPUAlone
		if reason := row.Deployment + ": " + row.Cost.Unpriced; row.Cost.Unpriced != "" && !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
			fmt.Fprintf(w, "No price for %s.\n", plain(reason))
		}
	}
	if gpuAlone {
		fmt.Fprintln(w, "GPU plans are priced by their GPUs alone: Northflank lists no price for their CPU and memory.")
	}
	if r.NotBegun > 0 {
		fmt.Fprintf(w, "%s ended without having begun, and what their containers cost is not known.\n", count(r.NotBegun, "flow run"))
	}
	if r.Cut {
		fmt.Fprintln(w, "There are more flow runs than were looked at: see --limit.")
	}
}

// lasting is a time in seconds as people read it.
func lasting(seconds float64) string {
	if seconds < 10 {
		return strconv.FormatFloat(seconds, 'f', 1, 64) + "s"
	}
	return span(time.Duration(seconds * float64(time.Second)))
}

// money is dollars and cents, and below a cent the first two digits that count.
func money(dollars float64) string {
	decimals := 2
	if dollars > 0 && dollars < 0.01 {
		decimals = 1 - int(math.Floor(math.Log10(dollars)))
	}
	return "$" + strconv.FormatFloat(dollars, 'f', min(decimals, 9), 64)
}
