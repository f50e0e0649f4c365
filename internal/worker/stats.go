package worker

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// Stats counts what a worker and its clients have done since the process began.
// Nothing in the engine reads it. Every label takes its values from a small,
// known set: no ids, no names of users' making. It is safe for concurrent use;
// make it with [NewStats].
type Stats struct {
	Starts         Counter // of job runs asked for, by result: see the results below
	Outcomes       Counter // of flow runs, by state and reason
	Adoptions      Counter // flow runs taken over from another process
	HandBacks      Counter // flow runs given back to Scheduled: nothing had been started
	StartRetries   Counter // flow runs given back to be started again: the start had failed
	Aborts         Counter // of job runs, by reason
	Sweeps         Counter // looks at jobs, by kind and result
	Hints          Counter // notifications, by effect
	ActionFailures Counter // failed actions on flow runs, by action; they are tried again
	Streams        Counter // connections to Prefect's event stream
	Channels       Counter // connections of Prefect's worker channel

	Dispatch  *Histogram // from the time that a flow run is scheduled for to the request for its job run
	Detection *Histogram // from a container's end, as Northflank tells it, to the flow run's Crashed

	NorthflankCalls Counter // requests, by class, method, route and status
	NorthflankTime  *Histogram
	PrefectCalls    Counter // calls, by method, route and status
	PrefectRetries  Counter // attempts beyond the first
	PrefectTime     *Histogram

	maintenance moment // until when Prefect asked to be left alone
}

// What became of a request for a job run.
const (
	startDone       = "started"
	startUnanswered = "unanswered" // it may have been started: looked for
	startRefused    = "refused"    // by Northflank, for no fault of the flow run's
	startInvalid    = "invalid"    // Northflank refuses this flow run's request
	startGivenUp    = "given_up"   // not asked for after all: the lease ended, the worker stops
)

// NewStats returns counters at zero. Those whose labels are few start with all
// of them, so that an increase from nothing is one.
func NewStats() *Stats {
	s := &Stats{
		Dispatch:       newHistogram(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
		Detection:      newHistogram(1, 2.5, 5, 10, 30, 60, 90, 120, 300, 600, 1800),
		NorthflankTime: newHistogram(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
		PrefectTime:    newHistogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
	}
	for _, c := range []*Counter{&s.Adoptions, &s.HandBacks, &s.StartRetries, &s.Streams, &s.Channels, &s.PrefectRetries} {
		c.Add(0)
	}
	for _, result := range []string{startDone, startUnanswered, startRefused, startInvalid, startGivenUp} {
		s.Starts.Add(0, result)
	}
	for _, why := range []reason{whyDeleted, whyCancelled, whyOutlived, whyStartTimeout} {
		s.Aborts.Add(0, why.label())
	}
	s.Aborts.Add(0, abortedOrphan)
	for _, kind := range lookNames {
		s.Sweeps.Add(0, kind, "done")
		s.Sweeps.Add(0, kind, "failed")
	}
	s.Hints.Add(0, "look")
	s.Hints.Add(0, "nothing")
	return s
}

// NorthflankCall counts an attempt of a Northflank client; it is made for
// [northflank.Options].
func (s *Stats) NorthflankCall(c northflank.Call) {
	s.NorthflankCalls.Add(1, c.Class.String(), c.Method, c.Route, callStatus(c.Status, c.Err))
	if c.Status != 0 {
		s.NorthflankTime.Observe(c.Duration)
	}
}

// PrefectCall counts a call of a Prefect client; it is made for
// [prefect.ClientOptions].
func (s *Stats) PrefectCall(c prefect.Call) {
	s.PrefectCalls.Add(1, c.Method, c.Route, callStatus(c.Status, c.Err))
	if c.Attempts > 1 {
		s.PrefectRetries.Add(uint64(c.Attempts - 1))
	}
	if c.Status != 0 {
		s.PrefectTime.Observe(c.Duration)
	}
}

// Maintenance notes until when Prefect asked to be left alone; it is made for
// [prefect.ClientOptions].
func (s *Stats) Maintenance(until time.Time) { s.maintenance.set(until) }

// CallHeldBack is the status of a request that was not sent, to leave the budget
// to more urgent ones.
const CallHeldBack = "held_back"

// callStatus is the label of a request's end.
func callStatus(status int, err error) string {
	switch {
	case status != 0:
		return strconv.Itoa(status)
	case errors.Is(err, northflank.ErrBudgetSpent):
		return CallHeldBack
	}
	return "no_answer"
}

// moment is a time that is set and read without a lock; zero: never.
type moment struct{ nanoseconds atomic.Int64 }

func (m *moment) set(t time.Time) { m.nanoseconds.Store(t.UnixNano()) }

func (m *moment) get() time.Time {
	if n := m.nanoseconds.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// maxLabels is how many labels a [Counter] may have.
const maxLabels = 4

// Counter counts by the values of its labels. The zero value is ready.
type Counter struct {
	mu sync.Mutex
	of map[[maxLabels]string]uint64
}

// Add counts n more with the labels' values, four at most.
func (c *Counter) Add(n uint64, labels ...string) {
	var key [maxLabels]string
	copy(key[:], labels)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[[maxLabels]string]uint64{}
	}
	c.of[key] += n
}

// Counts returns the counts by the values of the labels, "" for labels that the
// counter does not have.
func (c *Counter) Counts() map[[maxLabels]string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[[maxLabels]string]uint64, len(c.of))
	maps.Copy(out, c.of)
	return out
}

// Histogram counts durations by size.
type Histogram struct {
	bounds []float64 // seconds, ascending

	mu     sync.Mutex
	counts []uint64 // of bounds, and of what is above; not cumulative
	sum    float64  // seconds
}

func newHistogram(bounds ...float64) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]uint64, len(bounds)+1)}
}

// Observe counts a duration; one below zero, of two clocks that differ, as none.
func (h *Histogram) Observe(d time.Duration) {
	seconds := math.Max(d.Seconds(), 0)
	i, _ := slices.BinarySearch(h.bounds, seconds)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[i]++
	h.sum += seconds
}

// Read returns how many durations were counted, their sum in seconds, and how
// many of them were at most as long as each bound.
func (h *Histogram) Read() (n uint64, sum float64, atMost map[float64]uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	atMost = make(map[float64]uint64, len(h.bounds))
	for i, bound := range h.bounds {
		n += h.counts[i]
		atMost[bound] = n
	}
	return n + h.counts[len(h.bounds)], h.sum, atMost
}
