package prefect

import (
	"encoding/json"
	"time"
)

// StateType is Prefect's own spelling; unknown values are kept and are not terminal.
type StateType string

// Prefect's state types.
const (
	StateScheduled  StateType = "SCHEDULED"
	StatePending    StateType = "PENDING"
	StateRunning    StateType = "RUNNING"
	StateCompleted  StateType = "COMPLETED"
	StateFailed     StateType = "FAILED"
	StateCancelled  StateType = "CANCELLED"
	StateCancelling StateType = "CANCELLING"
	StateCrashed    StateType = "CRASHED"
	StatePaused     StateType = "PAUSED"
)

// Terminal reports whether a flow run in this state has ended.
func (t StateType) Terminal() bool {
	switch t {
	case StateCompleted, StateFailed, StateCancelled, StateCrashed:
		return true
	}
	return false
}

// State is a flow run's state.
type State struct {
	ID           string       `json:"id"`
	Type         StateType    `json:"type"`
	Name         string       `json:"name"`
	Timestamp    time.Time    `json:"timestamp"`
	Message      string       `json:"message"` // null on the wire is ""
	StateDetails StateDetails `json:"state_details"`
}

// StateDetails is the part of Prefect's state details that a worker reads.
type StateDetails struct {
	TransitionID                 string    `json:"transition_id"`
	ScheduledTime                time.Time `json:"scheduled_time,omitzero"`
	DeploymentConcurrencyLeaseID string    `json:"deployment_concurrency_lease_id"`
}

// FlowRun is the part of Prefect's flow run that a worker reads. In answers of
// GetScheduledFlowRuns State is nil (Prefect does not fill it in there).
type FlowRun struct {
	ID                 string         `json:"id"`
	Name               string         `json:"name"`
	FlowID             string         `json:"flow_id"`
	DeploymentID       string         `json:"deployment_id"` // "" when the flow run has none
	StateID            string         `json:"state_id"`
	StateType          StateType      `json:"state_type"`
	StateName          string         `json:"state_name"`
	State              *State         `json:"state"`
	JobVariables       map[string]any `json:"job_variables"`
	Tags               []string       `json:"tags"`
	Labels             map[string]any `json:"labels"`
	InfrastructurePID  string         `json:"infrastructure_pid"`
	StartTime          time.Time      `json:"start_time,omitzero"`
	EndTime            time.Time      `json:"end_time,omitzero"`
	ExpectedStartTime  time.Time      `json:"expected_start_time,omitzero"`
	NextScheduledStart time.Time      `json:"next_scheduled_start_time,omitzero"`
	TotalRunTime       float64        `json:"total_run_time,omitzero"` // seconds in RUNNING states that are over
	RunCount           int            `json:"run_count"`
	WorkPoolName       string         `json:"work_pool_name"`
	WorkQueueID        string         `json:"work_queue_id"`
	WorkQueueName      string         `json:"work_queue_name"`
	Updated            time.Time      `json:"updated,omitzero"`

	// Raw is the whole object as the server sent it, for ctx.flow_run templates.
	Raw json.RawMessage `json:"-"`
}

// Deployment is the part of Prefect's deployment that a worker reads.
type Deployment struct {
	ID            string         `json:"id"`
	Name          string         `json:"name"`
	FlowID        string         `json:"flow_id"`
	Tags          []string       `json:"tags"`
	JobVariables  map[string]any `json:"job_variables"`
	WorkPoolName  string         `json:"work_pool_name"`
	WorkQueueName string         `json:"work_queue_name"`
	Updated       time.Time      `json:"updated,omitzero"`
	UpdatedText   string         `json:"-"` // Updated as Python's isoformat prints it

	ConcurrencyOptions struct {
		// GracePeriodSeconds is how long a flow run that is Pending keeps its
		// concurrency slot; 0: the server's own setting.
		GracePeriodSeconds int `json:"grace_period_seconds"`
	} `json:"concurrency_options"` // null without any
}

// Flow is the part of Prefect's flow that a worker reads.
type Flow struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Tags []string        `json:"tags"`
	Raw  json.RawMessage `json:"-"` // for ctx.flow templates
}

// WorkPool is Prefect's work pool. BaseJobTemplate is kept as the server sent
// it, key order included, since its order is what forms show.
type WorkPool struct {
	ID               string          `json:"id"`
	Name             string          `json:"name"`
	Type             string          `json:"type"`
	Description      string          `json:"description"`
	BaseJobTemplate  json.RawMessage `json:"base_job_template"`
	IsPaused         bool            `json:"is_paused"`
	ConcurrencyLimit *int            `json:"concurrency_limit"`
	Status           string          `json:"status"` // READY, NOT_READY, PAUSED
}

// WorkQueue is one queue of a work pool.
type WorkQueue struct {
	ID               string `json:"id"`
	Name             string `json:"name"`
	IsPaused         bool   `json:"is_paused"`
	ConcurrencyLimit *int   `json:"concurrency_limit"`
	Priority         int    `json:"priority"`
}

// Worker is one row of a pool's worker list.
type Worker struct {
	ID                       string    `json:"id"`
	Name                     string    `json:"name"`
	Status                   string    `json:"status"` // ONLINE or OFFLINE
	LastHeartbeatTime        time.Time `json:"last_heartbeat_time,omitzero"`
	HeartbeatIntervalSeconds int       `json:"heartbeat_interval_seconds"`
}

// BlockDocument is a stored block. Data is plain only when it was read with secrets.
type BlockDocument struct {
	ID            string         `json:"id"`
	Name          string         `json:"name"`
	Data          map[string]any `json:"data"`
	BlockTypeID   string         `json:"block_type_id"`
	BlockSchemaID string         `json:"block_schema_id"`
	BlockTypeName string         `json:"block_type_name"`
}

// Log is one line for a flow run's log. Level is Python's: 10, 20, 30, 40, 50.
type Log struct {
	Name      string    `json:"name"`
	Level     int       `json:"level"`
	Message   string    `json:"message"`
	Timestamp time.Time `json:"timestamp"`
	FlowRunID string    `json:"flow_run_id"`
	WorkerID  string    `json:"worker_id,omitempty"` // filled in by SendLogs, for Prefect Cloud alone: a server refuses it
}

// Event is one event for POST /events.
type Event struct {
	ID       string              `json:"id"`
	Occurred time.Time           `json:"occurred"`
	Event    string              `json:"event"`
	Resource map[string]string   `json:"resource"`
	Related  []map[string]string `json:"related"`
	Payload  map[string]any      `json:"payload"`
	Follows  *string             `json:"follows"`
}
