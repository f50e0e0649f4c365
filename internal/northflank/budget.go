package northflank

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Class says what a request is for. When the account's budget runs short the
// later classes are refused first.
type Class int

// The classes, most urgent first.
const (
	ClassAbort    Class = iota // a container that must stop costs money until it does
	ClassStart                 // a flow run that waits
	ClassConfirm               // what became of an unconfirmed start
	ClassSweep                 // watching job runs
	ClassEvidence              // why a job run failed
	ClassCleanup               // removing jobs that are not needed any more
)

func (c Class) String() string {
	switch c {
	case ClassAbort:
		return "abort"
	case ClassStart:
		return "start"
	case ClassConfirm:
		return "confirm"
	case ClassSweep:
		return "sweep"
	case ClassEvidence:
		return "evidence"
	case ClassCleanup:
		return "cleanup"
	}
	return fmt.Sprintf("class %d", int(c))
}

// reserve is how many requests of a window of limit a class leaves to the more
// urgent ones. A quarter of the window is the most, so that an account with a
// tiny limit still gets something done.
func (c Class) reserve(limit int) int {
	switch c {
	case ClassAbort:
		return 0
	case ClassStart, ClassConfirm:
		return min(max(limit/100, 5), limit/4) // 10 of 1,000: for aborts
	default:
		return min(max(limit/20, 20), limit/4) // 50 of 1,000: for starts and adoption
	}
}

type classKey struct{}

// WithClass says what the requests made with the returned context are for.
// Without it each method has its natural class.
func WithClass(ctx context.Context, c Class) context.Context {
	return context.WithValue(ctx, classKey{}, c)
}

// class returns what r is for.
func (r *request) classIn(ctx context.Context) Class {
	if c, ok := ctx.Value(classKey{}).(Class); ok {
		return c
	}
	return r.class
}

// BudgetError is a request that was not sent because the account's request
// budget is spent, or because Northflank asked to pause. errors.Is finds
// [ErrBudgetSpent].
type BudgetError struct {
	Class   Class
	Budget  Budget
	Paused  bool      // Northflank answered 429 before
	ResetAt time.Time // when the request will be let through
}

func (e *BudgetError) Error() string {
	until := e.ResetAt.UTC().Format(time.RFC3339)
	if e.Paused {
		return fmt.Sprintf("not sent: northflank asked for a pause until %s (429)", until)
	}
	return fmt.Sprintf("not sent: %d of %d northflank requests left until %s, kept for more urgent ones than %s",
		e.Budget.Remaining, e.Budget.Limit, until, e.Class)
}

// Is reports whether target is [ErrBudgetSpent].
func (e *BudgetError) Is(target error) bool { return target == ErrBudgetSpent }

// Hint is the next step.
func (e *BudgetError) Hint() string {
	return fmt.Sprintf("it goes on by itself at %s; Northflank support raises the limit on request",
		e.ResetAt.UTC().Format(time.RFC3339))
}

const (
	firstPause = time.Minute      // after a 429 that says nothing about when
	maxPause   = 15 * time.Minute // where its doubling ends
	// maxReset: Northflank's window is an hour; a larger reset can only be an
	// epoch. Unit seconds.
	maxReset = 3600
	// resetMargin covers a reset that was rounded down to whole seconds.
	resetMargin = time.Second
)

// governor keeps the request budget of one account. Northflank counts in fixed
// windows and tells limit, remaining and reset with each answer; that count is
// the truth, since other programs may spend from the same account.
type governor struct {
	mu       sync.Mutex
	budget   Budget
	inFlight int // admitted, not yet accounted for by an answer
	lastSeq  int64
	seenSeq  int64 // of the newest request whose headers are in budget

	pausedUntil time.Time
	guessed     bool          // the pause's length is ours, not Northflank's
	pause       time.Duration // length of the next guessed pause; 0 is firstPause
}

func newGovernor() *governor { return &governor{} }

// admit lets a request of the class through or says why not. Each nil must be
// followed by one call of record or lost with the returned number.
func (g *governor) admit(class Class) (seq int64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	// How long a guessed pause must last is unknown, so an abort may try.
	if now.Before(g.pausedUntil) && (!g.guessed || class != ClassAbort) {
		return 0, &BudgetError{Class: class, Budget: g.budget, Paused: true, ResetAt: g.pausedUntil}
	}
	left, limit := g.left(now)
	if limit > 0 && left <= class.reserve(limit) {
		return 0, &BudgetError{Class: class, Budget: g.budget, ResetAt: g.budget.ResetAt}
	}
	g.lastSeq++
	g.inFlight++
	return g.lastSeq, nil
}

// left returns how many requests may still be sent, and the limit; 0, 0 when
// nothing is known.
func (g *governor) left(now time.Time) (left, limit int) {
	if g.budget.Limit == 0 {
		return 0, 0
	}
	if !now.Before(g.budget.ResetAt) {
		return g.budget.Limit - g.inFlight, g.budget.Limit // a new window opens with the next request
	}
	return g.budget.Remaining - g.inFlight, g.budget.Limit
}

// record takes the headers of the answer to an admitted request.
func (g *governor) record(seq int64, status int, h http.Header) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.inFlight--
	seen, ok := parseRateHeaders(h, now)
	// Answers overtake one another; a later request knows the newer count.
	if ok && seq > g.seenSeq {
		g.seenSeq = seq
		g.budget = seen
	}
	if status != http.StatusTooManyRequests {
		g.pause = 0
		return
	}
	wait := retryAfter(h)
	// With requests left it is not the window that was exceeded, and its end
	// says nothing about this refusal.
	if wait == 0 && ok && seen.Remaining == 0 {
		wait = seen.ResetAt.Sub(now)
	}
	g.guessed = wait <= 0
	if g.guessed {
		wait = max(g.pause, firstPause)
		g.pause = min(2*wait, maxPause)
	}
	wait += rand.N(wait/10 + 1) // so that workers of one account do not all come back at once
	if until := now.Add(wait); until.After(g.pausedUntil) {
		g.pausedUntil = until
	}
}

// lost accounts for an admitted request that brought no answer. Northflank may
// have counted it.
func (g *governor) lost() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	if g.budget.Remaining > 0 {
		g.budget.Remaining--
	}
}

// pauseLeft returns how long a request of the class would be refused.
func (g *governor) pauseLeft() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(0, time.Until(g.pausedUntil))
}

func (g *governor) snapshot() Budget {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.budget
}
