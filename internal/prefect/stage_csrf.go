package prefect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
)

const (
	headerCSRFToken  = "Prefect-Csrf-Token"
	headerCSRFClient = "Prefect-Csrf-Client"
)

// csrfStage adds the token that a server with CSRF protection wants on every
// changing request, and fetches one when there is none, when it has expired, or
// when the server calls it invalid. A server without the protection is asked once.
type csrfStage struct {
	next   stage
	fetch  stage  // how a token is asked for
	client string // one random UUID for the life of the client

	// lock guards the fields below and is held while a token is fetched, so that
	// fifty requests that find it expired fetch one: each new token makes the
	// server forget the one before. A channel, since waiting for it must be
	// cancellable.
	lock    chan struct{}
	off     bool // the server said that it needs no token
	token   string
	expires time.Time
}

func newCSRFStage(next, fetch stage) *csrfStage {
	return &csrfStage{next: next, fetch: fetch, client: uuid.NewString(), lock: make(chan struct{}, 1)}
}

func (s *csrfStage) do(ctx context.Context, ex *exchange) (*reply, error) {
	if !ex.route.changes() {
		return s.next(ctx, ex)
	}
	token, refusal, err := s.currentToken(ctx)
	if err != nil || refusal != nil {
		return refusal, err
	}
	rep, err := s.send(ctx, ex, token)
	if err != nil || !refusedToken(rep) {
		return rep, err
	}
	// A refused token means that the server did nothing. So the request is sent
	// once more here, also for callers that want no retries.
	token, refusal, err = s.replaceToken(ctx, token)
	if err != nil || refusal != nil {
		return refusal, err
	}
	return s.send(ctx, ex, token)
}

func (s *csrfStage) send(ctx context.Context, ex *exchange, token string) (*reply, error) {
	ex.header = nil
	if token != "" {
		ex.header = http.Header{headerCSRFToken: {token}, headerCSRFClient: {s.client}}
	}
	return s.next(ctx, ex)
}

// refusedToken recognises "Missing CSRF token." (protection was switched on
// after we asked) and "Invalid CSRF token". Prefect marks them in no other way.
func refusedToken(rep *reply) bool {
	return rep.status == http.StatusForbidden && bytes.Contains(rep.body, []byte("CSRF token"))
}

// currentToken returns the token to send, "" when the server wants none. A
// reply is the server's refusal to give one, and stands for the answer to the
// caller's request, which was then not sent.
func (s *csrfStage) currentToken(ctx context.Context) (token string, refusal *reply, err error) {
	select {
	case s.lock <- struct{}{}:
	case <-ctx.Done():
		return "", nil, &notSentError{context.Cause(ctx)}
	}
	defer func() { <-s.lock }()
	if s.off || s.token != "" && time.Now().Before(s.expires) {
		return s.token, nil, nil
	}
	rep, err := s.fetch(ctx, &exchange{
		route: routeTable[routeCSRFToken],
		path:  routeTable[routeCSRFToken].fill(),
		query: url.Values{"client": {s.client}},
	})
	if err != nil {
		return "", nil, &notSentError{fmt.Errorf("fetch CSRF token: %w", err)}
	}
	return s.remember(rep)
}

// replaceToken is currentToken after the server turned one down ("" when none
// was sent). Another request may have replaced it already.
func (s *csrfStage) replaceToken(ctx context.Context, refused string) (token string, refusal *reply, err error) {
	select {
	case s.lock <- struct{}{}:
	case <-ctx.Done():
		return "", nil, &notSentError{context.Cause(ctx)}
	}
	if s.token == refused {
		s.token, s.off = "", false
	}
	<-s.lock
	return s.currentToken(ctx)
}

// remember keeps the token that the server gave. The caller holds the lock.
func (s *csrfStage) remember(rep *reply) (token string, refusal *reply, err error) {
	switch {
	case rep.status == http.StatusNotFound, // a server from before the protection
		rep.status == http.StatusUnprocessableEntity && bytes.Contains(rep.body, []byte("CSRF protection is disabled")):
		s.off, s.token = true, ""
		return "", nil, nil
	case rep.status != http.StatusOK:
		rep.unsent = true
		return "", rep, nil
	}
	var answer struct {
		Token      string    `json:"token"`
		Expiration time.Time `json:"expiration"`
	}
	if err := json.Unmarshal(rep.body, &answer); err != nil || answer.Token == "" {
		return "", nil, &notSentError{errors.New("fetch CSRF token: the answer holds no token")}
	}
	s.token, s.expires = answer.Token, answer.Expiration
	return s.token, nil, nil
}
