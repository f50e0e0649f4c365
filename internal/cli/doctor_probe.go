package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/probe"
)

// onlyWith refuses flags that mean nothing without another one.
func onlyWith(cmd *cli.Command, flag string, others ...string) error {
	for _, name := range others {
		if cmd.IsSet(name) && !cmd.Bool(flag) {
			return usagef("see: "+cmd.FullName()+" --help", "--%s goes with --%s only", name, flag)
		}
	}
	return nil
}

func runProbe(ctx context.Context, cmd *cli.Command, io Streams) error {
	asJSON, err := probeFlags(cmd)
	if err != nil {
		return err
	}
	client, err := northflankAccount(ctx, cmd, io)
	if err != nil {
		return err
	}
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix) // never fails
	o := probe.Options{
		Client: client, Project: cmd.String("project"), Suffix: hex.EncodeToString(suffix), Version: Version(), Begin: progress(io.Err),
	}
	fmt.Fprintf(io.Err, "The experiments at %s:\n", client.BaseURL())
	for _, line := range probe.Plan(o) {
		fmt.Fprintf(io.Err, "  - %s\n", line)
	}
	if !cmd.Bool("yes") {
		if err := askToGoOn(io); err != nil {
			return err
		}
	}
	path := cmd.String("report")
	if path == "" {
		path = "northflank-probe-" + time.Now().UTC().Format("20060102-150405") + ".json"
	}
	// Before the experiments: they are not to be made for nothing.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return withHint(err, "name another file with --report")
	}
	defer file.Close()

	ctx, stop := stopOnSignal(ctx)
	defer stop()
	report, err := probe.Run(ctx, o)
	if len(report.Answers) == 0 && ctx.Err() == nil {
		return errors.Join(err, os.Remove(path))
	}
	return tellProbe(io, file, report, asJSON, ctx.Err() != nil)
}

func probeFlags(cmd *cli.Command) (asJSON bool, err error) {
	if asJSON, err = wantsJSON(cmd); err != nil {
		return false, err
	}
	if err := noArguments(cmd); err != nil {
		return false, err
	}
	for _, name := range []string{"pool", "webhook-url"} {
		if cmd.IsSet(name) {
			return false, usagef("leave it out, or leave --probe out", "--%s means nothing with --probe", name)
		}
	}
	id := cmd.String("project")
	v, _ := jobspec.Lookup("project_id")
	switch {
	case id == "":
		return false, usagef("for example: prefect-northflank doctor --probe --project my-sandbox", "--probe needs --project, the project to experiment in")
	case !v.Pattern.MatchString(id):
		return false, usagef("for example my-sandbox", "--project %q: it must be %s", id, v.Constraint)
	}
	return asJSON, nil
}

// askToGoOn wants a yes, and takes nothing else for one.
func askToGoOn(io Streams) error {
	if f, ok := io.In.(*os.File); !ok || !isTerminalFile(f) {
		return usagef("give --yes if that is what you want", "nobody is there to be asked whether to go on")
	}
	fmt.Fprint(io.Err, "Go on? [y/N] ")
	line, err := bufio.NewReader(io.In).ReadString('\n')
	if err != nil {
		fmt.Fprintln(io.Err)
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return hinted{errors.New("nothing was done"), "answer y to go on"}
	}
	return nil
}

// tellProbe writes the report and prints what was learned.
func tellProbe(io Streams, file *os.File, report probe.Report, asJSON, interrupted bool) error {
	enc := json.NewEncoder(file)
	enc.SetIndent("", "  ")
	if err := enc.Encode(report); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	var err error
	if asJSON {
		err = printJSON(io.Out, report)
	} else {
		rows := [][]string{{"QUESTION", "ANSWER"}}
		for _, a := range report.Answers {
			rows = append(rows, []string{a.Asks, a.Answer})
		}
		err = printTable(io.Out, rows...)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(io.Err, "The report, without secrets, is in %s.\n", file.Name())
	if len(report.Left) > 0 {
		return hinted{
			fmt.Errorf("these jobs could not be deleted: %s", strings.Join(report.Left, ", ")),
			"delete them in Northflank; nothing needs them",
		}
	}
	if interrupted {
		return context.Canceled
	}
	return nil
}
