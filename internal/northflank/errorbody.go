package northflank

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/northflank/prefect-northflank/internal/secret"
)

const (
	maxMessage = 500  // runes of a message shown
	maxDetails = 2000 // runes of the details shown
)

// refusing turns answers other than 2xx into [*Error] and 2xx answers that are
// not JSON into [*AnswerError].
func (c *Client) refusing(next stage) stage {
	return func(ctx context.Context, r *request) (*answer, error) {
		a, err := next(ctx, r)
		if err != nil {
			return a, err
		}
		if a.status < 200 || a.status > 299 {
			return a, c.newError(r, a)
		}
		if body := bytes.TrimSpace(a.body); len(body) > 0 && !json.Valid(body) {
			return a, unusable(r, "not JSON: "+oneLine(c.scrubber(r).Text(string(body)), 100))
		}
		return a, nil
	}
}

// newError reads an error body. Documented is
// {"error":{"status","message","id","details"}}; proxies and odd routes send a
// string for "error", a bare message, or text.
func (c *Client) newError(r *request, a *answer) *Error {
	e := &Error{
		Status: a.status, Method: r.method, Path: r.path, Route: r.route, Project: r.project,
		RetryAfter: retryAfter(a.header),
	}
	scrub := c.scrubber(r)
	var envelope struct {
		Error   json.RawMessage `json:"error"`
		Message json.RawMessage `json:"message"`
	}
	if json.Unmarshal(a.body, &envelope) != nil {
		e.Message = oneLine(scrub.Text(string(a.body)), maxMessage)
		return e
	}
	var inner struct {
		Message json.RawMessage `json:"message"`
		ID      json.RawMessage `json:"id"`
		Details any             `json:"details"`
	}
	if json.Unmarshal(envelope.Error, &inner) == nil {
		e.Message, e.ID, e.Details = text(inner.Message), text(inner.ID), inner.Details
	} else {
		e.Message = text(envelope.Error)
	}
	if e.Message == "" {
		e.Message = text(envelope.Message)
	}
	if e.Message == "" && e.Details == nil {
		e.Message = string(a.body) // some other JSON: better shown than lost
	}
	e.Message = scrub.Text(e.Message)
	e.ID = scrub.Text(e.ID)
	e.Details = scrub.Any(e.Details)
	return e
}

// text returns a JSON string's value, and any other JSON as it is written.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// scrubber hides the client's token and the request's secret values in text
// that came from the other side: a validator may echo what it refuses.
func (c *Client) scrubber(r *request) *secret.Scrubber {
	hidden := append([]string{c.token.Reveal()}, r.secrets...)
	for _, v := range hidden {
		// In text that was not decoded a value stands as JSON writes it.
		if quoted, err := json.Marshal(v); err == nil {
			hidden = append(hidden, string(quoted[1:len(quoted)-1]))
		}
	}
	return secret.NewScrubber(hidden...)
}

// secretValues lists what must not come back in an error: the values of an
// environment and the contents of mounted files.
func (q RunRequest) secretValues() []string {
	var values []string
	for _, v := range q.RuntimeEnvironment {
		values = append(values, v)
	}
	for _, f := range q.RuntimeFiles {
		values = append(values, f.Data)
	}
	return values
}

// flattenDetails prints details on one line: dotted field names in order, each
// with its complaints.
func flattenDetails(details any) string {
	var parts []string
	var walk func(name string, v any)
	walk = func(name string, v any) {
		switch v := v.(type) {
		case nil:
		case map[string]any:
			keys := make([]string, 0, len(v))
			for k := range v {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			for _, k := range keys {
				walk(strings.TrimPrefix(name+"."+k, "."), v[k])
			}
		case []any:
			for _, item := range v {
				walk(name, item)
			}
		default:
			s := fmt.Sprint(v)
			if name != "" {
				s = name + ": " + s
			}
			parts = append(parts, s)
		}
	}
	walk("", details)
	return oneLine(strings.Join(parts, "; "), maxDetails)
}

// oneLine makes foreign text fit for an error: one line, no control characters
// (a terminal would obey them), at most limit runes.
func oneLine(s string, limit int) string {
	var b strings.Builder
	count, space := 0, false
	for _, r := range s {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Cf, r) {
			space = b.Len() > 0
			continue
		}
		if count >= limit {
			b.WriteString("…")
			break
		}
		if space {
			b.WriteByte(' ')
			count++
			space = false
		}
		b.WriteRune(r)
		count++
	}
	return b.String()
}
