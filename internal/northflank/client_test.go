package northflank

import (
	"net/http"
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/secret"
)

func TestNewReadsAddresses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, base, want, wantErr, wantWarning string }{
		{name: "default", base: "", want: "https://api.northflank.com"},
		{name: "slash at the end", base: "https://nf.example/", want: "https://nf.example"},
		{name: "version at the end", base: "https://nf.example/v1/", want: "https://nf.example"},
		{name: "path prefix", base: "https://proxy.example/nf/", want: "https://proxy.example/nf"},
		{name: "spaces around", base: " https://nf.example\n", want: "https://nf.example"},
		{name: "loopback", base: "http://127.0.0.1:9000", want: "http://127.0.0.1:9000"},
		{name: "loopback name", base: "http://localhost:9000", want: "http://localhost:9000"},
		{name: "loopback six", base: "http://[::1]:9000", want: "http://[::1]:9000"},
		{
			name: "plain http", base: "http://nf.example", want: "http://nf.example",
			wantWarning: "the Northflank API token travels unencrypted to http://nf.example: use an https address",
		},
		{name: "no scheme", base: "nf.example", wantErr: `northflank API address "nf.example" is not of the form https://host`},
		{name: "other scheme", base: "ftp://nf.example", wantErr: "is not of the form"},
		{name: "no host", base: "https://", wantErr: "is not of the form"},
		{name: "password", base: "https://me:hunter2@nf.example", wantErr: "holds a user name or password"},
		{name: "broken with password", base: "https://me:hunter2@nf.exam ple", wantErr: `"***@nf.exam ple"`},
		{name: "query", base: "https://nf.example?a=b", wantErr: `"https://nf.example" has a query`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := New(Options{BaseURL: tt.base, Token: secret.New("x")})
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) || strings.Contains(err.Error(), "hunter2") {
					t.Fatalf("New(%q) = %v, want an error with %q and no password", tt.base, err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.BaseURL(); got != tt.want {
				t.Errorf("BaseURL() = %q, want %q", got, tt.want)
			}
			if got := c.Warning(); got != tt.wantWarning {
				t.Errorf("Warning() = %q, want %q", got, tt.wantWarning)
			}
		})
	}
}

func TestNewReadsTokens(t *testing.T) {
	t.Parallel()
	var header string
	c := newTestClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		header = r.Header.Get("Authorization")
		return reply(200, `{"data":{"id":"r"}}`), nil
	}), func(o *Options) { o.Token = secret.New(" abc.def\n") })
	if err := startOnce(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if want := "Bearer abc.def"; header != want {
		t.Errorf("Authorization = %q, want %q", header, want)
	}

	_, err := New(Options{Token: secret.New("hunter2\nhunter3")})
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("New(token of two lines) = %v, want an error without the token", err)
	}
}

func TestRequestHeaders(t *testing.T) {
	t.Parallel()
	var got http.Header
	c := newTestClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		got = r.Header.Clone()
		if strings.HasSuffix(r.URL.Path, "/plans") {
			return reply(200, `{"data":{"plans":[]}}`), nil
		}
		return reply(200, `{"data":{"id":"r"}}`), nil
	}), func(o *Options) { o.UserAgent = "prefect-northflank/1.2.3" })

	if err := startOnce(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer " + testToken, "Content-Type": "application/json",
		"Accept": "application/json", "User-Agent": "prefect-northflank/1.2.3",
	} {
		if v := got.Get(name); v != want {
			t.Errorf("%s = %q, want %q", name, v, want)
		}
	}
	if _, err := c.Plans(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v, ok := got["Authorization"]; ok {
		t.Errorf("public route: Authorization = %q, want none", v)
	}
}

// A followed redirect could repeat a start, or hand the token to another host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	c := scripted(t, step{
		want: "POST /v1/projects/data/jobs/pf-x/runs", wantBody: "{}",
		status: 307, header: []string{"Location", "https://elsewhere.example/"},
	})
	err := startOnce(t.Context(), c)
	want := `start job run of job "pf-x": 307 temporary redirect for project "data" (northflank)`
	if err == nil || err.Error() != want {
		t.Errorf("StartRun() = %v, want %s", err, want)
	}
}

func TestAccountsShareClients(t *testing.T) {
	t.Parallel()
	a := NewAccounts(Options{BaseURL: "ignored", Token: secret.New("ignored")})
	first, isNew, err := a.Client("", "", secret.New("one"))
	if err != nil || !isNew {
		t.Fatalf("first Client() = %v, %v, want a new one", isNew, err)
	}
	again, isNew, err := a.Client("https://api.northflank.com/v1", "", secret.New("one "))
	if err != nil || isNew || again != first {
		t.Errorf("same credentials: another client (new %v, err %v)", isNew, err)
	}
	for name, args := range map[string][3]string{
		"team": {"", "team", "one"}, "token": {"", "", "two"}, "address": {"https://nf.example", "", "one"},
	} {
		c, isNew, err := a.Client(args[0], args[1], secret.New(args[2]))
		if err != nil || !isNew || c == first {
			t.Errorf("other %s: Client() = new %v, err %v, same %v; want a new one", name, isNew, err, c == first)
		}
	}
	if got := len(a.All()); got != 4 {
		t.Errorf("len(All()) = %d, want 4", got)
	}
	if _, _, err := a.Client("nowhere", "", secret.New("one")); err == nil {
		t.Error("Client(bad address) = nil error")
	}
}
