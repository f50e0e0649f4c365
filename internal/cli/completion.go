package cli

import (
	"context"
	"embed"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

const completionHelp = `Prints a script that completes commands, flags and their values in a shell: work
pools, credentials blocks, projects, deployments and deployment plans, as Prefect
and Northflank have them just then.

Examples:
  source <(prefect-northflank completion bash)    (in ~/.bashrc)
  source <(prefect-northflank completion zsh)     (in ~/.zshrc, after compinit)
  prefect-northflank completion fish > ~/.config/fish/completions/prefect-northflank.fish
  prefect-northflank completion pwsh | Out-String | Invoke-Expression    (in $PROFILE)`

// completionScripts ask the program for candidates, a line each, with a colon
// before the description. Unlike the library's they never evaluate what was typed.
//
//go:embed completions
var completionScripts embed.FS

// showCompletion puts the library's completion command among ours.
func showCompletion(cmd *cli.Command) {
	cmd.Hidden = false
	cmd.Usage = "print a completion script for bash, zsh, fish or pwsh"
	cmd.Description = completionHelp
	for _, shell := range cmd.Commands {
		shell.Usage = "print the script for " + shell.Name
		shell.Action = printCompletion
	}
	completeCommand(cmd)
}

func printCompletion(_ context.Context, cmd *cli.Command) error {
	if err := noArguments(cmd); err != nil {
		return err
	}
	script, err := completionScripts.ReadFile("completions/" + cmd.Name)
	if err != nil {
		return err
	}
	_, err = cmd.Root().Writer.Write(script)
	return err
}

// completionPatience is how long a shell waits for candidates of Prefect or
// Northflank.
const completionPatience = 2 * time.Second

// candidates lists what may stand in a place. Errors are not for a shell that
// completes a word: it gets nothing then.
type candidates func(ctx context.Context, cmd *cli.Command) []string

// suggest answers a shell: with the values of a flag that waits for one, with
// flags, or with subcommands and arguments.
func suggest(ctx context.Context, cmd *cli.Command) {
	out := cmd.Root().Writer
	word := "" // a flag that waits for its value, or the beginning of one
	if args := cmd.Args().Slice(); len(args) > 0 {
		word = args[len(args)-1]
	}
	_, path, _ := strings.Cut(cmd.FullName(), " ")
	switch flag := valueFlag(cmd, word); {
	case flag != nil:
		suggestValues(ctx, cmd, out, valuesOf[flag.Names()[0]])
	case strings.HasPrefix(word, "-"):
		suggestFlags(cmd, out, word)
	default:
		for _, sub := range cmd.VisibleCommands() {
			if sub.Name != "help" { // the library's, in each command
				fmt.Fprintf(out, "%s:%s\n", sub.Name, sub.Usage)
			}
		}
		suggestValues(ctx, cmd, out, argumentsOf[path])
	}
}

// valueFlag is the flag that a word names, if it takes a value; nil otherwise.
func valueFlag(cmd *cli.Command, word string) cli.Flag {
	name := strings.TrimLeft(word, "-")
	if name == word {
		return nil
	}
	for _, flag := range cmd.VisibleFlags() {
		if doc, ok := flag.(cli.DocGenerationFlag); ok && doc.TakesValue() && slices.Contains(flag.Names(), name) {
			return flag
		}
	}
	return nil
}

func suggestFlags(cmd *cli.Command, out io.Writer, word string) {
	for _, flag := range cmd.VisibleFlags() {
		name := "--" + flag.Names()[0]
		if doc, ok := flag.(cli.DocGenerationFlag); ok && strings.HasPrefix(name, word) {
			fmt.Fprintf(out, "%s:%s\n", name, strings.ReplaceAll(doc.GetUsage(), "`", ""))
		}
	}
}

// harmless are the names that are offered. Shells may take others for something
// to carry out, or to split; and a colon ends the name in our answer.
var harmless = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@/+-]*$`)

func suggestValues(ctx context.Context, cmd *cli.Command, out io.Writer, list candidates) {
	if list == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	for _, name := range list(ctx, cmd) {
		if harmless.MatchString(name) {
			fmt.Fprintln(out, name)
		}
	}
}
