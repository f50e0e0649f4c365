package emulator

import (
	"cmp"
	"context"
	"path"
	"slices"
	"time"
)

// Statuses of a job run. Northflank docs: these three and no other; an aborted
// or crashed job run has no value of its own.
const (
	StatusRunning = "RUNNING"
	StatusSuccess = "SUCCESS"
	StatusFailed  = "FAILED"
)

// run is a job run. Guarded by Server.mu, but for log.
type run struct {
	ID          string      `json:"id"`
	Name        string      `json:"name"`
	Project     string      `json:"project"`
	Job         string      `json:"job"`
	Order       uint64      `json:"order"` // of starting, over the whole server
	Plan        string      `json:"plan"`
	Image       string      `json:"image"`
	Status      string      `json:"status"`
	Concluded   bool        `json:"concluded"`
	Active      int         `json:"active"`
	Succeeded   int         `json:"succeeded"`
	Failed      int         `json:"failed"`
	Completions int         `json:"completions"`
	Backoff     int         `json:"backoffLimit"`
	StartedAt   time.Time   `json:"startedAt"`
	ConcludedAt time.Time   `json:"concludedAt"`
	Containers  []container `json:"containers"`
	ExitCode    int         `json:"exitCode"` // of the last container
	Reason      string      `json:"reason"`   // why it ended, in our words
	Gone        bool        `json:"gone"`     // aborted, with the switch that hides it

	log     *runLog
	stop    context.CancelCauseFunc // nil once concluded
	deleted bool                    // together with its job
}

type container struct {
	Name      string    `json:"name"`
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// Statuses of a container, from Northflank's docs.
const (
	taskStaging  = "TASK_STAGING"
	taskStarting = "TASK_STARTING"
	taskRunning  = "TASK_RUNNING"
	taskKilling  = "TASK_KILLING"
	taskKilled   = "TASK_KILLED"
	taskFailed   = "TASK_FAILED"
	taskFinished = "TASK_FINISHED"
)

// maxRuns is how many job runs a job remembers; concluded ones go first.
const maxRuns = 10_000

func (r *run) path() string { return path.Join("runs", r.Project, r.Job, r.ID+".json") }

func (r *run) logPath() string { return path.Join("logs", r.ID+".jsonl") }

// findRun returns the job run with the id, unless an abort made it disappear.
func (j *job) findRun(id string) *run {
	i := slices.IndexFunc(j.runs, func(r *run) bool { return r.ID == id && !r.Gone })
	if i < 0 {
		return nil
	}
	return j.runs[i]
}

// startRun starts a job run. It shows RUNNING at once, with active 0 until its
// container is up.
func (s *Server) startRun(q *request) (answer, *apiError) {
	var spec runSpec
	if err := convert(q.body, &spec); err != nil {
		return answer{}, &apiError{Status: 500, Message: err.Error()}
	}
	found := problems{}
	if plan := spec.Billing.DeploymentPlan; plan != "" {
		s.checkPlan(found, plan)
	}
	if len(found) > 0 {
		return answer{}, errBody(found)
	}
	deployment := mergeDeployment(q.job.spec.Deployment, spec.Deployment)
	image, ok := s.imageOf(q.project, deployment)
	if !ok {
		return answer{}, errConflict("No deployment configured")
	}
	s.runCount++
	r := &run{
		ID: s.newUUID(), Name: q.job.ID + "-" + s.hexID(24), Project: q.project.ID, Job: q.job.ID, Order: s.runCount,
		Plan:  cmp.Or(spec.Billing.DeploymentPlan, q.job.spec.Billing.DeploymentPlan),
		Image: image, Status: StatusRunning, Backoff: q.job.spec.Settings.BackoffLimit, StartedAt: time.Now(),
		Containers: []container{},
	}
	r.log = newRunLog(s.store, r.logPath(), &s.changes)
	task := s.newTask(q.project, q.job, r, deployment, spec)
	q.job.runs = append(prune(q.job.runs), r)
	ctx, stop := context.WithCancelCause(s.ctx)
	r.stop = stop
	s.keep(r)
	s.tell(r, eventStart)
	s.changes.notify()
	deadline := q.job.spec.Settings.ActiveDeadlineSeconds
	s.work.Go(func() { s.live(ctx, r, task, deadline) })
	q.startedRun = r.ID
	return answer{data: map[string]any{"id": r.ID, "runName": r.Name}}, nil
}

func prune(runs []*run) []*run {
	if len(runs) < maxRuns {
		return runs
	}
	oldest := slices.IndexFunc(runs, func(r *run) bool { return r.Concluded })
	if oldest < 0 {
		return runs
	}
	return slices.Delete(runs, oldest, oldest+1)
}

// listRuns lists without any filter, as the real API does.
func (s *Server) listRuns(q *request) (answer, *apiError) {
	lag, _ := time.ParseDuration(s.switches[SwitchListLag]) // checked when it was set
	if d, met := delayOf(q.hits, ActionUnlisted); met {
		lag = max(lag, d)
	}
	now := time.Now()
	visible := []*run{}
	for _, r := range q.job.runs {
		if !r.Gone && now.Sub(r.StartedAt) >= lag {
			visible = append(visible, r)
		}
	}
	if s.switchIs(SwitchListOrder, "newest") {
		slices.Reverse(visible)
	}
	from, to, p, e := s.paginate(q, len(visible))
	if e != nil {
		return answer{}, e
	}
	items := []map[string]any{}
	for _, r := range visible[from:to] {
		items = append(items, s.runView(r))
	}
	return answer{data: map[string]any{"runs": items}, pagination: p}, nil
}

func (s *Server) getRun(q *request) (answer, *apiError) {
	return answer{data: s.runView(q.run)}, nil
}

// runView is a job run as the API shows it: no exit code, no reason.
func (s *Server) runView(r *run) map[string]any {
	view := map[string]any{
		"id": r.ID, "runName": r.Name, "status": r.Status, "concluded": r.Concluded, "active": r.Active,
		"succeeded": r.Succeeded, "failed": r.Failed, "completions": r.Completions,
		"backoffLimit": r.Backoff, "startedAt": stamp(r.StartedAt),
	}
	if s.switchIs(SwitchSucceeded, "zero") {
		view["succeeded"] = 0
	}
	switch {
	case r.Concluded:
		view["concludedAt"] = stamp(r.ConcludedAt)
	case s.switchIs(SwitchConcludedAt, "null"):
		view["concludedAt"] = nil
	case s.switchIs(SwitchConcludedAt, "empty"):
		view["concludedAt"] = ""
	}
	return view
}

// abortRun asks a job run to end: SIGTERM, the grace period, SIGKILL. What a
// concluded job run answers is unpublished.
func (s *Server) abortRun(q *request) (answer, *apiError) {
	if q.run.Concluded {
		switch s.switches[SwitchAbortFinished] {
		case "409":
			return answer{}, errConflict("The job run has already concluded")
		case "404":
			return answer{}, errMissing("job run", q.run.ID)
		}
		return answer{data: map[string]any{}}, nil
	}
	q.run.stop(errAborted)
	return answer{data: map[string]any{}}, nil
}

func (s *Server) listContainers(q *request) (answer, *apiError) {
	id := q.query.Get("runId")
	if id == "" {
		return answer{}, errQuery("runId", "is required")
	}
	r := q.job.findRun(id)
	if r == nil {
		return answer{}, errMissing("job run", id)
	}
	from, to, p, e := s.paginate(q, len(r.Containers))
	if e != nil {
		return answer{}, e
	}
	items := []map[string]any{}
	for _, c := range r.Containers[from:to] {
		items = append(items, map[string]any{
			"name": c.Name, "status": c.Status, "createdAt": c.CreatedAt.Unix(), "updatedAt": c.UpdatedAt.Unix(),
		})
	}
	return answer{data: map[string]any{"runId": r.ID, "containers": items}, pagination: p}, nil
}
