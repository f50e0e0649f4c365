package webhook

import "sync"

const (
	// maxRecent is how many ids of events are remembered: those of hours, since
	// a job run has a handful.
	maxRecent = 10_000
	// maxEventID bounds one, in bytes.
	maxEventID = 128
)

// recent remembers the newest ids. Northflank repeats a notification whose
// answer it did not get.
type recent struct {
	mu   sync.Mutex
	ids  map[string]struct{}
	ring []string // of the same ids, by age; grows to maxRecent
	next int      // where the oldest is, once it has
}

func newRecent() *recent { return &recent{ids: map[string]struct{}{}} }

// add remembers an id and reports whether it is new. What is no sensible id
// always is.
func (r *recent) add(id string) bool {
	if id == "" || len(id) > maxEventID {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.ids[id]; known {
		return false
	}
	r.ids[id] = struct{}{}
	if len(r.ring) < maxRecent {
		r.ring = append(r.ring, id)
		return true
	}
	delete(r.ids, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % maxRecent
	return true
}
