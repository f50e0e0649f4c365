package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/validate"
)

const validateHelp = `Finds mistakes in a prefect.yaml before prefect deploy or a flow run does. It looks
at every deployment for a work pool of type northflank: job variables that do not
exist or have the wrong type, that exclude each other or are missing, placeholders
that nothing defines, blocks, variables and work pools that do not exist, plans and
GPUs that Northflank does not have, secrets in clear.

Prefect is asked where PREFECT_API_URL is set, Northflank for its plans without an
account. What does not answer is left out, and said so; --offline asks nobody.
Environment variables are those of this shell: run it where prefect deploy runs.

The exit status is 1 when there is an error, and 0 with warnings alone.

Examples:
  prefect-northflank validate
  prefect-northflank validate flows/prefect.yaml --offline
  prefect-northflank validate --output sarif > prefect.sarif`

func validateCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "validate",
		Usage:       "find mistakes in a prefect.yaml",
		ArgsUsage:   "[FILE]",
		Description: validateHelp,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "offline", Usage: "ask neither Prefect nor Northflank"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FORMAT`: text, json or sarif", Value: "text", Local: true},
			profileFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return runValidate(ctx, cmd, io) },
	}
}

// maxProjectFile bounds what is read, in bytes: a prefect.yaml has some kilobytes.
const maxProjectFile = 4 << 20

func runValidate(ctx context.Context, cmd *cli.Command, io Streams) error {
	format := cmd.String("output")
	if format != "text" && format != "json" && format != "sarif" {
		return usagef("use text, json or sarif", "--output %q is unknown", format)
	}
	if n := cmd.Args().Len(); n > 1 {
		return usagef("see: "+cmd.FullName()+" --help", "%s takes one file, not %d", cmd.FullName(), n)
	}
	path := cmd.Args().First()
	if path == "" {
		path = projectFile
	}
	text, err := readProjectFile(path)
	if err != nil {
		return err
	}
	lookups, err := validateLookups(cmd, io)
	if err != nil {
		return err
	}
	ctx, stop := stopOnSignal(ctx)
	defer stop()
	waitingFor(io.Err, "asking about "+path)
	report, err := validate.Run(ctx, path, text, lookups)
	if ctx.Err() != nil {
		return context.Canceled
	}
	if err != nil {
		return err
	}
	switch format {
	case "json":
		err = printJSON(io.Out, report)
	case "sarif":
		err = printJSON(io.Out, report.SARIF(Version()))
	default:
		err = printFindings(io.Out, report)
	}
	if err == nil && report.Errors > 0 {
		err = exitStatus(ExitFailed)
	}
	return err
}

func readProjectFile(path string) (string, error) {
	const next = "give the path of the file: prefect-northflank validate path/to/prefect.yaml"
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", hinted{fmt.Errorf("there is no file %q", path), next}
	}
	if err != nil {
		return "", hinted{err, next}
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxProjectFile+1))
	if err != nil {
		return "", hinted{err, next}
	}
	if len(raw) > maxProjectFile {
		return "", hinted{fmt.Errorf("%s is larger than %d MiB", path, maxProjectFile>>20), next}
	}
	return string(raw), nil
}

// validateTimeout bounds each question to Prefect or Northflank.
const validateTimeout = 10 * time.Second

// validateLookups is what a file is held against: all that answers.
func validateLookups(cmd *cli.Command, io Streams) (validate.Lookups, error) {
	l := validate.Lookups{Env: os.LookupEnv, Token: !environmentAccount().Token.IsZero()}
	if cmd.Bool("offline") {
		return l, nil
	}
	settings, err := loadSettings(cmd, io)
	if err != nil {
		return l, err
	}
	settings.RequestTimeout, settings.MaxRetries = min(settings.RequestTimeout, validateTimeout), 0
	if settings.APIURL != "" {
		client, err := prefect.NewClient(prefect.ClientOptions{Settings: settings, Version: Version(), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return l, err
		}
		l.Pool, l.PoolNames, l.Prefect = client.WorkPool, client.WorkPoolNames, client.Lookup()
		l.BlockNames = func(ctx context.Context, slug string) ([]string, error) {
			documents, err := client.BlockDocuments(ctx, slug)
			names := make([]string, len(documents))
			for i, d := range documents {
				names[i] = d.Name
			}
			return names, err
		}
	}
	client, err := northflank.New(northflank.Options{BaseURL: environmentAccount().BaseURL, UserAgent: "prefect-northflank/" + Version()})
	if err != nil {
		return l, err
	}
	l.Plans, l.Regions = within(client.Plans), within(client.Regions)
	return l, nil
}

// within bounds a question to Northflank, whose client would try again.
func within[T any](ask func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, validateTimeout, fmt.Errorf("no answer within %v", validateTimeout))
		defer cancel()
		return ask(ctx)
	}
}

// colours of severities on a terminal.
var colours = map[validate.Severity]string{validate.Error: red, validate.Warning: yellow, validate.Note: faint}

// printFindings prints each finding with its line of the file and a mark below
// the place.
func printFindings(w io.Writer, r validate.Report) error {
	paint := func(s validate.Severity, text string) string { return coloured(w, colours[s], text) }
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s:%d:%d: %s: %s [%s]\n", r.File, f.Line, f.Column, paint(f.Severity, string(f.Severity)), f.Message, f.Code)
		if f.Excerpt.Text != "" {
			fmt.Fprintf(&b, "%5d | %s\n      | %s%s\n", f.Line, f.Excerpt.Text, f.Excerpt.Pad, paint(f.Severity, f.Excerpt.Caret))
		}
		if f.NextStep != "" {
			fmt.Fprintf(&b, "  next: %s\n", f.NextStep)
		}
		b.WriteString("\n")
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "Passed over deployment %s: %s.\n", s.Deployment, s.Why)
	}
	for _, what := range r.NotAsked {
		fmt.Fprintf(&b, "Not checked: %s.\n", what)
	}
	fmt.Fprintf(&b, "%s, %s in %s.\n", count(r.Errors, "error"), count(r.Warnings, "warning"), count(r.Deployments, "deployment"))
	_, err := io.WriteString(w, b.String())
	return err
}
