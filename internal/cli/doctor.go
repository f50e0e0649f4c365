package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/doctor"
	"github.com/northflank/prefect-northflank/internal/northflank"
)

const doctorHelp = `Finds out what is wrong with a set-up: asks Prefect and Northflank what a worker
would ask them, and says of each answer whether flow runs can run, and what to
do otherwise. It changes nothing, and spends about ten of Northflank's requests.

Settings and NORTHFLANK_* variables are those of this shell: run it where the
worker runs, or with the same --profile.

The exit status is 1 when something fails, and 0 with warnings alone.

With --probe it finds out instead what Northflank does where its documents say
nothing, by experiments in a project that you name. It says what it will do, asks
first, cleans up, and writes a report without secrets.

Examples:
  prefect-northflank doctor --pool my-pool --output json
  prefect-northflank doctor --webhook-url https://worker.example/northflank
  prefect-northflank doctor --probe --project my-sandbox --credentials northflank-creds`

func doctorCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "doctor",
		Usage:       "find out what is wrong with a set-up",
		Description: doctorHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: "work `POOL` to look at (default: the only one of type northflank)"},
			&cli.StringFlag{Name: "webhook-url", Usage: "the public `URL` of a worker's webhook, to look at that too"},
			&cli.BoolFlag{Name: "probe", Usage: "experiment in a Northflank project (--project), after asking"},
			&cli.StringFlag{Name: "project", Usage: "`ID` of the project to experiment in"},
			accountFlag(),
			&cli.BoolFlag{Name: "yes", Usage: "experiment without asking"},
			&cli.StringFlag{Name: "report", Usage: "`FILE` for the report of the experiments (default: northflank-probe-<time>.json)", HideDefault: true},
			outputFlag(), profileFlag(), verboseFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Bool("probe") {
				return runProbe(ctx, cmd, io)
			}
			return runDoctor(ctx, cmd, io)
		},
	}
}

func runDoctor(ctx context.Context, cmd *cli.Command, io Streams) error {
	asJSON, err := wantsJSON(cmd)
	if err == nil {
		err = noArguments(cmd)
	}
	if err == nil {
		err = onlyWith(cmd, "probe", "project", "credentials", "yes", "report")
	}
	if err != nil {
		return err
	}
	address := ""
	if cmd.IsSet("webhook-url") {
		u, err := webhookAddress("--webhook-url", cmd.String("webhook-url"))
		if err != nil {
			return err
		}
		address = u.String()
	}
	settings, err := loadSettings(cmd, io)
	if err != nil {
		return err
	}
	ctx, stop := stopOnSignal(ctx)
	defer stop()
	report, err := doctor.Run(ctx, doctor.Options{
		Settings: settings, Account: environmentAccount(), Pool: cmd.String("pool"), WebhookURL: address, Version: Version(),
		Begin: progress(io.Err), Northflank: doctorClients(cmd, io),
	})
	if ctx.Err() != nil {
		return context.Canceled
	}
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(io.Out, report)
	} else {
		err = printReport(io.Out, report)
	}
	if err == nil && report.Failures > 0 {
		err = exitStatus(ExitFailed)
	}
	return err
}

// doctorClients is what its Northflank clients share. Their errors are findings,
// so that nothing is logged but, if asked for, each request.
func doctorClients(cmd *cli.Command, io Streams) northflank.Options {
	o := northflank.Options{UserAgent: "prefect-northflank/" + Version(), Logger: slog.New(slog.DiscardHandler)}
	if cmd.Bool("verbose") {
		o.Observe = func(c northflank.Call) {
			fmt.Fprintf(io.Err, "%s %s: %d, %d of %d requests left\n", c.Method, c.Route, c.Status, c.Budget.Remaining, c.Budget.Limit)
		}
	}
	return o
}

// progress says what is being checked.
func progress(w io.Writer) func(string) {
	return func(check string) { waitingFor(w, "checking "+check) }
}

// marks are how a status is shown on a terminal: a symbol, and a colour.
var marks = map[doctor.Status]struct{ symbol, colour string }{
	doctor.OK:      {"✓", green},
	doctor.Warning: {"!", yellow},
	doctor.Failure: {"✗", red},
	doctor.Skipped: {"-", faint},
}

// printReport prints a line an answer, and the next step below it. Checks that
// one finding kept from being made share a line.
func printReport(w io.Writer, report doctor.Report) error {
	var b strings.Builder
	const column = 25 // the longest check's name and a space
	var causes []string
	hidden := map[string][]string{} // checks that were not made, by what kept them from it
	for _, r := range report.Results {
		if r.Because != "" {
			if hidden[r.Because] == nil {
				causes = append(causes, r.Because)
			}
			hidden[r.Because] = append(hidden[r.Because], r.Check)
			continue
		}
		fmt.Fprintf(&b, "%s %-*s %s\n", shown(w, r.Status), column, r.Check, indented(r.Message))
		if r.NextStep != "" {
			fmt.Fprintf(&b, "         next: %s\n", indented(r.NextStep))
		}
	}
	for _, cause := range causes {
		fmt.Fprintf(&b, "%s not checked, because of %s: %s\n", shown(w, doctor.Skipped), cause, strings.Join(hidden[cause], ", "))
	}
	fmt.Fprintf(&b, "\n%s, %s. Requests to Northflank: %d.\n", count(report.Failures, "failure"), count(report.Warnings, "warning"), report.Requests)
	_, err := io.WriteString(w, b.String())
	return err
}

// shown is a status as a symbol on a terminal, and as a word elsewhere.
func shown(w io.Writer, s doctor.Status) string {
	if !isTerminal(w) {
		return fmt.Sprintf("%-8s", s)
	}
	return coloured(w, marks[s].colour, marks[s].symbol)
}

func indented(text string) string { return strings.ReplaceAll(text, "\n", "\n         ") }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
