package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/lmittmann/tint"
	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// profileFlag names a Prefect profile, as prefect --profile does.
func profileFlag() cli.Flag {
	return &cli.StringFlag{Name: "profile", Usage: "Prefect profile `NAME` to take settings from", Sources: cli.EnvVars("PREFECT_PROFILE"), Local: true}
}

func verboseFlag() cli.Flag {
	return &cli.BoolFlag{Name: "verbose", Usage: "show each request, with timing and the request budget"}
}

// loadSettings reads Prefect's settings as prefect's own commands do, and tells
// what was passed over.
func loadSettings(cmd *cli.Command, io Streams) (*prefect.Settings, error) {
	home, _ := os.UserHomeDir() // "" leaves out profiles, which is right without a home
	settings, err := prefect.LoadSettings(prefect.LoadOptions{
		Environ: os.Environ(), HomeDir: home, Profile: cmd.String("profile"),
	})
	if err != nil {
		return nil, err
	}
	if wanted := cmd.String("profile"); wanted != "" && settings.Profile != wanted {
		// Prefect falls back to its default profile, and so to another server.
		cause := ""
		if settings.Profile == "" {
			cause = ": " + strings.Join(settings.Warnings, "; ")
		}
		return nil, usagef("prefect profile ls shows the profiles", "there is no Prefect profile %q%s", wanted, cause)
	}
	for _, w := range settings.Warnings {
		fmt.Fprintf(io.Err, "warning: %s\n", w)
	}
	return settings, nil
}

// connect returns a client of the Prefect API that the settings name.
func connect(cmd *cli.Command, io Streams) (*prefect.Client, *prefect.Settings, error) {
	settings, err := loadSettings(cmd, io)
	if err != nil {
		return nil, nil, err
	}
	client, err := prefect.NewClient(prefect.ClientOptions{
		Settings: settings, Version: Version(), Logger: newLogger(io.Err, settings, false),
	})
	return client, settings, err
}

// newAccounts returns the Northflank clients of a command; observers are told of
// each request.
func newAccounts(log *slog.Logger, verbose bool, observers ...func(northflank.Call)) *northflank.Accounts {
	if verbose {
		observers = append(observers, func(c northflank.Call) {
			log.Info("northflank request", "method", c.Method, "route", c.Route, "for", c.Class.String(), "status", c.Status,
				"took", c.Duration.Round(1000), "budget_left", c.Budget.Remaining, "budget", c.Budget.Limit, "err", c.Err)
		})
	}
	return northflank.NewAccounts(northflank.Options{
		UserAgent: "prefect-northflank/" + Version(), Logger: log,
		Observe: func(c northflank.Call) {
			for _, observe := range observers {
				observe(c)
			}
		},
	})
}

// environmentAccount is the Northflank account that the environment names, under
// the names that Northflank's own clients read.
func environmentAccount() jobspec.Account {
	return jobspec.Account{
		Token:   secret.New(firstEnv("NORTHFLANK_API_TOKEN", "NF_API_TOKEN")),
		BaseURL: strings.TrimRight(firstEnv("NORTHFLANK_API_BASE_URL", "NF_API_HOST", "NF_HOST"), "/"),
		TeamID:  firstEnv("NORTHFLANK_TEAM_ID"),
	}
}

func firstEnv(names ...string) string {
	for _, name := range names {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
}

// newLogger logs for people on a terminal and as JSON otherwise.
func newLogger(w io.Writer, settings *prefect.Settings, verbose bool) *slog.Logger {
	level := levelOf(settings.LoggingLevel)
	if verbose {
		level = min(level, slog.LevelInfo)
	}
	if isTerminal(w) {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: "15:04:05", NoColor: !hasColours(w)}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

// levelOf reads a Python level name; what is unknown means INFO.
func levelOf(name string) slog.Level {
	switch strings.ToUpper(name) {
	case "DEBUG", "NOTSET":
		return slog.LevelDebug
	case "WARNING", "WARN":
		return slog.LevelWarn
	case "ERROR", "CRITICAL":
		return slog.LevelError
	}
	return slog.LevelInfo
}
