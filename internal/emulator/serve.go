package emulator

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// request is one request on its way through the API.
type request struct {
	*http.Request
	n      int // 1 for the first that the server saw
	route  *route
	params map[string]string
	query  url.Values
	token  *Token
	raw    []byte
	body   map[string]any // set when the route takes one

	// The objects that the path names; set and used with Server.mu held.
	project    *project
	job        *job
	run        *run
	startedRun string
	hits       []Fault // faults that the request meets
}

// answer is what a handler hands back: the envelope's data and pagination.
type answer struct {
	data       any
	pagination *pagination
}

type pagination struct {
	HasNextPage bool   `json:"hasNextPage"`
	Cursor      string `json:"cursor,omitempty"`
	Count       int    `json:"count"` // of this page
}

// ending says how an exchange ends for the client.
type ending int

const (
	endWhole  ending = iota // the whole answer arrives
	endHalf                 // the body is cut off
	endReset                // the connection breaks without an answer
	endClient               // the client gave up first
)

// exchange answers one API request that is not a websocket.
//
//	route -> verb -> auth -> rate limit -> faults -> project scope, right ->
//	resource -> body -> state -> effect -> faults -> answer
func (s *Server) exchange(r *http.Request) (reply, ending) {
	raw, err := readBody(r)
	if err != nil {
		return reply{}, endClient
	}
	q := &request{Request: r, raw: raw, query: r.URL.Query()}
	refusal, hits, budget := s.admit(q)
	if s.config.OnRequest != nil {
		s.config.OnRequest(q.n, r.Method, r.URL.Path)
	}
	if r.Context().Err() != nil {
		return s.finish(q, reply{}, endClient)
	}
	out, end := refusal, endWhole
	if out.status == 0 {
		if out, end = s.beforeEffect(r.Context(), hits); end == endWhole && out.status == 0 {
			out = s.perform(q)
			s.store.flush()
			end = s.afterEffect(r.Context(), hits)
		}
	}
	if s.config.OnAnswer != nil {
		s.config.OnAnswer(q.n, r.Method, r.URL.Path)
	}
	if r.Context().Err() != nil {
		end = endClient
	}
	if out.header != nil {
		budget.write(out.header)
	}
	return s.finish(q, out, end)
}

func (s *Server) finish(q *request, out reply, end ending) (reply, ending) {
	status := out.status
	if end == endReset || end == endClient {
		status = 0
	}
	s.mu.Lock()
	s.counters.Statuses[status]++
	if q.route != nil {
		s.recordBody(q, status)
	}
	s.mu.Unlock()
	s.logger.Debug("request", slog.Int("n", q.n), slog.String("method", q.Method),
		slog.String("path", q.URL.Path), slog.Int("status", status))
	return out, end
}

func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	defer r.Body.Close()
	return io.ReadAll(io.LimitReader(r.Body, maxBody+1))
}

// admit does everything that precedes the resources: it counts the request,
// refuses it or lets it through, and returns the faults that it meets.
func (s *Server) admit(q *request) (refusal reply, hits []Fault, budget Budget) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals++
	q.n = s.arrivals
	var allow []string
	q.route, q.params, allow = findRoute(q.Method, q.URL)
	q.token = s.tokenOf(q.Request)
	s.count(q)
	refusal, counts := s.refuse(q, allow)
	if counts && !s.rate.take(now) {
		s.counters.Limited++
		refusal = errorReply(errRateLimited(), s.switches[SwitchErrorBody])
		if s.switchIs(SwitchRetryAfter, "on") {
			refusal.header.Set("Retry-After", s.rate.budget(now).resetSeconds())
		}
	}
	if refusal.status == 0 {
		hits = s.faults.forRequest(q, now)
	}
	return refusal, hits, s.rate.budget(now)
}

// refuse checks route, verb and token. counts says that the request goes on to
// the rate limit: public routes do not, nor does what fails before it.
func (s *Server) refuse(q *request, allow []string) (refusal reply, counts bool) {
	form := s.switches[SwitchErrorBody]
	if q.route == nil && len(allow) > 0 {
		return methodNotAllowed(allow), false
	}
	if q.route == nil || s.config.Team != "" && q.params["team"] != "" && q.params["team"] != s.config.Team {
		return errorReply(errRoute(), form), false
	}
	if q.route.public {
		return reply{}, false
	}
	if q.route.body != nil && s.switchIs(SwitchBodyBeforeAuth, "on") {
		if e := q.readBody(); e != nil {
			return errorReply(e, form), false
		}
	}
	if q.token == nil && !isTail(q) { // a tail authenticates inside the socket
		return errorReply(errUnauthorized(), form), false
	}
	return reply{}, true
}

// tokenOf finds the token of the Authorization header; nil is none or unknown.
func (s *Server) tokenOf(r *http.Request) *Token {
	value, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil
	}
	return s.tokens[value]
}

// readBody decodes and validates the body, once.
func (q *request) readBody() *apiError {
	if q.route.body == nil || q.body != nil {
		return nil
	}
	if len(q.raw) > maxBody {
		return &apiError{Status: http.StatusRequestEntityTooLarge, Message: "Request body is too large"}
	}
	body, e := decodeBody(q.Header.Get("Content-Type"), q.raw)
	if e != nil {
		return e
	}
	if found := validate(q.route.body, body); len(found) > 0 {
		return errBody(found)
	}
	q.body = body
	return nil
}

// perform does what the request asks for.
func (s *Server) perform(q *request) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	form := s.switches[SwitchErrorBody]
	if e := s.authorise(q); e != nil {
		return errorReply(e, form)
	}
	if e := s.resolve(q); e != nil {
		return errorReply(e, form)
	}
	if e := q.readBody(); e != nil {
		return errorReply(e, form)
	}
	a, e := q.route.handle(s, q)
	if e != nil {
		return errorReply(e, form)
	}
	envelope := map[string]any{"data": a.data}
	if a.pagination != nil {
		envelope["pagination"] = a.pagination
	}
	return jsonReply(http.StatusOK, envelope)
}

// authorise checks the token's projects and rights. That a role without the
// project or the right gets 403 is known from third-party fixtures only.
func (s *Server) authorise(q *request) *apiError {
	if q.token == nil {
		return nil
	}
	if p := q.params["project"]; p != "" && !q.token.reaches(p) {
		return errForbidden("The API token's role is restricted to other projects than "+p, "")
	}
	if q.route.right != "" {
		if name := q.route.right.missing(q.token, s.switches[SwitchPermissions]); name != "" {
			return errForbidden("The API token's role lacks the permission "+name, name)
		}
	}
	return nil
}

func (t *Token) reaches(projectID string) bool {
	if t.Projects == nil {
		return true
	}
	return slices.Contains(t.Projects, projectID)
}

// resolve finds the objects that the path names.
func (s *Server) resolve(q *request) *apiError {
	id := q.params["project"]
	if id == "" {
		return nil
	}
	if q.project = s.projects[id]; q.project == nil {
		return errMissing("project", id)
	}
	if id = q.params["job"]; id == "" {
		return nil
	}
	if q.job = q.project.jobs[id]; q.job == nil {
		return errMissing("job", id)
	}
	if id = q.params["run"]; id == "" {
		return nil
	}
	if q.run = q.job.findRun(id); q.run == nil {
		return errMissing("job run", id)
	}
	return nil
}

// paginate cuts one page out of n items and says what follows. Northflank docs:
// per_page 50 unless given, 100 at most; page counts from 1.
func (s *Server) paginate(q *request, n int) (from, to int, p *pagination, e *apiError) {
	perPage, e := queryInt(q.query, "per_page", 50, 100)
	if e != nil {
		return 0, 0, nil, e
	}
	page, e := queryInt(q.query, "page", 1, 1<<30)
	if e != nil {
		return 0, 0, nil, e
	}
	if cursor := q.query.Get("cursor"); cursor != "" {
		if page, e = queryInt(q.query, "cursor", 1, 1<<30); e != nil {
			return 0, 0, nil, e
		}
	}
	from = min(n, (page-1)*perPage)
	to = min(n, from+perPage)
	p = &pagination{HasNextPage: to < n, Count: to - from}
	if p.HasNextPage && s.switchIs(SwitchPagination, "cursor") {
		p.Cursor = strconv.Itoa(page + 1)
	}
	return from, to, p, nil
}

func queryInt(query url.Values, name string, otherwise, most int) (int, *apiError) {
	v := query.Get(name)
	if v == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return 0, errQuery(name, "must be a number between 1 and "+strconv.Itoa(most))
	}
	return n, nil
}

// beforeEffect applies the faults that keep a request from taking effect.
func (s *Server) beforeEffect(ctx context.Context, hits []Fault) (reply, ending) {
	for _, f := range hits {
		switch f.Action {
		case ActionStatus:
			out := f.reply()
			return out, endWhole
		case ActionResetBefore:
			return reply{}, endReset
		case ActionHang:
			s.waitForClient(ctx)
			return reply{}, endClient
		}
	}
	return reply{}, endWhole
}

// afterEffect applies the faults that keep the answer from arriving.
func (s *Server) afterEffect(ctx context.Context, hits []Fault) ending {
	for _, f := range hits {
		switch f.Action {
		case ActionSlow:
			if s.pause(ctx, f.Delay) != nil {
				return endClient
			}
		case ActionResetAfter:
			return endReset
		case ActionHangAfter:
			s.waitForClient(ctx)
			return endClient
		case ActionCutBody:
			return endHalf
		}
	}
	return endWhole
}

func (s *Server) waitForClient(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
}

// pause waits for d; it ends early, with an error, when ctx or the server does.
func (s *Server) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ctx.Done():
		return errClosed
	}
}
