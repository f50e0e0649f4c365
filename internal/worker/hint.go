package worker

import (
	"strings"
	"time"
)

// hintSpacing is the least time between two looks at a job for hints that do not
// name the job run: each may cost a request for every hundred job runs.
const hintSpacing = 5 * time.Second

// Hint tells that something happened to a job run, as Northflank's notifications
// do; event is a name such as "job-run:failure". It is only a reason to look
// earlier: what it says is not believed. All but the job's or the job run's id may
// be "", when that is all that is known.
func (w *Worker) Hint(event, projectID, jobID, runID string) {
	success := strings.HasSuffix(event, ":success")
	if !success && strings.HasSuffix(event, ":start") || success && runID == "" {
		w.Stats.Hints.Add(1, "nothing")
		return // the flow itself tells of these
	}
	now := time.Now()
	at := now
	if success {
		at = now.Add(w.Timing.LateReport) // its last report is on its way
	}
	effect := "nothing"
	w.table.mu.Lock()
	for key, rows := range w.table.rowsByJob() {
		if projectID != "" && key.project != projectID || key.id != jobID && (jobID != "" || runID == "") {
			continue
		}
		if runID == "" {
			at = latest(at, w.table.job(key).sweptAt.Add(hintSpacing))
		}
		for _, t := range rows {
			if (runID == "" || t.runID == runID) && !t.view.over() && t.view.container != ended {
				t.hintAt, effect = earliest(t.hintAt, at), "look"
			}
		}
	}
	w.table.mu.Unlock()
	w.Stats.Hints.Add(1, effect)
	signal(w.sweepNow)
}
