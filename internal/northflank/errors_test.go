package northflank

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/northflank/prefect-northflank/internal/hostile"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// hint finds the next step as the command line does.
func hint(err error) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return h.Hint()
	}
	return ""
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	start := func(ctx context.Context, c *Client) error { return startOnce(ctx, c) }
	abort := func(ctx context.Context, c *Client) error { return c.AbortRun(ctx, "data", "pf-x", "r-1") }
	put := func(ctx context.Context, c *Client) error {
		_, err := c.PutJob(ctx, "data", minimalJob())
		return err
	}
	project := func(ctx context.Context, c *Client) error {
		_, err := c.GetProject(ctx, "data")
		return err
	}
	containers := func(ctx context.Context, c *Client) error {
		_, err := c.ListContainers(ctx, "data", "pf-x", "r-1")
		return err
	}
	tests := []struct {
		name     string
		call     func(context.Context, *Client) error
		status   int
		body     string
		is       error
		want     string
		wantHint []string // parts of it
	}{
		{
			name: "validation", call: put, status: 400, is: ErrInvalid,
			body: `{"error":{"status":400,"message":"Request failed payload validation - see details.","id":"nf-invalid-request-body","details":{"settings.backoffLimit":["\"settings.backoffLimit\" is required"],"name":["too long","bad\ncharacter"]}}}`,
			want: `save job "pf x": 400 bad request for project "data" (northflank): Request failed payload validation - see details: ` +
				`name: too long; name: bad character; settings.backoffLimit: "settings.backoffLimit" is required`,
			wantHint: []string{"job variable"},
		}, {
			name: "token", call: start, status: 401, is: ErrUnauthorized,
			body:     `{"error":{"status":401,"message":"Unauthorized"}}`,
			want:     `start job run of job "pf-x": 401 unauthorized for project "data" (northflank)`,
			wantHint: []string{"API token", "expired", "credentials block"},
		}, {
			name: "start forbidden", call: start, status: 403, is: ErrForbidden,
			body: `{"error":{"status":403,"message":"Forbidden"}}`,
			want: `start job run of job "pf-x": 403 forbidden for project "data" (northflank)`,
			wantHint: []string{
				"Project > Jobs > General > Run Job", "older accounts: Project > Jobs > General > Read", `project "data"`,
			},
		}, {
			name: "abort forbidden", call: abort, status: 403, is: ErrForbidden,
			body:     `{"error":{"status":403,"message":"Forbidden","details":{"permission":"x"}}}`,
			want:     `abort job run "r-1" of job "pf-x": 403 forbidden for project "data" (northflank): permission: x`,
			wantHint: []string{"Project > Jobs > General > Update", "Project > Jobs > Deployment > Deploy Build"},
		}, {
			name: "containers forbidden", call: containers, status: 403, is: ErrForbidden,
			body:     `{"error":"no"}`,
			want:     `list containers of job run "r-1": 403 forbidden for project "data" (northflank): no`,
			wantHint: []string{"View Observability", "View Instance Logs"},
		}, {
			name: "project missing", call: project, status: 404, is: ErrNotFound,
			body:     `{"error":{"status":404,"message":"Project not found."}}`,
			want:     `read project "data": 404 not found for project "data" (northflank): Project not found`,
			wantHint: []string{`no project "data"`, "team id"},
		}, {
			name: "job missing", call: start, status: 404, is: ErrNotFound,
			body:     ``,
			want:     `start job run of job "pf-x": 404 not found for project "data" (northflank)`,
			wantHint: []string{"the job does not exist"},
		}, {
			name: "no image", call: start, status: 409, is: ErrConflict,
			body:     `{"error":{"status":409,"message":"No deployment configured"}}`,
			want:     `start job run of job "pf-x": 409 conflict for project "data" (northflank): No deployment configured`,
			wantHint: []string{"no image to run yet", "build"},
		}, {
			name: "limit", call: start, status: 429, is: ErrRateLimited,
			body:     `Too Many Requests`,
			want:     `start job run of job "pf-x": 429 too many requests for project "data" (northflank)`,
			wantHint: []string{"1,000", "goes on by itself"},
		}, {
			name: "html from a proxy", call: start, status: 502,
			body:     "<html>\n<h1>502</h1>\x1b[31m</html>",
			want:     `start job run of job "pf-x": 502 bad gateway for project "data" (northflank): <html> <h1>502</h1> [31m</html>`,
			wantHint: []string{"Northflank's side"},
		}, {
			name: "other JSON", call: start, status: 418,
			body: `{"reason":"teapot"}`,
			want: `start job run of job "pf-x": 418 i'm a teapot for project "data" (northflank): {"reason":"teapot"}`,
		}, {
			name: "details without a map", call: start, status: 400, is: ErrInvalid,
			body:     `{"error":{"message":"Bad","details":["b",{"z":1,"a":{"c":true}},null]}}`,
			want:     `start job run of job "pf-x": 400 bad request for project "data" (northflank): Bad: b; a.c: true; z: 1`,
			wantHint: []string{"field named above"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // retries of repeatable calls wait
				c := newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) { return reply(tt.status, tt.body), nil }))
				err := tt.call(t.Context(), c)
				if err == nil || err.Error() != tt.want {
					t.Fatalf("error = %v\nwant    %s", err, tt.want)
				}
				for _, s := range []error{ErrUnauthorized, ErrForbidden, ErrNotFound, ErrConflict, ErrInvalid, ErrRateLimited, ErrBudgetSpent} {
					if got, want := errors.Is(err, s), s == tt.is; got != want {
						t.Errorf("errors.Is(err, %q) = %v, want %v", s, got, want)
					}
				}
				for _, part := range tt.wantHint {
					if !strings.Contains(hint(err), part) {
						t.Errorf("hint = %q, want %q in it", hint(err), part)
					}
				}
				if len(tt.wantHint) == 0 && hint(err) != "" {
					t.Errorf("hint = %q, want none", hint(err))
				}
			})
		})
	}
}

func TestErrorTextsAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 10_000)
	e := &Error{Status: 400, Message: long, Details: map[string]any{"a": long}}
	if got, limit := len([]rune(e.Error())), maxMessage+maxDetails+100; got > limit {
		t.Errorf("Error() has %d runes, want at most %d", got, limit)
	}
}

// A server may echo what it was sent; nothing of it may reach a log.
func TestErrorsHideSecrets(t *testing.T) {
	t.Parallel()
	const apiKey = `pnu_"quoted"_key`
	req := RunRequest{
		RuntimeEnvironment: map[string]string{"PREFECT_API_KEY": apiKey, "N": "1"},
		RuntimeFiles:       map[string]RuntimeFile{"/f": {Data: "c2VjcmV0LWZpbGU=", Encoding: "utf-8"}},
	}
	const escaped = `pnu_\"quoted\"_key`
	bodies := map[string]string{
		"message": `{"error":{"message":"bad ` + testToken + ` and ` + escaped + ` and c2VjcmV0LWZpbGU="}}`,
		"details": `{"error":{"id":"` + testToken + `","details":{"env":["\"` + escaped + `\" fails"],"t":"` + testToken + `"}}}`,
		"string":  `{"error":"` + escaped + ` ` + testToken + `"}`,
		"other":   `{"echo":{"k":"` + escaped + `","t":"` + testToken + `"}}`,
		"text":    `refused: ` + apiKey + ` ` + escaped + ` ` + testToken,
		"cut":     `{"error":{"message":"` + escaped + ` ` + testToken,
	}
	for name, body := range bodies {
		for _, status := range []int{400, 500, 200} {
			t.Run(fmt.Sprintf("%s %d", name, status), func(t *testing.T) {
				t.Parallel()
				var logged strings.Builder
				c := newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) { return reply(status, body), nil }),
					func(o *Options) { o.Logger = debugLogger(&logged) })
				_, err := c.StartRun(t.Context(), "data", "pf-x", req)
				if err == nil {
					t.Fatal("StartRun() = nil, want an error")
				}
				seen := fmt.Sprintf("%v %+v %#v %s", err, err, errors.Unwrap(err), logged.String())
				for _, planted := range []string{testToken, apiKey, escaped, "quoted", "c2VjcmV0LWZpbGU="} {
					if strings.Contains(seen, planted) {
						t.Errorf("%q is visible in %s", planted, seen)
					}
				}
				if status == 400 && !strings.Contains(err.Error(), secret.Mask) {
					t.Errorf("error %q masks nothing", err)
				}
			})
		}
	}
}

// failure makes a client whose next start meets one kind of trouble.
type failure struct {
	name string
	// newClient runs inside a synctest bubble unless real is set.
	newClient func(t *testing.T) *Client
	ctx       func(context.Context) (context.Context, context.CancelFunc)
	real      bool // needs sockets
	want      bool // MayHaveHappened
	text      string
}

func failures() []failure {
	answering := func(status int, body string, headers ...string) func(t *testing.T) *Client {
		return func(t *testing.T) *Client {
			return newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) {
				return reply(status, body, headers...), nil
			}))
		}
	}
	failing := func(err error) func(t *testing.T) *Client {
		return func(t *testing.T) *Client {
			return newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) { return nil, err }))
		}
	}
	hanging := func(t *testing.T) *Client {
		return newTestClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
	}
	served := func(h http.HandlerFunc) func(t *testing.T) *Client {
		return func(t *testing.T) *Client {
			s := httptest.NewServer(h)
			t.Cleanup(s.Close)
			return newTestClient(t, s.Client().Transport, func(o *Options) { o.BaseURL = s.URL })
		}
	}
	cancelled := func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx, cancel
	}
	// short is over before the first retry, which comes after 250 ms at least.
	short := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, 100*time.Millisecond)
	}
	return []failure{
		{name: "400", newClient: answering(400, `{}`), want: false},
		{name: "401", newClient: answering(401, `{}`), want: false},
		{name: "404", newClient: answering(404, `{}`), want: false},
		{name: "409", newClient: answering(409, `{}`), want: false},
		{name: "429", newClient: answering(429, ``), want: false},
		{name: "500", newClient: answering(500, ``), want: true},
		{name: "502", newClient: answering(502, `<html>`), want: true},
		{name: "503", newClient: answering(503, `{}`), want: true},
		{name: "504", newClient: answering(504, ``), want: true},
		{name: "redirect", newClient: answering(302, ``, "Location", "/login"), want: true},
		{name: "proxy page", newClient: answering(200, `<html>welcome`), want: true, text: "not JSON: <html>welcome"},
		{name: "no data", newClient: answering(200, `{}`), want: true, text: "it has no data"},
		{name: "no id", newClient: answering(200, `{"data":{}}`), want: true, text: "it has no id"},
		{name: "empty body", newClient: answering(200, ``), want: true},
		{name: "unknown transport error", newClient: failing(errors.New("boom")), want: true, text: "reach https://api.test: boom"},
		{name: "dial error", newClient: failing(&net.OpError{Op: "dial", Err: errors.New("refused")}), want: false},
		{name: "read error", newClient: failing(&net.OpError{Op: "read", Err: errors.New("reset")}), want: true},
		{name: "name unknown", newClient: failing(&net.DNSError{Err: "no such host", Name: "api.test"}), want: false},
		{name: "no answer", newClient: hanging, want: true, text: "no answer within 30s"},
		{
			name: "deadline of the caller", newClient: hanging, want: true, text: "context deadline exceeded",
			ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Second)
			},
		},
		{name: "cancelled before", newClient: hanging, ctx: cancelled, want: false},
		{
			name: "budget spent", want: false,
			newClient: func(t *testing.T) *Client {
				c := answering(200, `{"data":{"id":"r"}}`, "x-ratelimit-limit", "1000", "x-ratelimit-remaining", "0", "x-ratelimit-reset", "60")(t)
				if err := startOnce(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				return c
			},
		},
		{
			name: "connection refused", real: true, ctx: short, want: false,
			newClient: func(t *testing.T) *Client {
				s := httptest.NewServer(http.NotFoundHandler())
				s.Close() // its port is free now, and refuses
				return newTestClient(t, s.Client().Transport, func(o *Options) { o.BaseURL = s.URL })
			},
		},
		{
			name: "certificate unknown", real: true, ctx: short, want: false,
			newClient: func(t *testing.T) *Client {
				s := httptest.NewUnstartedServer(http.NotFoundHandler())
				s.Config.ErrorLog = quietLog()
				s.StartTLS()
				t.Cleanup(s.Close)
				return newTestClient(t, newTransport(t), func(o *Options) { o.BaseURL = s.URL })
			},
		},
		{
			name: "connection reset", real: true, want: true,
			newClient: served(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		},
		{
			name: "answer cut off", real: true, want: true,
			newClient: served(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				_, _ = w.Write([]byte(`{"data":{"id":"r-1"`))
			}),
		},
		{
			name: "cancelled while waiting", real: true, want: true,
			newClient: served(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // the server sees a hang-up only after the body
				<-r.Context().Done()
			}),
			ctx: short,
		},
		{
			name: "answer too large", want: true, text: "answer is larger than",
			newClient: answering(200, `{"data":{"id":"r","x":"`+strings.Repeat("x", maxAnswer)+`"}}`),
		},
	}
}

func TestMayHaveHappened(t *testing.T) {
	t.Parallel()
	for _, f := range failures() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			check := func(t *testing.T) {
				c := f.newClient(t)
				ctx := t.Context()
				if f.ctx != nil {
					var cancel context.CancelFunc
					ctx, cancel = f.ctx(ctx)
					defer cancel()
				}
				err := startOnce(ctx, c)
				if err == nil {
					t.Fatal("StartRun() = nil, want an error")
				}
				if got := MayHaveHappened(err); got != f.want {
					t.Errorf("MayHaveHappened(%v) = %v, want %v", err, got, f.want)
				}
				if !strings.HasPrefix(err.Error(), `start job run of job "pf-x": `) || !strings.Contains(err.Error(), f.text) {
					t.Errorf("error %q, want what was done and %q", err, f.text)
				}
				if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
					t.Errorf("error %q is not %v", err, ctx.Err())
				}
			}
			if f.real {
				check(t)
				return
			}
			synctest.Test(t, check)
		})
	}
	if MayHaveHappened(nil) || MayHaveHappened(errors.New("not ours")) {
		t.Error("MayHaveHappened of no error, or of another's error = true")
	}
}

func FuzzErrorBody(f *testing.F) { fuzzErrorBody(f) }

func fuzzErrorBody(f hostile.F) {
	for _, s := range []string{
		`{"error":{"status":400,"message":"m","id":"i","details":{"a":["b"]}}}`, `{"error":"text"}`, `{"error":5,"message":["x"]}`,
		`{"error":{"message":{"a":1},"details":[[[{"x":{}}]]]}}`, `<html>`, `null`, `[]`, "\x1b]0;title\x07", `{"error":{"message":"` + testToken + `"}}`,
	} {
		f.Add(s, 400)
	}
	c, err := New(Options{Token: secret.New(testToken)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string, status int) {
		e := c.newError(&request{method: "GET", path: "/v1/x", project: "data"}, &answer{status: status, header: http.Header{}, body: []byte(body)})
		text := e.Error()
		if len([]rune(text)) > maxMessage+maxDetails+200 {
			t.Errorf("error of %d runes", len([]rune(text)))
		}
		if strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("control character in %q", text)
		}
		if strings.Contains(text, testToken) {
			t.Errorf("token in %q", text)
		}
		_ = e.Hint() // must not panic for any status
	})
}
