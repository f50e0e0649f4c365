package northflank

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/northflank/prefect-northflank/internal/secret"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testToken = "nf-token-0123456789"

// roundTripper answers requests without a socket, so that it works in a
// synctest bubble. Like any RoundTripper of that kind it reports nothing to
// httptrace.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// reply builds an answer; headers are name, value pairs.
func reply(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// step is one expected request and what it gets.
type step struct {
	want     string // "METHOD path?query"
	wantBody string // JSON, or "" for none
	status   int    // 0 is 200
	body     string
	header   []string
	err      error
}

// script is a RoundTripper that expects exactly its steps, in order.
type script struct {
	t     *testing.T
	mu    sync.Mutex
	steps []step
	next  int
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := r.Method + " " + r.URL.RequestURI()
	if s.next >= len(s.steps) {
		s.t.Errorf("request %d: got %s, want none", s.next+1, got)
		return nil, errors.New("unexpected request")
	}
	st := s.steps[s.next]
	s.next++
	if got != st.want {
		s.t.Errorf("request %d = %s, want %s", s.next, got, st.want)
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			s.t.Errorf("request %d: read body: %v", s.next, err)
		}
	}
	if diff := cmp.Diff(st.wantBody, string(body)); diff != "" {
		s.t.Errorf("request %d: body (-want +got):\n%s", s.next, diff)
	}
	if st.err != nil {
		return nil, st.err
	}
	if st.status == 0 {
		st.status = http.StatusOK
	}
	return reply(st.status, st.body, st.header...), nil
}

// scripted returns a client that may make exactly the given requests.
func scripted(t *testing.T, steps ...step) *Client {
	t.Helper()
	s := &script{t: t, steps: steps}
	t.Cleanup(func() {
		if s.next != len(steps) {
			t.Errorf("%d requests made, want %d", s.next, len(steps))
		}
	})
	return newTestClient(t, s)
}

func newTestClient(t *testing.T, rt http.RoundTripper, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{
		BaseURL: "https://api.test", Token: secret.New(testToken),
		HTTPClient: &http.Client{Transport: rt},
	}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// golden compares got with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var indented bytes.Buffer
	if err := json.Indent(&indented, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), indented.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// startOnce starts a job run with the client.
func startOnce(ctx context.Context, c *Client) error {
	_, err := c.StartRun(ctx, "data", "pf-x", RunRequest{})
	return err
}

func debugLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }

// newTransport returns a plain transport without idle connections left behind.
func newTransport(t *testing.T) *http.Transport {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}
