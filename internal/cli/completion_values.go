package cli

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// valuesOf lists what a flag may have, by its name.
var valuesOf = map[string]candidates{
	"pool":        poolCandidates,
	"credentials": blockCandidates,
	"project":     projectCandidates,
	"deployment":  deploymentCandidates,
	"plan":        planCandidates,
	"output":      formatCandidates,
}

// argumentsOf lists what a command's arguments may be, by its name.
var argumentsOf = map[string]candidates{
	"pool schema":      poolCandidates,
	"pool upgrade":     poolCandidates,
	"credentials save": blockCandidates,
	"webhook delete":   webhookCandidates,
	"runs logs":        flowRunCandidates,
	"runs cancel":      flowRunCandidates,
}

// silent are streams of a command that must not be heard.
func silent() Streams { return Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard} }

// namesFrom are the names that something of a list goes by, as far as it can be
// read.
func namesFrom[T any](list func(func(T, error) bool), name func(T) string) []string {
	var names []string
	for item, err := range list {
		if err != nil {
			break
		}
		names = append(names, name(item))
	}
	return names
}

func formatCandidates(_ context.Context, cmd *cli.Command) []string {
	if cmd.Name == "validate" {
		return []string{"text", "json", "sarif"}
	}
	return []string{"text", "json"}
}

func poolCandidates(ctx context.Context, cmd *cli.Command) []string {
	client, _, err := connect(cmd, silent())
	if err != nil {
		return nil
	}
	pools, _ := client.WorkPools(ctx) // none: nothing to offer
	var names []string
	for _, p := range pools {
		if p.Type == worker.Type {
			names = append(names, p.Name)
		}
	}
	return names
}

func blockCandidates(ctx context.Context, cmd *cli.Command) []string {
	client, _, err := connect(cmd, silent())
	if err != nil {
		return nil
	}
	saved, _ := savedCredentials(ctx, client) // none: nothing to offer
	return slices.Sorted(maps.Keys(saved))
}

func deploymentCandidates(ctx context.Context, cmd *cli.Command) []string {
	client, _, err := connect(cmd, silent())
	if err != nil {
		return nil
	}
	names, _ := client.DeploymentNames(ctx) // none: nothing to offer
	return names
}

// flowRunCandidates are the flow runs that are under way.
func flowRunCandidates(ctx context.Context, cmd *cli.Command) []string {
	client, _, err := connect(cmd, silent())
	if err != nil {
		return nil
	}
	pool, err := onlyPool(ctx, client, cmd.String("pool"))
	if err != nil {
		return nil
	}
	const most = 200 // one request
	var names []string
	filter := prefect.FlowRunFilter{WorkPool: pool.Name, StateTypes: []prefect.StateType{prefect.StatePending, prefect.StateRunning, prefect.StateCancelling}}
	for fr, err := range client.FlowRuns(ctx, filter) {
		if err != nil || len(names) == most {
			break
		}
		names = append(names, fr.Name)
	}
	return names
}

func projectCandidates(ctx context.Context, cmd *cli.Command) []string {
	account, err := northflankAccount(ctx, cmd, silent())
	if err != nil {
		return nil
	}
	return namesFrom(account.ListProjects(ctx), func(p northflank.ListedProject) string { return p.ID })
}

func webhookCandidates(ctx context.Context, cmd *cli.Command) []string {
	account, err := northflankAccount(ctx, cmd, silent())
	if err != nil {
		return nil
	}
	return namesFrom(account.ListNotifications(ctx), func(n northflank.NotificationIntegration) string { return n.ID })
}

func planCandidates(ctx context.Context, cmd *cli.Command) []string {
	account := environmentAccount()
	client, err := northflankClient(account)
	if err != nil {
		return nil
	}
	plans, _ := client.Plans(ctx) // none: nothing to offer
	names := make([]string, len(plans))
	for i, p := range plans {
		names[i] = p.ID
	}
	return names
}
