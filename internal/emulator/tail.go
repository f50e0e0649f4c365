package emulator

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/coder/websocket"
)

// Northflank docs: log lines are sent every second or at 32.7 kB, whichever
// comes first.
const (
	tailEvery     = time.Second
	tailFrameSize = 32_700
)

// tailAuthTimeout bounds the wait for the client's init frame; unpublished.
const tailAuthTimeout = 10 * time.Second

// serveTail follows the log of a job, or of one job run, on a websocket. The
// token comes in the first frame, not in a header.
func (s *Server) serveTail(w http.ResponseWriter, r *http.Request) {
	q := &request{Request: r, query: r.URL.Query()}
	refusal, hits, budget := s.admit(q)
	if s.config.OnRequest != nil {
		s.config.OnRequest(q.n, r.Method, r.URL.Path)
	}
	if refusal.status == 0 && !isTail(q) {
		refusal = errorReply(errRoute(), "json")
	}
	end := endWhole
	if refusal.status == 0 {
		refusal, end = s.beforeEffect(r.Context(), hits)
	}
	if end != endWhole {
		s.finish(q, refusal, end)
		breakConnection(w)
		return
	}
	budget.write(w.Header())
	if refusal.status != 0 {
		s.finish(q, refusal, end)
		maps.Copy(w.Header(), refusal.header)
		w.WriteHeader(refusal.status)
		_, _ = w.Write(refusal.body)
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil { // Accept has answered
		s.finish(q, reply{status: http.StatusBadRequest}, endWhole)
		return
	}
	defer conn.CloseNow()
	s.finish(q, reply{status: http.StatusSwitchingProtocols}, endWhole)
	t := &tail{s: s, q: q, conn: conn, hits: hits}
	t.run(s.ctx)
}

// tail is one open socket.
type tail struct {
	s     *Server
	q     *request
	conn  *websocket.Conn
	hits  []Fault
	query logQuery
	next  map[*run]int // number of the next line to look at
}

type frame struct {
	Type string `json:"type"`
	Data any    `json:"data"`
}

func (t *tail) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if d, met := delayOf(t.hits, ActionTailDrop); met {
		timer := time.AfterFunc(d, func() { t.conn.CloseNow() })
		defer timer.Stop()
	}
	if !t.open(ctx) {
		return
	}
	// Reads answer pings and notice that the client is gone.
	ctx = t.conn.CloseRead(ctx)
	limit := t.query.limit
	for {
		lines, over := t.collect(limit)
		limit = 0 // of the history only
		if err := t.send(ctx, lines); err != nil {
			return
		}
		if over && len(lines) == 0 {
			_ = t.conn.Close(websocket.StatusNormalClosure, "")
			return
		}
		if t.waitForLines(ctx) != nil {
			return
		}
	}
}

// open reads the init frame, checks token, rights and query, and answers.
func (t *tail) open(ctx context.Context) bool {
	var init struct {
		Type string `json:"type"`
		Data struct {
			Auth struct {
				Type     string `json:"type"`
				APIToken string `json:"apiToken"`
			} `json:"auth"`
		} `json:"data"`
	}
	readCtx, cancel := context.WithTimeout(ctx, tailAuthTimeout)
	defer cancel()
	_, data, err := t.conn.Read(readCtx)
	if err != nil {
		return false
	}
	malformed := json.Unmarshal(data, &init) != nil || init.Type != "init" || init.Data.Auth.Type != "apiToken"
	refused, problem := "", ""
	t.s.mu.Lock()
	t.q.token = t.s.tokens[init.Data.Auth.APIToken]
	_, faulted := delayOf(t.hits, ActionTailRefuse)
	if malformed || t.q.token == nil || faulted {
		refused = "Unauthorized"
	} else if e := t.s.authorise(t.q); e != nil {
		refused = e.Message
	} else if e := t.s.resolve(t.q); e != nil {
		problem = e.Message
	} else if t.query, e = parseLogQuery(t.q.query, defaultTailLineLimit); e != nil {
		problem = e.Message
	} else if t.query.runID != "" && t.q.job.findRun(t.query.runID) == nil {
		problem = errMissing("job run", t.query.runID).Message
	}
	t.s.mu.Unlock()
	switch {
	case refused != "":
		_ = t.write(ctx, frame{"init", map[string]string{"auth": "unauthorized", "message": refused}})
	case problem != "":
		_ = t.write(ctx, frame{"init", map[string]string{"auth": "successful"}})
		_ = t.write(ctx, frame{"error", map[string]string{"message": problem}})
	default:
		return t.write(ctx, frame{"init", map[string]string{"auth": "successful"}}) == nil
	}
	_ = t.conn.Close(websocket.StatusNormalClosure, "")
	return false
}

// collect returns the lines that are new since the last call, the newest limit
// of them when limit is above 0. over says that the one job run has ended and
// that the server closes in this case.
func (t *tail) collect(limit int) (lines []logLine, over bool) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.next == nil {
		t.next = map[*run]int{}
	}
	lag, _ := delayOf(t.hits, ActionLogLag)
	now := time.Now()
	for _, r := range t.q.job.runs {
		if t.query.runID != "" && r.ID != t.query.runID {
			continue
		}
		over = t.query.runID != "" && r.Concluded && t.s.switchIs(SwitchTailEnd, "close")
		fresh, first := r.log.since(t.next[r])
		for i, line := range fresh {
			if now.Sub(line.TS) < lag {
				break // it and what follows become visible later
			}
			t.next[r] = first + i + 1
			if t.query.selects(line, now, lag) {
				lines = append(lines, line)
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b logLine) int { return a.TS.Compare(b.TS) })
	if limit > 0 {
		lines = lines[max(0, len(lines)-limit):]
	}
	return lines, over
}

// send writes lines in frames of at most tailFrameSize, a longer line in its own.
func (t *tail) send(ctx context.Context, lines []logLine) error {
	t.s.mu.Lock()
	wire := t.s.wireLines(lines)
	t.s.mu.Unlock()
	for len(wire) > 0 {
		size, n := 0, 0
		for n < len(wire) && (n == 0 || size < tailFrameSize) {
			size += len(lines[len(lines)-len(wire)+n].Text) + 80
			n++
		}
		if err := t.write(ctx, frame{"log-lines", wire[:n]}); err != nil {
			return err
		}
		wire = wire[n:]
	}
	return nil
}

func (t *tail) write(ctx context.Context, f frame) error {
	data, err := json.Marshal(f)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tailAuthTimeout)
	defer cancel()
	return t.conn.Write(ctx, websocket.MessageText, data)
}

// waitForLines waits a second, less when a frame's worth has come together.
func (t *tail) waitForLines(ctx context.Context) error {
	timer := time.NewTimer(tailEvery)
	defer timer.Stop()
	for {
		changed := t.s.Changed()
		if t.pending() >= tailFrameSize {
			return nil
		}
		select {
		case <-timer.C:
			return nil
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pending is about how many bytes wait to be sent.
func (t *tail) pending() int {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if _, lagging := delayOf(t.hits, ActionLogLag); lagging {
		return 0
	}
	size := 0
	for _, r := range t.q.job.runs {
		if t.query.runID != "" && r.ID != t.query.runID {
			continue
		}
		fresh, _ := r.log.since(t.next[r])
		for _, line := range fresh {
			size += len(line.Text) + 80
		}
	}
	return size
}
