package cli

import "github.com/urfave/cli/v3"

const completionHelp = `Prints a script that completes commands and flags in a shell.

  bash:  source <(prefect-northflank completion bash)    (in ~/.bashrc)
  zsh:   source <(prefect-northflank completion zsh)     (in ~/.zshrc)
  fish:  prefect-northflank completion fish > ~/.config/fish/completions/prefect-northflank.fish`

// showCompletion puts the library's completion command among ours.
func showCompletion(cmd *cli.Command) {
	cmd.Hidden = false
	cmd.Usage = "print a completion script for bash, zsh, fish or pwsh"
	cmd.Description = completionHelp
	completeCommand(cmd)
}
