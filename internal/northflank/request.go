package northflank

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// request is one API call on its way through the stages.
type request struct {
	method string
	route  string // template for errors, metrics and hints: "/jobs/{job}/runs"
	path   string // escaped, with the version and the team and project prefix
	query  url.Values
	body   []byte // nil: none

	project string   // for errors; "" on routes without one
	class   Class    // unless the context says otherwise
	public  bool     // needs no token, so none is sent
	secrets []string // values of the body that no error may show
}

// url returns the full address.
func (r *request) url(base string) string {
	if len(r.query) == 0 {
		return base + r.path
	}
	return base + r.path + "?" + r.query.Encode()
}

// repeatable reports whether sending the request twice does what sending it
// once does. Northflank has no idempotency key, so a POST never is.
func (r *request) repeatable() bool { return r.method != http.MethodPost }

// answer is what came back for a request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// stage handles a request; stages wrap one another.
type stage func(context.Context, *request) (*answer, error)

// Call describes a finished attempt for [Options.Observe].
type Call struct {
	Method   string
	Route    string // template, without ids: "/jobs/{job}/runs"
	Class    Class
	Status   int   // 0 when no answer arrived
	Err      error // nil for 2xx
	Duration time.Duration
	Budget   Budget // after this attempt
}

// The routes, as shown in errors and metrics.
const (
	routeProjects   = "/projects"
	routeProject    = "/projects/{project}"
	routeJobs       = "/jobs"
	routeJob        = "/jobs/{job}"
	routeRuns       = "/jobs/{job}/runs"
	routeRun        = "/jobs/{job}/runs/{run}"
	routeContainers = "/jobs/{job}/containers"
	routeLogs       = "/jobs/{job}/logs"

	routeNotifications = "/integrations/notifications"
	routeNotification  = "/integrations/notifications/{notification}"
	routeRegistries    = "/integrations/registries"
	routeBuilds        = "/services/{service}/build"
	routeToken         = "/auth"
	routePlans         = "/plans"
	routeRegions       = "/regions"
)

// projectRequest builds a request under a project. segments are alternating
// fixed words and ids; ids are escaped.
func (c *Client) projectRequest(method, route, project string, class Class, segments ...string) (*request, error) {
	path, err := c.projectPath(project, segments...)
	if err != nil {
		return nil, err
	}
	return &request{method: method, route: route, path: path, project: project, class: class}, nil
}

func (c *Client) projectPath(project string, segments ...string) (string, error) {
	return c.accountPath(append([]string{"projects", project}, segments...)...)
}

// accountRequest builds a request for something of the account.
func (c *Client) accountRequest(method, route string, class Class, segments ...string) (*request, error) {
	path, err := c.accountPath(segments...)
	if err != nil {
		return nil, err
	}
	return &request{method: method, route: route, path: path, class: class}, nil
}

// accountPath is the one place that knows the two forms of a path:
// organisation tokens need the team form.
func (c *Client) accountPath(segments ...string) (string, error) {
	parts := segments
	if c.team != "" {
		parts = append([]string{"teams", c.team}, segments...)
	}
	var b strings.Builder
	b.WriteString("/v1")
	for _, p := range parts {
		// An empty or dotted id would silently address another resource.
		if p == "" || p == "." || p == ".." {
			return "", &invalidIDError{id: p}
		}
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String(), nil
}

// invalidIDError: an id that cannot be part of a path.
type invalidIDError struct{ id string }

func (e *invalidIDError) Error() string {
	return fmt.Sprintf("%q is not the id of anything in Northflank", e.id)
}

func (e *invalidIDError) Is(target error) bool { return target == ErrInvalid }

// setBody encodes v. Northflank's own clients send {} where there is nothing
// to say, since an absent body may be answered with 400.
func (r *request) setBody(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	r.body = b
	return nil
}
