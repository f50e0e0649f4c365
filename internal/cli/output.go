package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v3"
)

// outputFlag chooses between a table for people and JSON for programs.
func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FORMAT`: text or json", Value: "text", Local: true}
}

// wantsJSON reads [outputFlag].
func wantsJSON(cmd *cli.Command) (bool, error) {
	switch format := cmd.String("output"); format {
	case "text", "json":
		return format == "json", nil
	default:
		return false, usagef("use text or json", "--output %q is unknown", format)
	}
}

// printJSON writes v on one line, so that JSON which v holds as it is stays so
// to the byte.
func printJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// printTable writes rows in columns.
func printTable(w io.Writer, rows ...[]string) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t")+"\t") // a cell counts for its column only with a tab behind it
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// oneArgument returns the command's only argument; what says what it is, as in
// "the name of the work pool".
func oneArgument(cmd *cli.Command, what string) (string, error) {
	switch args := cmd.Args(); {
	case args.Len() > 1:
		return "", usagef("see: "+cmd.FullName()+" --help", "%s takes one argument, %s, not %d", cmd.FullName(), what, args.Len())
	case args.First() == "":
		return "", usagef("see: "+cmd.FullName()+" --help", "%s needs %s", cmd.FullName(), what)
	}
	return cmd.Args().First(), nil
}

// noArguments refuses arguments where only flags are expected.
func noArguments(cmd *cli.Command) error {
	if cmd.Args().Len() == 0 {
		return nil
	}
	return usagef("see: "+cmd.FullName()+" --help", "%s takes no argument, but got %q", cmd.FullName(), cmd.Args().First())
}
