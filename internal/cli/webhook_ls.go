package cli

import (
	"context"
	"fmt"
	"net/url"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

const webhookListHelp = `Lists the account's webhooks, those of other programs too. A webhook that
Northflank has disabled gets nothing more: see why its receiver did not answer,
then enable it with webhook create.

Examples:
  prefect-northflank webhook ls --credentials northflank-creds
  prefect-northflank webhook ls --output json`

func webhookListCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "ls",
		Usage:       "list the account's webhooks",
		Description: webhookListHelp,
		Flags:       []cli.Flag{accountFlag(), outputFlag(), profileFlag()},
		Action:      func(ctx context.Context, cmd *cli.Command) error { return listWebhooks(ctx, cmd, io) },
	}
}

// listedWebhook is one webhook as it is shown.
type listedWebhook struct {
	Name     string `json:"name"`
	ID       string `json:"id"`
	URL      string `json:"url"`
	Disabled bool   `json:"disabled"`
	Reason   string `json:"reason,omitempty"`
}

func (w listedWebhook) state() string {
	switch {
	case !w.Disabled:
		return "enabled"
	case w.Reason == "":
		return "disabled"
	}
	return "disabled: " + w.Reason
}

func listWebhooks(ctx context.Context, cmd *cli.Command, io Streams) error {
	asJSON, err := wantsJSON(cmd)
	if err == nil {
		err = noArguments(cmd)
	}
	if err != nil {
		return err
	}
	account, err := northflankAccount(ctx, cmd, io)
	if err != nil {
		return err
	}
	all, err := integrations(ctx, account)
	if err != nil {
		return err
	}
	list := []listedWebhook{}
	for _, n := range all {
		if n.Type == northflank.TypeWebhook {
			list = append(list, listedWebhook{Name: n.Name, ID: n.ID, URL: redacted(n.Webhook), Disabled: n.Disabled, Reason: n.Reason})
		}
	}
	if asJSON {
		return printJSON(io.Out, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(io.Err, "The account has no webhooks. Create one with: prefect-northflank webhook create --url https://...")
		return nil
	}
	rows := [][]string{{"NAME", "URL", "STATE"}}
	for _, w := range list {
		rows = append(rows, []string{w.Name, w.URL, w.state()})
	}
	return printTable(io.Out, rows...)
}

// redacted is an address without a password in it.
func redacted(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "?"
	}
	return u.Redacted()
}

const webhookDeleteHelp = `Deletes a webhook. Workers notice ends without it, only later.

Examples:
  prefect-northflank webhook delete prefect-worker-example-northflank`

func webhookDeleteCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "delete",
		Usage:       "delete a webhook",
		ArgsUsage:   "NAME",
		Description: webhookDeleteHelp,
		Flags:       []cli.Flag{accountFlag(), profileFlag()},
		Action:      func(ctx context.Context, cmd *cli.Command) error { return deleteWebhook(ctx, cmd, io) },
	}
}

func deleteWebhook(ctx context.Context, cmd *cli.Command, io Streams) error {
	name, err := oneArgument(cmd, "the name of the webhook")
	if err != nil {
		return err
	}
	account, err := northflankAccount(ctx, cmd, io)
	if err != nil {
		return err
	}
	all, err := integrations(ctx, account)
	if err != nil {
		return err
	}
	n, found := integrationNamed(all, name)
	switch {
	case !found:
		var names []string
		for _, n := range all {
			if n.Type == northflank.TypeWebhook {
				names = append(names, n.Name)
			}
		}
		return hinted{fmt.Errorf("there is no webhook %q", name), nearest(name, names, "prefect-northflank webhook ls shows them")}
	case n.Type != northflank.TypeWebhook:
		return hinted{
			fmt.Errorf("%q is no webhook, but a notification integration of type %s", n.Name, n.Type),
			"delete it in Northflank, if it is really meant",
		}
	}
	if err := account.DeleteNotification(ctx, n.ID); err != nil {
		return err
	}
	fmt.Fprintf(io.Out, "Deleted webhook %q, which sent to %s.\n", n.Name, redacted(n.Webhook))
	return nil
}
