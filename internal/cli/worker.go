package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/worker"
)

func workerCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "worker",
		Usage:       "run flow runs of a work pool",
		Description: "Examples:\n  prefect-northflank worker start --pool my-pool",
		Commands:    []*cli.Command{workerStartCommand(io)},
	}
}

const workerStartHelp = `Takes scheduled flow runs from a Prefect work pool and runs each as a
Northflank job run, until Ctrl-C. Flow runs under way live on then; the next
worker of the pool carries on with them.

With "prefect worker start" the options --sweep-*, --webhook-* and --status-*
are given by environment variables, such as PREFECT_NORTHFLANK_STATUS_LISTEN.

Examples:
  prefect-northflank worker start --pool my-pool
  prefect-northflank worker start --pool my-pool --work-queue high --limit 20
  prefect-northflank worker start --pool my-pool --run-once`

func workerStartCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "start",
		Usage:       "start a worker",
		Description: workerStartHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "pool", Aliases: []string{"p"}, Usage: "work `POOL` to serve (required)"},
			&cli.StringFlag{Name: "name", Aliases: []string{"n"}, Usage: "`NAME` of the worker; a stable one carries on after a restart"},
			&cli.StringSliceFlag{Name: "work-queue", Aliases: []string{"q"}, Usage: "serve only this work `QUEUE`; repeatable"},
			&cli.StringFlag{Name: "type", Aliases: []string{"t"}, Usage: "`TYPE` of the worker: northflank", Value: worker.Type},
			&cli.FloatFlag{Name: "prefetch-seconds", Usage: "take flow runs `SECONDS` before they are due (default: 10)", HideDefault: true},
			&cli.FloatFlag{Name: "heartbeat-seconds", Hidden: true, Usage: "time between two heartbeats (default: PREFECT_WORKER_HEARTBEAT_SECONDS, 30)"},
			&cli.IntFlag{Name: "limit", Aliases: []string{"l"}, Usage: "at most `N` flow runs at a time (default: no limit)", HideDefault: true},
			&cli.BoolFlag{Name: "run-once", Usage: "poll once, wait for those flow runs, and exit"},
			&cli.FloatFlag{Name: "sweep-min-seconds", Usage: "at least `SECONDS` between two rounds of looks (default: 15)", HideDefault: true, Sources: environmentOf("sweep-min-seconds")},
			&cli.FloatFlag{Name: "sweep-max-seconds", Usage: "at most `SECONDS` between two, if requests are left (default: 300)", HideDefault: true, Sources: environmentOf("sweep-max-seconds")},
			&cli.StringFlag{Name: "webhook-listen", Usage: "receive Northflank's notifications at `ADDR` (host:port)", Sources: environmentOf("webhook-listen")},
			&cli.StringFlag{Name: "webhook-url", Usage: "the public `URL` of the webhook, see: prefect-northflank webhook", Sources: environmentOf("webhook-url")},
			&cli.StringFlag{Name: "status-listen", Usage: "serve a status page at `ADDR` (host:port), such as 127.0.0.1:8081", Sources: environmentOf("status-listen")},
			&cli.BoolFlag{Name: "with-healthcheck", Usage: "health and metrics on PREFECT_WORKER_WEBSERVER_HOST and _PORT"},
			&cli.StringFlag{Name: "install-policy", Usage: "`POLICY` of the Python worker: accepted, without effect", Value: "prompt", HideDefault: true},
			&cli.StringFlag{Name: "base-job-template", Usage: "`FILE` with the base job template for a pool that does not exist yet"},
			&cli.BoolWithInverseFlag{Name: "create-pool-if-not-found", Usage: "create the pool when it does not exist", Value: true},
			profileFlag(), verboseFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return startWorker(ctx, cmd, io) },
	}
}

// environment is where an option can be given that `prefect worker start` does
// not have. (cli.EnvVars would make the lines of the help too long.)
type environment string

func environmentOf(flag string) cli.ValueSourceChain {
	name := "PREFECT_NORTHFLANK_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	return cli.NewValueSourceChain(environment(name))
}

// Lookup implements [cli.ValueSource]. An empty variable counts as not set.
func (e environment) Lookup() (string, bool) {
	value := os.Getenv(string(e))
	return value, value != ""
}

func (e environment) String() string   { return fmt.Sprintf("environment variable %q", string(e)) }
func (e environment) GoString() string { return string(e) }

func startWorker(ctx context.Context, cmd *cli.Command, io Streams) error {
	hooks, err := workerWebhook(cmd)
	if err != nil {
		return err
	}
	page, err := workerPage(cmd)
	if err != nil {
		return err
	}
	options, err := workerOptions(cmd, io)
	if err != nil {
		return err
	}
	w, err := worker.New(*options)
	if err != nil {
		return err
	}
	ctx, stop := stopOnSignal(ctx)
	defer stop()
	if hooks.listen != "" {
		receiver, err := receiveWebhooks(hooks, w, options.Logger)
		if err != nil {
			return err
		}
		defer receiver.Close()
	}
	if cmd.Bool("with-healthcheck") {
		health, err := serveHealth(w, options)
		if err != nil {
			return err
		}
		defer health.Close()
	}
	if page.listen != "" {
		shown, err := servePage(page, w, options)
		if err != nil {
			return err
		}
		defer shown.Close()
	}
	return w.Run(ctx)
}

func workerOptions(cmd *cli.Command, io Streams) (*worker.Options, error) {
	if err := checkWorkerFlags(cmd); err != nil {
		return nil, err
	}
	settings, err := loadSettings(cmd, io)
	if err != nil {
		return nil, err
	}
	log, stats := newLogger(io.Err, settings, cmd.Bool("verbose")), worker.NewStats()
	o := &worker.Options{
		Settings: settings, Account: environmentAccount(),
		Name: cmd.String("name"), Pool: cmd.String("pool"), Queues: cmd.StringSlice("work-queue"),
		Limit:     cmd.Int("limit"),
		Prefetch:  secondsOf(cmd, "prefetch-seconds", settings.WorkerPrefetchSeconds),
		Heartbeat: secondsOf(cmd, "heartbeat-seconds", settings.WorkerHeartbeatSeconds),
		Query:     time.Duration(settings.WorkerQuerySeconds * float64(time.Second)),
		Timing:    worker.Timing{SweepMin: secondsOf(cmd, "sweep-min-seconds", 0), SweepMax: secondsOf(cmd, "sweep-max-seconds", 0)},
		RunOnce:   cmd.Bool("run-once"), CreatePool: cmd.Bool("create-pool-if-not-found"),
		Accounts: newAccounts(log, cmd.Bool("verbose"), stats.NorthflankCall), Stats: stats, Logger: log, Out: io.Out,
	}
	if o.Name == "" {
		o.Name = "NorthflankWorker " + uuid.NewString()
	}
	if path := cmd.String("base-job-template"); path != "" {
		if o.Template, err = readJSONObject(path); err != nil {
			return nil, err
		}
	}
	o.Prefect, err = prefect.NewClient(prefect.ClientOptions{
		Settings: settings, WorkerName: o.Name, Version: Version(), Logger: log, Observe: stats.PrefectCall, Maintenance: stats.Maintenance,
	})
	return o, err
}

func checkWorkerFlags(cmd *cli.Command) error {
	if cmd.String("pool") == "" {
		return usagef("name the work pool: prefect-northflank worker start --pool my-pool", "no work pool given")
	}
	if t := cmd.String("type"); t != worker.Type {
		return usagef("for other types use: prefect worker start", "worker type %q: this program is a worker of type %q", t, worker.Type)
	}
	if name := cmd.String("name"); strings.ContainsAny(name, "/%") {
		return usagef("leave the slash or percent sign out", "--name %q: no worker can have / or %% in its name", name)
	}
	if cmd.IsSet("limit") && cmd.Int("limit") < 1 {
		return usagef("leave --limit out for no limit", "--limit %d: it must be at least 1", cmd.Int("limit"))
	}
	least, most := secondsOf(cmd, "sweep-min-seconds", worker.DefaultTiming().SweepMin.Seconds()), secondsOf(cmd, "sweep-max-seconds", worker.DefaultTiming().SweepMax.Seconds())
	if least < time.Second || most < least {
		return usagef("give --sweep-min-seconds 1 or more, and --sweep-max-seconds no less than it",
			"looks at job runs between %s and %s apart: that is no range of seconds", least, most)
	}
	for _, flag := range []string{"prefetch-seconds", "heartbeat-seconds"} {
		if cmd.IsSet(flag) && cmd.Float(flag) < 0 {
			return usagef("give a number of seconds", "--%s %g: it must not be negative", flag, cmd.Float(flag))
		}
	}
	switch policy := cmd.String("install-policy"); policy {
	case "always", "if-not-present", "never", "prompt":
	default:
		return usagef("use always, if-not-present, never or prompt", "--install-policy %q is unknown", policy)
	}
	return nil
}

func secondsOf(cmd *cli.Command, flag string, setting float64) time.Duration {
	seconds := setting
	if cmd.IsSet(flag) {
		seconds = cmd.Float(flag)
	}
	return time.Duration(seconds * float64(time.Second))
}

// readJSONObject reads a file that holds one JSON object.
func readJSONObject(path string) (json.RawMessage, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, withHint(err, "give the path of a JSON file")
	}
	hint := "write one with: prefect-northflank pool template > " + path
	if !json.Valid(raw) {
		return nil, withHint(fmt.Errorf("%s does not hold JSON", path), hint)
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil || object == nil {
		return nil, withHint(fmt.Errorf("%s holds JSON, but not an object", path), hint)
	}
	return raw, nil
}

// errStopped is the cause of a context that a signal ended.
var errStopped = errors.New("stopped by a signal")

// stopOnSignal ends the context at the first SIGINT or SIGTERM; a second one
// ends the process at once, with the status that a killed process has.
func stopOnSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel(errStopped)
		case <-done:
			return
		}
		select {
		case s := <-signals:
			status := 128 + int(syscall.SIGTERM)
			if s == os.Interrupt {
				status = ExitInterrupted
			}
			os.Exit(status)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}
