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
	answer       string // of a poll; "" before it was answered, and for others
}

// number is the key of a request's place in seen, in its context.
type number struct{}

// startRecorder starts a recorder on a free loopback port.
func startRecorder(target string) (*recorder, error) {
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
		n := r.note(request{at: time.Now(), method: q.Method, path: q.URL.Path})
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
	for {
		later, more := r.since(mark)
		for _, q := range later {
			if wanted(q) {
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
