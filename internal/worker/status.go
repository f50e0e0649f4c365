package worker

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// Status is what an operator may know of a worker at one moment. It holds no
// secrets: no job variables, no output, no words of flows.
type Status struct {
	Now     time.Time
	Worker  string
	Since   time.Time // when the process's worker was made
	Pool    PoolStatus
	Limit   int  // flow runs at a time; 0: no limit
	Full    bool // the limit is reached
	Waiting int  // scheduled flow runs that the last poll told of and that were not taken

	EventStreamUp bool
	ChannelUp     bool      // Prefect's worker channel
	Accounts      []Account // by address and team
	FlowRuns      []LiveFlowRun
	Refusals      []Refusal // places in Northflank that refuse work, by project
	Takers        int       // projects in which a job run was started within the last hour, and that do not refuse now
	Troubles      []Trouble // newest first
	Outcomes      []Outcome // newest first

	// When these succeeded last; zero: never.
	Polled, Heartbeat, Observed, Swept time.Time
	HeartbeatEvery                     time.Duration
	Loops                              []Loop
}

// PoolStatus is the work pool as last read.
type PoolStatus struct {
	Name   string
	ID     string // "" until it was read
	Type   string
	Paused bool
}

// Account is a Northflank account with its request budget.
type Account struct {
	API, Team string // Team is "" for the token's own
	Budget    northflank.Budget
}

// Phase says what a flow run that a worker answers for is at.
type Phase string

// The phases.
const (
	PhaseClaimed     Phase = "claimed"     // being prepared: nothing was started yet
	PhaseStarting    Phase = "starting"    // Northflank was asked for a job run, which is not known yet
	PhaseBooting     Phase = "booting"     // its job run exists, the flow has not begun
	PhaseRunning     Phase = "running"     // the flow runs
	PhaseCancelling  Phase = "cancelling"  // it is to be cancelled
	PhaseSettling    Phase = "settling"    // it has ended; its container is waited for
	PhaseConcluding  Phase = "concluding"  // its container has ended without a word; what became of it is found out
	PhaseStopping    Phase = "stopping"    // its container was told to stop
	PhaseTakingOver  Phase = "taking over" // adopted; its account is not known yet
	phaseUnspecified Phase = "unknown"     // in a state that this program does not know
)

// Phases lists all phases, in the order of a flow run's life.
func Phases() []Phase {
	return []Phase{
		PhaseClaimed, PhaseTakingOver, PhaseStarting, PhaseBooting, PhaseRunning, PhaseCancelling, PhaseStopping, PhaseConcluding, PhaseSettling,
		phaseUnspecified,
	}
}

// LiveFlowRun is a flow run that the worker answers for.
type LiveFlowRun struct {
	ID, Name string
	Phase    Phase
	Since    time.Time // when its start was asked for; before that, when it was claimed
	Adopted  bool
	Failures int // actions on it that failed in a row

	API, Team, Project, Job, JobRun string // "" when not known
}

// Refusal is a place in Northflank that refuses work for no fault of a flow run's.
type Refusal struct {
	API, Team, Project string
	Since              time.Time
	Until              time.Time // of the next try
	Cause              string    // the kind: "unauthorized", "forbidden", "rate limited" or "not reachable"
	Text               string
	Denied             bool // the token was refused, or may not do this: waiting alone does not help
}

// Outcome is the end of a flow run.
type Outcome struct {
	At                              time.Time
	ID, Name                        string
	State                           string // completed, failed, crashed, cancelled or deleted
	Reason                          string // one of a small set, such as out_of_memory; reported: the flow told itself
	Text                            string // what happened, in words, where the worker reported it
	API, Team, Project, Job, JobRun string
}

// Status returns what there is to know of the worker now.
func (w *Worker) Status() Status {
	s := Status{
		Now: time.Now(), Worker: w.Name, Since: w.startedAt, Limit: w.Limit, HeartbeatEvery: w.Heartbeat,
		EventStreamUp: w.feed.isUp(), ChannelUp: w.channel.isUp(), Accounts: w.accountStatus(), Troubles: w.said.list(), Outcomes: w.outcomes.list(),
		Polled: w.pollAnswered.get(), Observed: w.observed.get(), Swept: w.lastSweep.get(), Loops: w.Loops(),
	}
	w.mu.Lock()
	scheduled := w.scheduled // replaced, never changed
	s.Heartbeat = w.lastBeat
	s.Pool = PoolStatus{Name: w.Pool, ID: w.pool.ID, Type: w.pool.Type, Paused: w.pool.IsPaused}
	w.mu.Unlock()
	s.Refusals, s.Takers = w.gate.list(s.Now)
	w.table.mu.Lock()
	s.Full = w.Limit > 0 && w.table.slots() >= w.Limit
	for _, id := range scheduled {
		if w.table.rows[id] == nil {
			s.Waiting++
		}
	}
	for _, t := range w.table.rows {
		s.FlowRuns = append(s.FlowRuns, t.status())
	}
	w.table.mu.Unlock()
	slices.SortFunc(s.FlowRuns, func(a, b LiveFlowRun) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return s
}

// noteScheduled notes what a poll told.
func (w *Worker) noteScheduled(flowRuns []prefect.FlowRun) {
	ids := make([]string, len(flowRuns))
	for i, fr := range flowRuns {
		ids[i] = fr.ID
	}
	w.pollAnswered.set(time.Now())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scheduled = ids
}

// accountStatus lists the accounts. Several tokens of one team are one account.
func (w *Worker) accountStatus() []Account {
	newest := map[[2]string]northflank.Budget{}
	for _, c := range w.Accounts.All() {
		key, budget := [2]string{c.BaseURL(), c.TeamID()}, c.Budget()
		if known, ok := newest[key]; !ok || budget.SeenAt.After(known.SeenAt) {
			newest[key] = budget
		}
	}
	out := make([]Account, 0, len(newest))
	for key, budget := range newest {
		out = append(out, Account{API: key[0], Team: key[1], Budget: budget})
	}
	slices.SortFunc(out, func(a, b Account) int { return cmp.Or(cmp.Compare(a.API, b.API), cmp.Compare(a.Team, b.Team)) })
	return out
}

// status is called with the table's mutex held.
func (t *tracked) status() LiveFlowRun {
	r := LiveFlowRun{
		ID: t.id, Name: t.name, Phase: t.phase(), Since: t.since, Adopted: t.adopted, Failures: t.failures,
		Project: t.project, Job: t.job, JobRun: t.runID,
	}
	if t.view.start != notStarted && !t.view.intentAt.IsZero() {
		r.Since = t.view.intentAt
	}
	if t.client != nil {
		r.API, r.Team = t.client.BaseURL(), t.client.TeamID()
	}
	return r
}

func (t *tracked) phase() Phase {
	v := &t.view
	switch {
	case t.adopted && !t.settled && v.start != notStarted:
		return PhaseTakingOver
	case !v.abortedAt.IsZero() && v.container != ended:
		return PhaseStopping
	case v.over():
		return PhaseSettling
	case v.container == ended || v.container == absent:
		return PhaseConcluding
	case v.state == prefect.StateCancelling:
		return PhaseCancelling
	case v.start == notStarted:
		return PhaseClaimed
	case v.start == unconfirmed:
		return PhaseStarting
	case v.state == prefect.StatePending:
		return PhaseBooting
	case v.state == prefect.StateRunning:
		return PhaseRunning
	}
	return phaseUnspecified
}

// maxOutcomes is how many of the newest outcomes are remembered.
const maxOutcomes = 50

// outcomes remembers the newest ends of flow runs.
type outcomes struct {
	mu   sync.Mutex
	last []Outcome // oldest first
}

func (o *outcomes) add(out Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = append(o.last[max(0, len(o.last)-maxOutcomes+1):], out)
}

func (o *outcomes) list() []Outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	newest := slices.Clone(o.last)
	slices.Reverse(newest)
	return newest
}

// closing is how the worker means to end a flow run, or has.
type closing struct {
	state  prefect.StateType
	reason string
	text   string
}

// maxOutcomeText is how much of an outcome's text is kept, in bytes.
const maxOutcomeText = 300

// noteOutcome counts and remembers a flow run's end, once. Called with the
// table's mutex held.
func (w *Worker) noteOutcome(t *tracked, now time.Time) {
	v := &t.view
	if t.told || !v.gone && !v.state.Terminal() {
		return
	}
	t.told = true
	live := t.status()
	out := Outcome{
		At: now, ID: t.id, Name: t.name, State: strings.ToLower(string(v.state)), Reason: "reported",
		API: live.API, Team: live.Team, Project: live.Project, Job: live.Job, JobRun: live.JobRun,
	}
	switch {
	case v.gone:
		out.State, out.Reason = "deleted", "deleted"
	case t.closing.state == v.state:
		out.Reason, out.Text = t.closing.reason, shorten(t.closing.text, maxOutcomeText)
	}
	w.Stats.Outcomes.Add(1, out.State, out.Reason)
	w.outcomes.add(out)
}

// noteCancelled counts and remembers a flow run that was cancelled unclaimed.
func (s *submission) noteCancelled(why string) {
	fr := s.flowRun
	s.Stats.Outcomes.Add(1, "cancelled", why)
	s.outcomes.add(Outcome{At: time.Now(), ID: fr.ID, Name: fr.Name, State: "cancelled", Reason: why, Text: "Its deployment was deleted."})
}

// closingOf says how a flow run is ended for a reason. The text leaves out what
// its container wrote.
func closingOf(row tracked, typ prefect.StateType, why reason) closing {
	switch {
	case typ == prefect.StateCrashed:
		return closing{typ, failureNames[kindOf(row, why)], whatHappened(row, why)}
	case typ == prefect.StateCompleted:
		return closing{typ, "own_command", ""}
	case why == whyNothingStarted:
		return closing{typ, "before_start", "Cancelled before anything was started."}
	}
	return closing{typ, "container_ended", "Cancelled, and its container ended."}
}

// Reasons of outcomes that no look at a job run told.
const (
	reasonConfiguration  = "configuration"      // the flow run's own configuration is wrong
	reasonInvalidRequest = "invalid_request"    // Northflank refuses what the configuration asks for
	reasonDeploymentGone = "deployment_deleted" // as Prefect's own worker, it cancels such flow runs
)

var failureNames = [...]string{
	failedUnknown: "unknown", failedVanished: "vanished", failedTimeout: "start_timeout", failedDeadline: "deadline", failedNoContainer: "no_container",
	failedOutside: "killed_from_outside", failedMemory: "out_of_memory", failedNoCommand: "no_command", failedSilent: "no_report", failedExit: "error",
}

// abortedOrphan is the label of aborted job runs that belong to no flow run.
const abortedOrphan = "orphan"

// label is a reason as a metric's label.
func (r reason) label() string {
	switch r {
	case whyDeleted:
		return "deleted"
	case whyCancelled:
		return "cancelled"
	case whyOutlived:
		return "outlived"
	case whyStartTimeout:
		return "start_timeout"
	}
	return "other"
}
