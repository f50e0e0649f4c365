package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// recorder is a proxy in front of a server that notes each request: between one
// worker and one server it tells what that worker asks for, and when.
type recorder struct {
	url    string // where it listens
	server *http.Server

	mu   sync.Mutex
	seen []request     // guarded by mu; in the order of arrival
	news chan struct{} // guarded by mu; closed and replaced at each request
}

// request is one that arrived.
type request struct {
	at           time.Time
	method, path string
	body         string // of what is to change a flow run; "" for others
	answer       string // of a poll; "" before it was answered, and for others
}

// number is the key of a request's place in seen, in its context.
type number struct{}

// startRecorder starts a recorder on a free loopback port. It answers 403 to the
// requests that are refused; nil refuses none.
func startRecorder(target string, refused func(request) bool) (*recorder, error) {
	to, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen in front of %s: %w", target, err)
	}
	r := &recorder{url: "http://" + listener.Addr().String(), news: make(chan struct{})}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(to)
			if isPoll(request{path: p.In.URL.Path}) {
				p.Out.Header.Del("Accept-Encoding") // noteAnswer reads plain text
			}
		},
		ModifyResponse: r.noteAnswer,
		// Prefect's server closes connections that were idle for 5 s: ours close first.
		Transport: &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Second, DisableCompression: true},
		ErrorLog:  log.New(io.Discard, "", 0), // a worker that is stopped breaks its requests off
	}
	r.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		noted := request{at: time.Now(), method: q.Method, path: q.URL.Path}
		if changesFlowRun(noted) {
			text, err := io.ReadAll(q.Body)
			if err != nil {
				return // whoever sent it is gone
			}
			noted.body, q.Body = string(text), io.NopCloser(bytes.NewReader(text))
		}
		n := r.note(noted)
		if refused != nil && refused(noted) {
			http.Error(w, "the benchmark's proxy lets this not through", http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, q.WithContext(context.WithValue(q.Context(), number{}, n)))
	})}
	go func() { _ = r.server.Serve(listener) }() // ends by close
	return r, nil
}

func (r *recorder) close() error { return r.server.Close() }

// note keeps a request and returns its number.
func (r *recorder) note(q request) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, q)
	close(r.news)
	r.news = make(chan struct{})
	return len(r.seen) - 1
}

// noteAnswer keeps the answer of a poll.
func (r *recorder) noteAnswer(response *http.Response) error {
	n, ok := response.Request.Context().Value(number{}).(int)
	if !ok || !isPoll(request{path: response.Request.URL.Path}) {
		return nil
	}
	text, err := io.ReadAll(response.Body)
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(text))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[n].answer = string(text)
	return err
}

// mark is the number of requests so far, to tell later ones from them.
func (r *recorder) mark() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

// since returns the requests after a mark, and a channel that is closed when
// there are more.
func (r *recorder) since(mark int) ([]request, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen[mark:]), r.news
}

// await returns the first request after a mark that is wanted.
func (r *recorder) await(ctx context.Context, mark int, wanted func(request) bool) (request, error) {
	return r.awaitNumber(ctx, mark, 1, wanted)
}

// awaitNumber returns the n-th of the requests after a mark that are wanted.
func (r *recorder) awaitNumber(ctx context.Context, mark, n int, wanted func(request) bool) (request, error) {
	for found := 0; ; {
		later, more := r.since(mark)
		for _, q := range later {
			if !wanted(q) {
				continue
			}
			if found++; found == n {
				return q, nil
			}
		}
		mark += len(later)
		select {
		case <-ctx.Done():
			return request{}, context.Cause(ctx)
		case <-more:
		}
	}
}

// awaitQuiet returns when no request has come for d.
func (r *recorder) awaitQuiet(ctx context.Context, d time.Duration) error {
	for {
		_, more := r.since(r.mark())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-more:
		case <-time.After(d):
			return nil
		}
	}
}

// isPoll reports whether a request to Prefect asks for scheduled flow runs.
func isPoll(q request) bool { return strings.HasSuffix(q.path, "/get_scheduled_flow_runs") }

// changesFlowRun reports whether a request to Prefect is to change one flow run.
func changesFlowRun(q request) bool {
	return q.method != http.MethodGet && flowRunIn(q.path) != ""
}

// flowRunIn returns the id of the flow run that a path names, if it names one.
func flowRunIn(path string) string {
	_, after, _ := strings.Cut(path, "/flow_runs/")
	id, _, _ := strings.Cut(after, "/")
	if uuid.Validate(id) != nil {
		return ""
	}
	return id
}

// isEventStream reports whether a request to Prefect opens its stream of events,
// a websocket.
func isEventStream(q request) bool { return strings.HasSuffix(q.path, "/events/out") }

// count returns how many of the requests are wanted.
func count(requests []request, wanted func(request) bool) int {
	n := 0
	for _, q := range requests {
		if wanted(q) {
			n++
		}
	}
	return n
}
