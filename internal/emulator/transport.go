package emulator

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Transport returns a RoundTripper that calls the server without a socket, so
// that a test may run in a testing/synctest bubble. Broken connections become
// io.ErrUnexpectedEOF, and a request that the server lets hang ends with its
// context.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ s *Server }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, context.Cause(r.Context())
	}
	if !t.s.enter() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errClosed}
	}
	defer t.s.work.Done()
	// As a server sees it: no GetBody, no host in the URL.
	in := r.Clone(r.Context())
	if in.Host == "" {
		in.Host = in.URL.Host
	}
	if isUpgrade(in) {
		return t.upgrade(in)
	}
	out, end := t.s.exchange(in)
	switch end {
	case endClient:
		if r.Context().Err() != nil {
			return nil, context.Cause(r.Context())
		}
		return nil, io.ErrUnexpectedEOF
	case endReset:
		return nil, io.ErrUnexpectedEOF
	case endHalf:
		half := io.MultiReader(bytes.NewReader(out.body[:len(out.body)/2]), brokenReader{})
		return response(r, out, io.NopCloser(half)), nil
	}
	return response(r, out, io.NopCloser(bytes.NewReader(out.body))), nil
}

func response(r *http.Request, out reply, body io.ReadCloser) *http.Response {
	return &http.Response{
		Status: strconv.Itoa(out.status) + " " + http.StatusText(out.status), StatusCode: out.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: out.header, Body: body, ContentLength: int64(len(out.body)), Request: r,
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// upgrade serves a websocket over net.Pipe: the handler goes on in a goroutine
// after the 101, as it does on a socket.
func (t transport) upgrade(r *http.Request) (*http.Response, error) {
	client, server := net.Pipe()
	w := &pipeWriter{header: http.Header{}, conn: server, ready: make(chan struct{})}
	t.s.work.Go(func() {
		// The request's context ends with Dial for some clients; the socket does not.
		t.s.serveTail(w, r.WithContext(context.WithoutCancel(r.Context())))
		w.release()
	})
	select {
	case <-w.ready:
	case <-r.Context().Done():
		client.Close()
		return nil, context.Cause(r.Context())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out := reply{status: w.status, header: w.header, body: w.body.Bytes()}
	if w.status == http.StatusSwitchingProtocols {
		return response(r, out, client), nil
	}
	client.Close()
	if w.status == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return response(r, out, io.NopCloser(bytes.NewReader(out.body))), nil
}

// pipeWriter is the server's side of an in-process websocket.
type pipeWriter struct {
	conn  net.Conn
	ready chan struct{} // closed when the answer's head is complete
	once  sync.Once

	mu     sync.Mutex
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status == 0 {
		w.status = status
	}
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.body.Write(p)
}

func (w *pipeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.once.Do(func() { close(w.ready) })
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// release hands out whatever was answered when the handler is done.
func (w *pipeWriter) release() {
	w.conn.Close()
	w.once.Do(func() { close(w.ready) })
}

// isUpgrade reports whether r asks for a websocket.
func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// isTail reports whether q is the upgrade of a log tail.
func isTail(q *request) bool {
	return q.route != nil && q.route.key() == RouteLogs && isUpgrade(q.Request)
}

// Handler serves the API under /v1 and the web page elsewhere.
func (s *Server) Handler() http.Handler {
	page := s.page()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			breakConnection(w)
			return
		}
		defer s.work.Done()
		switch {
		case r.URL.Path != "/v1" && !strings.HasPrefix(r.URL.Path, "/v1/"):
			page.ServeHTTP(w, r)
		case isUpgrade(r):
			s.serveTail(w, r)
		default:
			s.serveAPI(w, r)
		}
	})
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	out, end := s.exchange(r)
	if end == endReset || end == endClient {
		breakConnection(w)
		return
	}
	maps.Copy(w.Header(), out.header)
	if end == endWhole {
		w.WriteHeader(out.status)
		_, _ = w.Write(out.body) // the client may be gone
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(out.body)))
	w.WriteHeader(out.status)
	_, _ = w.Write(out.body[:len(out.body)/2])
	_ = http.NewResponseController(w).Flush()
	closeConnection(w, false)
}

// breakConnection ends a connection as a crashed proxy does: by a reset, without
// another byte.
func breakConnection(w http.ResponseWriter) { closeConnection(w, true) }

func closeConnection(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // not a plain HTTP/1.1 connection
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}
