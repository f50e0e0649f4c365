package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/worker"
)

const runsHelp = `Lists the flow runs of a work pool that are under way, wait though they are due,
or ended lately, each with its job run in Northflank. A flow run is looked at
once; flow runs of one job share a request, and no list costs more than 20 of
the account's requests.

Examples:
  prefect-northflank runs --pool my-pool
  prefect-northflank runs --pool my-pool --since 24h --limit 200 --output json`

// lookRequests is how many requests to Northflank a list costs at most.
const lookRequests = 20

func runsCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "runs",
		Usage:       "list flow runs with their job runs, read their output, cancel them",
		Description: runsHelp,
		Flags: []cli.Flag{
			poolFlag("work `POOL` to list (default: the only one of type northflank)"),
			&cli.DurationFlag{Name: "since", Usage: "list those that ended within `TIME`, such as 30m (default: 1h)", Value: time.Hour, HideDefault: true, Local: true},
			&cli.IntFlag{Name: "limit", Aliases: []string{"l"}, Usage: "list `N` flow runs at most, those under way first", Value: 50, Local: true},
			outputFlag(), profileFlag(),
		},
		Action:   func(ctx context.Context, cmd *cli.Command) error { return listRuns(ctx, cmd, io) },
		Commands: []*cli.Command{runsLogsCommand(io), runsCancelCommand(io)},
	}
}

func poolFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: usage, Local: true}
}

func listRuns(ctx context.Context, cmd *cli.Command, io Streams) error {
	if cmd.Args().Len() > 0 {
		return refuseUnknownCommand(ctx, cmd)
	}
	asJSON, err := wantsJSON(cmd)
	if err != nil {
		return err
	}
	since, limit := cmd.Duration("since"), cmd.Int("limit")
	if since < 0 {
		return usagef("for example --since 24h", "--since %s is in the future", since)
	}
	if limit < 1 {
		return usagef("for example --limit 200", "--limit %d lists nothing", limit)
	}
	inspector, err := newInspector(cmd, io)
	if err != nil {
		return err
	}
	if inspector.Pool, err = onlyPool(ctx, inspector.Preparer.Prefect, cmd.String("pool")); err != nil {
		return err
	}
	now := time.Now()
	flowRuns, err := recentFlowRuns(ctx, inspector, now, since, limit)
	if err != nil {
		return err
	}
	sights, errs := inspector.Look(ctx, flowRuns, lookRequests)
	for _, err := range errs {
		warn(io, err)
	}
	list := make([]listedRun, len(flowRuns))
	for i, fr := range flowRuns {
		list[i] = newListedRun(fr, sights[i])
	}
	if asJSON {
		return printJSON(io.Out, list)
	}
	return printRuns(io, list, inspector.Pool.Name, now, since, limit)
}

// warn tells of an error that is no reason to stop.
func warn(io Streams, err error) {
	fmt.Fprintf(io.Err, "%s %s\n", coloured(io.Err, yellow, "warning:"), err)
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(io.Err, "%s    %s\n", coloured(io.Err, bold, "hint:"), hint)
	}
}

// newInspector connects to Prefect and to whatever Northflank account the flow
// runs are in.
func newInspector(cmd *cli.Command, io Streams) (*worker.Inspector, error) {
	client, settings, err := connect(cmd, io)
	if err != nil {
		return nil, err
	}
	return &worker.Inspector{
		Preparer: &worker.Preparer{
			Prefect: client, SettingsEnv: settings.Environment(), Account: environmentAccount(), Secrets: settings.Secrets(),
		},
		Accounts: newAccounts(slog.New(slog.DiscardHandler), false),
	}, nil
}

// onlyPool reads the named pool, or without a name the only one of our type.
func onlyPool(ctx context.Context, client *prefect.Client, name string) (prefect.WorkPool, error) {
	if name != "" {
		return findPool(ctx, client, name)
	}
	pools, err := client.WorkPools(ctx)
	if err != nil {
		return prefect.WorkPool{}, err
	}
	pools = slices.DeleteFunc(pools, func(p prefect.WorkPool) bool { return p.Type != worker.Type })
	switch len(pools) {
	case 1:
		return pools[0], nil
	case 0:
		return prefect.WorkPool{}, hinted{
			fmt.Errorf("there is no work pool of type %s", worker.Type),
			"create one with: prefect-northflank pool create my-pool",
		}
	}
	names := make([]string, len(pools))
	for i, p := range pools {
		names[i] = p.Name
	}
	return prefect.WorkPool{}, usagef("the pools are "+shortList(names), "there are %d work pools of type %s: name one with --pool", len(pools), worker.Type)
}

// shortList joins names and leaves out all after the fifth.
func shortList(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d others", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// recentFlowRuns reads what is to be listed: those under way, those that wait
// though they are due, and those that ended lately; the youngest first of each.
func recentFlowRuns(ctx context.Context, i *worker.Inspector, now time.Time, since time.Duration, limit int) ([]prefect.FlowRun, error) {
	var all []prefect.FlowRun
	seen := map[string]bool{} // one may have moved on meanwhile
	for _, filter := range []prefect.FlowRunFilter{
		{StateTypes: []prefect.StateType{prefect.StatePending, prefect.StateRunning, prefect.StateCancelling, prefect.StatePaused}},
		{StateTypes: []prefect.StateType{prefect.StateScheduled}, DueBefore: now},
		{EndedAfter: now.Add(-since)},
	} {
		filter.WorkPool = i.Pool.Name
		for fr, err := range i.Preparer.Prefect.FlowRuns(ctx, filter) {
			if err != nil {
				return nil, err
			}
			if len(all) == limit {
				return all, nil
			}
			if !seen[fr.ID] {
				seen[fr.ID] = true
				all = append(all, fr)
			}
		}
	}
	return all, nil
}

// listedRun is one flow run as it is shown.
type listedRun struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"`
	State      listedState `json:"state"`
	Worker     string      `json:"worker,omitempty"`
	Northflank *listedJob  `json:"northflank"` // null: Northflank was not asked for anything
}

type listedState struct {
	Type    prefect.StateType `json:"type"`
	Name    string            `json:"name"`
	Message string            `json:"message"`
	Since   time.Time         `json:"since"`
}

type listedJob struct {
	API         string    `json:"api,omitempty"`
	Team        string    `json:"team,omitempty"`
	Project     string    `json:"project,omitempty"`
	Job         string    `json:"job"`
	JobRun      string    `json:"job_run,omitempty"`
	Status      string    `json:"status"` // in Northflank's words, or one of those below
	StartedAt   time.Time `json:"started_at,omitzero"`
	ConcludedAt time.Time `json:"concluded_at,omitzero"`
}

// Statuses of a job run besides Northflank's own.
const (
	statusUnconfirmed = "UNCONFIRMED" // it was asked for, and whether it exists is not known
	statusDeleted     = "DELETED"     // Northflank does not know it any more
	statusUnknown     = "UNKNOWN"     // it was not looked at
)

func newListedRun(fr prefect.FlowRun, sight worker.Sight) listedRun {
	r := listedRun{ID: fr.ID, Name: fr.Name, State: listedState{Type: fr.StateType, Name: fr.StateName}, Worker: sight.Worker}
	if fr.State != nil {
		r.State.Message, r.State.Since = fr.State.Message, fr.State.Timestamp
	}
	if sight.Job == "" {
		return r
	}
	r.Northflank = &listedJob{
		API: sight.API, Team: sight.Team, Project: sight.Project, Job: sight.Job, JobRun: sight.JobRun, Status: statusUnknown,
	}
	switch {
	case sight.JobRun == "":
		r.Northflank.Status = statusUnconfirmed
	case sight.Absent:
		r.Northflank.Status = statusDeleted
	case sight.Run != nil:
		r.Northflank.Status = string(sight.Run.Status)
		r.Northflank.StartedAt, r.Northflank.ConcludedAt = sight.Run.StartedAt, sight.Run.ConcludedAt
	}
	return r
}

func printRuns(io Streams, list []listedRun, pool string, now time.Time, since time.Duration, limit int) error {
	if len(list) == 0 {
		fmt.Fprintf(io.Err, "Work pool %q has no flow run under way, and none ended within %s. Look further back with --since.\n", pool, age(now, now.Add(-since)))
		return nil
	}
	rows := [][]string{{"FLOW RUN", "STATE", "AGE", "JOB", "JOB RUN", "STATUS", "REASON"}}
	for _, r := range list {
		job := listedJob{Job: "-", JobRun: "-", Status: "-"}
		if r.Northflank != nil {
			job = *r.Northflank
		}
		rows = append(rows, []string{plain(r.Name), plain(r.State.Name), age(now, r.State.Since), job.Job, orDash(job.JobRun), orDash(job.Status), r.reason()})
	}
	if err := printTable(io.Out, rows...); err != nil {
		return err
	}
	if len(list) == limit {
		fmt.Fprintf(io.Err, "There may be more than %d: show them with --limit.\n", limit)
	}
	if slices.ContainsFunc(list, func(r listedRun) bool { return r.Northflank != nil && r.Northflank.Status == statusUnknown }) {
		fmt.Fprintf(io.Err, "Job runs of status %s were not looked at: it would have cost more than %d requests, or could not be done.\n", statusUnknown, lookRequests)
	}
	return nil
}

// reason is why a flow run ended badly: the first line of its state's message.
func (r listedRun) reason() string {
	switch r.State.Type {
	case prefect.StateFailed, prefect.StateCrashed, prefect.StateCancelled:
		first, _, _ := strings.Cut(r.State.Message, "\n")
		return plain(first)
	}
	return ""
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return plain(s)
}

// plain is a text of others on one line, without what would steer a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, s)
}

// age says how long ago a time was, in its largest unit or two: 42s, 3m10s, 5h2m, 3d4h.
func age(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	return span(max(now.Sub(then), 0))
}

// span is a duration in its largest unit or two.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// named finds a flow run by its id or its name, and its pool.
func named(ctx context.Context, inspector *worker.Inspector, word, pool string) (prefect.FlowRun, error) {
	client := inspector.Preparer.Prefect
	fr, err := flowRunNamed(ctx, client, word, pool)
	if err != nil {
		return fr, err
	}
	if fr.WorkPoolName == "" {
		return fr, hinted{fmt.Errorf("flow run %q belongs to no work pool", fr.Name), "it does not run on Northflank"}
	}
	if inspector.Pool.Name != fr.WorkPoolName {
		inspector.Pool, err = findPool(ctx, client, fr.WorkPoolName)
	}
	return fr, err
}

func flowRunNamed(ctx context.Context, client *prefect.Client, word, pool string) (prefect.FlowRun, error) {
	if isFlowRunID(word) {
		return findFlowRun(ctx, client, word)
	}
	var found []prefect.FlowRun
	for fr, err := range client.FlowRuns(ctx, prefect.FlowRunFilter{WorkPool: pool, Name: word}) {
		if err != nil {
			return prefect.FlowRun{}, err
		}
		if found = append(found, fr); len(found) > 5 {
			break
		}
	}
	switch len(found) {
	case 0:
		return prefect.FlowRun{}, hinted{fmt.Errorf("there is no flow run %q", word), "prefect-northflank runs shows those of a work pool"}
	case 1:
		return found[0], nil
	}
	ids := make([]string, len(found))
	for i, fr := range found {
		ids[i] = fr.ID + " (" + plain(fr.StateName) + ")"
	}
	return prefect.FlowRun{}, hinted{
		errors.New("several flow runs are called " + fmt.Sprintf("%q", word)),
		"name one by its id: " + shortList(ids),
	}
}
