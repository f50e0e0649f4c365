package worker

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// evidence is what could be found out about a failed job run. Northflank tells
// neither exit code nor reason: containers and log lines have to do.
type evidence struct {
	neverRan bool     // no container got past pulling its image
	evicted  bool     // a container was killed from outside, and not by us
	ran      bool     // a container ran and ended by itself
	lines    []string // the last lines of output, oldest first, secrets hidden
}

const (
	evidenceLines   = 50
	messageLines    = 3 // of those, shown in the state's message
	maxMessageLine  = 500
	maxSearchedLine = 4 << 10 // bytes of a line looked through for the cause; it may have a MiB
	evidenceTimeout = 20 * time.Second
)

// gatherEvidence spends at most two requests on a failed job run, and does
// without what cannot be had. When the flow never connected, its container's
// last lines go to its log: there is nothing else to read there.
func (w *Worker) gatherEvidence(ctx context.Context, row tracked) error {
	asked := ctx
	ctx, cancel := context.WithTimeout(northflank.WithClass(ctx, northflank.ClassEvidence), evidenceTimeout)
	defer cancel()
	e := &evidence{}
	if row.startStatus == "" { // else they were asked for when the start was given up
		containers, err := row.client.ListContainers(ctx, row.project, row.job, row.runID)
		if err != nil {
			w.said.trouble(ctx, w.log, "reading containers of failed job runs", err)
		} else {
			e.read(containers, !row.view.abortedAt.IsZero())
		}
	}
	lines, err := row.client.Logs(ctx, row.project, row.job, northflank.LogQuery{
		RunID: row.runID, LineLimit: evidenceLines, Direction: northflank.LogsBackward,
		Start: row.jobRun.StartedAt.Add(-time.Minute),
	})
	if err != nil {
		w.said.trouble(ctx, w.log, "reading logs of failed job runs", err)
	}
	e.lines = row.scrubbed(lines)
	if len(e.lines) > 0 && !row.view.began {
		e.neverRan = false
	}
	if len(e.lines) > 0 && !row.view.began && !row.view.policy.stream {
		w.flowLogs.add(row.id, levelInfo, "The last %d lines of the container's output:", len(e.lines))
		for _, line := range e.lines {
			w.flowLogs.add(row.id, levelInfo, "%s", line)
		}
	}
	if asked.Err() != nil {
		return asked.Err()
	}
	w.table.update(row.id, func(t *tracked) { t.view.evidence = e })
	return nil
}

// read draws conclusions from the containers' statuses.
func (e *evidence) read(containers []northflank.Container, abortedByUs bool) {
	e.neverRan = true
	var newest time.Time
	for _, c := range containers {
		switch c.Status {
		case northflank.ContainerStaging, northflank.ContainerStarting:
		default:
			e.neverRan = false
		}
		if !c.UpdatedAt.Before(newest) {
			newest = c.UpdatedAt
			e.evicted = c.Status == northflank.ContainerKilled && !abortedByUs
			e.ran = c.Status == northflank.ContainerFailed || c.Status == northflank.ContainerFinished
		}
	}
}

func (t *tracked) scrubbed(lines []northflank.LogLine) []string {
	var secrets []string
	if spec := t.spec(); spec != nil {
		secrets = spec.Secrets
	}
	scrub := secret.NewScrubber(secrets...)
	out := make([]string, 0, len(lines))
	for _, l := range lines {
		out = append(out, scrub.Text(l.Text))
	}
	return out
}

// containerStatus returns the status of the job run's newest container; "" when
// it cannot be had.
func (w *Worker) containerStatus(ctx context.Context, row tracked) northflank.ContainerStatus {
	containers, err := row.client.ListContainers(northflank.WithClass(ctx, northflank.ClassEvidence), row.project, row.job, row.runID)
	if err != nil || len(containers) == 0 {
		return ""
	}
	newest := containers[0]
	for _, c := range containers[1:] {
		if c.UpdatedAt.After(newest.UpdatedAt) {
			newest = c
		}
	}
	return newest.Status
}

// crashMessage is the Crashed state's message: what happened, the evidence, and
// what can be done about it.
func crashMessage(row tracked, why reason) string {
	parts := []string{whatHappened(row, why)}
	if e := row.view.evidence; e != nil && len(e.lines) > 0 {
		last := e.lines[max(0, len(e.lines)-messageLines):]
		shown := make([]string, len(last))
		for i, line := range last {
			shown[i] = shorten(line, maxMessageLine)
		}
		parts = append(parts, "Last output: "+strings.Join(shown, "\n"))
	}
	if next := whatToDo(row, why); next != "" {
		parts = append(parts, next)
	}
	return strings.Join(parts, "\n")
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

// failure is the kind of a failed job run.
type failure int

const (
	failedUnknown     failure = iota
	failedVanished            // the job run was deleted
	failedTimeout             // we stopped it: the flow did not begin in time
	failedDeadline            // Northflank stopped it at its deadline
	failedNoContainer         // no container came up
	failedOutside             // a container was killed, and not by us
	failedMemory              // out of memory, by its own words
	failedNoCommand           // the command does not exist in the image
	failedSilent              // it ended with success but without a last state
	failedExit                // a container ended with an error
)

var (
	memoryPattern  = regexp.MustCompile(`(?i)\bOOMKilled\b|\bout of memory\b|\bMemoryError\b|\bexit (code|status) 137\b|\boom[- ]kill`)
	commandPattern = regexp.MustCompile(`(?i)executable file not found|no such file or directory|command not found|not found in \$PATH|exec format error|permission denied: unknown`)
)

// kindOf classifies a failed job run by what is known of it.
func kindOf(row tracked, why reason) failure {
	v := row.view
	e := v.evidence
	if e == nil {
		e = &evidence{}
	}
	var output strings.Builder
	for _, line := range e.lines[max(0, len(e.lines)-10):] {
		output.WriteString(shorten(line, maxSearchedLine) + "\n")
	}
	switch {
	case why == whyVanished:
		return failedVanished
	case !v.abortedAt.IsZero() && !v.began:
		return failedTimeout
	case v.status == northflank.JobRunSuccess:
		return failedSilent
	case row.pastDeadline():
		return failedDeadline
	case memoryPattern.MatchString(output.String()):
		return failedMemory
	case !v.began && !e.ran && e.neverRan:
		return failedNoContainer
	case e.evicted:
		return failedOutside
	case !v.began && commandPattern.MatchString(output.String()):
		return failedNoCommand
	case e.ran || v.status == northflank.JobRunFailed:
		return failedExit
	}
	return failedUnknown
}

// pastDeadline reports whether the job run lasted as long as it was allowed to.
// Northflank does not say that it was the deadline; times have second precision.
func (t *tracked) pastDeadline() bool {
	spec := t.spec()
	if spec == nil || spec.Deadline <= 0 || t.jobRun.ConcludedAt.IsZero() || t.jobRun.StartedAt.IsZero() {
		return false
	}
	return t.jobRun.ConcludedAt.Sub(t.jobRun.StartedAt) >= spec.Deadline-time.Second
}

func whatHappened(row tracked, why reason) string {
	where := fmt.Sprintf("(job %s, job run %s)", row.job, row.runID)
	phase := "before the flow began"
	if row.view.began {
		phase = "while the flow was running"
	}
	switch kindOf(row, why) {
	case failedVanished:
		return fmt.Sprintf("The Northflank job run no longer exists %s: it, or its job, was deleted %s.", where, phase)
	case failedTimeout:
		status := ""
		if row.startStatus != "" {
			status = fmt.Sprintf("; its container was %s", row.startStatus)
		}
		return fmt.Sprintf("The flow did not begin within %s, so its job run was aborted %s%s.", row.view.policy.startTimeout, where, status)
	case failedDeadline:
		return fmt.Sprintf("Northflank ended the job run at its deadline of %s %s.", row.spec().Deadline, where)
	case failedNoContainer:
		return fmt.Sprintf("No container of the job run came up %s: its image%s could not be pulled, or there was no capacity for its deployment plan%s.", where, row.imageText(), row.planText())
	case failedOutside:
		return fmt.Sprintf("The container was killed from outside %s %s: the job run was aborted in Northflank, or the container was evicted (disk full, node lost).", phase, where)
	case failedMemory:
		return fmt.Sprintf("The container ran out of memory %s %s%s.", phase, where, row.planText())
	case failedNoCommand:
		return fmt.Sprintf("The container's command could not be run %s.", where)
	case failedSilent:
		return fmt.Sprintf("The job run ended successfully, but the flow never reported an end %s.", where)
	}
	return fmt.Sprintf("The container ended with an error %s %s.", phase, where)
}

func whatToDo(row tracked, why reason) string {
	switch kindOf(row, why) {
	case failedVanished:
		return "Run the flow again; keep others from deleting jobs that start with pf-."
	case failedTimeout:
		return "Check that the image exists and is not too large, or raise job variable start_timeout_seconds."
	case failedDeadline:
		return "Raise job variable settings_active_deadline_seconds if the flow needs longer."
	case failedNoContainer:
		return "Check deployment_external_image_path and deployment_external_credentials (or the build of deployment_internal_id), and billing_deployment_plan."
	case failedOutside:
		return "If nobody aborted it: raise deployment_storage_ephemeral_size_mb if the flow writes much to disk, and run it again."
	case failedMemory:
		return "Choose a deployment plan with more memory (job variable billing_deployment_plan)."
	case failedNoCommand:
		return "Check the command, and that the image has Prefect installed (command \"prefect flow-run execute\")."
	case failedSilent:
		return "Check that the container runs \"prefect flow-run execute\" and reaches the Prefect API."
	case failedExit:
		if !row.view.began {
			return "The lines above are the container's last; check imports, dependencies, the flow's code in the image, and that the container reaches the Prefect API."
		}
		return "See the flow run's log; if it ends abruptly, the container may have run out of memory."
	}
	return ""
}

func (t *tracked) imageText() string {
	spec := t.spec()
	if spec == nil || spec.Run.Deployment == nil || spec.Run.Deployment.External == nil {
		return ""
	}
	return " " + spec.Run.Deployment.External.ImagePath
}

func (t *tracked) planText() string {
	spec := t.spec()
	if spec == nil || spec.Run.Billing == nil {
		return ""
	}
	return " (deployment plan " + spec.Run.Billing.DeploymentPlan + ")"
}

// ownCommand reports whether the container runs a command of the user's rather
// than Prefect's, so that the flow run may end without a word to Prefect.
func ownCommand(run northflank.RunRequest) bool {
	if run.Deployment == nil || run.Deployment.Docker == nil {
		return false
	}
	d := run.Deployment.Docker
	return d.CustomCommand != "" && !strings.Contains(d.CustomEntrypoint+" "+d.CustomCommand, "prefect")
}
