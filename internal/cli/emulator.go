package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

const emulatorHelp = `Serves the part of the Northflank API that a worker needs, on this machine and
without an account. Job runs are local processes: their image is not pulled,
everything else is checked as strictly as Northflank documents it. The web page
shows jobs, job runs and logs.

Examples:
  prefect-northflank emulator
  prefect-northflank emulator --data-dir ./northflank --project my-project
  prefect-northflank emulator --rate-limit 100 --switch aborted-run=gone
  prefect-northflank emulator switches`

func emulatorCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "emulator",
		Usage:       "serve a local Northflank that runs job runs as processes",
		Description: emulatorHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` of API and web page; port 0: any free one", Value: "127.0.0.1:4280"},
			&cli.StringFlag{Name: "admin-listen", Usage: "`ADDRESS` of faults, switches and counters (default: not served)"},
			&cli.StringFlag{Name: "data-dir", Usage: "`FOLDER` that keeps jobs, job runs and logs over a restart (default: memory)"},
			&cli.StringSliceFlag{Name: "project", Usage: "`ID` of a project that exists; repeatable", Value: []string{emulator.DefaultProject}},
			&cli.StringFlag{Name: "team", Usage: "`ID` of the team; other teams are then unknown (default: any id will do)"},
			&cli.StringFlag{Name: "token", Usage: "API `TOKEN` to accept; the default is no secret", Value: emulator.DefaultToken},
			&cli.IntFlag{Name: "rate-limit", Usage: "`REQUESTS` an hour, 0 for no limit", Value: emulator.DefaultRateLimit},
			&cli.FloatFlag{Name: "time-scale", Usage: "`FACTOR` by which back-off, deadline and grace period pass faster", Value: 1},
			&cli.StringSliceFlag{Name: "switch", Usage: "`NAME=VALUE` of an undocumented behaviour; repeatable, see: emulator switches"},
			&cli.BoolFlag{Name: "allow-remote", Usage: "let other machines in: with the token they can run commands on this one"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FORMAT` of what is printed at the start: text or json", Value: "text"},
			&cli.BoolFlag{Name: "verbose", Usage: "show each request"},
		},
		Commands: []*cli.Command{emulatorSwitchesCommand(io)},
		Action:   func(ctx context.Context, cmd *cli.Command) error { return runEmulator(ctx, cmd, io) },
	}
}

func runEmulator(ctx context.Context, cmd *cli.Command, io Streams) error {
	if word := cmd.Args().First(); word != "" {
		return refuseUnknownCommand(ctx, cmd)
	}
	config, err := emulatorConfig(cmd, io)
	if err != nil {
		return err
	}
	server, err := emulator.New(config)
	if err != nil {
		return withHint(err, "see: prefect-northflank emulator --help")
	}
	defer server.Close()
	ctx, stop := stopOnSignal(ctx)
	defer stop()
	ready := emulatorReady{Token: config.Tokens[0].Value, Projects: config.Projects}
	if ready.URL, err = server.Listen(cmd.String("listen")); err != nil {
		return listenError(err, "--listen")
	}
	if address := cmd.String("admin-listen"); address != "" {
		if ready.AdminURL, err = server.ListenAdmin(address); err != nil {
			return listenError(err, "--admin-listen")
		}
	}
	if err := ready.print(io.Out, cmd.String("output")); err != nil {
		return err
	}
	<-ctx.Done()
	fmt.Fprintln(io.Err, "stopping: job runs under way are ended")
	return nil
}

func emulatorConfig(cmd *cli.Command, io Streams) (emulator.Config, error) {
	config := emulator.Config{
		Projects: cmd.StringSlice("project"), Team: cmd.String("team"), DataDir: cmd.String("data-dir"),
		Tokens:    []emulator.Token{{Name: "local", Value: cmd.String("token")}},
		RateLimit: cmd.Int("rate-limit"), TimeScale: cmd.Float("time-scale"), Switches: map[string]string{},
		AllowRemote: cmd.Bool("allow-remote"),
	}
	if config.RateLimit == 0 {
		config.RateLimit = -1
	}
	if config.TimeScale <= 0 {
		return config, usagef("1 is real time, 60 makes a minute pass in a second", "--time-scale %g: it must be above 0", config.TimeScale)
	}
	if config.AllowRemote && !cmd.IsSet("token") {
		return config, usagef("add --token with a secret of your own", "--allow-remote: the default token is known to everybody")
	}
	if o := cmd.String("output"); o != "text" && o != "json" {
		return config, usagef("use text or json", "--output %q is unknown", o)
	}
	for _, s := range cmd.StringSlice("switch") {
		name, value, _ := strings.Cut(s, "=")
		if err := emulator.CheckSwitch(name, value); err != nil {
			return config, usagef("see: prefect-northflank emulator switches", "--switch %s: %w", s, err)
		}
		config.Switches[name] = value
	}
	level := "WARNING"
	if cmd.Bool("verbose") {
		level = "DEBUG"
	}
	config.Logger = newLogger(io.Err, &prefect.Settings{LoggingLevel: level}, false)
	return config, nil
}

// listenError turns the package's refusals into words about flags.
func listenError(err error, flag string) error {
	if errors.Is(err, emulator.ErrNotLoopback) {
		return usagef("use 127.0.0.1, or add --allow-remote if you trust everybody who can reach it", "%s: %w", flag, err)
	}
	return withHint(fmt.Errorf("%s: %w", flag, err), "choose another with "+flag+", for instance 127.0.0.1:0 for a free port; another emulator may be running")
}

// emulatorReady is what a worker needs to find the emulator.
type emulatorReady struct {
	URL      string   `json:"url"`
	AdminURL string   `json:"admin_url,omitempty"`
	Token    string   `json:"token"`
	Projects []string `json:"projects"`
}

func (r emulatorReady) print(w io.Writer, format string) error {
	if format == "json" {
		return json.NewEncoder(w).Encode(r)
	}
	text := fmt.Sprintf("Local Northflank is ready. In the shell of the worker:\n\n"+
		"  export NORTHFLANK_API_BASE_URL=%s\n  export NORTHFLANK_API_TOKEN=%s\n\n"+
		"Project:  %s\nWeb page: %s/\n", r.URL, r.Token, strings.Join(r.Projects, ", "), r.URL)
	if r.AdminURL != "" {
		text += fmt.Sprintf("Admin:    %s/\n", r.AdminURL)
	}
	_, err := fmt.Fprint(w, text+"\nCtrl-C stops it and ends its job runs.\n")
	return err
}

func emulatorSwitchesCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "switches",
		Usage:       "list the behaviours that Northflank does not document, with their positions",
		Description: "Examples:\n  prefect-northflank emulator switches --output json\n  prefect-northflank emulator --switch aborted-run=gone",
		Flags:       []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FORMAT`: text or json", Value: "text"}},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.String("output") == "json" {
				return json.NewEncoder(io.Out).Encode(emulator.SwitchTable())
			}
			w := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SWITCH\tPOSITIONS (DEFAULT FIRST)\tWHAT")
			for _, s := range emulator.SwitchTable() {
				positions := strings.Join(s.Values, ", ")
				if s.Values == nil {
					positions = "0s, or a duration"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, positions, s.Help)
			}
			return w.Flush()
		},
	}
}
