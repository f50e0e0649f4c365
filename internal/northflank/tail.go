package northflank

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

const (
	// maxFrame bounds a frame of the log socket in bytes. Northflank sends one at
	// 32.7 kB of log lines; escaping and one very long line make it larger.
	maxFrame = 4 << 20
	// tailSetup bounds the time from dialling to the answer to the token.
	tailSetup = 30 * time.Second
)

// TailQuery selects what a log socket sends: first the newest LineLimit lines
// since Start, then live ones.
type TailQuery struct {
	RunID     string    // "" is all runs of the job, over the one socket
	Start     time.Time // zero is left to Northflank
	LineLimit int       // 0 is Northflank's default, 10
}

// tailFrame is a message of the log socket, either way.
type tailFrame struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// TailLogs follows the output of a job's containers and hands each frame's
// lines to emit, from the calling goroutine. It returns nil when Northflank
// closes the socket in good order, and an error when the socket breaks, is
// refused, or ctx ends. It does not reconnect: give the last line's time as
// Start next time and drop what was seen before. One call costs one request.
//
// Northflank says nothing of closing the socket when a job run ends; cancel ctx.
func (c *Client) TailLogs(ctx context.Context, projectID, jobID string, q TailQuery, emit func([]LogLine)) error {
	if err := c.tail(ctx, projectID, jobID, q, emit); err != nil {
		return fmt.Errorf("follow logs of job %q: %w", jobID, err)
	}
	return nil
}

func (c *Client) tail(ctx context.Context, projectID, jobID string, q TailQuery, emit func([]LogLine)) error {
	conn, r, err := c.openTail(ctx, projectID, jobID, q)
	if err != nil {
		return err
	}
	defer conn.CloseNow() //nolint:errcheck // nothing is left to do with a failure
	return c.readTail(ctx, conn, r, emit)
}

// CheckTail opens a job's log socket, has the token accepted, and closes it. It
// costs one request.
func (c *Client) CheckTail(ctx context.Context, projectID, jobID string) error {
	conn, _, err := c.openTail(ctx, projectID, jobID, TailQuery{})
	if err != nil {
		return fmt.Errorf("follow logs of job %q: %w", jobID, err)
	}
	_ = conn.CloseNow() // nothing is left to do with a failure
	return nil
}

// openTail returns a log socket that has taken the token.
func (c *Client) openTail(ctx context.Context, projectID, jobID string, q TailQuery) (*websocket.Conn, *request, error) {
	r, err := c.projectRequest(http.MethodGet, routeLogs, projectID, ClassEvidence, "jobs", jobID, "logs")
	if err != nil {
		return nil, nil, err
	}
	r.query = logQuery("tail", q.RunID, q.Start, q.LineLimit)

	setup, cancel := context.WithTimeoutCause(ctx, tailSetup, errAttemptTimeout)
	defer cancel()
	var conn *websocket.Conn
	upgrade := c.observing(c.refusing(c.budgeted(func(ctx context.Context, r *request) (*answer, error) {
		var a *answer
		var err error
		conn, a, err = c.dialTail(ctx, r)
		return a, err
	})))
	if _, err := upgrade(setup, r); err != nil {
		return nil, nil, err
	}
	if err := c.authenticateTail(setup, conn, r); err != nil {
		_ = conn.CloseNow() // nothing is left to do with a failure
		return nil, nil, err
	}
	return conn, r, nil
}

// dialTail opens the socket. A refused upgrade comes back as the answer, an
// accepted one as an empty 200, so that the stages treat it as any request.
func (c *Client) dialTail(ctx context.Context, r *request) (*websocket.Conn, *answer, error) {
	conn, resp, err := websocket.Dial(ctx, r.url(c.base), &websocket.DialOptions{
		HTTPClient: c.http,
		HTTPHeader: http.Header{"User-Agent": {c.userAgent}},
	})
	if err == nil {
		conn.SetReadLimit(maxFrame)
		return conn, &answer{status: http.StatusOK, header: resp.Header}, nil
	}
	if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(resp.Body) // the library keeps 1,024 bytes of it
		a := &answer{status: resp.StatusCode, header: resp.Header, body: body}
		if resp.StatusCode < 300 {
			return nil, a, unusable(r, "it is not an upgrade to a websocket")
		}
		return nil, a, nil
	}
	return nil, nil, c.transportError(ctx, err, !isDialError(err))
}

// authenticateTail sends the token, which a log socket takes in its first frame
// instead of a header, and reads the verdict.
func (c *Client) authenticateTail(ctx context.Context, conn *websocket.Conn, r *request) error {
	hello, err := json.Marshal(map[string]any{"type": "init", "data": map[string]any{
		"auth": map[string]string{"type": "apiToken", "apiToken": c.token.Reveal()},
	}})
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, websocket.MessageText, hello); err != nil {
		return c.transportError(ctx, err, true)
	}
	for {
		frame, err := c.readFrame(ctx, conn)
		if err != nil {
			return c.transportError(ctx, err, true)
		}
		var verdict struct {
			Auth    string `json:"auth"`
			Message string `json:"message"`
		}
		switch frame.Type {
		case "init":
			if json.Unmarshal(frame.Data, &verdict) == nil && verdict.Auth == "successful" {
				return nil
			}
			return c.tailRefused(r, http.StatusUnauthorized, verdict.Message)
		case "error":
			_ = json.Unmarshal(frame.Data, &verdict) // an error without a message is one too
			return c.tailRefused(r, http.StatusUnauthorized, verdict.Message)
		}
	}
}

// tailRefused is an [*Error] although the refusal came in a frame: callers and
// users treat it the same.
func (c *Client) tailRefused(r *request, status int, message string) *Error {
	return &Error{
		Status: status, Message: c.scrubber(r).Text(message),
		Method: r.method, Path: r.path, Route: r.route, Project: r.project,
	}
}

func (c *Client) readTail(ctx context.Context, conn *websocket.Conn, r *request, emit func([]LogLine)) error {
	joiner := newLineJoiner()
	defer func() {
		if rest := joiner.rest(); len(rest) > 0 {
			emit(rest)
		}
	}()
	for {
		frame, err := c.readFrame(ctx, conn)
		switch status := websocket.CloseStatus(err); {
		case status == websocket.StatusNormalClosure || status == websocket.StatusGoingAway:
			return nil
		case err != nil:
			return c.transportError(ctx, err, true)
		}
		switch frame.Type {
		case "log-lines":
			lines, err := parseLogData(frame.Data)
			if err != nil {
				c.log.DebugContext(ctx, "unreadable log lines", "path", r.path, "err", err)
				continue
			}
			if whole := joiner.add(lines); len(whole) > 0 {
				emit(whole)
			}
		case "error":
			var e struct {
				Message string `json:"message"`
			}
			_ = json.Unmarshal(frame.Data, &e) // an error without a message is one too
			return fmt.Errorf("northflank ended the log stream: %s", oneLine(c.scrubber(r).Text(e.Message), maxMessage))
		}
	}
}

// readFrame returns the next frame that can be read. Frames of an unknown type
// are the caller's to ignore, as are those that are not JSON, with type "".
func (c *Client) readFrame(ctx context.Context, conn *websocket.Conn) (tailFrame, error) {
	_, data, err := conn.Read(ctx)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = &causeError{cause: context.Cause(ctx), err: ctx.Err()}
		}
		return tailFrame{}, err
	}
	var frame tailFrame
	if json.Unmarshal(data, &frame) != nil {
		return tailFrame{}, nil
	}
	return frame, nil
}
