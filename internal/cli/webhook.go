package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
)

func webhookCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "webhook",
		Usage:       "let Northflank tell workers of job runs that end",
		Description: "Examples:\n  prefect-northflank webhook create --url https://worker.example/northflank\n  prefect-northflank webhook ls",
		Commands:    []*cli.Command{webhookCreateCommand(io), webhookListCommand(io), webhookDeleteCommand(io)},
	}
}

// accountFlag chooses whose webhooks a command is about.
func accountFlag() cli.Flag {
	return &cli.StringFlag{Name: "credentials", Usage: "`NAME` of a saved credentials block (default: NORTHFLANK_API_TOKEN)", HideDefault: true}
}

// northflankAccount is a client for the account that --credentials names, or
// else the environment.
func northflankAccount(ctx context.Context, cmd *cli.Command, io Streams) (*northflank.Client, error) {
	account := environmentAccount()
	if name := cmd.String("credentials"); name != "" {
		var err error
		if account, err = blockAccount(ctx, cmd, io, name); err != nil {
			return nil, err
		}
	}
	if account.Token.IsZero() {
		return nil, hinted{errors.New("no Northflank API token is set"), "name a saved block with --credentials (prefect-northflank credentials ls), or set NORTHFLANK_API_TOKEN"}
	}
	client, err := northflankClient(account)
	if err != nil {
		return nil, badAccount(cmd.String("credentials"), err)
	}
	if warning := client.Warning(); warning != "" {
		fmt.Fprintf(io.Err, "warning: %s\n", warning)
	}
	return client, nil
}

// northflankClient is a client for an account. Without a token it reads what is
// public.
func northflankClient(account jobspec.Account) (*northflank.Client, error) {
	client, _, err := newAccounts(slog.New(slog.DiscardHandler), false).Client(account.BaseURL, account.TeamID, account.Token)
	return client, err
}

// badAccount says where credentials that cannot be used came from; block "" is
// the environment.
func badAccount(block string, err error) error {
	if block == "" {
		return withHint(err, "correct NORTHFLANK_API_TOKEN or NORTHFLANK_API_BASE_URL")
	}
	return hinted{fmt.Errorf("credentials block %q: %w", block, err), "save it again with: prefect-northflank credentials save " + block + " --overwrite"}
}

// blockAccount is the account of a saved credentials block.
func blockAccount(ctx context.Context, cmd *cli.Command, io Streams, name string) (jobspec.Account, error) {
	client, _, err := connect(cmd, io)
	if err != nil {
		return jobspec.Account{}, err
	}
	return accountOf(ctx, client, name)
}

func accountOf(ctx context.Context, client *prefect.Client, name string) (jobspec.Account, error) {
	document, err := client.BlockByName(ctx, jobspec.BlockTypeSlug, name)
	if errors.Is(err, prefect.ErrNotFound) {
		saved, _ := savedCredentials(ctx, client) // only makes the hint better
		return jobspec.Account{}, hinted{
			fmt.Errorf("there is no Northflank credentials block %q", name),
			nearest(name, slices.Sorted(maps.Keys(saved)), "save one with: prefect-northflank credentials save "+name),
		}
	}
	if err != nil {
		return jobspec.Account{}, err
	}
	field := func(name string) string {
		text, _ := document.Data[name].(string)
		return strings.TrimSpace(text)
	}
	token := field("api_token")
	if err := checkToken(token); err != nil {
		return jobspec.Account{}, badAccount(name, err)
	}
	return jobspec.Account{BaseURL: field("base_url"), TeamID: field("team_id"), Token: secret.New(token)}, nil
}

// integrations lists the account's notification integrations.
func integrations(ctx context.Context, account *northflank.Client) ([]northflank.NotificationIntegration, error) {
	var all []northflank.NotificationIntegration
	for n, err := range account.ListNotifications(ctx) {
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// integrationNamed finds the one that has the name, or its id. Northflank makes
// the id of the name, so names that differ in capitals or spaces are one.
func integrationNamed(all []northflank.NotificationIntegration, name string) (northflank.NotificationIntegration, bool) {
	id := func(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "-") }
	i := slices.IndexFunc(all, func(n northflank.NotificationIntegration) bool { return n.ID == id(name) || id(n.Name) == id(name) })
	if i < 0 {
		return northflank.NotificationIntegration{}, false
	}
	return all[i], true
}
