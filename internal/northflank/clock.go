package northflank

import (
	"net/http"
	"sync"
	"time"
)

// clock compares Northflank's clock with ours, by the Date header of answers.
// It has second precision, so each answer bounds the difference from both sides;
// the bounds of an hour are kept.
type clock struct {
	mu        sync.Mutex
	low, high time.Duration // Northflank's time minus ours lies between them
	seen      time.Time     // newest answer that counted; zero: none
	since     time.Time     // when these bounds were begun
}

const clockWindow = time.Hour // clocks drift, and are set

// record takes in an answer to a request that was asked at and answered at our
// times.
func (c *clock) record(h http.Header, asked, answered time.Time) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	// The answer was made between asked and answered, in the second of date.
	low, high := date.Sub(answered), date.Add(time.Second).Sub(asked)
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := !c.seen.IsZero() && answered.Sub(c.since) < clockWindow
	if fresh && low <= c.high && high >= c.low {
		c.low, c.high = max(low, c.low), min(high, c.high)
	} else { // the first, an old one, or a clock was set
		c.low, c.high, c.since = low, high, answered
	}
	c.seen = answered
}

// ClockSkew returns bounds of what Northflank's clock is ahead of ours; ok is
// false until an answer told.
func (c *Client) ClockSkew() (low, high time.Duration, ok bool) {
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	return c.clock.low, c.clock.high, !c.clock.seen.IsZero()
}
