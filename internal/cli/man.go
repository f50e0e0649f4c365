package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"
)

const manHelp = `Prints the manual page, which holds the help of every command. Archives of a release
have it as share/prefect-northflank.1.

Examples:
  prefect-northflank man | man -l -
  prefect-northflank man > ~/.local/share/man/man1/prefect-northflank.1`

func manCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "man",
		Usage:       "print the manual page",
		Description: manHelp,
		Action: func(_ context.Context, cmd *cli.Command) error {
			if err := noArguments(cmd); err != nil {
				return err
			}
			return printManual(io.Out, cmd.Root())
		},
	}
}

// manualEnd is what no help text of a single command says.
const manualEnd = `.SH EXIT STATUS
.TP
.B 0
done
.TP
.B 1
the command could not do what was asked
.TP
.B 2
the words of the call are off
.TP
.B 130
interrupted by Ctrl-C before it was done
.SH ENVIRONMENT
Prefect's settings come from where Prefect's own commands take them: the environment, .env, prefect.toml, pyproject.toml and the profile.
.TP
.BR NORTHFLANK_API_TOKEN ", " NORTHFLANK_API_BASE_URL ", " NORTHFLANK_TEAM_ID
an account for flow runs without credentials of their own
.TP
.B NO_COLOR
when set, nothing is coloured
.SH SEE ALSO
https://docs.prefect.io, https://northflank.com/docs
`

// printManual writes the commands' help as a manual page, in the language of
// man(7).
func printManual(w io.Writer, root *cli.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH PREFECT-NORTHFLANK 1 \"\" \"%s %s\" \"User Commands\"\n", root.Name, roff(Version()))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(root.Name), roff(root.Usage))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n.I COMMAND\n[options]\n", roff(root.Name))
	b.WriteString(".SH DESCRIPTION\n")
	manualText(&b, root.Description)
	b.WriteString(".SH COMMANDS\n")
	manualCommands(&b, root)
	b.WriteString(manualEnd)
	_, err := io.WriteString(w, b.String())
	return err
}

// manualCommands writes a section for each command that does something.
func manualCommands(b *strings.Builder, parent *cli.Command) {
	for _, cmd := range parent.VisibleCommands() {
		if cmd.Name == "help" {
			continue
		}
		fmt.Fprintf(b, ".SS \"%s\"\n", roff(strings.TrimSpace(cmd.FullName()+" "+cmd.ArgsUsage)))
		fmt.Fprintf(b, "%s%s.\n", strings.ToUpper(cmd.Usage[:1]), roff(cmd.Usage[1:]))
		if cmd.Description != "" {
			b.WriteString(".PP\n")
			manualText(b, cmd.Description)
		}
		for _, flag := range cmd.VisibleFlags() {
			names, text, _ := strings.Cut(cli.FlagStringer(flag), "\t")
			if !strings.HasPrefix(names, "--help") {
				fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(names), roff(text))
			}
		}
		manualCommands(b, cmd)
	}
}

// manualText writes the paragraphs of a help text; lines that are set in, such as
// examples, stay as they are.
func manualText(b *strings.Builder, text string) {
	verbatim := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if setIn := strings.HasPrefix(line, "  "); setIn != verbatim && line != "" {
			verbatim = setIn
			b.WriteString(map[bool]string{true: ".PP\n.nf\n", false: ".fi\n.PP\n"}[setIn])
		}
		switch {
		case line == "" && !verbatim:
			b.WriteString(".PP\n")
		default:
			b.WriteString(roff(line) + "\n")
		}
	}
	if verbatim {
		b.WriteString(".fi\n")
	}
}

// roff is a text without what the language of manual pages would take for its
// own.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`, "\"", `\(dq`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		return `\&` + text
	}
	return text
}
