package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/worker"
)

func poolCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "pool",
		Usage:       "create and upgrade work pools",
		Description: "Examples:\n  prefect-northflank pool create my-pool --project my-project\n  prefect-northflank pool upgrade my-pool --dry-run",
		Commands:    []*cli.Command{poolCreateCommand(io), poolTemplateCommand(io), poolSchemaCommand(io), poolUpgradeCommand(io)},
	}
}

const poolCreateHelp = `Creates a work pool of type northflank, ready for a worker.

--credentials names a saved credentials block. The pool keeps a reference to it,
so that no deployment needs to hold the token: leave credentials out of
prefect.yaml then. --project spares deployments their project_id.

Examples:
  prefect-northflank pool create my-pool
  prefect-northflank pool create my-pool --credentials northflank-creds --project my-project`

func poolCreateCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "create",
		Usage:       "create a work pool of type northflank",
		ArgsUsage:   "NAME",
		Description: poolCreateHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "credentials", Usage: "saved credentials `BLOCK` that flow runs of the pool use"},
			&cli.StringFlag{Name: "project", Usage: "`ID` of the Northflank project that flow runs of the pool use"},
			&cli.StringFlag{Name: "base-job-template", Usage: "`FILE` with another base job template than the default"},
			&cli.BoolFlag{Name: "paused", Usage: "create the pool paused"},
			&cli.BoolFlag{Name: "if-not-exists", Usage: "leave a pool of this name and type as it is, without an error"},
			profileFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return createPool(ctx, cmd, io) },
	}
}

func createPool(ctx context.Context, cmd *cli.Command, io Streams) error {
	name, err := oneArgument(cmd, "the name of the work pool")
	if err != nil {
		return err
	}
	if err := checkProject(cmd.String("project")); err != nil {
		return err
	}
	client, _, err := connect(cmd, io)
	if err != nil {
		return err
	}
	err = createWorkPool(ctx, client, name, newPool{
		template: cmd.String("base-job-template"), project: cmd.String("project"), block: cmd.String("credentials"), paused: cmd.Bool("paused"),
	})
	switch {
	case errors.Is(err, prefect.ErrConflict):
		return poolExists(ctx, client, cmd, name, io)
	case err != nil:
		return err
	}
	tellCreated(cmd, name, io)
	return nil
}

// checkProject refuses what no project's id is; "" is none.
func checkProject(project string) error {
	if v, _ := jobspec.Lookup("project_id"); project != "" && !v.Pattern.MatchString(project) {
		return usagef("for example my-project", "--project %q: it must be %s", project, v.Constraint)
	}
	return nil
}

// newPool is what is said of a work pool that is to be created.
type newPool struct {
	template string // a file; "": our own
	project  string
	block    string // of credentials
	paused   bool
}

// createWorkPool creates a work pool of our type; prefect.ErrConflict when the
// name is taken.
func createWorkPool(ctx context.Context, client *prefect.Client, name string, pool newPool) error {
	template, err := newTemplate(ctx, client, pool)
	if err != nil {
		return err
	}
	create := client.CreateWorkPool
	if pool.paused {
		create = client.CreatePausedWorkPool
	}
	_, err = create(ctx, name, worker.Type, template)
	if errors.Is(err, prefect.ErrForbidden) && strings.HasPrefix(strings.ToLower(name), "prefect") {
		return hinted{err, `choose another name: Prefect keeps those that begin with "prefect" to itself`}
	}
	return err
}

const addVariable = "add it to the file; pool template prints one that has every job variable"

// newTemplate is the base job template with what is put into it.
func newTemplate(ctx context.Context, client *prefect.Client, pool newPool) (json.RawMessage, error) {
	template := jobspec.BaseJobTemplate()
	if pool.template != "" {
		var err error
		if template, err = readJSONObject(pool.template); err != nil {
			return nil, err
		}
	}
	if pool.project != "" {
		var err error
		if template, err = jobspec.WithDefault(template, "project_id", pool.project); err != nil {
			return nil, withHint(fmt.Errorf("--project: %w", err), addVariable)
		}
	}
	name := pool.block
	if name == "" {
		return template, nil
	}
	saved, err := savedCredentials(ctx, client)
	if err != nil {
		return nil, err
	}
	document, ok := saved[name]
	if !ok {
		return nil, hinted{
			fmt.Errorf("there is no Northflank credentials block %q", name),
			nearest(name, slices.Sorted(maps.Keys(saved)), "save one with: prefect-northflank credentials save "+name),
		}
	}
	if template, err = jobspec.WithCredentialsDefault(template, document.ID); err != nil {
		return nil, withHint(fmt.Errorf("--credentials: %w", err), addVariable)
	}
	return template, nil
}

// poolExists deals with a name that is taken.
func poolExists(ctx context.Context, client *prefect.Client, cmd *cli.Command, name string, io Streams) error {
	pool, err := client.WorkPool(ctx, name)
	if err != nil {
		return err
	}
	if err := checkPoolType(pool); err != nil {
		return err
	}
	if cmd.Bool("if-not-exists") {
		fmt.Fprintf(io.Out, "Work pool %q exists already and was left as it is.\n", name)
		return nil
	}
	return hinted{
		fmt.Errorf("work pool %q exists already", name),
		"bring its base job template up to date with: prefect-northflank pool upgrade " + name,
	}
}

func tellCreated(cmd *cli.Command, name string, io Streams) {
	state := ""
	if cmd.Bool("paused") {
		state = ", paused"
	}
	fmt.Fprintf(io.Out, "Created work pool %q of type %s%s.\n", name, worker.Type, state)
	if block := cmd.String("credentials"); block != "" {
		fmt.Fprintf(io.Out, "Its flow runs use credentials block %q: leave credentials out of prefect.yaml.\n", block)
	}
	if project := cmd.String("project"); project != "" {
		fmt.Fprintf(io.Out, "Its flow runs use project %q: leave project_id out of prefect.yaml.\n", project)
	}
	fmt.Fprintf(io.Out, "\nStart a worker:\n  prefect-northflank worker start --pool %s\n", name)
}

const poolTemplateHelp = `Prints the base job template of new work pools, to be edited and given to
pool create --base-job-template. It holds every job variable with its type,
default and description.

Examples:
  prefect-northflank pool template
  prefect-northflank pool template > template.json`

func poolTemplateCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "template",
		Usage:       "print the base job template of new work pools",
		Description: poolTemplateHelp,
		Action: func(_ context.Context, cmd *cli.Command) error {
			if err := noArguments(cmd); err != nil {
				return err
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, jobspec.BaseJobTemplate(), "", "  "); err != nil {
				return err
			}
			_, err := fmt.Fprintln(io.Out, indented.String())
			return err
		},
	}
}

const poolUpgradeHelp = `Brings the base job template of a work pool up to date, one made for
prefect-northflank 1.0.1 for example: adds job variables that came since and lets
references to credentials blocks pass Prefect's validation. Edited defaults and
descriptions, job variables of your own and values written into
job_configuration stay. Names the deployments of the pool that hold the API token
in clear.

Examples:
  prefect-northflank pool upgrade my-pool --dry-run
  prefect-northflank pool upgrade my-pool`

func poolUpgradeCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "upgrade",
		Usage:       "bring a work pool's base job template up to date",
		ArgsUsage:   "NAME",
		Description: poolUpgradeHelp,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "show what would change and leave the pool as it is"},
			profileFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return upgradePool(ctx, cmd, io) },
	}
}

func upgradePool(ctx context.Context, cmd *cli.Command, io Streams) error {
	name, err := oneArgument(cmd, "the name of the work pool")
	if err != nil {
		return err
	}
	client, _, err := connect(cmd, io)
	if err != nil {
		return err
	}
	pool, err := findPool(ctx, client, name)
	if err != nil {
		return err
	}
	template, changes, err := jobspec.UpgradeTemplate(pool.BaseJobTemplate)
	if err != nil {
		return hinted{
			fmt.Errorf("upgrade work pool %q: %w", name, err),
			"mend it on the pool's page, or with: prefect work-pool update " + name + " --base-job-template FILE",
		}
	}
	if len(changes) == 0 {
		fmt.Fprintf(io.Out, "Work pool %q is up to date.\n", name)
		return warnOfTokens(ctx, client, pool, io)
	}
	title := "Upgraded work pool %q:\n"
	if cmd.Bool("dry-run") {
		title = "Work pool %q would change (--dry-run, nothing was done):\n"
	} else if err := client.UpdateWorkPoolTemplate(ctx, name, template); err != nil {
		return err
	}
	fmt.Fprintf(io.Out, title, name)
	for _, change := range changes {
		fmt.Fprintf(io.Out, "  - %s\n", change)
	}
	if !cmd.Bool("dry-run") {
		pool.BaseJobTemplate = template
	}
	return warnOfTokens(ctx, client, pool, io)
}

// warnOfTokens names the deployments of the pool that hold the API token in
// clear.
func warnOfTokens(ctx context.Context, client *prefect.Client, pool prefect.WorkPool, io Streams) error {
	var holders []string
	for deployment, err := range client.Deployments(ctx, pool.Name) {
		if err != nil {
			return err
		}
		if !worker.HoldsToken(deployment.JobVariables) {
			continue
		}
		flow, err := client.Flow(ctx, deployment.FlowID)
		if err != nil {
			return err
		}
		holders = append(holders, flow.Name+"/"+deployment.Name)
	}
	if len(holders) == 0 {
		return nil
	}
	fmt.Fprintf(io.Err, "warning: the API token is stored in clear in the job variables of these deployments, where prefect deploy put it in the place of the block:\n")
	for _, holder := range holders {
		fmt.Fprintf(io.Err, "  - %s\n", holder)
	}
	fmt.Fprintf(io.Err, "hint:  %s\n", worker.WithoutToken(pool))
	return nil
}
