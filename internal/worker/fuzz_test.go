package worker

import (
	"strings"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/hostile"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// FuzzFootprint: whatever others wrote into a flow run, it is read without a
// panic, and to a job that can be asked for.
func FuzzFootprint(f *testing.F) { fuzzFootprint(f) }

func fuzzFootprint(f hostile.F) {
	c := claim{worker: `w "1"`, process: "0123456789ab", project: "p", job: "j"}
	for _, message := range []string{c.pendingMessage(), c.submittingMessage(), c.returningMessage(), "", "Starting Northflank job \"/\" for"} {
		f.Add(message, "Submitting", "job:run", "2026-03-21T15:01:17Z", "a,b", "3")
		f.Add(message, "Pending", "job:", "", ",", "-1e9")
	}
	f.Fuzz(func(t *testing.T, message, name, pid, intent, after, attempt string) {
		fr := prefect.FlowRun{
			ID: "id", Name: "n", StateType: prefect.StatePending, StateName: name, InfrastructurePID: pid,
			State:  &prefect.State{Type: prefect.StatePending, Name: name, Message: message, Timestamp: time.Unix(1, 0)},
			Labels: map[string]any{labelIntent: intent, labelAfter: after, labelAttempt: attempt, labelJob: "labelled", labelOwnCommand: 5},
		}
		got := readFootprint(fr)
		if got.phase == started && (got.job == "" || got.runID == "" || joinPID(got.job, got.runID) != pid) {
			t.Errorf("a start of %q: %+v", pid, got)
		}
		if got.phase == unconfirmed && got.job == "" {
			t.Errorf("an unconfirmed start of no job: %+v", got)
		}
		if again := Locate(fr); again.JobRun != "" && again.Job == "" {
			t.Errorf("a job run of no job: %+v", again)
		}
	})
}

// FuzzEvidence: whatever a container wrote, its crash message is short, and every
// failure has its words.
func FuzzEvidence(f *testing.F) { fuzzEvidence(f) }

func fuzzEvidence(f hostile.F) {
	for _, line := range []string{"Killed: out of memory", "exec: \"prefect\": executable file not found in $PATH", "\x1b[31mred\x00", strings.Repeat("é", 400), ""} {
		f.Add(line, "TASK_FAILED", "FAILED", true)
		f.Add(line, "TASK_STAGING", "", false)
	}
	f.Fuzz(func(t *testing.T, line, container, status string, began bool) {
		e := &evidence{lines: []string{line, line, line, line}}
		e.read([]northflank.Container{{Status: northflank.ContainerStatus(container)}}, false)
		row := tracked{job: "j", runID: "r", view: view{evidence: e, began: began, status: northflank.JobRunStatus(status)}}
		message := crashMessage(row, whyEnded)
		if len(message) > messageLines*(maxMessageLine+10)+1000 {
			t.Errorf("a message of %d bytes", len(message))
		}
		if !strings.HasPrefix(message, whatHappened(row, whyEnded)) || whatHappened(row, whyEnded) == "" {
			t.Errorf("message %q", message)
		}
	})
}
