package worker

import (
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

const (
	sweepShare   = 0.35 // of an account's requests, at most, for looks that nobody asked for
	defaultLimit = 1000 // requests an hour, until an answer tells
	paceMemory   = 30   // minutes of starts that are remembered, to foresee the next ones
	paceYouth    = 5    // minutes; a shorter memory says little
)

// pace spreads the looks at an account's jobs over what its request budget
// allows once the starts that are to be expected are paid for.
type pace struct {
	mu     sync.Mutex
	starts map[*northflank.Client]*startRate
}

func newPace() *pace { return &pace{starts: map[*northflank.Client]*startRate{}} }

// startRate counts starts by the minute.
type startRate struct {
	since   time.Time
	minutes [paceMemory]struct {
		minute int64 // since 1970
		starts int
	}
}

func (p *pace) started(c *northflank.Client, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.starts[c]
	if r == nil {
		r = &startRate{since: now}
		p.starts[c] = r
	}
	minute := now.Unix() / 60
	slot := &r.minutes[minute%paceMemory]
	if slot.minute != minute {
		slot.minute, slot.starts = minute, 0
	}
	slot.starts++
}

// expected foresees how many starts there will be in the given time, from those
// of the last half hour.
func (p *pace) expected(c *northflank.Client, now time.Time, in time.Duration) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.starts[c]
	if r == nil {
		return 0
	}
	minute, n := now.Unix()/60, 0
	for _, slot := range r.minutes {
		if minute-slot.minute < paceMemory {
			n += slot.starts
		}
	}
	age := min(max(now.Sub(r.since), paceYouth*time.Minute), paceMemory*time.Minute)
	return float64(n) * float64(in) / float64(age)
}

// interval returns the time between two rounds of looks that cost the given
// number of requests each. At most sweepShare of the budget goes into them, and
// at most half of what is left when the starts to come are paid for; a quarter
// of what is left is spent in any case, since a forecast may be wrong. The budget
// may stretch the interval beyond longest, up to the budget's next renewal.
func (p *pace) interval(c *northflank.Client, cost int, now time.Time, shortest, longest time.Duration) time.Duration {
	b := c.Budget()
	limit := float64(b.Limit)
	if limit == 0 {
		limit = defaultLimit
	}
	interval := min(max(time.Duration(float64(cost)*float64(time.Hour)/(sweepShare*limit)), shortest), longest)
	left := b.ResetAt.Sub(now)
	if b.Limit == 0 || left <= 0 {
		return interval
	}
	free := max(float64(b.Remaining-northflank.ClassSweep.Reserve(b.Limit)), 1)
	spare := max(free-p.expected(c, now, left), free/2) / 2
	return max(interval, min(time.Duration(float64(cost)*float64(left)/spare), left))
}
