package emulator

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Defaults of Config.
const (
	DefaultProject   = "local"
	DefaultToken     = "local-northflank-token" // not a secret: the emulator runs on the user's own machine
	DefaultRateLimit = 1000                     // Northflank docs: 1,000 requests an hour
	rateWindow       = time.Hour                // Northflank docs: a fixed window of an hour, opened by the first request
)

// Config says what a Server holds and how it behaves. The zero value is a
// working emulator in memory with the project "local" and DefaultToken.
type Config struct {
	// Projects exist from the start. Empty: one project, DefaultProject.
	Projects []string
	// Team restricts the team form of the paths to this id. Empty: any team id
	// names the one account that the emulator holds.
	Team string
	// Tokens that are accepted. Empty: DefaultToken with every permission.
	Tokens []Token

	// DataDir keeps jobs, job runs and logs over a restart. Empty: memory only.
	DataDir string

	// Prices are what GET /plans and GET /regions tell, by id of a deployment plan
	// or a GPU, in dollars an hour. Missing ones are 0: nothing is billed here.
	Prices map[string]float64

	// RateLimit is the number of requests a window; 0 is DefaultRateLimit,
	// negative is no limit (the headers then show DefaultRateLimit).
	RateLimit int
	// RateWindow is the length of that window; 0 is an hour.
	RateWindow time.Duration

	// TimeScale makes the platform's own waits shorter: back-off between
	// retries (of job runs and of notifications), active deadline and grace
	// period are divided by it. 0 is 1.
	TimeScale float64
	// Switches choose among answers that Northflank does not document; see
	// SwitchTable. Missing names keep their default.
	Switches map[string]string
	// Seed makes ids and the choices of faults with a probability repeatable.
	// 0 draws one.
	Seed uint64

	// Runner executes containers. Nil runs them as local processes.
	Runner Runner

	// Deliveries carries notifications to the addresses of their integrations.
	// Nil: the network, by HTTP_PROXY and HTTPS_PROXY where they are set.
	Deliveries http.RoundTripper

	// OnRequest is called when the n-th request (from 1) has arrived and before
	// it takes effect; OnAnswer after it took effect and before the answer
	// leaves. Both may block, and are called concurrently.
	OnRequest func(n int, method, path string)
	OnAnswer  func(n int, method, path string)

	// AllowRemote lets Listen take an address that other machines can reach.
	// Whoever reaches it can run commands on this machine.
	AllowRemote bool

	// Logger receives one line a request (debug) and a job run (info). Nil: none.
	Logger *slog.Logger
}

// Token is an API token and what it may do.
type Token struct {
	Name  string
	Value string
	// Permissions by Northflank's names, of the old tree, the new one or both,
	// such as "Project > Jobs > General > Read". Nil grants all.
	Permissions []string
	// Projects the token is restricted to. Nil: all.
	Projects  []string
	ExpiresAt time.Time // told by GET /v1/auth, and not enforced; zero: never
	// Organisation tokens answer GET /v1/auth with entityType "org".
	Organisation bool
}

func (c Config) withDefaults() (Config, error) {
	if len(c.Projects) == 0 {
		c.Projects = []string{DefaultProject}
	}
	if len(c.Tokens) == 0 {
		c.Tokens = []Token{{Name: "local", Value: DefaultToken}}
	}
	if c.RateLimit == 0 {
		c.RateLimit = DefaultRateLimit
	}
	if c.RateWindow == 0 {
		c.RateWindow = rateWindow
	}
	switch {
	case c.TimeScale < 0:
		return c, fmt.Errorf("time scale %g: must be above 0", c.TimeScale)
	case c.TimeScale == 0:
		c.TimeScale = 1
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, p := range c.Projects {
		if problem := checkText(patternRef, 3, 39, p); problem != "" {
			return c, fmt.Errorf("project id %q %s", p, problem)
		}
	}
	switches := switchDefaults()
	for name, value := range c.Switches {
		if err := CheckSwitch(name, value); err != nil {
			return c, err
		}
		switches[name] = value
	}
	c.Switches = switches
	return c, nil
}

// scaled shortens one of the platform's waits by the time scale.
func (c Config) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.TimeScale)
}
