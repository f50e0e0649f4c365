package prefect

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/northflank/prefect-northflank/internal/hostile"
	"github.com/northflank/prefect-northflank/internal/secret"
)

const fuzzKey = "pnu_0123456789abcdef"

// FuzzAnswers: no answer of a server, or of a proxy in between, makes the client
// panic or ask for ever, and no error tells its key.
func FuzzAnswers(f *testing.F) { fuzzAnswers(f) }

func fuzzAnswers(f hostile.F) {
	for _, body := range []string{
		`{"id":"a","name":"n","state":{"type":"RUNNING","timestamp":"2026-03-21T15:01:17.5Z","message":null},"labels":{"a":1},"infrastructure_pid":"j:r"}`,
		`[{"id":"a","status":"ONLINE"},{"flow_run":{"id":"b"}}]`, `{"status":"WAIT","details":{"delay_seconds":5,"reason":"r"},"state":null}`,
		`{"data":{"value":{"a":[1]}},"value":1e9,"name":"x","base_job_template":{"variables":{}}}`,
		`{"detail":[{"loc":["body",0],"msg":"m","input":"` + fuzzKey + `"}]}`, `{"exception_message":"m\u001b]0;title\u0007","exception_detail":["x"]}`,
		`{"token":"t","client":"c","expiration":"soon"}`, `"3.8.8"`, `null`, `[null]`, `[[[[`, `<html>`, "", `{"id":"` + fuzzKey + `","id":5}`,
	} {
		f.Add(body, 200, "application/json")
		f.Add(body, 422, "application/json")
		f.Add(body, 200, "text/html")
	}
	f.Fuzz(func(t *testing.T, body string, status int, contentType string) {
		if status < 100 || status > 999 {
			return // net/http lets no other through
		}
		synctest.Test(t, func(t *testing.T) {
			requests := 0
			settings := testSettings()
			settings.APIKey = secret.New(fuzzKey)
			client, err := NewClient(ClientOptions{Settings: settings, Logger: quiet(), HTTPClient: &http.Client{
				Transport: transportFunc(func(req *http.Request) (*http.Response, error) {
					requests++
					return answerWith(req, status, body, http.Header{"Content-Type": {contentType}}), nil
				}),
			}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(WithoutRetry(t.Context()), time.Hour)
			defer cancel()
			for _, err := range askEverything(ctx, client) {
				steers := func(r rune) bool { return r != '\n' && unicode.IsControl(r) }
				if err != nil && (strings.Contains(err.Error(), fuzzKey) || len(err.Error()) > 2*maxMessageBytes || strings.ContainsFunc(err.Error(), steers)) {
					t.Errorf("unfit error: %q", err)
				}
			}
			if requests > 100 {
				t.Errorf("%d requests", requests)
			}
		})
	})
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// askEverything makes a call of each kind of answer.
func askEverything(ctx context.Context, c *Client) []error {
	var errs []error
	tell := func(err error) { errs = append(errs, err) }
	fr, err := c.FlowRun(ctx, "id")
	tell(err)
	_ = fr.StateType.Terminal()
	for _, err := range c.FlowRuns(ctx, FlowRunFilter{}) {
		tell(err)
	}
	_, err = c.WorkPool(ctx, "pool")
	tell(err)
	_, err = c.Workers(ctx, "pool")
	tell(err)
	_, err = c.ScheduledFlowRuns(ctx, "pool", nil, time.Now(), 0)
	tell(err)
	_, err = c.SetState(ctx, "id", StateProposal{Type: StatePending})
	tell(err)
	d, err := c.Deployment(ctx, "id")
	tell(err)
	_, err = c.Flow(ctx, d.FlowID)
	tell(err)
	_, err = c.Block(ctx, "id")
	tell(err)
	_, _, err = c.Variable(ctx, "name")
	tell(err)
	_, err = c.Logs(ctx, "id", time.Time{}, 3)
	tell(err)
	_, err = c.CheckServerVersion(ctx)
	tell(err)
	tell(c.Heartbeat(ctx, "pool", "w", 30))
	return errs
}

// FuzzLoadSettings: no file makes it panic or tells a secret, and what it takes
// can be handed to a flow run.
func FuzzLoadSettings(f *testing.F) { fuzzLoadSettings(f) }

func fuzzLoadSettings(f hostile.F) {
	f.Add("PREFECT_API_URL=http://a/api\n", "[api]\nurl = 'http://b/api'\nkey = '"+fuzzKey+"'\n", "[tool.prefect.client]\nmax_retries = 2\n", "active = 'p'\n[profiles.p]\nPREFECT_API_KEY = '"+fuzzKey+"'\n")
	f.Add("A", "[api", "[tool]\nprefect = 5\n", "profiles = 3")
	f.Add("", "[client]\ncustom_headers = {a = \"b\"}\nretry_extra_codes = [1, 429]\n", "tool.prefect.api.request_timeout = inf", "active = 5\n[profiles]\n")
	f.Add("PREFECT_API_REQUEST_TIMEOUT=-1", "[logging.to_api]\nbatch_size = 1e3", "", "[profiles.\"\"]\nPREFECT_HOME = '~'\n")
	f.Add("", "", "[tool."+strings.Repeat("a.", 5000)+"b]\n", "a"+strings.Repeat(".a", 5000)+" = 1\n")
	f.Fuzz(func(t *testing.T, dotenv, prefectTOML, pyproject, profiles string) {
		dir := t.TempDir()
		for name, text := range map[string]string{".env": dotenv, "prefect.toml": prefectTOML, "pyproject.toml": pyproject, ".prefect/profiles.toml": profiles} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// Elsewhere than in the test's home no other profile is read.
		settings, err := LoadSettings(LoadOptions{Dir: dir, HomeDir: dir})
		if err != nil {
			return
		}
		if text := settings.String(); strings.Contains(text, fuzzKey) && settings.APIKey.Reveal() == fuzzKey {
			t.Errorf("the settings tell the key: %s", text)
		}
		for name, value := range settings.Environment() {
			if name == "" || strings.ContainsAny(name, "=\x00") {
				t.Errorf("environment %q=%q", name, value)
			}
		}
		if settings.RequestTimeout < 0 || settings.MaxRetries < 0 || settings.WebserverPort < 0 || settings.WebserverPort > 65535 {
			t.Errorf("settings out of range: %+v", settings)
		}
	})
}
