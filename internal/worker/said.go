package worker

import (
	"context"
	"log/slog"
	"sync"
)

// said remembers what was told about a subject, so that a trouble is told once
// until it changes or ends.
type said struct {
	mu sync.Mutex
	of map[string]string
}

// trouble logs err about a subject at Warn, unless the same was said last.
func (s *said) trouble(ctx context.Context, log *slog.Logger, subject string, err error) {
	text := err.Error()
	s.mu.Lock()
	known := s.of[subject] == text
	if s.of == nil {
		s.of = map[string]string{}
	}
	s.of[subject] = text
	s.mu.Unlock()
	if known {
		log.DebugContext(ctx, subject, "err", err)
		return
	}
	attrs := []any{"err", err}
	if hint := hintOf(err); hint != "" {
		attrs = append(attrs, "hint", hint)
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
