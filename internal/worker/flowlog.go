package worker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// flowLogs collects lines for flow runs' logs and sends them in batches, as
// Prefect's own workers do. A batch that cannot be sent is kept for the next
// try, up to a bound; the oldest lines go first beyond it.
type flowLogs struct {
	client  *prefect.Client
	log     *slog.Logger
	enabled bool
	every   time.Duration
	round   func() // called each time that run comes round

	mu      sync.Mutex
	pending []prefect.Log
	bytes   int
	dropped int
}

const (
	logName         = "prefect.flow_runs.worker"
	maxPendingLogs  = 10_000
	maxPendingBytes = 16 << 20
	linesAtOnce     = 1000
)

// Prefect's levels are Python's.
const (
	levelInfo    = 20
	levelWarning = 30
	levelError   = 40
)

func newFlowLogs(client *prefect.Client, s prefect.LoggingToAPI, log *slog.Logger) *flowLogs {
	return &flowLogs{client: client, log: log, enabled: s.Enabled, every: s.BatchInterval}
}

// add appends a line to a flow run's log.
func (f *flowLogs) add(flowRunID string, level int, format string, args ...any) {
	f.addLine(prefect.Log{Name: logName, Level: level, Message: fmt.Sprintf(format, args...), Timestamp: time.Now().UTC(), FlowRunID: flowRunID})
}

func (f *flowLogs) addLine(l prefect.Log) {
	if !f.enabled {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending = append(f.pending, l)
	f.bytes += len(l.Message)
	for len(f.pending) > maxPendingLogs || f.bytes > maxPendingBytes {
		f.bytes -= len(f.pending[0].Message)
		f.pending = f.pending[1:]
		f.dropped++
	}
}

// run sends what was added, every batch interval, until ctx ends.
func (f *flowLogs) run(ctx context.Context) error {
	for sleep(ctx, f.every) {
		f.round()
		f.flush(ctx)
	}
	return nil
}

// flush sends all pending lines. Lines are put back when Prefect does not
// answer, and lost when it refuses them.
func (f *flowLogs) flush(ctx context.Context) {
	for {
		batch := f.take()
		if len(batch) == 0 {
			return
		}
		err := f.client.SendLogs(ctx, batch)
		if err == nil {
			continue
		}
		f.log.WarnContext(ctx, "sending lines to flow runs' logs", "lines", len(batch), "err", err)
		if isPassing(err) {
			f.putBack(batch)
		}
		return
	}
}

// take removes and returns the next batch.
func (f *flowLogs) take() []prefect.Log {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dropped > 0 {
		f.log.Warn("lines for flow runs' logs were dropped: Prefect takes them too slowly", "lines", f.dropped)
		f.dropped = 0
	}
	n := min(len(f.pending), linesAtOnce)
	batch := f.pending[:n:n]
	f.pending = f.pending[n:]
	for _, l := range batch {
		f.bytes -= len(l.Message)
	}
	return batch
}

func (f *flowLogs) putBack(batch []prefect.Log) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending = append(batch, f.pending...)
	for _, l := range batch {
		f.bytes += len(l.Message)
	}
}
