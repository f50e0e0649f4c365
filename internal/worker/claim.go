package worker

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// A worker that dies must leave behind who had a flow run and how far it got.
// Everything is written where Prefect keeps it:
//
//	state Pending     its message names the claiming worker (atomic with the claim)
//	labels            worker, project and job, written before a start is asked for
//	state Submitting  the intent: its message repeats worker and job. Prefect
//	                  accepts PENDING -> PENDING only under another name, so of
//	                  two processes only one gets from Pending to Submitting:
//	                  whoever does may ask Northflank for the start, or give
//	                  the flow run back
//	infrastructure pid  "<job id>:<job run id>", as the Python package writes it
//
// So a flow run that is Pending by name was not started; one that is
// Submitting without a pid may have been, on the job that its message names.
const (
	stateNamePending    = "Pending"
	stateNameSubmitting = "Submitting"
	stateNameReturning  = "Returning"
	stateNameReturning2 = "Returning again"
	stateNameRetry      = "AwaitingRetry"
)

// returningName is the name of the Pending state that a process must reach
// before it gives a flow run back. From Pending it is Submitting, the name that
// a start needs too: so a flow run is either started or given back, never both.
func returningName(current string) string {
	switch current {
	case stateNamePending:
		return stateNameSubmitting
	case stateNameReturning:
		return stateNameReturning2
	}
	return stateNameReturning
}

// Labels on a flow run. The first four are Prefect's own.
const (
	labelWorkerName = "prefect.worker.name"
	labelWorkerType = "prefect.worker.type"
	labelPoolName   = "prefect.work-pool.name"
	labelPoolID     = "prefect.work-pool.id"

	labelAPI        = "northflank.api"     // base URL
	labelTeam       = "northflank.team"    // "" for the token's own team
	labelProject    = "northflank.project" // project id
	labelJob        = "northflank.job"     // job id
	labelIntent     = "northflank.intent"  // RFC 3339 time just before the start
	labelAfter      = "northflank.after"   // ids of the job\'s newest job runs before the start, comma-separated
	labelAttempt    = "northflank.attempt" // starts before the current one
	labelOwnCommand = "northflank.own-command"
)

// claim is what a Pending or Submitting state's message tells.
type claim struct {
	worker  string
	process string // tells apart two processes under one name
	project string // Submitting only
	job     string // Submitting only

	returning bool // nothing was started, and nothing will be
}

var (
	claimPattern  = regexp.MustCompile(`^Claimed by Northflank worker "(.+)" \(process ([0-9a-f]{12})\)\.$`)
	returnPattern = regexp.MustCompile(`^Given back by Northflank worker "(.+)" \(process ([0-9a-f]{12})\): nothing was started\.$`)
	intentPattern = regexp.MustCompile(`^Starting Northflank job "([^/"]+)/([^"]+)" for worker "(.+)" \(process ([0-9a-f]{12})\)\.$`)
)

func (c claim) pendingMessage() string {
	return fmt.Sprintf("Claimed by Northflank worker %q (process %s).", c.worker, c.process)
}

func (c claim) submittingMessage() string {
	return fmt.Sprintf("Starting Northflank job \"%s/%s\" for worker %q (process %s).", c.project, c.job, c.worker, c.process)
}

func (c claim) returningMessage() string {
	return fmt.Sprintf("Given back by Northflank worker %q (process %s): nothing was started.", c.worker, c.process)
}

// readClaim reads the message of a state; ok is false for anything that this
// program did not write.
func readClaim(s *prefect.State) (claim, bool) {
	if s == nil || s.Type != prefect.StatePending {
		return claim{}, false
	}
	if m := claimPattern.FindStringSubmatch(s.Message); m != nil {
		return claim{worker: unquote(m[1]), process: m[2]}, true
	}
	if m := intentPattern.FindStringSubmatch(s.Message); m != nil {
		return claim{project: m[1], job: m[2], worker: unquote(m[3]), process: m[4]}, true
	}
	if m := returnPattern.FindStringSubmatch(s.Message); m != nil {
		return claim{worker: unquote(m[1]), process: m[2], returning: true}, true
	}
	return claim{}, false
}

// footprint is what a flow run shows of its start, wherever it was written.
type footprint struct {
	owner    string // worker name; "" when nothing names one
	process  string
	api      string
	team     string
	project  string
	job      string
	runID    string
	phase    startPhase
	intentAt time.Time
	after    []string // job runs that are older than the start
	attempt  int
	own      bool // the container runs the user's own command
}

// readFootprint reads a flow run as a successor finds it.
func readFootprint(fr prefect.FlowRun) footprint {
	f := footprint{
		owner:   labelText(fr.Labels, labelWorkerName),
		api:     labelText(fr.Labels, labelAPI),
		team:    labelText(fr.Labels, labelTeam),
		project: labelText(fr.Labels, labelProject),
		job:     labelText(fr.Labels, labelJob),
		attempt: labelInt(fr.Labels, labelAttempt),
		own:     labelText(fr.Labels, labelOwnCommand) == "true",
	}
	if after := labelText(fr.Labels, labelAfter); after != "" {
		f.after = strings.Split(after, ",")
	}
	f.intentAt, _ = time.Parse(time.RFC3339Nano, labelText(fr.Labels, labelIntent))
	c, ok := readClaim(fr.State)
	if ok {
		f.owner, f.process = c.worker, c.process
		if c.job != "" {
			f.project, f.job = c.project, c.job
		}
	}
	if f.intentAt.IsZero() && fr.State != nil {
		f.intentAt = fr.State.Timestamp
	}
	job, run, isPID := splitPID(fr.InfrastructurePID)
	switch {
	case c.returning, fr.StateType == prefect.StateScheduled, fr.StateType == prefect.StatePending && fr.StateName == stateNamePending:
		// Whatever pid and labels say is of an earlier start.
		f.phase, f.job = notStarted, ""
	case isPID:
		f.phase, f.job, f.runID = started, job, run
	case f.job != "":
		f.phase = unconfirmed
	default:
		f.phase = notStarted
	}
	return f
}
