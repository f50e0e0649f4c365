package prefect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	busy      = step{status: 503, answer: `{"exception_message":"Service Unavailable"}`}
	fine      = step{status: 200, answer: `{}`}
	torn      = step{err: errors.New("connection reset by peer")}
	refused   = step{err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}}
	untrusted = step{err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")}}
)

func withHeader(s step, name, value string) step {
	s.header = http.Header{name: {value}}
	return s
}

func TestRetries(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		steps    []step
		edit     func(*Settings)
		ctx      func(context.Context) context.Context
		least    time.Duration // of the whole call, jitter included
		most     time.Duration
		fails    bool
		maybe    bool // MayHaveHappened
		sentinel error
	}{
		{name: "at once", steps: []step{fine}},
		{name: "503 once", steps: []step{busy, fine}, least: 1600 * time.Millisecond, most: 2400 * time.Millisecond},
		{name: "five times", steps: []step{busy, torn, {status: 429}, {status: 408}, {status: 502}, fine}, least: 62 * time.Second * 8 / 10, most: 62 * time.Second * 12 / 10},
		{name: "given up", steps: slices.Repeat([]step{busy}, 6), least: 62 * time.Second * 8 / 10, most: 62 * time.Second * 12 / 10, fails: true, maybe: true, sentinel: ErrUnavailable},
		{name: "retries set to none", steps: []step{busy}, edit: func(s *Settings) { s.MaxRetries = 0 }, fails: true, maybe: true, sentinel: ErrUnavailable},
		{name: "500 is not retried", steps: []step{{status: 500}}, fails: true, maybe: true, sentinel: ErrUnavailable},
		{name: "504 is not retried", steps: []step{{status: 504}}, fails: true, maybe: true, sentinel: ErrUnavailable},
		{name: "extra code", steps: []step{{status: 500}, fine}, edit: func(s *Settings) { s.RetryExtraCodes = []int{500} }, least: time.Second, most: 3 * time.Second},
		{name: "422 is not retried", steps: []step{{status: 422}}, fails: true, sentinel: ErrInvalid},
		{name: "Retry-After in seconds", steps: []step{withHeader(busy, "Retry-After", "30"), fine}, least: 30 * time.Second, most: 36 * time.Second},
		{name: "Retry-After of nothing", steps: []step{withHeader(busy, "Retry-After", "0"), fine}},
		{name: "Retry-After as a date", steps: []step{withHeader(busy, "Retry-After", "Sat, 01 Jan 2000 00:00:10 GMT"), fine}, least: 10 * time.Second, most: 12 * time.Second},
		{name: "Retry-After in the past", steps: []step{withHeader(busy, "Retry-After", "Fri, 31 Dec 1999 00:00:10 GMT"), fine}},
		{name: "Retry-After without sense", steps: []step{withHeader(busy, "Retry-After", "soon"), fine}, least: 1600 * time.Millisecond, most: 2400 * time.Millisecond},
		{name: "Retry-After without end", steps: []step{withHeader(busy, "Retry-After", "1e300"), fine}, least: time.Hour, most: time.Hour * 12 / 10},
		{
			name:  "maintenance is not counted",
			steps: append(slices.Repeat([]step{{status: 503, header: http.Header{"Prefect-Maintenance": {"true"}, "Retry-After": {"60"}}}}, 20), fine),
			least: 20 * time.Minute, most: 24 * time.Minute,
		},
		{name: "single attempt", steps: []step{busy}, ctx: WithoutRetry, fails: true, maybe: true, sentinel: ErrUnavailable},
		{name: "refused before any answer", steps: []step{refused}, fails: true, sentinel: ErrUnavailable},
		{name: "refused after an answer", steps: []step{busy, refused, fine}, least: 6 * time.Second * 8 / 10, most: 6 * time.Second * 12 / 10},
		{name: "certificate is wrong", steps: []step{untrusted}, fails: true, sentinel: ErrUnavailable},
		{name: "maybe done, then refused", steps: []step{torn, {status: 404, answer: `{"detail":"Flow run not found"}`}}, least: time.Second, most: 3 * time.Second, fails: true, maybe: true, sentinel: ErrNotFound},
		{name: "never done, however often", steps: []step{{status: 429}, {status: 429}}, edit: func(s *Settings) { s.MaxRetries = 1 }, least: time.Second, most: 3 * time.Second, fails: true, sentinel: ErrUnavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				settings := testSettings()
				if test.edit != nil {
					test.edit(settings)
				}
				ctx := t.Context()
				if test.ctx != nil {
					ctx = test.ctx(ctx)
				}
				c, transport := newScriptedClient(t, settings, test.steps...)
				start := time.Now()
				err := c.SetLabels(ctx, "f", map[string]any{})
				took := time.Since(start)
				if (err != nil) != test.fails || MayHaveHappened(err) != test.maybe || test.sentinel != nil && !errors.Is(err, test.sentinel) {
					t.Errorf("error = %v (may have happened: %v), want failure %v, %v, may have happened %v", err, MayHaveHappened(err), test.fails, test.sentinel, test.maybe)
				}
				if took < test.least || took > test.most {
					t.Errorf("took %s, want between %s and %s", took, test.least, test.most)
				}
				if err != nil && len(transport.seen) != errorDetails(t, err).Attempts {
					t.Errorf("%d attempts reported, %d made", errorDetails(t, err).Attempts, len(transport.seen))
				}
			})
		})
	}
}

func TestRetryKeepsTheTransitionID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var bodies []string
		c := clientOver(t, testSettings(), func(req *http.Request) (*http.Response, error) {
			body, _ := io.ReadAll(req.Body)
			bodies = append(bodies, string(body))
			if len(bodies) == 1 {
				return nil, errors.New("torn")
			}
			return answerWith(req, 201, `{"status":"ACCEPT"}`, nil), nil
		})
		for range 2 {
			if _, err := c.SetState(t.Context(), "f", StateProposal{Type: StatePending}); err != nil {
				t.Fatal(err)
			}
		}
		if len(bodies) != 3 || bodies[0] != bodies[1] || bodies[1] == bodies[2] {
			t.Errorf("bodies %q, want the first two equal and the next proposal another", bodies)
		}
	})
}

func TestWaitsEndWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(500*time.Millisecond, cancel)
		c, _ := newScriptedClient(t, testSettings(), busy)
		start := time.Now()
		err := c.Health(ctx)
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) || time.Since(start) != 500*time.Millisecond {
			t.Errorf("error = %v after %s, want the cancellation after 500 ms", err, time.Since(start))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		// The next attempt would come after the deadline, so there is no waiting for it.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, _ := newScriptedClient(t, testSettings(), busy)
		start := time.Now()
		if err := c.Health(ctx); !errors.Is(err, ErrUnavailable) || time.Since(start) != 0 {
			t.Errorf("error = %v after %s, want ErrUnavailable at once", err, time.Since(start))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c, _ := newScriptedClient(t, testSettings())
		err := c.SetLabels(ctx, "f", nil)
		if !errors.Is(err, context.Canceled) || MayHaveHappened(err) {
			t.Errorf("error = %v, want a cancellation before anything was sent", err)
		}
	})
}

func TestAttemptsTimeOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		settings := testSettings()
		settings.MaxRetries, settings.RequestTimeout = 1, 20*time.Second
		attempts := 0
		c := clientOver(t, settings, func(req *http.Request) (*http.Response, error) {
			attempts++
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		err := c.SetLabels(t.Context(), "f", nil)
		if attempts != 2 || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnavailable) || !MayHaveHappened(err) {
			t.Errorf("error = %v after %d attempts, want a timeout after 2 that may have happened", err, attempts)
		}
		if !strings.Contains(err.Error(), "no answer within 20s") {
			t.Errorf("error = %v, want it to name the time", err)
		}
	})
}

func TestMaintenanceIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport := &scripted{t: t, steps: []step{{status: 503, header: http.Header{"Prefect-Maintenance": {"true"}, "Retry-After": {"60"}}}, fine}}
		var until time.Time
		settings := testSettings()
		settings.RetryJitter = 0
		c, err := NewClient(ClientOptions{
			Settings: settings, HTTPClient: &http.Client{Transport: transport}, Logger: quiet(),
			Maintenance: func(u time.Time) { until = u },
		})
		if err != nil {
			t.Fatal(err)
		}
		want := time.Now().Add(time.Minute)
		if err := c.Health(t.Context()); err != nil || !until.Equal(want) {
			t.Errorf("maintenance until %s, error %v, want %s", until, err, want)
		}
	})
}

// clientOver makes a client over a function that answers.
func clientOver(t *testing.T, settings *Settings, answer func(*http.Request) (*http.Response, error)) *Client {
	t.Helper()
	c, err := NewClient(ClientOptions{
		Settings: settings, HTTPClient: &http.Client{Transport: roundTripper(answer)}, WorkerName: " my worker\t", Version: "1.2.3", Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestHeaders(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		edit func(*Settings)
		want map[string]string
	}{
		{"none", func(*Settings) {}, map[string]string{
			"User-Agent": "prefect/3.8.8 (API 0.8.4)", "X-Prefect-Api-Version": "0.8.4", "X-Prefect-Worker-Name": "my worker",
			"X-Prefect-Northflank-Version": "1.2.3", "Authorization": "", "Content-Type": "application/json",
		}},
		{"key", func(s *Settings) { s.APIKey = secretValue("pnu_x") }, map[string]string{"Authorization": "Bearer pnu_x"}},
		{"auth string over key", func(s *Settings) {
			s.APIKey, s.AuthString = secretValue("pnu_x"), secretValue("user:pass")
		}, map[string]string{"Authorization": "Basic dXNlcjpwYXNz"}},
		{"custom over all, but for the protected", func(s *Settings) {
			s.APIKey = secretValue("pnu_x")
			s.CustomHeaders = customHeaders("authorization", "Custom y", "X-Team", "data", "user-agent", "curl", "Prefect-Csrf-Token", "t", "prefect-csrf-client", "c")
		}, map[string]string{"Authorization": "Custom y", "X-Team": "data", "User-Agent": "prefect/3.8.8 (API 0.8.4)", "Prefect-Csrf-Token": "", "Prefect-Csrf-Client": ""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			settings := testSettings()
			test.edit(settings)
			c := clientOver(t, settings, func(req *http.Request) (*http.Response, error) {
				for name, want := range test.want {
					if got := req.Header.Get(name); got != want {
						t.Errorf("header %s = %q, want %q", name, got, want)
					}
				}
				return answerWith(req, 204, "", nil), nil
			})
			if err := c.SetLabels(t.Context(), "f", nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// csrfServer gives out tokens and takes only the last.
type csrfServer struct {
	t       *testing.T
	on      bool
	old     bool // a server from before the protection
	life    time.Duration
	valid   string
	given   int
	changes int
	clients map[string]bool
}

func (s *csrfServer) answer(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/api/csrf-token" {
		switch {
		case s.old:
			return answerWith(req, 404, `{"detail":"Not Found"}`, nil), nil
		case !s.on:
			return answerWith(req, 422, `{"detail":"CSRF protection is disabled."}`, nil), nil
		}
		s.given++
		s.valid = fmt.Sprint("token", s.given)
		s.clients[req.URL.Query().Get("client")] = true
		return answerWith(req, 200, fmt.Sprintf(`{"token":%q,"expiration":%q}`, s.valid, time.Now().Add(s.life).Format(time.RFC3339)), nil), nil
	}
	if s.on && req.Method != http.MethodGet {
		switch token := req.Header.Get("Prefect-Csrf-Token"); {
		case token == "":
			return answerWith(req, 403, `{"detail":"Missing CSRF token."}`, nil), nil
		case token != s.valid || !s.clients[req.Header.Get("Prefect-Csrf-Client")]:
			return answerWith(req, 403, `{"detail":"Invalid CSRF token or client identifier."}`, nil), nil
		}
	}
	if req.Method != http.MethodGet {
		s.changes++
	}
	return answerWith(req, 200, `{}`, nil), nil
}

func TestCSRF(t *testing.T) {
	t.Parallel()
	type act func(s *csrfServer, c *Client)
	change := func(s *csrfServer, c *Client) {
		if err := c.SetLabels(WithoutRetry(s.t.Context()), "f", nil); err != nil {
			s.t.Error(err)
		}
	}
	read := func(s *csrfServer, c *Client) {
		if err := c.Health(s.t.Context()); err != nil {
			s.t.Error(err)
		}
	}
	tests := []struct {
		name    string
		server  csrfServer
		acts    []act
		given   int
		changes int
		clients int
	}{
		{"reading needs none", csrfServer{on: true, life: time.Hour}, []act{read, read}, 0, 0, 0},
		{"one token for many changes", csrfServer{on: true, life: time.Hour}, []act{change, read, change, change}, 1, 3, 1},
		{"expired", csrfServer{on: true, life: time.Hour}, []act{change, func(*csrfServer, *Client) { time.Sleep(2 * time.Hour) }, change}, 2, 2, 1},
		{"called invalid", csrfServer{on: true, life: time.Hour}, []act{change, func(s *csrfServer, _ *Client) { s.valid = "" }, change}, 2, 2, 1},
		{"protection is off", csrfServer{}, []act{change, change}, 0, 2, 0},
		{"server is old", csrfServer{old: true}, []act{change, change}, 0, 2, 0},
		{"protection is switched on later", csrfServer{life: time.Hour}, []act{change, func(s *csrfServer, _ *Client) { s.on = true }, change, change}, 1, 3, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := test.server
				server.t, server.clients = t, map[string]bool{}
				settings := testSettings()
				settings.CSRFEnabled = true
				c := clientOver(t, settings, server.answer)
				for _, act := range test.acts {
					act(&server, c)
				}
				if server.given != test.given || server.changes != test.changes || len(server.clients) != test.clients {
					t.Errorf("%d tokens, %d changes, %d clients, want %d, %d, %d", server.given, server.changes, len(server.clients), test.given, test.changes, test.clients)
				}
			})
		})
	}
}

func TestCSRFIsNoAffairOfCloud(t *testing.T) {
	t.Parallel()
	settings := testSettings()
	settings.CSRFEnabled = true
	settings.APIURL = settings.CloudAPIURL + "/accounts/a/workspaces/w"
	c := clientOver(t, settings, func(req *http.Request) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, "/csrf-token") {
			t.Error("Cloud was asked for a token")
		}
		return answerWith(req, 204, "", nil), nil
	})
	if err := c.SetLabels(t.Context(), "f", nil); err != nil {
		t.Error(err)
	}
}

// A request whose token could not be fetched was never sent.
func TestCSRFFailureIsNotTheRequests(t *testing.T) {
	t.Parallel()
	for _, answer := range []step{busy, torn, {status: 200, answer: "{}"}, {status: 403, answer: `{"detail":"no"}`}} {
		settings := testSettings()
		settings.CSRFEnabled = true
		settings.MaxRetries = 0
		c, _ := newScriptedClient(t, settings, answer)
		err := c.SetLabels(t.Context(), "f", nil)
		if err == nil || MayHaveHappened(err) {
			t.Errorf("error = %v, want one that says that nothing happened", err)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	html := http.Header{"Content-Type": {"text/html"}}
	tests := []struct {
		name    string
		step    step
		edit    func(*Settings)
		message string
		hint    string // part of it
		is      []error
	}{
		{"detail", step{status: 404, answer: `{"detail":"Work pool \"x\" not found."}`}, nil, `404 not found: Work pool "x" not found.`, "", []error{ErrNotFound}},
		{"exception", step{status: 404, answer: `{"exception_message":"Flow run with id f not found"}`}, nil, "404 not found: Flow run with id f not found", "", []error{ErrNotFound}},
		{"problems, inputs left out", step{status: 422, answer: `{"exception_message":"Invalid request received.","exception_detail":[{"loc":["body","limit"],"msg":"too large","input":"tok-secret"}],"request_body":{"token":"tok-secret"}}`}, nil, "422 unprocessable entity: Invalid request received.: body.limit too large", "", []error{ErrInvalid}},
		{"bad request", step{status: 400, answer: `{"detail":"Invalid header"}`}, nil, "400 bad request: Invalid header", "", []error{ErrInvalid}},
		{"conflict", step{status: 409, answer: `{"detail":"exists"}`}, nil, "409 conflict: exists", "", []error{ErrConflict}},
		{"not authorised", step{status: 401, answer: `{"exception_message":"Unauthorized"}`}, nil, "401 unauthorized: Unauthorized", "PREFECT_API_KEY (from nowhere: not set) or PREFECT_API_AUTH_STRING", []error{ErrUnauthorized}},
		{"not authorised by a proxy", step{status: 401, answer: "<html>", header: html}, nil, "401 unauthorized: the answer is not Prefect's (text/html)", "PREFECT_API_KEY", []error{ErrUnauthorized}},
		{"forbidden", step{status: 403, answer: `{"detail":"no"}`}, nil, "403 forbidden: no", "", []error{ErrForbidden}},
		{"CSRF switched off here", step{status: 403, answer: `{"detail":"Missing CSRF token."}`}, nil, "403 forbidden: Missing CSRF token.", "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED=true", []error{ErrForbidden}},
		{"path that the server does not know", step{status: 404, answer: `{"detail":"Not Found"}`}, nil, "404 not found: Not Found", "PREFECT_API_URL", []error{ErrUnavailable}},
		{"the same on Cloud", step{status: 404, answer: `{"detail":"Not Found"}`}, func(s *Settings) { s.APIURL = s.CloudAPIURL }, "404 not found: Not Found", "", []error{ErrNotFound}},
		{"a proxy's 404", step{status: 404, answer: "<html>", header: html}, nil, "404 not found: the answer is not Prefect's (text/html)", "PREFECT_API_URL", []error{ErrUnavailable}},
		{"a web page in place of an answer", step{status: 200, answer: "<html>", header: html}, nil, "200 ok: the answer is not Prefect's (text/html)", "PREFECT_API_URL", []error{ErrUnavailable}},
		{"JSON of another kind", step{status: 200, answer: `[]`}, nil, "200 ok: the answer cannot be read", "", []error{ErrUnavailable}},
		{"JSON and more", step{status: 200, answer: `{} {}`}, nil, "200 ok: the answer cannot be read: text after the JSON value", "", []error{ErrUnavailable}},
		{"empty 500", step{status: 500}, nil, "500 internal server error", "", []error{ErrUnavailable}},
		{"our credential echoed", step{status: 409, answer: `{"detail":"bad key pnu_secret and pass-word"}`}, func(s *Settings) {
			s.APIKey, s.AuthString = secretValue("pnu_secret"), secretValue("user:pass-word")
		}, "409 conflict: bad key *** and ***", "", []error{ErrConflict}},
		{"long text", step{status: 409, answer: `{"detail":"` + strings.Repeat("é", 5000) + `"}`}, nil, "409 conflict: " + strings.Repeat("é", 1000) + "…", "", []error{ErrConflict}},
		{"torn", torn, nil, "connection reset by peer", "", []error{ErrUnavailable}},
		{"refused", refused, nil, "dial tcp: connection refused", "is the Prefect server running?", []error{ErrUnavailable, syscall.ECONNREFUSED}},
	}
	all := []error{ErrUnauthorized, ErrForbidden, ErrNotFound, ErrConflict, ErrInvalid, ErrUnavailable}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			settings := testSettings()
			settings.MaxRetries = 0
			if test.edit != nil {
				test.edit(settings)
			}
			c, _ := newScriptedClient(t, settings, test.step)
			_, err := c.CreateWorkPool(t.Context(), "p", "t", nil)
			if err == nil {
				t.Fatal("no error")
			}
			e := errorDetails(t, err)
			if want := `create work pool "p": POST /work_pools/: ` + test.message; !strings.HasPrefix(err.Error(), want) {
				t.Errorf("error = %q, want %q", err, want)
			}
			if !strings.Contains(e.Hint(), test.hint) || (e.Hint() != "") != (test.hint != "") {
				t.Errorf("hint = %q, want %q", e.Hint(), test.hint)
			}
			for _, sentinel := range slices.Concat(all, test.is) {
				if got, want := errors.Is(err, sentinel), slices.Contains(test.is, sentinel); got != want {
					t.Errorf("errors.Is(err, %v) = %v, want %v", sentinel, got, want)
				}
			}
		})
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	c := clientOver(t, testSettings(), func(req *http.Request) (*http.Response, error) {
		answer := answerWith(req, 200, "", nil)
		answer.Body = io.NopCloser(io.LimitReader(zeros{}, maxAnswerBytes+1))
		return answer, nil
	})
	_, err := c.FlowRun(WithoutRetry(t.Context()), "f")
	if err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("error = %v, want that the answer is too large", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestAnswerCutOff(t *testing.T) {
	t.Parallel()
	c := clientOver(t, testSettings(), func(req *http.Request) (*http.Response, error) {
		answer := answerWith(req, 200, "", nil)
		answer.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), failingReader{}))
		return answer, nil
	})
	err := c.SetLabels(WithoutRetry(t.Context()), "f", nil)
	if err == nil || !strings.Contains(err.Error(), "answer cut off: unexpected EOF") || !MayHaveHappened(err) {
		t.Errorf("error = %v, want that the answer was cut off and the write may have happened", err)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
