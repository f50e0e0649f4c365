package worker

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// events tells Prefect what the worker did, in the stock worker's words. They
// are news, not truth: a batch that cannot be sent is kept for some tries and
// then lost.
type events struct {
	client *prefect.Client
	log    *slog.Logger
	worker map[string]string // the worker as a resource
	round  func()            // called each time that run comes round

	mu      sync.Mutex
	pending []prefect.Event
}

// imitatedVersion is the Prefect release whose worker this one behaves like.
const imitatedVersion = "3.8.8"

const (
	maxPendingEvents = 1000
	eventsInterval   = time.Second
	followsWithin    = 5 * time.Minute // Prefect links two events no further apart
)

func newEvents(client *prefect.Client, workerName, workerType string, log *slog.Logger) *events {
	return &events{client: client, log: log, worker: map[string]string{
		"prefect.resource.id":   "prefect.worker." + workerType + "." + slug(workerName),
		"prefect.resource.name": workerName,
		"prefect.version":       imitatedVersion,
		"prefect.worker-type":   workerType,
	}}
}

// slug is a name as Prefect's resource ids spell it: lower case, all else hyphens.
func slug(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String(), "-")
}

// emit queues an event and returns its id.
func (e *events) emit(name string, related []map[string]string, follows string) string {
	id := uuid.Must(uuid.NewV7()).String()
	ev := prefect.Event{
		ID: id, Occurred: time.Now().UTC(), Event: name, Resource: e.worker, Related: related, Payload: map[string]any{},
	}
	if within(follows, followsWithin) {
		ev.Follows = &follows
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending = append(e.pending, ev)
	if n := len(e.pending) - maxPendingEvents; n > 0 {
		e.pending = slices.Delete(e.pending, 0, n)
	}
	return id
}

// within reports whether the UUIDv7 id was made less than d ago.
func within(id string, d time.Duration) bool {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 {
		return false
	}
	sec, nsec := u.Time().UnixTime()
	return time.Since(time.Unix(sec, nsec)) < d
}

func (e *events) run(ctx context.Context) error {
	for sleep(ctx, eventsInterval) {
		e.round()
		e.flush(ctx)
	}
	return nil
}

func (e *events) flush(ctx context.Context) {
	e.mu.Lock()
	batch := e.pending
	e.pending = nil
	e.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	err := e.client.SendEvents(ctx, batch)
	if err == nil {
		return
	}
	e.log.DebugContext(ctx, "sending events", "events", len(batch), "err", err)
	if isPassing(err) {
		e.mu.Lock()
		e.pending = append(batch, e.pending...)
		e.mu.Unlock()
	}
}

// poolsRelated is the work pool as what an event of the worker relates to; nothing
// while there is none.
func poolsRelated(pool prefect.WorkPool) []map[string]string {
	if pool.ID == "" {
		return nil
	}
	return []map[string]string{poolRelated(pool)}
}

// poolRelated is the work pool as a related resource.
func poolRelated(pool prefect.WorkPool) map[string]string {
	return map[string]string{
		"prefect.resource.id": "prefect.work-pool." + pool.ID, "prefect.resource.role": "work-pool", "prefect.resource.name": pool.Name,
	}
}

// flowRunRelated lists what a flow run's events relate to, in the stock
// worker's order. identifier and status are "" but for the executed event.
func flowRunRelated(pool prefect.WorkPool, fr prefect.FlowRun, p *Prepared, identifier string, status *int) []map[string]string {
	var out []map[string]string
	add := func(kind, id, name string) map[string]string {
		r := map[string]string{"prefect.resource.id": "prefect." + kind + "." + id, "prefect.resource.role": kind, "prefect.resource.name": name}
		out = append(out, r)
		return r
	}
	tags := slices.Clone(fr.Tags)
	if p != nil && p.Deployment != nil {
		add("deployment", p.Deployment.ID, p.Deployment.Name)
		tags = append(tags, p.Deployment.Tags...)
	}
	if p != nil {
		add("flow", p.Flow.ID, p.Flow.Name)
		tags = append(tags, p.Flow.Tags...)
	}
	run := add("flow-run", fr.ID, fr.Name)
	if identifier != "" {
		run["prefect.infrastructure.identifier"] = identifier
	}
	if status != nil {
		run["prefect.infrastructure.status-code"] = strconv.Itoa(*status)
	}
	slices.Sort(tags)
	for _, tag := range slices.Compact(tags) {
		out = append(out, map[string]string{"prefect.resource.id": "prefect.tag." + tag, "prefect.resource.role": "tag"})
	}
	return append(out, poolRelated(pool))
}
