package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

const credentialsListHelp = `Lists the Northflank credentials blocks in Prefect. Tokens are never shown.

Examples:
  prefect-northflank credentials ls
  prefect-northflank credentials ls --output json`

func credentialsListCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "ls",
		Usage:       "list credentials blocks",
		Description: credentialsListHelp,
		Flags:       []cli.Flag{outputFlag(), profileFlag()},
		Action:      func(ctx context.Context, cmd *cli.Command) error { return listCredentials(ctx, cmd, io) },
	}
}

// listedCredentials is one block as it is shown.
type listedCredentials struct {
	Name    string `json:"name"`
	BaseURL string `json:"base_url"`
	TeamID  string `json:"team_id,omitempty"`
	ID      string `json:"id"`
}

func listCredentials(ctx context.Context, cmd *cli.Command, io Streams) error {
	asJSON, err := wantsJSON(cmd)
	if err == nil {
		err = noArguments(cmd)
	}
	if err != nil {
		return err
	}
	client, _, err := connect(cmd, io)
	if err != nil {
		return err
	}
	saved, err := savedCredentials(ctx, client)
	if err != nil {
		return err
	}
	list := []listedCredentials{}
	for _, name := range slices.Sorted(maps.Keys(saved)) {
		document := saved[name]
		base, _ := document.Data["base_url"].(string)
		if base == "" {
			base = northflank.DefaultBaseURL
		}
		team, _ := document.Data["team_id"].(string)
		list = append(list, listedCredentials{Name: name, BaseURL: base, TeamID: team, ID: document.ID})
	}
	if asJSON {
		return printJSON(io.Out, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(io.Err, "No Northflank credentials are saved. Save some with: prefect-northflank credentials save northflank-creds")
		return nil
	}
	rows := [][]string{{"NAME", "BASE URL", "TEAM"}}
	for _, c := range list {
		rows = append(rows, []string{c.Name, c.BaseURL, c.TeamID})
	}
	return printTable(io.Out, rows...)
}
