package worker

import (
	"errors"
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
	of    map[string]place // where a deployment's flow runs were last meant for
	first time.Duration    // pause after the first refusal; doubles up to last
	last  time.Duration
}

type shutGate struct {
	until   time.Time
	pause   time.Duration
	trying  bool
	message string
}

func newGate() *gate {
	return &gate{shut: map[place]*shutGate{}, of: map[string]place{}, first: 5 * time.Second, last: 2 * time.Minute}
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
		s = &shutGate{pause: g.first / 2}
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
	s.message = refusalKind(err)
	return news
}

// passed opens the gate. It returns true when it was shut.
func (g *gate) passed(p place) (reopened bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
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
