package testkit

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// routes are the operations that are answered: those of [prefect.Routes].
var routes = buildRoutes()

type route struct {
	name     string // "POST /flow_runs/{id}/set_state", for counting
	method   string
	segments []string // "{" for a parameter
	serve    func(*Prefect, *call)
}

func buildRoutes() []route {
	table := []struct {
		method, path string
		serve        func(*Prefect, *call)
	}{
		{"POST", "/flow_runs/{id}/set_state", (*Prefect).proposeState},
		{"GET", "/flow_runs/{id}", (*Prefect).readFlowRun},
		{"POST", "/flow_runs/filter", (*Prefect).filterFlowRuns},
		{"PATCH", "/flow_runs/{id}/labels", (*Prefect).setLabels},
		{"PATCH", "/flow_runs/{id}", (*Prefect).updateFlowRun},
		{"POST", "/work_pools/{name}/get_scheduled_flow_runs", (*Prefect).scheduled},
		{"GET", "/work_pools/{name}", (*Prefect).readPool},
		{"POST", "/work_pools/filter", (*Prefect).filterPools},
		{"POST", "/work_pools/", (*Prefect).createPoolRoute},
		{"PATCH", "/work_pools/{name}", (*Prefect).updatePool},
		{"POST", "/work_pools/{work_pool_name}/queues/filter", (*Prefect).filterQueues},
		{"POST", "/work_pools/{work_pool_name}/workers/heartbeat", (*Prefect).heartbeat},
		{"POST", "/work_pools/{work_pool_name}/workers/filter", (*Prefect).filterWorkers},
		{"GET", "/deployments/{id}", (*Prefect).readDeployment},
		{"GET", "/deployments/name/{flow_name}/{deployment_name}", (*Prefect).readDeploymentByName},
		{"POST", "/deployments/filter", (*Prefect).filterDeployments},
		{"POST", "/deployments/{id}/create_flow_run", (*Prefect).createFlowRunOf},
		{"GET", "/flows/{id}", (*Prefect).readFlow},
		{"POST", "/flows/filter", (*Prefect).filterFlows},
		{"POST", "/logs/", (*Prefect).createLogs},
		{"POST", "/logs/filter", (*Prefect).filterLogs},
		{"POST", "/events", (*Prefect).createEvents},
		{"GET", "/health", func(_ *Prefect, c *call) { c.reply(200, []byte("true")) }},
		{"GET", "/admin/version", func(_ *Prefect, c *call) { c.reply(200, raw(ServerVersion)) }},
		{"GET", "/csrf-token", func(_ *Prefect, c *call) { c.fail(422, "CSRF protection is disabled.") }},
		{"GET", "/block_documents/{id}", (*Prefect).readBlock},
		{"GET", "/block_types/slug/{slug}/block_documents/name/{block_document_name}", (*Prefect).readBlockByName},
		{"GET", "/block_types/slug/{slug}/block_documents", (*Prefect).listBlocks},
		{"POST", "/block_documents/", (*Prefect).createBlock},
		{"PATCH", "/block_documents/{id}", (*Prefect).updateBlock},
		{"GET", "/block_types/slug/{slug}", (*Prefect).readBlockType},
		{"POST", "/block_types/", (*Prefect).createBlockType},
		{"PATCH", "/block_types/{id}", (*Prefect).updateBlockType},
		{"POST", "/block_schemas/", (*Prefect).createBlockSchema},
		{"GET", "/variables/name/{name}", (*Prefect).readVariable},
		{"POST", "/v2/concurrency_limits/leases/{lease_id}/renew", (*Prefect).renewLease},
	}
	built := make([]route, len(table))
	for i, t := range table {
		segments := strings.Split(t.path[1:], "/")
		for j, s := range segments {
			if strings.HasPrefix(s, "{") {
				segments[j] = "{"
			}
		}
		built[i] = route{name: t.method + " " + t.path, method: t.method, segments: segments, serve: t.serve}
	}
	return built
}

// match returns the path's parameters when path (split at slashes, still
// escaped) is one of the route.
func (r *route) match(method string, path []string) (args []string, ok bool) {
	if method != r.method || len(path) != len(r.segments) {
		return nil, false
	}
	for i, s := range r.segments {
		if s != "{" && s != path[i] || s == "{" && path[i] == "" {
			return nil, false
		}
	}
	for i, s := range r.segments {
		if s == "{" {
			arg, err := url.PathUnescape(path[i])
			if err != nil {
				return nil, false
			}
			args = append(args, arg)
		}
	}
	return args, true
}

// call is one request being answered.
type call struct {
	args   []string // the path's parameters, in order
	query  url.Values
	body   []byte
	buf    []byte // empty; to append an answer to
	status int
	answer []byte // what was replied
}

// ServeHTTP answers below /api, after [Prefect.Fault] had its say.
func (p *Prefect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch action := p.fault(r); action {
	case FaultNone:
		if isUpgrade(r) {
			p.serveSocket(w, r)
			return
		}
		p.serve(r).writeTo(w)
	case FaultHang, FaultHangAfter:
		if action == FaultHangAfter {
			p.serve(r)
		}
		<-r.Context().Done()
	case FaultRefuse, FaultDropBefore:
		panic(http.ErrAbortHandler) // net/http closes the connection
	case FaultDropAfter:
		p.serve(r)
		panic(http.ErrAbortHandler)
	default:
		action.failure().writeTo(w)
	}
}

func (c *call) writeTo(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(c.status)
	_, _ = w.Write(c.answer) // the client may have gone
}

// serve answers a request whatever the faults.
func (p *Prefect) serve(r *http.Request) *call {
	c := &call{query: r.URL.Query()}
	if r.Body != nil {
		c.body, _ = io.ReadAll(r.Body) // a body cut short is not JSON
	}
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/api/")
	segments := strings.Split(path, "/")
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range routes {
		if !ok {
			break
		}
		if args, match := routes[i].match(r.Method, segments); match {
			p.byRoute[routes[i].name]++
			c.args = args
			routes[i].serve(p, c)
			return c
		}
	}
	c.fail(404, "Not Found")
	return c
}

func (c *call) reply(status int, answer []byte) { c.status, c.answer = status, answer }

// fail answers as Prefect's routes do.
func (c *call) fail(status int, detail string) {
	c.reply(status, raw(map[string]string{"detail": detail}))
}

// exception answers as Prefect's error handlers do.
func (c *call) exception(status int, message string) {
	c.reply(status, raw(map[string]string{"exception_message": message}))
}

// invalid answers 422 with one complaint.
func (c *call) invalid(field, problem string) {
	loc := []any{"body"}
	for part := range strings.SplitSeq(field, ".") {
		loc = append(loc, part)
	}
	c.reply(422, raw(map[string]any{
		"exception_message": "Invalid request received.",
		"exception_detail":  []any{map[string]any{"loc": loc, "msg": problem, "type": "value_error"}},
		"request_body":      string(c.body),
	}))
}

// decode reads the body strictly, as Prefect's models do; after false the call
// has been answered.
func (c *call) decode(into any) bool {
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		c.invalid("", err.Error())
		return false
	}
	return true
}

// limit returns how many items a page may have; after false the call has been answered.
func (c *call) limit(asked *int) (int, bool) {
	switch {
	case asked == nil:
		return pageLimit, true
	case *asked < 0:
		c.fail(422, "Invalid limit: must be greater than or equal to 0.")
		return 0, false
	case *asked > pageLimit:
		c.fail(422, "Invalid limit: must be less than or equal to 200.")
		return 0, false
	}
	return *asked, true
}
