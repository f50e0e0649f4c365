package testkit

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// Flow runs are written by hand: encoding/json would take most of the time of a
// simulated history. Every field that Prefect sends is there, in its order, and
// null where it sends null.

// json returns the flow run as GET /flow_runs/{id} shows it.
func (r *flowRun) json() []byte {
	if r.encoded == nil {
		r.encoded = appendFlowRun(nil, r, true)
	}
	return r.encoded
}

// appendFlowRun appends the flow run. Answers to get_scheduled_flow_runs are not
// whole: they have neither state nor queue name, and nothing about the pool.
func appendFlowRun(b []byte, r *flowRun, whole bool) []byte {
	b = append(b, '{')
	b = str(b, "id", r.id)
	b = moment(b, "created", r.created)
	b = moment(b, "updated", r.updated)
	b = str(b, "name", r.name)
	b = str(b, "flow_id", r.flowID)
	b = str(b, "state_id", r.state.ID)
	b = strOrNull(b, "deployment_id", r.deploymentID)
	b = append(b, `"deployment_version":null,`...)
	var queueID, queueName, poolID, poolName string
	if r.queue != nil {
		queueID, queueName, poolID, poolName = r.queue.id, r.queue.name, r.queue.pool.id, r.queue.pool.name
	}
	b = strOrNull(b, "work_queue_id", queueID)
	if whole {
		b = strOrNull(b, "work_queue_name", queueName)
	} else {
		b = null(b, "work_queue_name")
	}
	b = append(b, `"flow_version":null,`...)
	b = object(b, "parameters", r.parameters)
	b = strOrNull(b, "idempotency_key", r.idempotencyKey)
	b = append(b, `"context":{},"empirical_policy":{"max_retries":0,"retry_delay_seconds":0.0,`...)
	if r.retries > 0 {
		b = append(b, `"retries":`...)
		b = strconv.AppendInt(b, int64(r.retries), 10)
		b = append(b, `,"retry_delay":`...)
		b = append(strconv.AppendInt(b, int64(r.retryDelay/time.Second), 10), ',')
	} else {
		b = null(null(b, "retries"), "retry_delay")
	}
	b = append(b, `"pause_keys":[],"resuming":false,`...)
	b = strOrNull(b, "retry_type", r.retryType)
	b[len(b)-1] = '}'
	b = append(b, `,"tags":`...)
	b = append(b, raw(append([]string{}, r.tags...))...)
	b = append(b, ',')
	b = object(b, "labels", r.labels)
	b = append(b, `"parent_task_run_id":null,`...)
	b = str(b, "state_type", string(r.state.Type))
	b = str(b, "state_name", r.state.Name)
	b = append(b, `"run_count":`...)
	b = strconv.AppendInt(b, int64(r.runCount), 10)
	b = append(b, ',')
	b = moment(b, "expected_start_time", r.expectedStart)
	b = moment(b, "next_scheduled_start_time", r.nextStart)
	b = moment(b, "start_time", r.startTime)
	b = moment(b, "end_time", r.endTime)
	b = append(b, `"total_run_time":`...)
	b = strconv.AppendFloat(b, r.runTime.Seconds(), 'f', -1, 64)
	b = append(b, `,"estimated_run_time":0.0,"estimated_start_time_delta":0.0,"auto_scheduled":false,"infrastructure_document_id":null,`...)
	b = strOrNull(b, "infrastructure_pid", r.infrastructurePID)
	b = append(b, `"created_by":null,`...)
	if whole {
		b = strOrNull(b, "work_pool_id", poolID)
		b = strOrNull(b, "work_pool_name", poolName)
		b = append(append(b, `"state":`...), appendState(nil, r.id, &r.state)...)
		b = append(b, ',')
	} else {
		b = null(b, "state")
	}
	b = object(b, "job_variables", r.jobVariables)
	b[len(b)-1] = '}'
	return b
}

func appendState(b []byte, flowRunID string, s *State) []byte {
	b = append(b, '{')
	b = str(b, "id", s.ID)
	b = str(b, "type", string(s.Type))
	b = str(b, "name", s.Name)
	b = moment(b, "timestamp", s.Timestamp)
	b = strOrNull(b, "message", s.Message)
	b = append(b, `"data":null,"state_details":{`...)
	b = str(b, "flow_run_id", flowRunID)
	b = append(b, `"task_run_id":null,"child_flow_run_id":null,`...)
	b = moment(b, "scheduled_time", s.ScheduledTime)
	b = append(b, `"cache_key":null,"cache_expiration":null,"deferred":false,"untrackable_result":false,"pause_timeout":null,"pause_reschedule":`...)
	b = strconv.AppendBool(b, s.Suspended)
	b = append(b, `,"pause_key":null,"run_input_keyset":null,"refresh_cache":null,"retriable":null,`...)
	b = strOrNull(b, "transition_id", s.TransitionID)
	b = append(b, `"task_parameters_id":null,"traceparent":null,`...)
	b = strOrNull(b, "deployment_concurrency_lease_id", s.LeaseID)
	b[len(b)-1] = '}'
	return append(b, '}')
}

func appendResult(b []byte, r *flowRun, result Result) []byte {
	b = append(b, `{"state":`...)
	b = appendState(b, r.id, &result.State)
	b = append(b, ',')
	b = str(b, "status", string(result.Status))
	b = append(b, `"details":{`...)
	switch result.Status {
	case prefect.Accept:
		b = append(b, `"type":"accept_details"}}`...)
		return b
	case prefect.Reject:
		b = str(b, "type", "reject_details")
	case prefect.Abort:
		b = str(b, "type", "abort_details")
	case prefect.Wait:
		b = str(b, "type", "wait_details")
		b = append(b, `"delay_seconds":`...)
		b = strconv.AppendInt(b, int64(result.Delay/time.Second), 10)
		b = append(b, ',')
	}
	b = str(b, "reason", result.Reason)
	b[len(b)-1] = '}'
	return append(b, '}')
}

// The helpers below append a member with a comma after it; the last one's comma
// is overwritten by the closing brace.

func str(b []byte, name, value string) []byte {
	b = append(append(append(b, '"'), name...), '"', ':')
	return append(quote(b, value), ',')
}

func strOrNull(b []byte, name, value string) []byte {
	if value == "" {
		return null(b, name)
	}
	return str(b, name, value)
}

func null(b []byte, name string) []byte {
	b = append(append(append(b, '"'), name...), '"', ':')
	return append(b, "null,"...)
}

// moment appends a time as Prefect does, null for none.
func moment(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return null(b, name)
	}
	b = append(append(append(b, '"'), name...), `":"`...)
	b = t.AppendFormat(b, "2006-01-02T15:04:05.999999Z")
	return append(b, '"', ',')
}

func object(b []byte, name string, value map[string]any) []byte {
	b = append(append(append(b, '"'), name...), '"', ':')
	if len(value) == 0 {
		return append(b, "{},"...)
	}
	return append(append(b, raw(value)...), ',')
}

func quote(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return append(b, raw(s)...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// list encodes items with encoding/json, [] for none.
func list[T any](items []T) json.RawMessage {
	if items == nil {
		items = []T{}
	}
	return raw(items)
}
