package emulator

import (
	"net/http"
	"strconv"
	"time"
)

// rateLimit is the account's request budget: a fixed window that the first
// request opens. Northflank docs: 1,000 requests an hour, three headers on each
// answer, the reset in seconds from now.
type rateLimit struct {
	limit  int // below 0: none
	window time.Duration
	opened time.Time
	used   int
}

// take spends one request and reports whether there was one left.
func (l *rateLimit) take(now time.Time) bool {
	l.roll(now)
	if l.limit >= 0 && l.used >= l.limit {
		return false
	}
	if l.opened.IsZero() {
		l.opened = now
	}
	l.used++
	return true
}

func (l *rateLimit) roll(now time.Time) {
	if !l.opened.IsZero() && now.Sub(l.opened) >= l.window {
		l.opened, l.used = time.Time{}, 0
	}
}

// budget is the state of the window.
func (l *rateLimit) budget(now time.Time) Budget {
	l.roll(now)
	b := Budget{Limit: l.limit, Remaining: max(0, l.limit-l.used), Reset: l.window}
	if l.limit < 0 {
		b.Limit, b.Remaining = DefaultRateLimit, DefaultRateLimit
	}
	if !l.opened.IsZero() {
		b.Reset = l.window - now.Sub(l.opened)
	}
	return b
}

// Budget is what the rate headers say.
type Budget struct {
	Limit     int           `json:"limit"`
	Remaining int           `json:"remaining"`
	Reset     time.Duration `json:"reset"`
}

func (b Budget) write(h http.Header) {
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat)) // net/http does it on a socket only
	h.Set("X-Ratelimit-Limit", strconv.Itoa(b.Limit))
	h.Set("X-Ratelimit-Remaining", strconv.Itoa(b.Remaining))
	h.Set("X-Ratelimit-Reset", b.resetSeconds())
}

func (b Budget) resetSeconds() string {
	return strconv.Itoa(int((b.Reset + time.Second - 1) / time.Second))
}

// Budget returns the requests left in the current window.
func (s *Server) Budget() Budget {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rate.budget(time.Now())
}

// SetRateLimit changes the size of the window; below 0 lifts the limit. What
// was spent stays spent.
func (s *Server) SetRateLimit(limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rate.limit = limit
}

// Spend takes n requests from the window, as another client of the same
// account does.
func (s *Server) Spend(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.rate.take(time.Now())
	}
}
