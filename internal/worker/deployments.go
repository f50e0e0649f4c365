package worker

import (
	"context"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// deployments reads deployments, in a burst each of them once: what was read
// since a flow run was seen shows the deployment as it was when the flow run was
// made, or newer.
type deployments struct {
	mu    sync.Mutex
	reads map[string]*deploymentRead // the newest, by deployment id
}

type deploymentRead struct {
	asked time.Time
	done  chan struct{} // closed when the answer is there
	d     prefect.Deployment
	err   error
}

// maxCachedDeployments bounds deployments.reads; it is emptied beyond it.
const maxCachedDeployments = 100

// get returns the deployment as it is now, or was at some time since; zero: now.
func (c *deployments) get(ctx context.Context, id string, since time.Time, read func(context.Context, string) (prefect.Deployment, error)) (prefect.Deployment, error) {
	if since.IsZero() {
		return read(ctx, id)
	}
	c.mu.Lock()
	r := c.reads[id]
	if r != nil && !r.asked.Before(since) {
		c.mu.Unlock()
		select {
		case <-r.done:
		case <-ctx.Done():
			return prefect.Deployment{}, ctx.Err()
		}
		if r.err == nil {
			return r.d, nil
		}
		return read(ctx, id) // another one's failure is not this one's
	}
	r = &deploymentRead{asked: time.Now(), done: make(chan struct{})}
	if c.reads == nil || len(c.reads) >= maxCachedDeployments {
		c.reads = map[string]*deploymentRead{}
	}
	c.reads[id] = r
	c.mu.Unlock()
	r.d, r.err = read(ctx, id)
	close(r.done)
	return r.d, r.err
}
