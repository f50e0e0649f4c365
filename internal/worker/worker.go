package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// Type is the worker type, as Prefect's work pools name it.
const Type = "northflank"

// Options say which pool a [Worker] serves and how.
type Options struct {
	Prefect  *prefect.Client
	Settings *prefect.Settings
	Accounts *northflank.Accounts
	Account  jobspec.Account // of the worker's environment, for flow runs without credentials

	Name       string   // required; one name, one worker
	Pool       string   // required
	Queues     []string // empty: all
	Limit      int      // flow runs at a time; 0: no limit
	Prefetch   time.Duration
	Heartbeat  time.Duration
	Query      time.Duration   // between two polls
	RunOnce    bool            // one poll, wait for its flow runs, return
	CreatePool bool            // when it does not exist
	Template   json.RawMessage // base job template for a pool that is created or has none; nil: ours

	Timing Timing
	Stats  *Stats // where to count; nil: its own
	Logger *slog.Logger
	Out    io.Writer // the lines that Prefect's own worker prints; nil: nowhere
}

// submissionsAtOnce bounds the flow runs that are being claimed and started at
// the same time; others stay Scheduled until one is done. A Prefect server on
// SQLite stalls for a minute when some twenty clients write at once.
const submissionsAtOnce = 8

// stopWithin is how long submissions under way may go on after a stop; what is
// unfinished then is recovered by the next worker, as after a crash.
const stopWithin = 1500 * time.Millisecond

// How long the last lines and events may take, and after a stop.
const (
	lastWordsWithin = 10 * time.Second
	lastWordsAtStop = 400 * time.Millisecond
)

// Worker runs the flow runs of one work pool. See the package comment.
type Worker struct {
	Options
	startedAt time.Time
	process   string // tells this process from another one under the same name
	log       *slog.Logger
	preparer  *Preparer

	table    *table
	gate     *gate
	flowLogs *flowLogs
	events   *events
	streams  *streams
	feed     *feed
	channel  *channel
	pace     *pace
	said     said
	slots    chan struct{} // one token for each submission under way

	mu       sync.Mutex
	pool     prefect.WorkPool // as last read; ID "" until the first sync
	peers    map[string]bool  // other workers of the pool: online?
	peersAt  time.Time        // when peers was read; zero: never
	lastPoll time.Time
	lastBeat time.Time // when the last heartbeat that Prefect took was sent

	// Of the poll loop: flow runs that cannot start may hide others behind them,
	// so that it asks for as many as there are to be had.
	crowded bool

	scheduled []string // ids of the flow runs that the last poll told of
	// What the pool's flow runs under way show, whoever answers for them.
	elsewhere    map[string]string // job run id: flow run id
	jobsUnderWay map[string]bool   // job ids

	cleanSoon chan struct{} // size 1: look for what dead workers left

	// For Status.
	pulse                             pulse
	outcomes                          outcomes
	pollAnswered, observed, lastSweep moment

	// Wake-ups, of size 1: they may merge.
	polled, observeNow, sweepNow, syncNow chan struct{}
}

// New returns a worker. It sends nothing.
func New(o Options) (*Worker, error) {
	if o.Name == "" || strings.ContainsAny(o.Name, "/%") {
		return nil, fmt.Errorf("worker name %q: it must not be empty or contain / or %%", o.Name)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Stats == nil {
		o.Stats = NewStats()
	}
	o.Timing = o.Timing.withDefaults()
	if o.RunOnce { // it waits for the end of its flow runs' containers
		o.Timing.SweepMin = min(o.Timing.SweepMin, o.Timing.Relook)
		o.Timing.Settle = min(o.Timing.Settle, o.Timing.Relook)
	}
	log := o.Logger.With("work_pool", o.Pool)
	w := &Worker{
		Options: o,
		process: newProcessID(), startedAt: time.Now(),
		log: log,
		preparer: &Preparer{
			Prefect: o.Prefect, SettingsEnv: o.Settings.Environment(), Account: o.Account, WorkerName: o.Name, Secrets: o.Settings.Secrets(),
		},
		table:     newTable(),
		gate:      newGate(),
		pace:      newPace(),
		flowLogs:  newFlowLogs(o.Prefect, o.Settings.LoggingToAPI, log),
		events:    newEvents(o.Prefect, o.Name, Type, log),
		slots:     make(chan struct{}, submissionsAtOnce),
		elsewhere: map[string]string{}, cleanSoon: make(chan struct{}, 1),
		polled: make(chan struct{}, 1), observeNow: make(chan struct{}, 1), sweepNow: make(chan struct{}, 1), syncNow: make(chan struct{}, 1),
	}
	w.streams = &streams{w: w, jobs: map[jobKey]*stream{}}
	w.feed, w.channel = newFeed(w), newChannel(w)
	w.flowLogs.round = func() { w.pulse.beat(loopFlowLogs) }
	w.events.round = func() { w.pulse.beat(loopEvents) }
	w.lastPoll = time.Now() // the health check's clock starts with the worker
	return w, nil
}

func newProcessID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// errDone ends the loops of a run-once worker.
var errDone = errors.New("done")

// Run serves the pool until ctx ends, and returns nil then. Flow runs that are
// under way live on: the next worker of the pool carries on with them.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.setUp(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	fmt.Fprintf(w.Out, "Worker '%s' started!\n", w.Name)
	w.log.DebugContext(ctx, "worker started", "worker", w.Name)
	started := w.events.emit("prefect.worker.started", poolsRelated(w.currentPool()), "")

	// Work that must not break off half-way at a stop gets some more time.
	work, cancelWork := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelWork()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(stopWithin, cancelWork) })
	defer stop()

	err := w.runLoops(ctx, work)
	if errors.Is(err, errDone) || ctx.Err() != nil {
		err = nil
	}
	cancelWork()
	w.events.emit("prefect.worker.stopped", poolsRelated(w.currentPool()), started)
	w.lastWords(ctx)
	fmt.Fprintf(w.Out, "Worker '%s' stopped!\n", w.Name)
	if n := w.table.size(); n > 0 {
		w.log.InfoContext(ctx, "flow runs live on without this worker: the next one carries on with them", "flow_runs", n)
	}
	return err
}

// runLoops runs all loops until one fails or ctx ends:
//
//	poll -> (claim, prepare, start: submit.go)        Scheduled flow runs
//	observe -> adopt, update the table                Prefect's side
//	sweep -> update the table                         Northflank's side
//	reconcile: decide(table) -> act                   what is to be done
//	feed (Prefect's events)      -> wakes the above, tells states and signs of life
//	sync, janitor, leases, flow logs, events, streams  around it
func (w *Worker) runLoops(ctx, work context.Context) error {
	var submissions sync.WaitGroup
	for l := range loops {
		w.pulse.beat(l)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, loop := range []func(context.Context) error{
		w.syncLoop, w.observeLoop, w.sweepLoop, w.janitorLoop, w.flowLogs.run, w.events.run, w.streams.run, w.feed.run, w.channel.run, w.leaseLoop,
	} {
		g.Go(func() error { return loop(ctx) })
	}
	g.Go(func() error { return w.pollLoop(ctx, work, &submissions) })
	g.Go(func() error { return w.reconcileLoop(ctx, work, &submissions) })
	err := g.Wait()
	submissions.Wait()
	return err
}

// lastWords sends what is left for logs and events: briefly when somebody waits
// for the worker to stop.
func (w *Worker) lastWords(ctx context.Context) {
	within := lastWordsWithin
	if ctx.Err() != nil {
		within = lastWordsAtStop
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	ctx = prefect.WithoutRetry(ctx)
	w.flowLogs.flush(ctx)
	w.events.flush(ctx)
}

func (w *Worker) currentPool() prefect.WorkPool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pool
}

// isPassing reports whether an error of a Prefect request may pass by itself.
func isPassing(err error) bool { return errors.Is(err, prefect.ErrUnavailable) }
