package prefect

import (
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// clientOf makes a client over real sockets.
func clientOf(t *testing.T, url string, edit func(*Settings)) *Client {
	t.Helper()
	settings := testSettings()
	settings.APIURL = url
	if edit != nil {
		edit(settings)
	}
	c, err := NewClient(ClientOptions{Settings: settings, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	var strays []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		strays = append(strays, fmt.Sprint(r.Header))
	}))
	defer other.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/flow_runs/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/flow_runs/away?key=x", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/flow_runs/within", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/flow_runs/target", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/flow_runs/within/set_state", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/flow_runs/target/set_state", http.StatusFound) // which would make it a GET
	})
	mux.HandleFunc("/flow_runs/round", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/flow_runs/round", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/flow_runs/target", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != "custom" {
			t.Error("the credential got lost within the server")
		}
		fmt.Fprint(w, `{"id":"found"}`)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	c := clientOf(t, server.URL, func(s *Settings) {
		s.APIKey, s.CustomHeaders = secretValue("pnu_x"), customHeaders("X-Key", "custom")
	})

	if flowRun, err := c.FlowRun(t.Context(), "within"); err != nil || flowRun.ID != "found" {
		t.Errorf("FlowRun(within) = %v, %v, want the redirect followed", flowRun.ID, err)
	}
	_, err := c.FlowRun(t.Context(), "away")
	if e := errorDetails(t, err); e.Status != 307 || !strings.HasSuffix(e.Message, "redirected to "+other.URL) || e.Hint() == "" || !errors.Is(err, ErrUnavailable) {
		t.Errorf("FlowRun(away) error = %v, want one that names %s", err, other.URL)
	}
	_, err = c.SetState(t.Context(), "within", StateProposal{Type: StatePending})
	if e := errorDetails(t, err); e.Status != 302 || MayHaveHappened(err) {
		t.Errorf("SetState(within) error = %v, want the redirect refused", err)
	}
	if _, err = c.FlowRun(t.Context(), "round"); err == nil {
		t.Error("FlowRun(round) followed redirects without end")
	}
	if len(strays) > 0 {
		t.Errorf("the other host was asked: %v", strays)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	var protocol string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocol = r.Proto
		fmt.Fprint(w, "true")
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authority, block, 0o600); err != nil {
		t.Fatal(err)
	}
	trusting := func(s *Settings) { s.SSLCertFile = authority }

	tests := []struct {
		name     string
		edit     func(*Settings)
		protocol string
		hint     string
	}{
		{"authority of the settings", trusting, "HTTP/1.1", ""},
		{"HTTP/2 when asked for", func(s *Settings) { trusting(s); s.HTTP2 = true }, "HTTP/2.0", ""},
		{"no check at all", func(s *Settings) { s.TLSInsecure = true }, "HTTP/1.1", ""},
		{"unknown authority", nil, "", "PREFECT_API_SSL_CERT_FILE"},
	}
	for _, test := range tests {
		protocol = ""
		err := clientOf(t, server.URL, test.edit).Health(t.Context())
		if protocol != test.protocol || (err == nil) != (test.hint == "") {
			t.Errorf("%s: protocol %q, error %v, want %q", test.name, protocol, err, test.protocol)
		}
		if err != nil && !strings.Contains(errorDetails(t, err).Hint(), test.hint) {
			t.Errorf("%s: hint %q, want it to speak of %s", test.name, errorDetails(t, err).Hint(), test.hint)
		}
	}
}

func TestCertificateFileThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, empty + ".missing"} {
		settings := testSettings()
		settings.SSLCertFile = path
		_, err := NewClient(ClientOptions{Settings: settings, Logger: quiet()})
		if e, ok := errors.AsType[*SettingError](err); !ok || !strings.Contains(err.Error(), path) || e.Hint() == "" {
			t.Errorf("NewClient() error = %v, want one that names %s, with a hint", err, path)
		}
	}
}

func TestGzipAndKeepAlive(t *testing.T) {
	t.Parallel()
	connections := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connections[r.RemoteAddr] = true
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("gzip is not asked for")
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		z := gzip.NewWriter(w)
		defer z.Close()
		fmt.Fprint(z, `"3.8.8"`)
	}))
	defer server.Close()
	c := clientOf(t, server.URL, nil)
	for range 3 {
		if version, err := c.ServerVersion(t.Context()); err != nil || version != "3.8.8" {
			t.Errorf("ServerVersion() = %q, %v", version, err)
		}
	}
	if len(connections) != 1 {
		t.Errorf("%d connections for 3 requests, want 1", len(connections))
	}
}

func TestNothingListens(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	server.Close()
	err := clientOf(t, server.URL, nil).SetLabels(t.Context(), "f", nil)
	if e := errorDetails(t, err); e.Attempts != 1 || MayHaveHappened(err) || !errors.Is(err, ErrUnavailable) || e.Hint() == "" {
		t.Errorf("error = %v after %d attempts, want it at once, with a hint, and nothing done", err, e.Attempts)
	}
}

func TestDialAgain(t *testing.T) {
	t.Parallel()
	down := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	other := errors.New("no such host")
	tests := []struct {
		name   string
		errs   []error // of the dials in turn; nil succeeds
		dials  int
		took   time.Duration
		result error
	}{
		{"at once", []error{nil}, 1, 0, nil},
		{"second", []error{down, nil}, 2, 0, nil},
		{"fourth", []error{down, down, down, nil}, 4, 1500 * time.Millisecond, nil},
		{"never", []error{down, down, down, down}, 4, 1500 * time.Millisecond, down},
		{"another error", []error{other}, 1, 0, other},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dials := 0
				dial := dialAgain(func(context.Context, string, string) (net.Conn, error) {
					dials++
					return nil, test.errs[dials-1]
				})
				start := time.Now()
				_, err := dial(t.Context(), "tcp", "x:1")
				if err != test.result || dials != test.dials || time.Since(start) != test.took {
					t.Errorf("dialAgain() = %v after %d dials and %s, want %v, %d, %s", err, dials, time.Since(start), test.result, test.dials, test.took)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := dialAgain(func(context.Context, string, string) (net.Conn, error) { return nil, down })(ctx, "tcp", "x:1")
		if !errors.Is(err, context.DeadlineExceeded) || !neverSent(err) {
			t.Errorf("dialAgain() error = %v, want the deadline, and nothing sent", err)
		}
	})
}
