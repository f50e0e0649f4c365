package worker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// subjectPool is what is said about a work pool that does not exist.
const subjectPool = "finding the work pool"

// Trouble is something that does not work at the moment, as far as is known.
type Trouble struct {
	Subject string // what does not work
	Text    string
	Hint    string
	Since   time.Time // when it was met first, in a row of meetings that are no more than ten minutes apart
	Last    time.Time // when it was met last
	Cause   TroubleCause
}

// TroubleCause tells apart what must be put right, and where.
type TroubleCause string

// The causes that matter to whoever waits for it to pass.
const (
	CauseOther             TroubleCause = ""
	CausePrefectRefuses    TroubleCause = "prefect_refuses"    // the worker's credentials
	CausePrefectFails      TroubleCause = "prefect_fails"      // no answer, or 5xx
	CauseNorthflankRefuses TroubleCause = "northflank_refuses" // a token
	CauseNorthflankFails   TroubleCause = "northflank_fails"   // no answer, or 5xx
	CausePoolMissing       TroubleCause = "pool_missing"
)

func causeOf(subject string, err error) TroubleCause {
	switch {
	case subject == subjectPool:
		return CausePoolMissing
	case subject == feedSubject, subject == channelSubject:
		return CauseOther // all works without it
	case errors.Is(err, prefect.ErrUnauthorized), errors.Is(err, prefect.ErrForbidden):
		return CausePrefectRefuses
	case isPassing(err):
		return CausePrefectFails
	case errors.Is(err, northflank.ErrUnauthorized):
		return CauseNorthflankRefuses
	}
	_, unreached := errors.AsType[*northflank.TransportError](err)
	if answer, ok := errors.AsType[*northflank.Error](err); unreached || ok && answer.Status >= 500 {
		return CauseNorthflankFails
	}
	return CauseOther
}

// saidRow is the longest time between two meetings of one lasting trouble.
const saidRow = 10 * time.Minute

// saidMemory is how long a trouble is remembered that nobody meets any more.
const saidMemory = 24 * time.Hour

// said remembers what was told about a subject, so that a trouble is told once
// until it changes or ends.
type said struct {
	mu sync.Mutex
	of map[string]Trouble
}

// trouble logs err about a subject at Warn, unless the same was said last.
func (s *said) trouble(ctx context.Context, log *slog.Logger, subject string, err error) {
	now := time.Now()
	told := Trouble{Subject: subject, Text: err.Error(), Hint: hintOf(err), Since: now, Last: now, Cause: causeOf(subject, err)}
	s.mu.Lock()
	before, was := s.of[subject]
	if was && now.Sub(before.Last) <= saidRow {
		told.Since = before.Since
	}
	if s.of == nil {
		s.of = map[string]Trouble{}
	}
	s.of[subject] = told
	for other, t := range s.of { // of jobs that are long gone, say
		if now.Sub(t.Last) > saidMemory {
			delete(s.of, other)
		}
	}
	s.mu.Unlock()
	if was && before.Text == told.Text {
		log.DebugContext(ctx, subject, "err", err)
		return
	}
	attrs := []any{"err", err}
	if told.Hint != "" {
		attrs = append(attrs, "hint", told.Hint)
	}
	log.WarnContext(ctx, subject, attrs...)
}

// over logs that the trouble with a subject ended, if there was one.
func (s *said) over(ctx context.Context, log *slog.Logger, subject string) {
	s.mu.Lock()
	_, was := s.of[subject]
	delete(s.of, subject)
	s.mu.Unlock()
	if was {
		log.InfoContext(ctx, subject+": works again")
	}
}

// list returns all troubles, the newest first.
func (s *said) list() []Trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Trouble, 0, len(s.of))
	for _, t := range s.of {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Trouble) int { return b.Last.Compare(a.Last) })
	return out
}
