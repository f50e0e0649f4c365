// Package cli answers: what can be typed, and what is printed back. One file a
// command; a command turns flags into one call of the package that does the
// work. Nothing here is worth a unit test of its own beyond what scripts in
// testdata/script show.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"
)

// Exit statuses of the program.
const (
	ExitDone        = 0
	ExitFailed      = 1   // the command could not do what was asked
	ExitUsage       = 2   // the words of the call are off
	ExitInterrupted = 130 // Ctrl-C before the command was done
)

// Streams are the program's standard input and outputs. Out carries answers,
// Err carries talk.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// usageError is an error in the words of the call: exit status 2.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }
func (e *usageError) Hint() string  { return e.hint }

// usagef returns an error in the words of the call with a next step.
func usagef(hint, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), hint: hint}
}

// hinted adds a next step to an error that has none.
type hinted struct {
	error
	hint string
}

func (e hinted) Hint() string  { return e.hint }
func (e hinted) Unwrap() error { return e.error }

// withHint returns err with hint as its next step; an own next step wins.
func withHint(err error, hint string) error {
	if err == nil || hintOf(err) != "" {
		return err
	}
	return hinted{err, hint}
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// exitStatus ends the program with a status of its own and no message.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Main runs the command line and returns the exit status.
func Main(args []string, io Streams) int {
	return MainContext(context.Background(), args, io)
}

// MainContext is [Main] under a context: tests end a command by cancelling it.
func MainContext(ctx context.Context, args []string, io Streams) int {
	io, watch := watched(io)
	waitingFor(io.Err, "waiting for an answer")
	err := newRoot(io).Run(ctx, args)
	watch.end()
	if err == nil {
		return ExitDone
	}
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	if errors.Is(err, context.Canceled) {
		return ExitInterrupted
	}
	printError(io.Err, err)
	var usage *usageError
	if errors.As(err, &usage) {
		return ExitUsage
	}
	return ExitFailed
}

// printError prints an error and, on a line of its own, the next step.
func printError(w io.Writer, err error) {
	fmt.Fprintf(w, "%s %s\n", coloured(w, red, "error:"), strings.ReplaceAll(err.Error(), "\n", "\n       "))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(w, "%s  %s\n", coloured(w, bold, "hint:"), strings.ReplaceAll(hint, "\n", "\n       "))
	}
}

const rootHelp = `A worker for Prefect work pools of type northflank, and the tools around it. Begin
with init in a folder with flows, or with doctor where something is wrong.

Examples:
  prefect-northflank init
  prefect-northflank worker start --pool my-pool
  prefect-northflank doctor --pool my-pool`

func newRoot(io Streams) *cli.Command {
	root := &cli.Command{
		Name:                            "prefect-northflank",
		Usage:                           "run Prefect flow runs as Northflank job runs",
		Description:                     rootHelp,
		Version:                         Version(),
		HideVersion:                     true,
		EnableShellCompletion:           true,
		ConfigureShellCompletionCommand: showCompletion,
		Suggest:                         true,
		Reader:                          io.In,
		Writer:                          io.Out,
		ErrWriter:                       io.Err,
		ExitErrHandler:                  func(context.Context, *cli.Command, error) {}, // Main prints, once
		Commands: []*cli.Command{
			initCommand(io),
			workerCommand(io),
			poolCommand(io),
			credentialsCommand(io),
			webhookCommand(io),
			renderCommand(io),
			validateCommand(io),
			doctorCommand(io),
			runsCommand(io),
			estimateCommand(io),
			plansCommand(io),
			gpusCommand(io),
			regionsCommand(io),
			projectsCommand(io),
			emulatorCommand(io),
			manCommand(io),
			versionCommand(io),
		},
	}
	completeCommand(root)
	return root
}

// completeCommand gives every command of the tree the same manners: usage
// errors are printed once, by [Main], a mistyped subcommand is an error, and
// shells complete flags, their values and arguments.
func completeCommand(cmd *cli.Command) {
	cmd.OnUsageError = onUsageError
	cmd.ShellComplete = suggest
	if cmd.Action == nil {
		cmd.Action = refuseUnknownCommand
	}
	for _, sub := range cmd.Commands {
		completeCommand(sub)
	}
}

func onUsageError(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	hint := "see: " + cmd.FullName() + " --help"
	// The library says which flag only in its text.
	if flag, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); unknown {
		flag = strings.TrimLeft(flag, "-")
		err = fmt.Errorf("%s has no flag --%s", cmd.FullName(), flag)
		if near := cli.SuggestFlag(cmd.Flags, flag, false); near != "" {
			hint = fmt.Sprintf("did you mean %s? All flags: %s --help", near, cmd.FullName())
		}
	}
	return usagef(hint, "%w", err)
}

// refuseUnknownCommand is the action of a command that only groups others: help
// when nothing was asked, an error with the nearest command otherwise.
func refuseUnknownCommand(_ context.Context, cmd *cli.Command) error {
	word := cmd.Args().First()
	if word == "" {
		return cli.ShowSubcommandHelp(cmd)
	}
	hint := "see: " + cmd.FullName() + " --help"
	if near := cli.SuggestCommand(cmd.Commands, word); near != "" {
		hint = fmt.Sprintf("did you mean %q? All commands: %s --help", near, cmd.FullName())
	}
	return usagef(hint, "%s has no command %q", cmd.FullName(), word)
}
