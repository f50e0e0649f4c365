package northflank

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// Trial is a request below a project whose answer is of interest whatever it is:
// an experiment.
type Trial struct {
	Method   string
	Project  string
	Segments []string // of the path: "jobs", "pf-x"
	Query    url.Values
	Body     any // nil: none
}

// TrialAnswer is what came back, the client's token hidden in it.
type TrialAnswer struct {
	Status int
	Header http.Header
	Body   string
}

// Try sends a trial once. An answer of any status is no error.
func (c *Client) Try(ctx context.Context, t Trial) (TrialAnswer, error) {
	r, err := c.projectRequest(t.Method, "trial", t.Project, ClassEvidence, t.Segments...)
	if err == nil && t.Body != nil {
		err = r.setBody(t.Body)
	}
	if err != nil {
		return TrialAnswer{}, fmt.Errorf("try %s: %w", t.Method, err)
	}
	r.query = t.Query
	a, err := c.observing(c.budgeted(c.send))(ctx, r)
	if err != nil {
		return TrialAnswer{}, fmt.Errorf("try %s %s: %w", t.Method, r.path, err)
	}
	return TrialAnswer{Status: a.status, Header: a.header, Body: c.scrubber(r).Text(string(a.body))}, nil
}
