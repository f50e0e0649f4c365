package emulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Server is one emulated Northflank account. It needs no socket: Transport
// calls it directly. All methods may be called concurrently.
type Server struct {
	config  Config
	logger  *slog.Logger
	runner  Runner
	tokens  map[string]*Token // by value
	store   *store            // nil: memory only
	faults  *Faults
	changes broadcast

	deliverer  *http.Client  // of notifications
	delivering chan struct{} // has room for maxDelivering attempts

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	work   sync.WaitGroup // job runs, tails, listeners, deliveries
	closed sync.Once

	mu            sync.Mutex // guards what follows
	closing       bool
	served        []*http.Server
	switches      map[string]string
	rand          *rand.Rand
	rate          rateLimit
	counters      Counters
	bodies        []RecordedBody
	projects      map[string]*project
	tags          map[string]map[string]any
	notifications map[string]*integration
	registries    []Registry
	undelivered   int // notifications under way
	arrivals      int
	runCount      uint64
}

var errClosed = errors.New("emulator closed")

// New returns a Server that holds what Config.DataDir kept. Close must be called.
func New(config Config) (*Server, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	seed := config.Seed
	for seed == 0 {
		seed = rand.Uint64()
	}
	s := &Server{
		config: config, logger: config.Logger, switches: config.Switches,
		rand:     rand.New(rand.NewPCG(seed, 1)),
		faults:   &Faults{rand: rand.New(rand.NewPCG(seed, 2))},
		rate:     rateLimit{limit: config.RateLimit, window: config.RateWindow},
		counters: newCounters(),
		tokens:   map[string]*Token{}, projects: map[string]*project{},
		tags: map[string]map[string]any{}, notifications: map[string]*integration{},
		deliverer: newDeliverer(config.Deliveries), delivering: make(chan struct{}, maxDelivering),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	for i := range config.Tokens {
		t := config.Tokens[i]
		if t.Value == "" {
			return nil, fmt.Errorf("token %q has no value", t.Name)
		}
		s.tokens[t.Value] = &t
	}
	if s.runner = config.Runner; s.runner == nil {
		s.runner = newProcessRunner(config.DataDir)
	}
	if config.DataDir != "" {
		if s.store, err = openStore(config.DataDir, s.logger); err != nil {
			return nil, err
		}
		if err := s.restore(); err != nil {
			s.store.close()
			return nil, err
		}
	}
	for _, id := range config.Projects {
		if _, known := s.projects[slug(id)]; !known {
			p := newProject(slug(id), id, time.Now())
			s.projects[p.ID] = p
			s.store.put(p.path(), p)
		}
	}
	s.store.flush()
	return s, nil
}

// Close kills all job runs, ends every open connection and waits until nothing
// of the emulator is left running.
func (s *Server) Close() {
	s.closed.Do(func() {
		s.cancel(errClosed)
		s.mu.Lock()
		s.closing = true
		served := s.served
		s.mu.Unlock()
		for _, server := range served {
			_ = server.Close() // ends what Shutdown would wait for; job runs are gone anyway
		}
		s.work.Wait()
		s.deliverer.CloseIdleConnections()
		if closer, ok := s.runner.(interface{ close() }); ok {
			closer.close()
		}
		s.store.close()
	})
}

// enter lets Close wait for a request; false: it is too late for one. Each true
// needs a work.Done.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.work.Add(1)
	}
	return !s.closing
}

// Changed returns a channel that is closed at the next change of a job, a job
// run or a log, and when a notification integration is disabled.
func (s *Server) Changed() <-chan struct{} { return s.changes.wait() }

// broadcast wakes everybody who waits.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{} // nil while nobody waits
}

func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
