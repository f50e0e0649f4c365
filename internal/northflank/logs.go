package northflank

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Directions of a log query.
const (
	LogsForward  = "forward"  // from the start: the oldest lines
	LogsBackward = "backward" // from the end: the newest lines
)

// LogQuery selects lines of a job's logs. Zero fields are left to Northflank.
type LogQuery struct {
	RunID      string    // "" is all runs of the job
	Start, End time.Time // inclusive
	LineLimit  int       // the maximum is undocumented; 1,000 is a sane one
	Direction  string    // which end the limit keeps
}

// Logs reads a range of the output of a job's containers, oldest line first
// whatever the direction. Northflank docs: api/jobs/logs.
func (c *Client) Logs(ctx context.Context, projectID, jobID string, q LogQuery) ([]LogLine, error) {
	lines, err := c.rangeLogs(ctx, projectID, jobID, q)
	if err != nil {
		return nil, fmt.Errorf("read logs of job %q: %w", jobID, err)
	}
	return lines, nil
}

func (c *Client) rangeLogs(ctx context.Context, projectID, jobID string, q LogQuery) ([]LogLine, error) {
	r, err := c.projectRequest(http.MethodGet, routeLogs, projectID, ClassEvidence, "jobs", jobID, "logs")
	if err != nil {
		return nil, err
	}
	r.query = logQuery("range", q.RunID, q.Start, q.LineLimit)
	if !q.End.IsZero() {
		r.query.Set("endTime", wireTimeText(q.End))
	}
	if q.Direction != "" {
		r.query.Set("direction", q.Direction)
	}
	var data json.RawMessage
	if _, err := c.call(ctx, r, &data); err != nil {
		return nil, err
	}
	raw, err := parseLogData(data)
	if err != nil {
		return nil, unusable(r, err.Error())
	}
	if len(raw) > 1 && raw[len(raw)-1].Time.Before(raw[0].Time) {
		slices.Reverse(raw) // newest first; equal times keep their true order
	}
	slices.SortStableFunc(raw, func(a, b rawLine) int { return a.Time.Compare(b.Time) })
	j := newLineJoiner()
	return append(j.add(raw), j.rest()...), nil
}

func logQuery(queryType, runID string, start time.Time, limit int) url.Values {
	q := url.Values{"queryType": {queryType}}
	if runID != "" {
		q.Set("runId", runID)
	}
	if !start.IsZero() {
		q.Set("startTime", wireTimeText(start))
	}
	if limit > 0 {
		q.Set("lineLimit", strconv.Itoa(limit))
	}
	return q
}

// wireTimeText prints milliseconds, which is how fine Northflank's own times
// are; finer would cut off lines of the same millisecond.
func wireTimeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// rawLine is a line as Northflank sent it: maybe a part of one.
type rawLine struct {
	LogLine
	partial bool
}

// parseLogData reads a list of lines, or an object that holds it under "logs"
// or "data" as Northflank's Python client also accepts.
func parseLogData(data json.RawMessage) ([]rawLine, error) {
	var wire []logEntry
	if err := json.Unmarshal(data, &wire); err != nil {
		var object struct {
			Logs []logEntry `json:"logs"`
			Data []logEntry `json:"data"`
		}
		if json.Unmarshal(data, &object) != nil {
			return nil, err
		}
		wire = append(object.Logs, object.Data...)
	}
	lines := make([]rawLine, 0, len(wire))
	for _, e := range wire {
		lines = append(lines, e.line())
	}
	return lines, nil
}

// logEntry is a line on the wire. The text is usually a string, but typed as
// anything: a container that logs JSON may come as an object.
type logEntry struct {
	ContainerID string          `json:"containerId"`
	Log         json.RawMessage `json:"log"`
	Message     json.RawMessage `json:"message"`
	Line        json.RawMessage `json:"line"`
	TS          wireTime        `json:"ts"`
	Timestamp   wireTime        `json:"timestamp"`
	Time        wireTime        `json:"time"`
}

func (e logEntry) line() rawLine {
	var body json.RawMessage
	for _, b := range []json.RawMessage{e.Log, e.Message, e.Line} {
		if len(b) > 0 && string(b) != "null" {
			body = b
			break
		}
	}
	l := rawLine{LogLine: LogLine{ContainerID: e.ContainerID}}
	var s string
	var inner time.Time
	if json.Unmarshal(body, &s) == nil {
		inner, l.Stream, l.partial, l.Text = splitCRI(strings.TrimRight(s, "\r\n"))
	} else {
		l.Text = string(body)
	}
	for _, t := range []time.Time{e.TS.Time, e.Timestamp.Time, e.Time.Time, inner} {
		if !t.IsZero() {
			l.Time = t
			break
		}
	}
	return l
}

// splitCRI takes the prefix of the container runtime's log format off a line:
// [RFC 3339 time] stream flag text. A line without one comes back whole.
func splitCRI(s string) (at time.Time, stream string, partial bool, text string) {
	rest := s
	if first, after, ok := strings.Cut(s, " "); ok && strings.HasSuffix(first, "Z") {
		if t, err := time.Parse(time.RFC3339Nano, first); err == nil {
			at, rest = t.UTC(), after
		}
	}
	stream, rest, ok := strings.Cut(rest, " ")
	if !ok || stream != "stdout" && stream != "stderr" {
		return time.Time{}, "", false, s
	}
	flag, text, _ := strings.Cut(rest, " ") // an empty line may have lost the space at its end
	if flag != "F" && flag != "P" {
		return time.Time{}, "", false, s
	}
	return at, stream, flag == "P", text
}

// maxLine bounds a joined line in bytes; what is longer comes in pieces.
const maxLine = 1 << 20

// lineJoiner puts lines together that the container runtime cut at 16 kB. A
// joined line has the time of its first part.
type lineJoiner struct {
	open  map[streamKey]*openLine
	order []streamKey // of open, oldest first
}

type streamKey struct{ container, stream string }

type openLine struct {
	LogLine
	text strings.Builder
}

func newLineJoiner() *lineJoiner { return &lineJoiner{open: map[streamKey]*openLine{}} }

// add takes lines in order and returns the ones that are complete.
func (j *lineJoiner) add(lines []rawLine) []LogLine {
	whole := make([]LogLine, 0, len(lines))
	for _, l := range lines {
		key := streamKey{l.ContainerID, l.Stream}
		o, continued := j.open[key]
		if !continued {
			if !l.partial {
				whole = append(whole, l.LogLine)
				continue
			}
			o = &openLine{LogLine: l.LogLine}
			j.open[key] = o
			j.order = append(j.order, key)
		}
		o.text.WriteString(l.Text)
		if !l.partial || o.text.Len() >= maxLine {
			whole = append(whole, j.close(key))
		}
	}
	return whole
}

// rest returns the lines whose end never came.
func (j *lineJoiner) rest() []LogLine {
	var lines []LogLine
	for len(j.order) > 0 {
		lines = append(lines, j.close(j.order[0]))
	}
	return lines
}

func (j *lineJoiner) close(key streamKey) LogLine {
	o := j.open[key]
	delete(j.open, key)
	j.order = slices.DeleteFunc(j.order, func(k streamKey) bool { return k == key })
	o.Text = o.text.String()
	return o.LogLine
}
