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
	ClassConfirm               // what became of an unconfirmed start, or of a flow run that fell silent
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

// Reserve is how many requests of a window of limit a class leaves to the more
// urgent ones. Starts leave something to the finding out of what became of them,
// and of flow runs that fell silent: a start that nobody can watch is no help. A
// quarter of the window is the most, so that an account with a tiny limit still
// gets something done.
func (c Class) Reserve(limit int) int {
	switch c {
	case ClassAbort:
		return 0
	case ClassConfirm:
		return min(max(limit/100, 5), limit/4) // 10 of 1,000: for aborts
	case ClassStart:
		return min(max(3*limit/100, 10), limit/4) // 30 of 1,000: for aborts and adoption
	default:
		return min(max(limit/20, 20), limit/4) // 50 of 1,000: for starts too
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

	asked bool          // a request was let through
	first chan struct{} // closed when it was answered, or lost

	pausedUntil time.Time
	guessed     bool          // the pause's length is ours, not Northflank's
	pause       time.Duration // length of the next guessed pause; 0 is firstPause
}

func newGovernor() *governor { return &governor{first: make(chan struct{})} }

// await lets one request go first, whose answer tells the budget: a spent account
// answers one request with 429, not all that begin together.
func (g *governor) await(ctx context.Context) error {
	g.mu.Lock()
	isFirst := !g.asked
	g.asked = true
	g.mu.Unlock()
	if isFirst {
		return nil
	}
	select {
	case <-g.first:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answered lets go those who wait for the first answer. Called with mu held.
func (g *governor) answered() {
	select {
	case <-g.first:
	default:
		close(g.first)
	}
}

// admit lets a request of the class through or says why not. Each nil must be
// followed by one call of record or lost with the returned number.
// A request that something was held for is not refused for want of budget.
func (g *governor) admit(class Class, held *hold) (seq int64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if held != nil && held.of == g && held.left > 0 {
		if err := g.paused(class, time.Now()); err != nil {
			return 0, err
		}
		held.left-- // it is in flight already
	} else {
		if err := g.refuse(class, 1); err != nil {
			return 0, err
		}
		g.inFlight++
	}
	g.lastSeq++
	return g.lastSeq, nil
}

// refuse says why n requests of the class may not be sent now. Called with mu held.
func (g *governor) refuse(class Class, n int) error {
	now := time.Now()
	if err := g.paused(class, now); err != nil {
		return err
	}
	left, limit := g.left(now)
	if limit > 0 && left-n < class.Reserve(limit) {
		return &BudgetError{Class: class, Budget: g.budget, ResetAt: g.budget.ResetAt}
	}
	return nil
}

// paused says why nothing of the class may be sent after a 429. Called with mu held.
func (g *governor) paused(class Class, now time.Time) error {
	// How long a guessed pause must last is unknown, so an abort may try.
	if now.Before(g.pausedUntil) && (!g.guessed || class != ClassAbort) {
		return &BudgetError{Class: class, Budget: g.budget, Paused: true, ResetAt: g.pausedUntil}
	}
	return nil
}

// hold is a number of requests that count as sent before they are.
type hold struct {
	of   *governor
	left int
}

type holdKey struct{}

// Hold keeps n requests of a class for what is done with the returned context, so
// that what begins with the first of them is not refused at the last. When the
// budget does not allow it the error is a [*BudgetError]. Release gives back what
// was not used; it must be called.
func (c *Client) Hold(ctx context.Context, class Class, n int) (held context.Context, release func(), err error) {
	g := c.governor
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.refuse(class, n); err != nil {
		return ctx, func() {}, err
	}
	h := &hold{of: g, left: n}
	g.inFlight += n
	return context.WithValue(ctx, holdKey{}, h), func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.inFlight -= h.left
		h.left = 0
	}, nil
}

// holdIn returns what is held for a request; nil when nothing is.
func holdIn(ctx context.Context) *hold {
	h, _ := ctx.Value(holdKey{}).(*hold)
	return h
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
	defer g.answered()
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
	defer g.answered()
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
