package northflank

import "time"

// Job is what list and read answers tell about a job. Environment and image
// are not in them.
type Job struct {
	ID          string    `json:"id"` // slug of the name
	Name        string    `json:"name"`
	Description string    `json:"description"`
	ProjectID   string    `json:"projectId"`
	JobType     string    `json:"jobType"` // manual or cron
	CreatedAt   time.Time `json:"createdAt,omitzero"`
}

// JobRunStatus is Northflank's own spelling; unknown values are kept.
type JobRunStatus string

// The three documented values.
const (
	JobRunRunning JobRunStatus = "RUNNING"
	JobRunSuccess JobRunStatus = "SUCCESS"
	JobRunFailed  JobRunStatus = "FAILED"
)

// JobRun is one execution of a job. It carries neither environment nor labels
// nor an exit code.
type JobRun struct {
	ID           string       `json:"id"`
	Name         string       `json:"runName"`
	Status       JobRunStatus `json:"status"`
	Concluded    bool         `json:"concluded"`
	Active       int          `json:"active"`
	Succeeded    int          `json:"succeeded"`
	Failed       int          `json:"failed"`
	BackoffLimit int          `json:"backoffLimit"`
	StartedAt    time.Time    `json:"startedAt,omitzero"`   // second precision
	ConcludedAt  time.Time    `json:"concludedAt,omitzero"` // zero while running: absent, null and "" are all accepted
}

// Terminal reports whether the job run has ended. Concluded is what counts;
// SUCCESS and FAILED imply it. An unknown status alone is not terminal.
func (r JobRun) Terminal() bool {
	return r.Concluded || r.Status == JobRunSuccess || r.Status == JobRunFailed
}

// Success reports a clean end. RUNNING with concluded true is an abnormal end.
func (r JobRun) Success() bool { return r.Status == JobRunSuccess }

// StartedRun is the answer to a start: all that Northflank tells.
type StartedRun struct {
	ID   string `json:"id"`
	Name string `json:"runName"`
}

// ContainerStatus is Northflank's own spelling; unknown values are kept.
type ContainerStatus string

// Documented container statuses.
const (
	ContainerStaging  ContainerStatus = "TASK_STAGING"
	ContainerStarting ContainerStatus = "TASK_STARTING"
	ContainerRunning  ContainerStatus = "TASK_RUNNING"
	ContainerKilling  ContainerStatus = "TASK_KILLING"
	ContainerKilled   ContainerStatus = "TASK_KILLED"
	ContainerFailed   ContainerStatus = "TASK_FAILED"
	ContainerFinished ContainerStatus = "TASK_FINISHED"
)

// Container is one container of a job run. Times are Unix seconds on the wire.
type Container struct {
	Name      string
	Status    ContainerStatus
	CreatedAt time.Time
	UpdatedAt time.Time
}

// LogLine is one line of a container's output, CRI prefix removed and partial
// lines joined.
type LogLine struct {
	ContainerID string
	Time        time.Time
	Stream      string // stdout, stderr, or "" when the line had no prefix
	Text        string
}

// Budget is the state of the account's request window as the newest answer's
// headers told it. Zero when no answer carried them yet.
type Budget struct {
	Limit     int       // requests a window
	Remaining int       // requests left in this window
	ResetAt   time.Time // when the window ends, by our clock
	SeenAt    time.Time // when the headers were received
}
