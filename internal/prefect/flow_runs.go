package prefect

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// UnmarshalJSON keeps the whole object in Raw beside the fields.
func (f *FlowRun) UnmarshalJSON(data []byte) error {
	type plain FlowRun
	if err := decode(data, (*plain)(f)); err != nil {
		return err
	}
	f.Raw = slices.Clone(data)
	return nil
}

// FlowRun reads a flow run by id; [ErrNotFound] when there is none.
func (c *Client) FlowRun(ctx context.Context, id string) (FlowRun, error) {
	var flowRun FlowRun
	if err := c.call(ctx, routeFlowRun, request{args: []string{id}}, &flowRun); err != nil {
		return FlowRun{}, fmt.Errorf("read flow run %s: %w", id, err)
	}
	return flowRun, nil
}

// FlowRunFilter selects flow runs that meet every condition given.
type FlowRunFilter struct {
	WorkPool   string // "": any
	IDs        []string
	Name       string // "": any; several flow runs may have one name
	StateTypes []StateType
	EndedAfter time.Time // zero: ended or not
	DueBefore  time.Time // zero: due or not
}

// FlowRuns lists flow runs, newest id first. A flow run that comes into the
// selection or leaves it while pages are read may be missing from this listing
// (never doubled): its absence proves nothing.
func (c *Client) FlowRuns(ctx context.Context, filter FlowRunFilter) iter.Seq2[FlowRun, error] {
	return func(yield func(FlowRun, error) bool) {
		seen := map[string]bool{}
		for _, body := range filter.bodies() {
			for page := range maxPages {
				body["limit"], body["offset"] = pageSize, page*pageSize
				var flowRuns []FlowRun
				if err := c.call(ctx, routeFlowRuns, request{body: body}, &flowRuns); err != nil {
					yield(FlowRun{}, fmt.Errorf("list flow runs: %w", err))
					return
				}
				before := len(seen)
				for _, flowRun := range flowRuns {
					if seen[flowRun.ID] {
						continue
					}
					seen[flowRun.ID] = true
					if !yield(flowRun, nil) {
						return
					}
				}
				if len(flowRuns) < pageSize {
					break
				}
				if len(seen) == before {
					yield(FlowRun{}, fmt.Errorf("list flow runs: %w", errSamePage))
					return
				}
			}
		}
	}
}

// bodies are the request bodies for the filter: one, or one for each 200 ids.
func (f FlowRunFilter) bodies() []map[string]any {
	conditions := map[string]any{}
	if len(f.StateTypes) > 0 {
		conditions["state"] = map[string]any{"type": anyOf(f.StateTypes)}
	}
	if !f.EndedAfter.IsZero() {
		conditions["end_time"] = map[string]any{"after_": f.EndedAfter.UTC()}
	}
	if f.Name != "" {
		conditions["name"] = anyOf([]string{f.Name})
	}
	if !f.DueBefore.IsZero() {
		conditions["expected_start_time"] = map[string]any{"before_": f.DueBefore.UTC()}
	}
	body := func(ids []string) map[string]any {
		b := map[string]any{"sort": "ID_DESC"}
		if f.WorkPool != "" {
			b["work_pools"] = map[string]any{"name": anyOf([]string{f.WorkPool})}
		}
		own := map[string]any{}
		maps.Copy(own, conditions)
		if ids != nil {
			own["id"] = anyOf(ids)
		}
		b["flow_runs"] = own
		return b
	}
	if f.IDs == nil {
		return []map[string]any{body(nil)}
	}
	var all []map[string]any
	for ids := range slices.Chunk(f.IDs, pageSize) {
		all = append(all, body(ids))
	}
	return all
}

// StateProposal is a state that a flow run is to go into.
type StateProposal struct {
	Type          StateType
	Name          string // "" is the type's usual name
	Message       string
	ScheduledTime time.Time // for SCHEDULED; zero: not sent
	// TransitionID names the proposal: the server carries it out once, however
	// often it is sent. "" makes a new one, kept over the retries of this call.
	TransitionID string
	// Force skips the server's orchestration rules.
	Force bool
}

// Answer is what Prefect said to a proposal.
type Answer string

// Prefect's answers to a proposed state.
const (
	Accept Answer = "ACCEPT" // the flow run is in the proposed state
	Reject Answer = "REJECT" // it is in, or was put into, the State of the result
	Abort  Answer = "ABORT"  // nothing changed, and the proposal is to be given up
	Wait   Answer = "WAIT"   // nothing changed; propose again after Delay
)

// StateResult is the outcome of a proposal. State is the flow run's state
// afterwards; it may be empty with Abort and Wait.
type StateResult struct {
	Status Answer
	State  State
	Reason string
	Delay  time.Duration // only with Wait
}

// SetState proposes a state. An answer that this very proposal was carried out
// before (its first answer was lost) is an Accept. [ErrNotFound]: no such flow run.
func (c *Client) SetState(ctx context.Context, flowRunID string, p StateProposal) (StateResult, error) {
	if p.TransitionID == "" {
		p.TransitionID = uuid.NewString()
	}
	var answer struct {
		Status  Answer `json:"status"`
		State   *State `json:"state"`
		Details struct {
			Reason       string  `json:"reason"`
			DelaySeconds float64 `json:"delay_seconds"`
		} `json:"details"`
	}
	r := request{args: []string{flowRunID}, body: p.body(flowRunID)}
	if err := c.call(ctx, routeSetState, r, &answer); err != nil {
		return StateResult{}, fmt.Errorf("propose state %s for flow run %s: %w", p.label(), flowRunID, err)
	}
	result := StateResult{
		Status: answer.Status, Reason: answer.Details.Reason,
		Delay: time.Duration(answer.Details.DelaySeconds * float64(time.Second)),
	}
	if answer.State != nil {
		result.State = *answer.State
	}
	if result.Status == Reject && result.State.Type == p.Type && result.State.StateDetails.TransitionID == p.TransitionID {
		result.Status = Accept
	}
	return result, nil
}

func (p StateProposal) label() string {
	if p.Name != "" {
		return p.Name
	}
	return string(p.Type)
}

func (p StateProposal) body(flowRunID string) map[string]any {
	details := map[string]any{"flow_run_id": flowRunID, "transition_id": p.TransitionID}
	if !p.ScheduledTime.IsZero() {
		details["scheduled_time"] = p.ScheduledTime.UTC()
	}
	state := map[string]any{"type": p.Type, "state_details": details}
	if p.Name != "" {
		state["name"] = p.Name
	}
	if p.Message != "" {
		state["message"] = p.Message
	}
	return map[string]any{"state": state, "force": p.Force}
}

// SetLabels merges labels into those of a flow run. Values are strings, numbers
// or booleans.
func (c *Client) SetLabels(ctx context.Context, flowRunID string, labels map[string]any) error {
	if err := c.call(ctx, routeSetLabels, request{args: []string{flowRunID}, body: labels}, nil); err != nil {
		return fmt.Errorf("label flow run %s: %w", flowRunID, err)
	}
	return nil
}

// SetInfrastructurePID stores what is needed to find the flow run's
// infrastructure; "" takes it away. Handing a flow run back does not.
func (c *Client) SetInfrastructurePID(ctx context.Context, flowRunID, pid string) error {
	body := map[string]any{"infrastructure_pid": nil}
	if pid != "" {
		body["infrastructure_pid"] = pid
	}
	if err := c.call(ctx, routeUpdateFlowRun, request{args: []string{flowRunID}, body: body}, nil); err != nil {
		return fmt.Errorf("store infrastructure pid of flow run %s: %w", flowRunID, err)
	}
	return nil
}

// NewFlowRun is a flow run to be made from a deployment; every field is optional.
type NewFlowRun struct {
	Name         string
	Parameters   map[string]any
	JobVariables map[string]any
	Tags         []string
	// ScheduledTime is when the flow run is due; zero is now.
	ScheduledTime time.Time
	// IdempotencyKey: the server makes one flow run per key. "" makes a new key,
	// kept over the retries of this call.
	IdempotencyKey string
}

// CreateFlowRun makes a flow run of a deployment, in state SCHEDULED.
func (c *Client) CreateFlowRun(ctx context.Context, deploymentID string, n NewFlowRun) (FlowRun, error) {
	if n.IdempotencyKey == "" {
		n.IdempotencyKey = uuid.NewString()
	}
	details := map[string]any{}
	if !n.ScheduledTime.IsZero() {
		details["scheduled_time"] = n.ScheduledTime.UTC()
	}
	body := map[string]any{
		"idempotency_key": n.IdempotencyKey,
		"state":           map[string]any{"type": StateScheduled, "state_details": details},
	}
	if n.Name != "" {
		body["name"] = n.Name
	}
	if n.Parameters != nil {
		body["parameters"] = n.Parameters
	}
	if n.JobVariables != nil {
		body["job_variables"] = n.JobVariables
	}
	if n.Tags != nil {
		body["tags"] = n.Tags
	}
	var flowRun FlowRun
	if err := c.call(ctx, routeCreateFlowRun, request{args: []string{deploymentID}, body: body}, &flowRun); err != nil {
		return FlowRun{}, fmt.Errorf("create flow run of deployment %s: %w", deploymentID, err)
	}
	return flowRun, nil
}
