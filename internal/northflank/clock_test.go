package northflank

import (
	"net/http"
	"testing"
	"time"
)

func TestClockSkew(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	type answer struct {
		asked, took time.Duration // since start
		ahead       time.Duration // of Northflank's clock
		date        string        // instead of a right one
	}
	tests := []struct {
		name      string
		answers   []answer
		low, high time.Duration
		ok        bool
	}{
		{name: "none"},
		{name: "no date", answers: []answer{{date: "soon"}}},
		{name: "one, in time", answers: []answer{{took: 200 * time.Millisecond}}, low: -200 * time.Millisecond, high: time.Second, ok: true},
		{name: "two narrow it", answers: []answer{{}, {asked: 900 * time.Millisecond}}, low: 0, high: 100 * time.Millisecond, ok: true},
		{name: "ahead", answers: []answer{{ahead: time.Minute}}, low: time.Minute, high: 61 * time.Second, ok: true},
		{name: "set back", answers: []answer{{ahead: time.Minute}, {asked: time.Second, ahead: -time.Minute}}, low: -time.Minute, high: -59 * time.Second, ok: true},
		{name: "old bounds are dropped", answers: []answer{{}, {asked: 900 * time.Millisecond}, {asked: 2 * time.Hour}}, low: 0, high: time.Second, ok: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := &Client{}
			for _, a := range tt.answers {
				asked := start.Add(a.asked)
				date := a.date
				if date == "" {
					date = asked.Add(a.ahead).Format(http.TimeFormat)
				}
				c.clock.record(http.Header{"Date": {date}}, asked, asked.Add(a.took))
			}
			if low, high, ok := c.ClockSkew(); low != tt.low || high != tt.high || ok != tt.ok {
				t.Errorf("ClockSkew() = %v, %v, %v, want %v, %v, %v", low, high, ok, tt.low, tt.high, tt.ok)
			}
		})
	}
}
