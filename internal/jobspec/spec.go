package jobspec

import (
	"encoding/json"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// Scope says which flow runs share a Northflank job.
type Scope string

// The values of the job variable job_scope.
const (
	ScopePool       Scope = "pool"       // flow runs of the pool with equal job-level configuration
	ScopeDeployment Scope = "deployment" // one job a Prefect deployment
	ScopeFlowRun    Scope = "flow-run"   // one job a flow run, deleted afterwards
)

// Where a value was set: the Source of an [Origin].
const (
	FromPoolDefault  = "default of the work pool"
	FromPoolTemplate = "work pool template"
	FromDeployment   = "deployment"
	FromFlowRun      = "flow run"
	FromSettings     = "worker's Prefect settings"
	FromWorker       = "worker"
)

// Origin says where a value was set and, in Via, what it was read from on the
// way ("block northflank/creds"). The zero Origin means that nobody knows.
type Origin struct{ Source, Via string }

func (o Origin) String() string {
	if o.Via == "" {
		return o.Source
	}
	return o.Source + " via " + o.Via
}

// Account is whom a job run is billed to and how its API is reached.
type Account struct {
	BaseURL string // without a slash at the end
	TeamID  string // "" for the token's own account
	Token   secret.Value
}

// Input is all that decides about a flow run's requests.
type Input struct {
	// Values is the pool's job_configuration with every placeholder resolved.
	// An absent key means "not set"; numbers may be json.Number, int, int64 or
	// float64. The block named by credentials_block stands in "credentials",
	// and ctx.* placeholders of "name" are resolved.
	Values map[string]any
	// Origins tells where a value was set, by key of Values and by "env.NAME"
	// and "runtime_environment.NAME". It appears in messages, and it tells a
	// default that nobody touched from a wish: see settings_backoff_limit.
	Origins map[string]Origin
	Unknown []string // job variables given that the pool's template does not declare
	Unused  []string // declared and given, but the template's job_configuration has no place for them
	Secrets []string // strings to hide wherever a value is shown

	PoolName, PoolID     string
	WorkerName, WorkerID string // WorkerID is "" outside Prefect Cloud
	FlowRun              Named
	Flow                 Named
	Deployment           Named // zero when the flow run has none

	SettingsEnv map[string]string // Prefect settings that the flow run inherits
	Account     Account           // of the worker's own environment: used when no credentials are configured
}

// Named is a Prefect object's id and name.
type Named struct{ ID, Name string }

// NoTimeout is a timeout that never ends.
const NoTimeout time.Duration = -1

// Spec is what a flow run means on Northflank.
type Spec struct {
	Account   Account
	ProjectID string
	Scope     Scope
	Cleanup   bool // whether the job may be deleted when it is no longer used

	// Job is the body of PUT /jobs under the first lane's name. It is the same
	// for all flow runs that share the job, so that repeating it changes nothing.
	Job northflank.JobRequest
	Run northflank.RunRequest // all that one flow run adds or overrides, environment included

	Stream        bool          // forward the container's output into the flow run's log
	StartRetries  int           // how often a flow run whose container failed before the flow began is started again
	StartTimeout  time.Duration // how long a container may take to start; NoTimeout: as long as it likes
	LingerTimeout time.Duration // how long a container may outlive its flow run; 0: not at all, NoTimeout: for ever
	Deadline      time.Duration // Northflank ends the job run after this; NoTimeout: never
	GracePeriod   time.Duration // between SIGTERM and SIGKILL; 0: Northflank's default

	Secrets    []string          // strings to hide wherever Job, Run or the container's output is shown
	EnvOrigins map[string]Origin // where each variable of Run.RuntimeEnvironment was set

	mark     Mark
	markText string // the description's text in front of the mark
}

// Warning is something that Build found odd and let pass.
type Warning struct {
	Kind     Kind
	Variable string
	Text     string // cause and next step
	Once     bool   // about the set-up, not about this flow run: once a worker is enough
	Of       string // what of the set-up, when each has a warning of its own: a deployment
}

// Subject names what the warning is about.
func (w Warning) Subject() string {
	if w.Of == "" {
		return "job variable " + w.Variable
	}
	return "job variable " + w.Variable + " of " + w.Of
}

func (w Warning) String() string { return w.Variable + ": " + w.Text }

// Requests returns the bodies of PUT /jobs and of the start of the job run, byte
// for byte as they are sent but with every secret hidden: for showing only.
func (s Spec) Requests() (job, run json.RawMessage, err error) {
	scrub := secret.NewScrubber(s.Secrets...)
	if job, err = masked(s.Job, scrub); err != nil {
		return nil, nil, err
	}
	run, err = masked(s.Run, scrub)
	return job, run, err
}

func masked(request any, scrub *secret.Scrubber) (json.RawMessage, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	ordered, err := decodeObject(body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(mapTexts(ordered, scrub.Text))
}
