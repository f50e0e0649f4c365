package prefect

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// step is one request that a test expects, and the answer to it.
type step struct {
	method string
	target string // path below /api, escaped, with the query
	body   string // JSON; "" is none. %ID% stands for any UUID in the request

	status int // of the answer
	answer string
	header http.Header
	err    error // instead of an answer
}

// scripted is a RoundTripper that plays steps in order, without a socket, so
// that it works under a fake clock.
type scripted struct {
	t     *testing.T
	mu    sync.Mutex
	steps []step
	seen  []*http.Request
}

func (s *scripted) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, req)
	if len(s.steps) == 0 {
		s.t.Errorf("unexpected request %s %s", req.Method, req.URL)
		return nil, errors.New("unexpected request")
	}
	want := s.steps[0]
	s.steps = s.steps[1:]
	target := strings.TrimPrefix(req.URL.EscapedPath(), "/api")
	if req.URL.RawQuery != "" {
		target += "?" + req.URL.RawQuery
	}
	if want.method != "" && (req.Method != want.method || target != want.target) {
		s.t.Errorf("request %s %s, want %s %s", req.Method, target, want.method, want.target)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if want.method != "" {
		if diff := cmp.Diff(jsonValue(s.t, want.body), jsonValue(s.t, maskIDs(string(body)))); diff != "" {
			s.t.Errorf("body of %s %s (-want +got):\n%s", req.Method, target, diff)
		}
	}
	if want.err != nil {
		return nil, want.err
	}
	return answerWith(req, want.status, want.answer, want.header), nil
}

func answerWith(req *http.Request, status int, body string, header http.Header) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	maps.Copy(h, header)
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: req}
}

func maskIDs(text string) string {
	return uuidPattern.ReplaceAllString(text, "%ID%")
}

func jsonValue(t *testing.T, text string) any {
	t.Helper()
	if text == "" {
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%q is not JSON: %v", text, err)
	}
	return v
}

// testSettings point at a server without CSRF protection.
func testSettings() *Settings {
	s := DefaultSettings()
	s.APIURL = "http://prefect.test/api"
	s.CSRFEnabled = false
	return s
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newScriptedClient makes a client that plays steps; the test fails when one is
// left at its end.
func newScriptedClient(t *testing.T, settings *Settings, steps ...step) (*Client, *scripted) {
	t.Helper()
	transport := &scripted{t: t, steps: steps}
	client, err := NewClient(ClientOptions{Settings: settings, HTTPClient: &http.Client{Transport: transport}, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, left := range transport.steps {
			t.Errorf("request not made: %s %s", left.method, left.target)
		}
	})
	return client, transport
}

func secretValue(s string) secret.Value { return secret.New(s) }

// errorDetails takes the *Error out of err, or fails the test.
func errorDetails(t *testing.T, err error) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error = %v, want an *Error", err)
	}
	return e
}

func customHeaders(namesAndValues ...string) map[string]secret.Value {
	headers := map[string]secret.Value{}
	for i := 0; i < len(namesAndValues); i += 2 {
		headers[namesAndValues[i]] = secret.New(namesAndValues[i+1])
	}
	return headers
}
