package emulator

import (
	"maps"
	"slices"
	"time"
)

// Counters say which requests arrived under /v1 since the start or the last
// ResetCounters. Keys of Routes are such as RouteStartRun.
type Counters struct {
	Total     int            `json:"total"`
	Limited   int            `json:"limited"` // answered 429 by the rate limit
	Routes    map[string]int `json:"routes"`
	Tokens    map[string]int `json:"tokens"`   // by name; "" is none or unknown
	Jobs      map[string]int `json:"jobs"`     // by "project/job"
	JobRuns   map[string]int `json:"jobRuns"`  // by id of the job run in the path
	Statuses  map[int]int    `json:"statuses"` // by HTTP status; 0 is an answer that was never sent
	FirstSeen time.Time      `json:"firstSeen"`
}

func newCounters() Counters {
	return Counters{
		Routes: map[string]int{}, Tokens: map[string]int{}, Jobs: map[string]int{},
		JobRuns: map[string]int{}, Statuses: map[int]int{},
	}
}

// RecordedBody is a body as it was received, byte for byte.
type RecordedBody struct {
	Time  time.Time `json:"time"`
	Route string    `json:"route"`
	Path  string    `json:"path"`
	Body  string    `json:"body"`
	// Status of the answer, and JobID and JobRunID where it made or changed one.
	Status   int    `json:"status"`
	JobID    string `json:"jobId,omitempty"`
	JobRunID string `json:"jobRunId,omitempty"`
}

// maxBodies is how many recorded bodies are kept.
const maxBodies = 1000

// Counters returns a copy of the counters.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counters
	c.Routes, c.Tokens, c.Jobs = maps.Clone(c.Routes), maps.Clone(c.Tokens), maps.Clone(c.Jobs)
	c.JobRuns, c.Statuses = maps.Clone(c.JobRuns), maps.Clone(c.Statuses)
	return c
}

// ResetCounters sets all counters to zero and forgets the recorded bodies. The
// number that OnRequest gets goes on.
func (s *Server) ResetCounters() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters, s.bodies = newCounters(), nil
}

// Bodies returns the last bodies of writes to jobs and starts of job runs,
// oldest first.
func (s *Server) Bodies() []RecordedBody {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bodies)
}

// count notes a request that arrived; s.mu must be held.
func (s *Server) count(q *request) {
	c := &s.counters
	if c.Total == 0 {
		c.FirstSeen = time.Now()
	}
	c.Total++
	name := ""
	if q.token != nil {
		name = q.token.Name
	}
	c.Tokens[name]++
	if q.route == nil {
		return
	}
	c.Routes[q.route.key()]++
	if j := q.params["job"]; j != "" {
		c.Jobs[q.params["project"]+"/"+j]++
	}
	if r := q.params["run"]; r != "" {
		c.JobRuns[r]++
	}
}

// recordBody keeps the body of a write; s.mu must be held.
func (s *Server) recordBody(q *request, status int) {
	if !q.route.recorded {
		return
	}
	if len(s.bodies) >= maxBodies {
		s.bodies = slices.Delete(s.bodies, 0, 1)
	}
	record := RecordedBody{
		Time: time.Now(), Route: q.route.key(), Path: q.URL.Path, Body: string(q.raw),
		Status: status, JobRunID: q.startedRun,
	}
	if q.job != nil {
		record.JobID = q.job.ID
	}
	s.bodies = append(s.bodies, record)
}
