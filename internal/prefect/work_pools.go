package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"time"
)

// WorkPool reads a work pool by name; [ErrNotFound] when there is none.
func (c *Client) WorkPool(ctx context.Context, name string) (WorkPool, error) {
	var pool WorkPool
	if err := c.call(ctx, routeWorkPool, request{args: []string{name}}, &pool); err != nil {
		return WorkPool{}, fmt.Errorf("read work pool %q: %w", name, err)
	}
	return pool, nil
}

// CreateWorkPool makes a work pool; [ErrConflict] when the name is taken,
// [ErrForbidden] for a name that starts with "prefect".
func (c *Client) CreateWorkPool(ctx context.Context, name, typ string, template json.RawMessage) (WorkPool, error) {
	return c.createWorkPool(ctx, name, typ, template, false)
}

// CreatePausedWorkPool is CreateWorkPool for one that hands out no flow runs
// until somebody resumes it.
func (c *Client) CreatePausedWorkPool(ctx context.Context, name, typ string, template json.RawMessage) (WorkPool, error) {
	return c.createWorkPool(ctx, name, typ, template, true)
}

func (c *Client) createWorkPool(ctx context.Context, name, typ string, template json.RawMessage, paused bool) (WorkPool, error) {
	body := struct {
		Name            string          `json:"name"`
		Type            string          `json:"type"`
		BaseJobTemplate json.RawMessage `json:"base_job_template,omitempty"`
		IsPaused        bool            `json:"is_paused,omitempty"`
	}{name, typ, template, paused}
	var pool WorkPool
	if err := c.call(ctx, routeCreateWorkPool, request{body: body}, &pool); err != nil {
		return WorkPool{}, fmt.Errorf("create work pool %q: %w", name, err)
	}
	return pool, nil
}

// UpdateWorkPoolTemplate replaces the base job template of a work pool.
func (c *Client) UpdateWorkPoolTemplate(ctx context.Context, name string, template json.RawMessage) error {
	body := map[string]any{"base_job_template": template}
	if err := c.call(ctx, routeUpdateWorkPool, request{args: []string{name}, body: body}, nil); err != nil {
		return fmt.Errorf("update base job template of work pool %q: %w", name, err)
	}
	return nil
}

// WorkQueues lists the queues of a work pool: those named, or all without names.
func (c *Client) WorkQueues(ctx context.Context, pool string, names []string) ([]WorkQueue, error) {
	filter := map[string]any{}
	if len(names) > 0 {
		filter["work_queues"] = map[string]any{"name": anyOf(names)}
	}
	queues, err := collect[WorkQueue](ctx, c, routeWorkQueues, pool, filter)
	if err != nil {
		return nil, fmt.Errorf("list work queues of work pool %q: %w", pool, err)
	}
	return queues, nil
}

// ScheduledFlowRuns asks for flow runs that are due before a time, from all
// queues or those named. It claims nothing: the same flow runs are given to every
// worker until one has them accepted as Pending. State is nil in each. Limit is
// at most [MaxScheduled]; 0 is the server's own.
func (c *Client) ScheduledFlowRuns(ctx context.Context, pool string, queues []string, before time.Time, limit int) ([]FlowRun, error) {
	body := map[string]any{"work_queue_names": append([]string{}, queues...), "scheduled_before": before.UTC()}
	if limit > 0 {
		body["limit"] = min(limit, pageSize)
	}
	var answer []struct {
		FlowRun FlowRun `json:"flow_run"`
	}
	if err := c.call(ctx, routeScheduledFlowRuns, request{args: []string{pool}, body: body}, &answer); err != nil {
		return nil, fmt.Errorf("get scheduled flow runs of work pool %q: %w", pool, err)
	}
	flowRuns := make([]FlowRun, len(answer))
	for i := range answer {
		flowRuns[i] = answer[i].FlowRun
	}
	return flowRuns, nil
}

// Heartbeat tells Prefect that the worker lives. Interval is in seconds; after
// three of them without a heartbeat Prefect lists the worker as OFFLINE. Prefect
// Cloud is also told the worker's metadata, once, and asked for its id.
func (c *Client) Heartbeat(ctx context.Context, pool, worker string, interval int) error {
	body := map[string]any{"name": worker, "heartbeat_interval_seconds": interval}
	var metadata json.RawMessage
	if c.settings.IsCloud() {
		if c.WorkerID() == "" {
			body["return_id"] = true
		}
		if metadata = c.WorkerMetadata(); metadata != nil {
			body["metadata"] = metadata
		}
	}
	r := request{args: []string{pool}, body: body}
	_, rep, err := c.send(ctx, routeHeartbeat, r)
	if errors.Is(err, ErrInvalid) && body["return_id"] != nil {
		delete(body, "return_id") // as the stock worker does
		_, rep, err = c.send(ctx, routeHeartbeat, r)
	}
	if err != nil {
		return fmt.Errorf("send heartbeat of worker %q: %w", worker, err)
	}
	if metadata != nil {
		c.identity.noteTold()
	}
	if body["return_id"] != nil {
		c.identity.setWorkerID(string(rep.body))
	}
	return nil
}

// Workers lists the workers that Prefect knows of a work pool, offline ones too.
func (c *Client) Workers(ctx context.Context, pool string) ([]Worker, error) {
	workers, err := collect[Worker](ctx, c, routeWorkers, pool, nil)
	if err != nil {
		return nil, fmt.Errorf("list workers of work pool %q: %w", pool, err)
	}
	return workers, nil
}

// maxPages bounds every listing, should a server never come to an end.
const maxPages = 1000

// errSamePage: the server does not heed the offset, and would go on for ever.
var errSamePage = errors.New("the server gave the same page again for a later one")

// collect reads all pages of a filter route below a work pool.
func collect[T any](ctx context.Context, c *Client, id routeID, pool string, filter map[string]any) ([]T, error) {
	var all, last []T
	for page := range maxPages {
		body := map[string]any{"limit": pageSize, "offset": page * pageSize}
		maps.Copy(body, filter)
		var items []T
		if err := c.call(ctx, id, request{args: []string{pool}, body: body}, &items); err != nil {
			return nil, err
		}
		if page > 0 && reflect.DeepEqual(items, last) {
			return nil, errSamePage
		}
		all, last = append(all, items...), items
		if len(items) < pageSize {
			return all, nil
		}
	}
	return all, fmt.Errorf("more than %d pages", maxPages)
}

func anyOf[T any](values []T) map[string]any { return map[string]any{"any_": values} }
