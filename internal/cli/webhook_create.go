package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/webhook"
)

// secretVariable holds the webhook's secret, for this command and for workers.
const secretVariable = "NORTHFLANK_WEBHOOK_SECRET"

const webhookCreateHelp = `Creates a webhook: Northflank then tells a worker at once when a job run ends.
If there is one of this name, it is brought up to date and enabled; repeating
the command is safe.

The secret that proves notifications to be Northflank's is read from
NORTHFLANK_WEBHOOK_SECRET or --secret-file. Without either, a new webhook gets a
generated one, which is printed once, and an existing one keeps its own.

Examples:
  prefect-northflank webhook create --url https://worker.example/northflank --credentials northflank-creds
  prefect-northflank webhook create --url https://worker.example/northflank --project my-project --secret-file secret.txt`

func webhookCreateCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "create",
		Usage:       "create a webhook, or bring one up to date",
		Description: webhookCreateHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "url", Usage: "public https `ADDRESS` at which Northflank reaches the worker (required)"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the webhook (default: made from the address)"},
			&cli.StringSliceFlag{Name: "project", Usage: "tell of job runs of this project `ID` only; repeatable (default: all)"},
			&cli.StringFlag{Name: "secret-file", Usage: "`FILE` that holds the secret"},
			// People try it; it is here to say why not.
			&cli.StringFlag{Name: "secret", Hidden: true},
			accountFlag(), profileFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return createWebhook(ctx, cmd, io) },
	}
}

func createWebhook(ctx context.Context, cmd *cli.Command, io Streams) error {
	wanted, err := webhookRequest(cmd)
	if err != nil {
		return err
	}
	account, err := northflankAccount(ctx, cmd, io)
	if err != nil {
		return err
	}
	if base, err := url.Parse(account.BaseURL()); err == nil && onThisMachine(wanted.Webhook) && !loopbackHost(base.Hostname()) {
		fmt.Fprintf(io.Err, "warning: %s is an address of this machine, which Northflank cannot reach\n", wanted.Webhook)
	}
	all, err := integrations(ctx, account)
	if err != nil {
		return err
	}
	if existing, found := integrationNamed(all, wanted.Name); found {
		return updateWebhook(ctx, account, existing, wanted, io)
	}
	generated := wanted.Secret.IsZero()
	if generated {
		wanted.Secret = newSecret()
	}
	if _, err = account.CreateNotification(ctx, wanted); err != nil {
		if err = settleCreate(ctx, account, wanted, err); err != nil {
			return err
		}
	}
	fmt.Fprintf(io.Out, "Created webhook %q: Northflank tells of job runs of %s to\n%s\n\n", wanted.Name, ofProjects(wanted.Projects), wanted.Webhook)
	export := ""
	if generated {
		fmt.Fprintln(io.Out, "Start the worker with its secret, which is not shown again:")
		export = fmt.Sprintf("  export %s=%s\n", secretVariable, wanted.Secret.Reveal())
	} else {
		fmt.Fprintf(io.Out, "Start the worker with the same secret in %s:\n", secretVariable)
	}
	fmt.Fprintf(io.Out, "%s  prefect-northflank worker start --pool my-pool --webhook-listen 127.0.0.1:8080 --webhook-url %s\n", export, wanted.Webhook)
	return nil
}

// settleCreate deals with a create that ended with an error and may have
// happened all the same: it gives the one that is there what was wanted.
func settleCreate(ctx context.Context, account *northflank.Client, wanted northflank.NotificationRequest, err error) error {
	if !northflank.MayHaveHappened(err) {
		return err
	}
	all, _ := integrations(ctx, account)
	made, found := integrationNamed(all, wanted.Name)
	if !found || made.Webhook != wanted.Webhook {
		return err
	}
	return account.UpdateNotification(ctx, made.ID, wanted)
}

// updateWebhook brings an integration of the same name up to date, if it is ours.
func updateWebhook(ctx context.Context, account *northflank.Client, existing northflank.NotificationIntegration, wanted northflank.NotificationRequest, io Streams) error {
	existing, err := account.GetNotification(ctx, existing.ID)
	if err != nil {
		return err
	}
	if !isOurs(existing, wanted.Webhook) {
		return hinted{
			fmt.Errorf("there is a notification integration %q that is not a worker's: it is of type %s and sends to %s", existing.Name, existing.Type, redacted(existing.Webhook)),
			"choose another name with --name",
		}
	}
	if err := account.UpdateNotification(ctx, existing.ID, wanted); err != nil {
		return err
	}
	fmt.Fprintf(io.Out, "Updated webhook %q: Northflank tells of job runs of %s to\n%s\n\n", wanted.Name, ofProjects(wanted.Projects), wanted.Webhook)
	if wanted.Secret.IsZero() {
		fmt.Fprintln(io.Out, "Its secret stayed as it was; --secret-file replaces it.")
	} else {
		fmt.Fprintf(io.Out, "It has the secret that was given: workers need the same in %s.\n", secretVariable)
	}
	if !existing.Disabled {
		return nil
	}
	after, err := account.GetNotification(ctx, existing.ID)
	if err == nil && after.Disabled {
		err = hinted{fmt.Errorf("webhook %q is still disabled", wanted.Name), "enable it in Northflank, or delete it and create it again: prefect-northflank webhook delete " + existing.ID}
	}
	return err
}

// isOurs reports whether an integration is one that this command made: it sends
// to the same address, or is told of exactly what ours are told of.
func isOurs(n northflank.NotificationIntegration, address string) bool {
	return n.Type == northflank.TypeWebhook &&
		(n.Webhook == address || slices.Equal(n.Events, slices.Sorted(maps.Keys(webhook.Events()))))
}

func ofProjects(projects []string) string {
	switch len(projects) {
	case 0:
		return "all projects"
	case 1:
		return "project " + projects[0]
	}
	return "projects " + strings.Join(projects, ", ")
}

// webhookRequest reads what the flags and the environment say.
func webhookRequest(cmd *cli.Command) (northflank.NotificationRequest, error) {
	var request northflank.NotificationRequest
	if err := noArguments(cmd); err != nil {
		return request, err
	}
	address, err := webhookAddress("--url", cmd.String("url"))
	if err != nil {
		return request, err
	}
	name := cmd.String("name")
	if name == "" {
		name = webhookName(address)
	} else if len(name) < 3 || len(name) > maxWebhookName || !integrationName.MatchString(name) {
		return request, usagef("for example --name prefect-worker",
			"--name %q: it must be 3 to %d letters, digits, single hyphens and spaces, beginning with a letter", name, maxWebhookName)
	}
	project, _ := jobspec.Lookup("project_id")
	for _, id := range cmd.StringSlice("project") {
		if !project.Pattern.MatchString(id) {
			return request, usagef("for example --project my-project", "--project %q: it must be %s", id, project.Constraint)
		}
	}
	given, err := givenSecret(cmd)
	return northflank.NotificationRequest{
		Name: name, Webhook: address.String(), Secret: given, Projects: cmd.StringSlice("project"), Events: webhook.Events(),
	}, err
}

// webhookAddress checks the address. One with a password in it is not repeated.
func webhookAddress(flag, text string) (*url.URL, error) {
	example := "for example " + flag + " https://worker.example/northflank"
	if text == "" {
		return nil, usagef(example, "%s is missing: the address at which Northflank reaches the worker", flag)
	}
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil:
		return nil, usagef(example, "%s has a user name or password in it: the webhook's secret takes their place", flag)
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.Fragment != "":
		return nil, usagef(example, "%s %q is not an address of the form https://host/path", flag, text)
	case u.Scheme == "http" && !loopbackHost(u.Hostname()):
		return nil, usagef("put the worker behind a proxy with a certificate, see docs/how-to/use-webhooks.md", "%s %s: Northflank would send the secret unencrypted", flag, text)
	}
	return u, nil
}

func onThisMachine(address string) bool {
	u, err := url.Parse(address)
	return err == nil && loopbackHost(u.Hostname())
}

func loopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}

// Northflank docs: 3 to 39 characters of this form.
var integrationName = regexp.MustCompile(`^[a-zA-Z]([- ]?[a-zA-Z0-9]+([- ][a-zA-Z0-9]+)*)?$`)

const maxWebhookName = 39

// webhookName makes a name of an address, so that workers at other addresses
// have webhooks of their own.
func webhookName(u *url.URL) string {
	words := strings.FieldsFunc(strings.ToLower(u.Host+u.Path), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	name := "prefect-" + strings.Join(words, "-")
	if len(words) > 0 && len(name) <= maxWebhookName {
		return name
	}
	sum := sha256.Sum256([]byte(strings.ToLower(u.Host) + u.Path))
	return strings.TrimRight(name[:min(len(name), maxWebhookName-9)], "-") + "-" + hex.EncodeToString(sum[:4])
}

// givenSecret reads the secret of --secret-file or the environment; the zero
// value is none.
func givenSecret(cmd *cli.Command) (secret.Value, error) {
	const generate = "make one, for example: openssl rand -hex 32"
	if cmd.String("secret") != "" {
		return secret.Value{}, usagef("put it into a file and name that with --secret-file, or into "+secretVariable,
			"a secret must not be an argument: other users of this machine can read it, and it stays in the shell's history")
	}
	given, from := os.Getenv(secretVariable), secretVariable
	if path := cmd.String("secret-file"); path != "" {
		text, err := readSecretFile(path)
		if err != nil {
			return secret.Value{}, withHint(err, "give the path of a file that holds the secret and nothing else")
		}
		given, from = text, path
	} else if given == "" {
		return secret.Value{}, nil
	}
	value := secret.New(given)
	if err := webhook.CheckSecret(value); err != nil {
		return secret.Value{}, hinted{fmt.Errorf("%s: %w", from, err), generate}
	}
	return value, nil
}

func readSecretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenBytes+1))
	if err == nil && len(text) > maxTokenBytes {
		err = errors.New(path + " is too large for a secret")
	}
	return string(bytes.TrimSpace(text)), err
}

// newSecret draws 256 bits.
func newSecret() secret.Value {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return secret.New(hex.EncodeToString(b[:]))
}
