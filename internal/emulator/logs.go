package emulator

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxLine is where the container runtime splits a line: Kubernetes CRI, 16 KiB.
const maxLine = 16 << 10

// maxLogLines is how many lines of a job run are kept; older ones go.
const maxLogLines = 50_000

// logLine is a line, or a part of one, of a container's output.
type logLine struct {
	TS        time.Time `json:"ts"`
	Container string    `json:"container"`
	Stream    string    `json:"stream"` // stdout or stderr
	Partial   bool      `json:"partial,omitempty"`
	Text      string    `json:"text"`
}

// runLog is the log of one job run.
type runLog struct {
	store   *store
	path    string
	changes *broadcast

	mu      sync.Mutex
	lines   []logLine
	dropped int  // lines before lines[0]
	loaded  bool // lines holds what the file holds
	file    *appendFile
	ended   bool // nothing more is written
}

func newRunLog(st *store, path string, changes *broadcast) *runLog {
	return &runLog{store: st, path: path, changes: changes, loaded: true}
}

// restoredRunLog is the log of a job run from an earlier life; it is read when asked for.
func restoredRunLog(st *store, path string) *runLog {
	return &runLog{store: st, path: path, ended: true}
}

func (l *runLog) add(line logLine) {
	l.mu.Lock()
	l.lines = append(l.lines, line)
	if len(l.lines) > maxLogLines {
		drop := maxLogLines / 10
		l.lines = slices.Delete(l.lines, 0, drop)
		l.dropped += drop
	}
	if l.store != nil && !l.ended {
		if l.file == nil {
			l.file = l.store.appendTo(l.path)
		}
		l.file.write(line)
	}
	l.mu.Unlock()
	l.changes.notify()
}

// close ends the writing.
func (l *runLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.close()
	l.file, l.ended = nil, true
}

// since returns the lines from number n on, and the number of the first of them.
func (l *runLog) since(n int) (lines []logLine, first int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.loaded {
		l.lines, l.loaded = readLines(l.store, l.path), true
	}
	from := min(max(0, n-l.dropped), len(l.lines))
	return slices.Clone(l.lines[from:]), l.dropped + from
}

// lineWriter turns a stream into log lines.
type lineWriter struct {
	log               *runLog
	container, stream string

	mu   sync.Mutex
	rest []byte // no newline seen yet
}

func (l *runLog) writer(container, stream string) *lineWriter {
	return &lineWriter{log: l, container: container, stream: stream}
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		end := bytes.IndexByte(w.rest, '\n')
		switch {
		case end >= 0 && end <= maxLine:
			w.emit(w.rest[:end], false)
			w.rest = w.rest[end+1:]
		case len(w.rest) > maxLine:
			w.emit(w.rest[:maxLine], true)
			w.rest = w.rest[maxLine:]
		default:
			return len(p), nil
		}
	}
}

// flush writes what came without a newline.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.emit(w.rest, false)
		w.rest = nil
	}
}

func (w *lineWriter) emit(text []byte, partial bool) {
	w.log.add(logLine{
		TS: time.Now().UTC(), Container: w.container, Stream: w.stream, Partial: partial,
		Text: strings.ToValidUTF8(string(text), "\uFFFD"),
	})
}

// logQuery selects lines.
type logQuery struct {
	runID      string
	containers []string
	runtime    bool // the only type of lines that there is here
	start, end time.Time
	limit      int
	forward    bool
	keep       func(string) bool // the one text filter
}

// defaultLineLimit of a range; unpublished. Tails: Northflank's JS client says 10.
const (
	defaultLineLimit     = 100
	defaultTailLineLimit = 10
)

func parseLogQuery(query url.Values, limit int) (q logQuery, e *apiError) {
	q = logQuery{runID: query.Get("runId"), containers: query["containerName"], keep: func(string) bool { return true }}
	for _, t := range query["type"] {
		if !slices.Contains([]string{"runtime", "build", "mesh", "ingress", "cdn", "backup", "restore"}, t) {
			return q, errQuery("type", "must be one of [runtime, build, mesh, ingress, cdn, backup, restore]")
		}
	}
	q.runtime = len(query["type"]) == 0 || slices.Contains(query["type"], "runtime")
	if q.limit, e = queryInt(query, "lineLimit", limit, 1<<30); e != nil {
		return q, e
	}
	switch direction := cmp.Or(query.Get("direction"), "backward"); direction { // the default is unpublished
	case "forward":
		q.forward = true
	case "backward":
	default:
		return q, errQuery("direction", "must be one of [forward, backward]")
	}
	if e = q.parseTimes(query); e != nil {
		return q, e
	}
	return q, q.parseFilter(query)
}

func (q *logQuery) parseTimes(query url.Values) *apiError {
	for name, to := range map[string]*time.Time{"startTime": &q.start, "endTime": &q.end} {
		v := query.Get(name)
		if v == "" {
			continue
		}
		if seconds, err := strconv.ParseInt(v, 10, 64); err == nil {
			*to = time.Unix(seconds, 0)
		} else if *to, err = time.Parse(time.RFC3339, v); err != nil {
			return errQuery(name, "must be a valid ISO 8601 date")
		}
	}
	if query.Get("duration") == "" {
		return nil
	}
	seconds, e := queryInt(query, "duration", 0, 1<<30)
	if e != nil {
		return e
	}
	length := time.Duration(seconds) * time.Second
	switch {
	case !q.start.IsZero() && !q.end.IsZero():
		return errQuery("duration", "is not allowed together with both startTime and endTime")
	case !q.start.IsZero():
		q.end = q.start.Add(length)
	case !q.end.IsZero():
		q.start = q.end.Add(-length)
	default:
		q.start = time.Now().Add(-length)
	}
	return nil
}

func (q *logQuery) parseFilter(query url.Values) *apiError {
	given := ""
	for _, name := range []string{"textIncludes", "textNotIncludes", "regexIncludes", "regexNotIncludes"} {
		v := query.Get(name)
		if v == "" {
			continue
		}
		if given != "" {
			return errQuery(name, "conflicts with "+given)
		}
		given = name
		matches := func(s string) bool { return strings.Contains(s, v) }
		if strings.HasPrefix(name, "regex") {
			re, err := regexp.Compile(v)
			if err != nil {
				return errQuery(name, "must be a valid regular expression")
			}
			matches = re.MatchString
		}
		wanted := !strings.Contains(name, "Not")
		q.keep = func(s string) bool { return matches(s) == wanted }
	}
	return nil
}

// selects reports whether a line is asked for. Lines younger than lag are not
// there yet.
func (q logQuery) selects(line logLine, now time.Time, lag time.Duration) bool {
	return q.runtime && (q.start.IsZero() || !line.TS.Before(q.start)) && (q.end.IsZero() || !line.TS.After(q.end)) &&
		(len(q.containers) == 0 || slices.Contains(q.containers, "all") || slices.Contains(q.containers, line.Container)) &&
		now.Sub(line.TS) >= lag && q.keep(line.Text)
}

// rangeLogs answers with lines of the past.
func (s *Server) rangeLogs(q *request) (answer, *apiError) {
	if q.query.Get("queryType") != "range" {
		return answer{}, errQuery("queryType", "must be [range], or [tail] on a websocket")
	}
	query, e := parseLogQuery(q.query, defaultLineLimit)
	if e != nil {
		return answer{}, e
	}
	lag, _ := delayOf(q.hits, ActionLogLag)
	now := time.Now()
	var lines []logLine
	for _, r := range q.job.runs {
		if query.runID != "" && r.ID != query.runID || r.Gone {
			continue
		}
		all, _ := r.log.since(0)
		for _, line := range all {
			if query.selects(line, now, lag) {
				lines = append(lines, line)
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b logLine) int { return a.TS.Compare(b.TS) })
	if query.forward {
		lines = lines[:min(len(lines), query.limit)]
	} else {
		lines = lines[max(0, len(lines)-query.limit):]
		slices.Reverse(lines)
	}
	data := s.wireLines(lines)
	switch s.switches[SwitchLogEnvelope] {
	case "logs":
		return answer{data: map[string]any{"logs": data}}, nil
	case "nested":
		return answer{data: map[string]any{"data": data}}, nil
	}
	return answer{data: data}, nil
}

// wireLine is a log line as the API sends it. Log is a text with a CRI prefix,
// or an object.
type wireLine struct {
	ContainerID string `json:"containerId"`
	Log         any    `json:"log"`
	TS          string `json:"ts"`
}

// wireLines renders lines as the switches say; s.mu must be held.
func (s *Server) wireLines(lines []logLine) []wireLine {
	wire := make([]wireLine, 0, len(lines))
	for _, line := range lines {
		wire = append(wire, wireLine{ContainerID: line.Container, Log: s.wireText(line), TS: stampMillis(line.TS)})
	}
	return wire
}

func (s *Server) wireText(line logLine) any {
	if s.switchIs(SwitchLogJSON, "object") && strings.HasPrefix(line.Text, "{") {
		if object := (map[string]any{}); json.Unmarshal([]byte(line.Text), &object) == nil {
			return object
		}
	}
	flag := "F"
	if line.Partial {
		flag = "P"
	}
	prefix := ""
	if s.switchIs(SwitchLogPrefix, "time") {
		prefix = line.TS.Format("2006-01-02T15:04:05.000000000Z") + " "
	}
	return prefix + line.Stream + " " + flag + " " + line.Text
}
