package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

func credentialsCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "credentials",
		Usage:       "keep Northflank API tokens in Prefect",
		Description: "Examples:\n  prefect-northflank credentials save northflank-creds\n  prefect-northflank credentials ls",
		Commands:    []*cli.Command{credentialsSaveCommand(io), credentialsListCommand(io)},
	}
}

const credentialsSaveHelp = `Saves a Northflank API token as a Northflank credentials block in Prefect, as
the Python class does. The token is asked for, or read from standard input when
that is not a terminal. It is never an argument: arguments are visible to other
users of the machine and stay in the shell's history.

With --overwrite a saved block gets the new token; its base URL and team stay
unless they are given.

Examples:
  prefect-northflank credentials save northflank-creds
  prefect-northflank credentials save northflank-creds --overwrite < token.txt
  prefect-northflank credentials save local --base-url http://127.0.0.1:4280`

func credentialsSaveCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "save",
		Usage:       "save an API token as a credentials block",
		ArgsUsage:   "NAME",
		Description: credentialsSaveHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "base-url", Usage: "`ADDRESS` of the Northflank API (default: " + northflank.DefaultBaseURL + ")"},
			&cli.StringFlag{Name: "team-id", Usage: "`ID` of the team; only an organisation's token needs it"},
			&cli.BoolFlag{Name: "overwrite", Usage: "replace the token of a block that exists"},
			// People try these; they are here to say why not.
			&cli.StringFlag{Name: "token", Aliases: []string{"api-token"}, Hidden: true},
			profileFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return saveCredentials(ctx, cmd, io) },
	}
}

func saveCredentials(ctx context.Context, cmd *cli.Command, io Streams) error {
	name, err := credentialsName(cmd)
	if err != nil {
		return err
	}
	data, err := credentialsData(cmd, io)
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
	if _, exists := saved[name]; !exists {
		data["base_url"] = cmp.Or(data["base_url"], any(northflank.DefaultBaseURL))
	} else if !cmd.Bool("overwrite") {
		return hinted{
			fmt.Errorf("credentials block %q exists already", name),
			"choose another name, or replace its token with: prefect-northflank credentials save " + name + " --overwrite",
		}
	}
	token, err := readToken(ctx, io)
	if err != nil {
		return err
	}
	data["api_token"] = token.Reveal()
	if _, err := client.SaveBlock(ctx, northflankBlock(), name, data); err != nil {
		return err
	}
	fmt.Fprintf(io.Out, "Saved credentials block %q.\n\nUse it in a new work pool:\n  prefect-northflank pool create my-pool --credentials %s\n"+
		"or in a deployment's job variables:\n  credentials_block: %s\n", name, name, name)
	return nil
}

// blockName is what Prefect takes as the name of a block document.
var blockName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// tokenLike are arguments that may be tokens: JSON web tokens, which Northflank's
// are, and long runs of letters and digits.
var tokenLike = regexp.MustCompile(`^eyJ|^nf-[A-Za-z0-9_-]{16,}$|[A-Za-z0-9_]{24,}`)

// credentialsName reads the block's name. What may be a token is not repeated.
func credentialsName(cmd *cli.Command) (string, error) {
	const howTo = "run prefect-northflank credentials save NAME and paste the token when asked, or pipe it into the command"
	for _, arg := range append(cmd.Args().Slice(), cmd.String("token")) {
		if arg != "" && (tokenLike.MatchString(arg) || arg == cmd.String("token")) {
			return "", usagef(howTo, "a token must not be an argument: other users of this machine can read it, and it stays in the shell's history")
		}
	}
	name, err := oneArgument(cmd, "the name of the block")
	if err == nil && !blockName.MatchString(name) {
		return "", badBlockName(name)
	}
	return name, err
}

func badBlockName(name string) error {
	return usagef("for example northflank-creds", "block name %q: Prefect takes lower-case letters, digits and hyphens", name)
}

// credentialsData reads what the flags say of the block; what they do not say is
// absent.
func credentialsData(cmd *cli.Command, io Streams) (map[string]any, error) {
	data := map[string]any{}
	if address := cmd.String("base-url"); address != "" {
		account, err := northflank.New(northflank.Options{BaseURL: address})
		if err != nil {
			return nil, usagef("for example --base-url "+northflank.DefaultBaseURL, "--base-url: %w", err)
		}
		if warning := account.Warning(); warning != "" {
			fmt.Fprintf(io.Err, "warning: %s\n", warning)
		}
		data["base_url"] = account.BaseURL()
	}
	if team := cmd.String("team-id"); team != "" {
		if v, _ := jobspec.Lookup("team_id"); !v.Pattern.MatchString(team) {
			return nil, usagef("for example --team-id "+v.Example, "--team-id %q: it must be %s", team, v.Constraint)
		}
		data["team_id"] = team
	}
	return data, nil
}

// checkToken refuses what no token is. The text is not shown.
func checkToken(token string) error {
	const copyAgain = "copy the token from Northflank again: Account settings > API > Tokens"
	switch {
	case token == "":
		return hinted{errors.New("the API token is empty"), copyAgain}
	case strings.Trim(token, "*") == "":
		return hinted{errors.New("that is the asterisks that Prefect shows in place of a token"), copyAgain}
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return hinted{errors.New("the API token has spaces, line breaks or other characters that no token has"), copyAgain}
	}
	return nil
}

// northflankBlock is the block type and its newest schema.
func northflankBlock() prefect.BlockDefinition {
	return prefect.BlockDefinition{
		Type:   prefect.BlockTypeDefinition(jobspec.BlockType()),
		Schema: prefect.BlockSchemaDefinition{Fields: jobspec.BlockSchemaFields(true), Version: jobspec.BlockSchemaVersion},
	}
}

// savedCredentials lists the Northflank blocks by name, tokens masked.
func savedCredentials(ctx context.Context, client *prefect.Client) (map[string]prefect.BlockDocument, error) {
	documents, err := client.BlockDocuments(ctx, jobspec.BlockTypeSlug)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]prefect.BlockDocument, len(documents))
	for _, d := range documents {
		byName[d.Name] = d
	}
	return byName, nil
}
