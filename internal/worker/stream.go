package worker

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
)

const (
	streamTick     = time.Second
	streamTail     = 5 * time.Second // the last lines arrive this long after a job run's end, on an open socket
	streamPatience = time.Minute     // longest wait for them
	streamHistory  = 1000            // lines asked for at a (re)connect
	streamOverlap  = time.Minute     // of output before the socket was first opened
	toldLines      = 1000            // read of a log, to drop what a predecessor forwarded
	containerLog   = "prefect.flow_runs.container"
)

// streams forwards the output of containers into their flow runs' logs, for
// flow runs whose stream_output is true: one log socket a job, whatever the
// number of its job runs.
type streams struct {
	w     *Worker
	mu    sync.Mutex
	jobs  map[jobKey]*stream
	tasks sync.WaitGroup
}

// stream is the socket of one job, and what is needed to tell its lines apart.
type stream struct {
	cancel context.CancelFunc

	mu     sync.Mutex
	owners map[string]streamed // by job run id
	pods   map[string]string   // container id: job run id
	lines  lineMemory
	told   map[string]map[toldLine]bool // by flow run id: what a predecessor forwarded
	up     time.Time                    // when the socket was opened; zero while there is none
}

// streamed is a flow run whose output is forwarded.
type streamed struct {
	flowRunID string
	runName   string // of the job run; "" when not known
	scrub     *secret.Scrubber
	adopted   bool // a predecessor may have forwarded some of it
}

// toldLine is a line as it stands in a flow run's log, which keeps microseconds.
type toldLine struct {
	at   int64 // microseconds since 1970
	text string
}

// run opens and closes sockets as flow runs come and go, until ctx ends.
func (s *streams) run(ctx context.Context) error {
	defer s.tasks.Wait()
	for sleep(ctx, streamTick) {
		s.w.pulse.beat(loopOutput)
		s.mu.Lock()
		wanted := s.wanted(time.Now())
		for key, owners := range wanted {
			st := s.jobs[key]
			if st == nil {
				streamCtx, cancel := context.WithCancel(ctx)
				st = &stream{cancel: cancel, pods: map[string]string{}, told: map[string]map[toldLine]bool{}}
				s.jobs[key] = st
				s.tasks.Go(func() { s.follow(streamCtx, key, st) })
			}
			st.mu.Lock()
			st.owners = owners
			st.mu.Unlock()
		}
		for key, st := range s.jobs {
			if wanted[key] == nil {
				st.cancel()
				delete(s.jobs, key)
			}
		}
		s.mu.Unlock()
	}
	return nil
}

// wanted lists, by job, the job runs whose output is forwarded now. It notes of
// which all has arrived. Called with mu held.
func (s *streams) wanted(now time.Time) map[jobKey]map[string]streamed {
	arrived := false
	defer func() {
		if arrived {
			s.w.table.wake()
		}
	}()
	s.w.table.mu.Lock()
	defer s.w.table.mu.Unlock()
	out := map[jobKey]map[string]streamed{}
	for _, t := range s.w.table.rows {
		spec := t.spec()
		if spec == nil || !spec.Stream || t.client == nil || t.view.start != started || t.view.streamed {
			continue
		}
		key := t.key()
		if up := s.jobs[key].openSince(); t.view.container == ended && !up.IsZero() && now.Sub(latest(up, t.view.since)) >= streamTail {
			t.view.streamed, arrived = true, true
			continue
		}
		if out[key] == nil {
			out[key] = map[string]streamed{}
		}
		out[key][t.runID] = streamed{flowRunID: t.id, runName: t.jobRun.Name, scrub: secret.NewScrubber(spec.Secrets...), adopted: t.adopted}
	}
	return out
}

// openSince returns the time since when the socket is open; zero when it is not.
func (st *stream) openSince() time.Time {
	if st == nil {
		return time.Time{}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.up
}

func (st *stream) setUp(at time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.up = at
}

// follow keeps one job's socket open. It reconnects from the newest line seen,
// and drops what comes twice.
func (s *streams) follow(ctx context.Context, key jobKey, st *stream) {
	began := time.Now().Add(-streamOverlap)
	for attempt := 0; ctx.Err() == nil; attempt++ {
		st.mu.Lock()
		from := latest(began, st.lines.last)
		st.mu.Unlock()
		opened := time.Now()
		st.setUp(opened)
		err := key.client.TailLogs(northflank.WithClass(ctx, northflank.ClassEvidence), key.project, key.id,
			northflank.TailQuery{Start: from, LineLimit: streamHistory},
			func(lines []northflank.LogLine) { s.forward(ctx, key, st, lines) })
		st.setUp(time.Time{})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.w.said.trouble(ctx, s.w.log, "following the output of job "+key.id, err)
		}
		if time.Since(opened) > time.Minute {
			attempt = 0
		}
		// Each connect costs a request.
		if !sleep(ctx, backoff(attempt, 2*time.Second, 5*time.Minute)) {
			return
		}
	}
}

// forward adds lines to the logs of the flow runs that they belong to.
func (s *streams) forward(ctx context.Context, key jobKey, st *stream, lines []northflank.LogLine) {
	for _, l := range lines {
		if !st.isNew(l) {
			continue
		}
		owner, ok := s.ownerOf(ctx, key, st, l.ContainerID)
		if !ok {
			continue
		}
		text := owner.scrub.Text(l.Text)
		if owner.adopted && s.toldBefore(ctx, st, owner.flowRunID)[toldLine{l.Time.UnixMicro(), text}] {
			continue
		}
		level := levelInfo
		if l.Stream == "stderr" {
			level = levelWarning
		}
		s.w.flowLogs.addLine(prefect.Log{Name: containerLog, Level: level, Message: text, Timestamp: l.Time.UTC(), FlowRunID: owner.flowRunID})
	}
}

// toldBefore returns the lines that a predecessor forwarded to an adopted flow
// run's log. They are read once; when that fails, some lines come twice.
func (s *streams) toldBefore(ctx context.Context, st *stream, flowRunID string) map[toldLine]bool {
	st.mu.Lock()
	told, known := st.told[flowRunID]
	st.mu.Unlock()
	if known {
		return told
	}
	const subject = "reading what was forwarded before"
	lines, err := s.w.Prefect.Logs(ctx, flowRunID, time.Now().Add(-streamOverlap-time.Minute), toldLines)
	if err != nil {
		s.w.said.trouble(ctx, s.w.log, subject, err)
	} else {
		s.w.said.over(ctx, s.w.log, subject)
	}
	told = map[toldLine]bool{}
	for _, l := range lines {
		if l.Name == containerLog {
			told[toldLine{l.Timestamp.UnixMicro(), l.Message}] = true
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.told[flowRunID] = told
	return told
}

// isNew reports whether a line was not seen yet, and remembers it.
func (st *stream) isNew(l northflank.LogLine) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.lines.isNew(l)
}

// ownerOf tells whose container wrote a line. A container is asked for once:
// its name may begin with its job run's, which saves the request.
func (s *streams) ownerOf(ctx context.Context, key jobKey, st *stream, container string) (streamed, bool) {
	st.mu.Lock()
	runID, known := st.pods[container]
	owners := st.owners
	st.mu.Unlock()
	if known {
		owner, ok := owners[runID]
		return owner, ok
	}
	for id, owner := range owners {
		if owner.runName != "" && strings.HasPrefix(container, owner.runName) {
			st.setPod(container, id)
			return owner, true
		}
	}
	for id := range owners {
		if st.asked(id) {
			continue
		}
		containers, err := key.client.ListContainers(northflank.WithClass(ctx, northflank.ClassEvidence), key.project, key.id, id)
		if err != nil {
			continue
		}
		for _, c := range containers {
			st.setPod(c.Name, id)
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	owner, ok := owners[st.pods[container]]
	return owner, ok
}

func (st *stream) setPod(container, runID string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.pods[container] = runID
}

// asked reports whether a container of the job run is known already.
func (st *stream) asked(runID string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, id := range st.pods {
		if id == runID {
			return true
		}
	}
	return false
}
