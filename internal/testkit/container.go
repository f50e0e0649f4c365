package testkit

import (
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// This file is the flow process's side: what `prefect flow-run execute` in a
// container does (Prefect 3.8: prefect/runner/_flow_run_executor.py and
// prefect/flow_engine.py).

// Execution is one time that a flow's code began to run.
type Execution struct {
	FlowRunID string
	Container string // as given to BeginRun
	At        time.Time
}

// Start is what a container learns when it tries to begin.
type Start struct {
	Runs   bool          // the flow's code runs now
	Wait   time.Duration // not yet: to be tried again after this
	Reason string        // why it does not run; "" when it does
}

// BeginRun does what a container does before the flow's code: it looks at the
// flow run, ends it when it is being cancelled, and proposes Running. Like the
// real server it lets a second container of a Running, Crashed or Failed flow run
// begin: keeping that from happening is the worker's business.
func (p *Prefect) BeginRun(id, container string) Start {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.flowRun(id)
	if r == nil {
		return Start{Reason: "flow run not found"}
	}
	switch r.state.Type {
	case prefect.StateCancelling:
		p.setState(r, State{Type: prefect.StateCancelled, Message: "Flow run was cancelled before execution started."}, true)
		return Start{Reason: "cancelling"}
	case prefect.StateCancelled:
		return Start{Reason: "cancelled"}
	}
	result := p.setState(r, State{Type: prefect.StateRunning, TransitionID: p.newID()}, false)
	switch result.Status {
	case prefect.Accept:
		p.executions = append(p.executions, Execution{FlowRunID: id, Container: container, At: now()})
		return Start{Runs: true}
	case prefect.Wait:
		return Start{Wait: result.Delay, Reason: result.Reason}
	}
	return Start{Reason: result.Reason}
}

// Finish proposes the state that the flow ended in, as its process does. A
// Failed one comes back as AwaitingRetry while the process has retries left: it
// is to begin again at the ScheduledTime. False: the flow run was deleted.
func (p *Prefect) Finish(id string, state State) (Result, bool) {
	return p.report(id, state, false)
}

// FinishCancelled is what the process does when it notices that the flow run is
// being cancelled and has ended the flow.
func (p *Prefect) FinishCancelled(id string) (Result, bool) {
	return p.report(id, State{Type: prefect.StateCancelled, Message: "Flow run was cancelled successfully."}, true)
}

func (p *Prefect) report(id string, state State, force bool) (Result, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.flowRun(id)
	if r == nil {
		return Result{}, false
	}
	state.TransitionID = p.newID()
	return p.setState(r, state, force), true
}

// Executions returns every time that a flow run's code began to run.
func (p *Prefect) Executions(flowRunID string) []Execution {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []Execution
	for _, e := range p.executions {
		if e.FlowRunID == flowRunID {
			found = append(found, e)
		}
	}
	return found
}
