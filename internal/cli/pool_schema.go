package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/jobspec"
)

const poolSchemaHelp = `Prints a JSON Schema of prefect.yaml, by which editors complete job variables,
explain them and mark mistakes. NAME is a work pool: the schema then has the job
variables of its base job template, your own included.

An editor finds the schema by a comment in the first line of prefect.yaml:
  # yaml-language-server: $schema=prefect.schema.json

Examples:
  prefect-northflank pool schema > prefect.schema.json
  prefect-northflank pool schema my-pool > prefect.schema.json`

func poolSchemaCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "schema",
		Usage:       "print a JSON Schema of prefect.yaml for editors",
		ArgsUsage:   "[NAME]",
		Description: poolSchemaHelp,
		Flags:       []cli.Flag{profileFlag()},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			schema, err := poolSchema(ctx, cmd, io)
			if err != nil {
				return err
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, schema, "", "  "); err != nil {
				return err
			}
			_, err = fmt.Fprintln(io.Out, indented.String())
			return err
		},
	}
}

func poolSchema(ctx context.Context, cmd *cli.Command, io Streams) (json.RawMessage, error) {
	if cmd.Args().Len() == 0 {
		return jobspec.ProjectSchema(jobspec.BaseJobTemplate())
	}
	name, err := oneArgument(cmd, "the name of a work pool")
	if err != nil {
		return nil, err
	}
	client, _, err := connect(cmd, io)
	if err != nil {
		return nil, err
	}
	pool, err := findPool(ctx, client, name)
	if err != nil {
		return nil, err
	}
	template := pool.BaseJobTemplate
	if isEmptyTemplate(template) {
		template = jobspec.BaseJobTemplate()
	}
	schema, err := jobspec.ProjectSchema(template)
	if err != nil {
		return nil, hinted{
			fmt.Errorf("schema of work pool %q: %w", name, err),
			"mend it on the pool's page, or with: prefect work-pool update " + name + " --base-job-template FILE",
		}
	}
	return schema, nil
}

func isEmptyTemplate(template json.RawMessage) bool {
	var o map[string]json.RawMessage
	return len(template) == 0 || json.Unmarshal(template, &o) == nil && len(o) == 0
}
