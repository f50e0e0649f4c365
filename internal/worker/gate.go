package worker

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// gate keeps flow runs unclaimed while a place in Northflank refuses work for
// a reason that is not the flow run's: a refused token, a spent budget, an API
// that is down. One flow run at a time tries again.
type gate struct {
	mu    sync.Mutex
	shut  map[place]*shutGate
	of    map[string]place    // where a deployment's flow runs were last meant for
	took  map[place]time.Time // when a place last took a job run
	first time.Duration       // pause after the first refusal; doubles up to last
	last  time.Duration
}

type shutGate struct {
	until   time.Time
	pause   time.Duration
	trying  bool
	message string
	since   time.Time
	err     error // the newest refusal
}

func newGate() *gate {
	return &gate{shut: map[place]*shutGate{}, of: map[string]place{}, took: map[place]time.Time{}, first: 5 * time.Second, last: 2 * time.Minute}
}

// enter reports whether a flow run may be claimed for p now.
func (g *gate) enter(p place, fr prefect.FlowRun, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.shut[p]
	if s == nil {
		return true
	}
	if s.trying || now.Before(s.until) {
		g.of[fr.DeploymentID] = p
		return false
	}
	s.trying = true
	return true
}

// keepsOut reports whether enter would say no, as far as that is known before the
// flow run is prepared: thousands may wait for a place, and others behind them
// for one that is open. A flow run with job variables of its own may be meant
// for another place than its deployment.
func (g *gate) keepsOut(fr prefect.FlowRun, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, known := g.of[fr.DeploymentID]
	s := g.shut[p]
	return known && s != nil && (s.trying || now.Before(s.until)) && len(fr.JobVariables) == 0
}

// refused shuts the gate. It returns true when the reason is news, so that it
// is told once until it changes.
func (g *gate) refused(p place, err error, now time.Time) (news bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.shut[p]
	if s == nil {
		s = &shutGate{pause: g.first / 2, since: now}
		g.shut[p] = s
	}
	s.trying = false
	if spent, ok := errors.AsType[*northflank.BudgetError](err); ok {
		s.until = spent.ResetAt // told, not guessed
	} else {
		s.pause = min(2*s.pause, g.last)
		s.until = now.Add(s.pause)
	}
	news = s.message != refusalKind(err)
	s.message, s.err = refusalKind(err), err
	return news
}

// passed opens the gate. It returns true when it was shut.
func (g *gate) passed(p place, now time.Time) (reopened bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.took[p] = now
	_, reopened = g.shut[p]
	delete(g.shut, p)
	if len(g.shut) == 0 {
		clear(g.of)
	}
	return reopened
}

// left ends a try that told nothing about p.
func (g *gate) left(p place) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.shut[p]; s != nil {
		s.trying = false
	}
}

// tookMemory is how long it counts that a place took a job run.
const tookMemory = time.Hour

// list returns the places that refuse work, and how many do not that took a job
// run lately.
func (g *gate) list(now time.Time) (refusals []Refusal, takers int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p, s := range g.shut {
		refusals = append(refusals, Refusal{
			API: p.client.BaseURL(), Team: p.client.TeamID(), Project: p.project,
			Since: s.since, Until: s.until, Cause: s.message, Text: s.err.Error(),
			Denied: errors.Is(s.err, northflank.ErrUnauthorized) || errors.Is(s.err, northflank.ErrForbidden),
		})
	}
	for p, at := range g.took {
		switch {
		case now.Sub(at) > tookMemory:
			delete(g.took, p)
		case g.shut[p] == nil:
			takers++
		}
	}
	slices.SortFunc(refusals, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(a.API, b.API), cmp.Compare(a.Team, b.Team), cmp.Compare(a.Project, b.Project), a.Since.Compare(b.Since))
	})
	return refusals, takers
}

// refusalKind names the kind of a refusal: messages of one kind differ in
// request ids and times, which are no news. A 429 and a request that is held
// back because of it are one trouble.
func refusalKind(err error) string {
	for _, kind := range []error{
		northflank.ErrUnauthorized, northflank.ErrForbidden, northflank.ErrRateLimited,
	} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	if errors.Is(err, northflank.ErrBudgetSpent) {
		return northflank.ErrRateLimited.Error()
	}
	return "not reachable"
}
