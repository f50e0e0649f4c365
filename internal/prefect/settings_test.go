package prefect

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultSettings(t *testing.T) {
	t.Parallel()
	s, err := LoadSettings(LoadOptions{Dir: t.TempDir(), HomeDir: "/home/u"})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(s.Home, s.Profile, s.APIURL, s.RequestTimeout, s.MaxRetries, s.RetryJitter, s.CSRFEnabled, s.ServerVersionCheck, s.HTTP2, s.TLSInsecure,
		s.WorkerQuerySeconds, s.WorkerHeartbeatSeconds, s.WorkerPrefetchSeconds, s.WorkerEnableCancellation, s.WorkerCancellationPollSeconds,
		s.WebserverHost, s.WebserverPort, s.LoggingLevel, s.LoggingToAPI, s.UIURL, s.IsCloud())
	want := fmt.Sprint("/home/u/.prefect", "ephemeral", "", time.Minute, 5, 0.2, true, true, false, false,
		10.0, 30.0, 10.0, false, 120.0, "0.0.0.0", 8080, "INFO", LoggingToAPI{true, 2 * time.Second, 4_000_000, 1_000_000}, "", false)
	if got != want {
		t.Errorf("defaults\n%s, want\n%s", got, want)
	}
}

func TestTypedSettings(t *testing.T) {
	t.Parallel()
	s, err := loadFrom(t, nil, map[string]string{
		"PREFECT_HOME": "~/p", "PREFECT_API_URL": " https://host:4200/api/ ", "PREFECT_API_KEY": "k", "PREFECT_API_AUTH_STRING": "u:p",
		"PREFECT_API_REQUEST_TIMEOUT": "2.5", "PREFECT_API_ENABLE_HTTP2": "YES", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "on", "SSL_CERT_FILE": "/ca.pem",
		"PREFECT_CLIENT_CUSTOM_HEADERS": `{"X-A": "b", "X-N": 5, "X-T": true}`, "PREFECT_CLIENT_MAX_RETRIES": "0", "PREFECT_CLIENT_RETRY_EXTRA_CODES": "404, 500,",
		"PREFECT_CLIENT_RETRY_JITTER_FACTOR": "0", "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "f", "PREFECT_WORKER_QUERY_SECONDS": "1e1",
		"PREFECT_WORKER_WEBSERVER_PORT": "9000", "PREFECT_WORKER_ENABLE_CANCELLATION": "1", "PREFECT_LOGGING_LEVEL": "debug", "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(strings.HasSuffix(s.Home, "/home/p"), s.APIURL, s.APIKey.Reveal(), s.AuthString.Reveal(), s.RequestTimeout, s.HTTP2, s.TLSInsecure, s.SSLCertFile,
		s.CustomHeaders["X-A"].Reveal(), s.CustomHeaders["X-N"].Reveal(), s.CustomHeaders["X-T"].Reveal(), s.MaxRetries, s.RetryExtraCodes, s.RetryJitter, s.CSRFEnabled,
		s.WorkerQuerySeconds, s.WebserverPort, s.WorkerEnableCancellation, s.LoggingLevel, s.LoggingToAPI.BatchInterval, s.UIURL)
	want := fmt.Sprint(true, "https://host:4200/api", "k", "u:p", 2500*time.Millisecond, true, true, "/ca.pem",
		"b", "5", "true", 0, []int{404, 500}, 0.0, false, 10.0, 9000, true, "DEBUG", 500*time.Millisecond, "https://host:4200")
	if got != want {
		t.Errorf("settings\n%s, want\n%s", got, want)
	}
}

func TestInvalidSettings(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, value, cause string }{
		{"PREFECT_WORKER_QUERY_SECONDS", "abc", `"abc" is not a number`},
		{"PREFECT_WORKER_QUERY_SECONDS", "", `"" is not a number`},
		{"PREFECT_WORKER_QUERY_SECONDS", "0", "0 is not between 0.1 and"},
		{"PREFECT_WORKER_QUERY_SECONDS", "NaN", `"NaN" is not a number`},
		{"PREFECT_WORKER_PREFETCH_SECONDS", "1e300", "1e300 is not between"},
		{"PREFECT_API_REQUEST_TIMEOUT", "-1", "-1 is not between"},
		{"PREFECT_CLIENT_MAX_RETRIES", "1.5", `"1.5" is not a whole number`},
		{"PREFECT_CLIENT_MAX_RETRIES", "-1", "-1 is not between 0 and"},
		{"PREFECT_WORKER_WEBSERVER_PORT", "70000", "70000 is not between 0 and 65535"},
		{"PREFECT_API_ENABLE_HTTP2", "maybe", `"maybe" is neither true nor false`},
		{"PREFECT_API_URL", "host:4200", "it is not a URL"},
		{"PREFECT_API_URL", "http://user:hush hush@host/api", "it is not a URL"},
		{"PREFECT_API_URL", "http://", "it is not a URL"},
		{"PREFECT_API_URL", "ftp://host", "it is not a URL"},
		{"PREFECT_CLIENT_CUSTOM_HEADERS", "X-Hush: hush", "it is not a JSON object"},
		{"PREFECT_CLIENT_CUSTOM_HEADERS", "null", "it is not a JSON object"},
		{"PREFECT_CLIENT_CUSTOM_HEADERS", `{"X-A": ["hush"]}`, `the value of header "X-A" is not a string`},
		{"PREFECT_CLIENT_CUSTOM_HEADERS", `{"X A": "hush"}`, `"X A" is no valid header`},
		{"PREFECT_CLIENT_CUSTOM_HEADERS", `{"X-A": "hush\r\nX-B: c"}`, `"X-A" is no valid header`},
		{"PREFECT_CLIENT_RETRY_EXTRA_CODES", "404,x", `"x" is not an HTTP status`},
		{"PREFECT_CLIENT_RETRY_EXTRA_CODES", "99", `"99" is not an HTTP status`},
	}
	for _, test := range tests {
		_, err := loadFrom(t, nil, map[string]string{test.name: test.value}, "")
		e, ok := errors.AsType[*SettingError](err)
		if !ok {
			t.Errorf("%s=%s: error = %v, want a *SettingError", test.name, test.value, err)
			continue
		}
		if want := "setting " + test.name + " from environment: " + test.cause; !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s=%s: error = %q, want %q", test.name, test.value, err, want)
		}
		if e.Hint() == "" || strings.Contains(err.Error()+e.Hint(), "hush") {
			t.Errorf("%s=%s: error %q, hint %q, want a hint and no secret", test.name, test.value, err, e.Hint())
		}
	}
}

func TestEveryInvalidSettingIsReported(t *testing.T) {
	t.Parallel()
	_, err := loadFrom(t, map[string]string{
		"prefect.toml":                "[worker]\nquery_seconds = 'often'\n",
		"home/.prefect/profiles.toml": "active = 'mine'\n[profiles.mine]\nPREFECT_CLIENT_MAX_RETRIES = 'many'\n",
		".env":                        "PREFECT_API_URL=nowhere\n",
	}, map[string]string{"PREFECT_API_ENABLE_HTTP2": "2"}, "")
	for _, want := range []string{
		"PREFECT_WORKER_QUERY_SECONDS from prefect.toml", `PREFECT_CLIENT_MAX_RETRIES from profile "mine"`,
		"PREFECT_API_URL from .env", "PREFECT_API_ENABLE_HTTP2 from environment",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want it to hold %q", err, want)
		}
	}
}

func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"prefect.toml", "pyproject.toml"} {
		_, err := loadFrom(t, map[string]string{name: "[api]\nurl = 'x'\nurl = \n"}, nil, "")
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("error = %v, want file %s and line 3", err, name)
		}
		if hint, ok := errors.AsType[*fileError](err); !ok || hint.Hint() == "" {
			t.Errorf("error = %v, want one with a hint", err)
		}
	}
	s, err := loadFrom(t, map[string]string{"home/.prefect/profiles.toml": "active = \n"}, nil, "")
	if err != nil || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "profiles.toml") || !strings.Contains(s.Warnings[0], "line 1") || s.Profile != "" {
		t.Errorf("warnings %q, profile %q, error %v, want one warning that names file and line", s.Warnings, s.Profile, err)
	}
	s, err = loadFrom(t, map[string]string{".env": "PREFECT_API_URL=http://h/api\n= x\n"}, nil, "")
	if err != nil || s.APIURL != "http://h/api" || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "[2]") {
		t.Errorf("URL %q, warnings %q, error %v, want line 2 passed over", s.APIURL, s.Warnings, err)
	}
}

func TestDotenvIsBounded(t *testing.T) {
	t.Parallel()
	values, bad := parseDotenv("A=0123456789\n"+strings.Repeat("A=${A}${A}\n", 40), nil)
	if len(values["A"]) > maxDotenvValue || len(bad) == 0 {
		t.Errorf("value of %d bytes, %d bad lines, want at most %d bytes and the rest passed over", len(values["A"]), len(bad), maxDotenvValue)
	}
}

func TestProfileOfTheCommandLine(t *testing.T) {
	t.Parallel()
	files := map[string]string{"home/.prefect/profiles.toml": "active = 'a'\n[profiles.a]\nPREFECT_API_URL = 'http://a/api'\n[profiles.b]\nPREFECT_API_URL = 'http://b/api'\n[profiles.c]\nPREFECT_API_URL = 'http://c/api'\n"}
	environ := map[string]string{"PREFECT_PROFILE": "b"}
	s, err := loadFrom(t, files, environ, "c")
	if err != nil || s.APIURL != "http://c/api" || s.Profile != "c" || s.Source("prefect_api_url") != `profile "c"` {
		t.Errorf("URL %q of profile %q from %q, error %v, want those of c", s.APIURL, s.Profile, s.Source("PREFECT_API_URL"), err)
	}
	s, err = loadFrom(t, files, environ, "nope")
	if err != nil || s.APIURL != "" || s.Profile != "ephemeral" || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], `"nope"`) {
		t.Errorf("URL %q, profile %q, warnings %q, error %v, want Prefect's default profile and a warning", s.APIURL, s.Profile, s.Warnings, err)
	}
}

func TestRequireAPI(t *testing.T) {
	t.Parallel()
	for value, cause := range map[string]string{"": "set but empty", "unset": "not set"} {
		environ := map[string]string{"PREFECT_API_URL": value}
		if value == "unset" {
			environ = nil
		}
		s, err := loadFrom(t, nil, environ, "")
		if err != nil {
			t.Fatal(err)
		}
		err = s.RequireAPI()
		if e, ok := errors.AsType[*SettingError](err); !ok || !strings.Contains(err.Error(), cause) || e.Hint() == "" {
			t.Errorf("RequireAPI() = %v, want %q and a hint", err, cause)
		}
	}
}

func TestEnvironmentForFlowRuns(t *testing.T) {
	t.Parallel()
	s, err := loadFrom(t, nil, map[string]string{
		"PREFECT_API_URL": "http://h/api", "PREFECT_API_KEY": "k", "PREFECT_API_SSL_CERT_FILE": "", "prefect_logging_level": "DEBUG", "PREFECT_NEW_SETTING": "x",
		"PREFECT_HOME": "/h", "PREFECT_PROFILES_PATH": "/p", "PREFECT_PROFILE": "x", "PREFECT_WORKER_QUERY_SECONDS": "5", "PREFECT__FLOW_RUN_ID": "f",
		"PREFECT_NORTHFLANK_X": "ours", "OTHER": "y",
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"PREFECT_API_URL": "http://h/api", "PREFECT_API_KEY": "k", "PREFECT_API_SSL_CERT_FILE": "", "PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT_NEW_SETTING": "x",
		"PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
	}
	if diff := cmp.Diff(want, s.Environment()); diff != "" {
		t.Errorf("Environment() (-want +got):\n%s", diff)
	}
}

func TestTOMLScalars(t *testing.T) {
	t.Parallel()
	s, err := loadFrom(t, map[string]string{"prefect.toml": "a = true\nb = 15\nc = 15.0\nd = [\"y\", \"x\"]\ne = 2026-01-02T03:04:05Z\nf = inf\n[g.h]\ni = \"text\"\n[client]\ncustom_headers = { X-A = \"b\" }\n"}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"PREFECT_A": "True", "PREFECT_B": "15", "PREFECT_C": "15.0", "PREFECT_D": "x,y", "PREFECT_E": "2026-01-02T03:04:05Z", "PREFECT_F": "inf",
		"PREFECT_G_H_I": "text", "PREFECT_CLIENT_CUSTOM_HEADERS": `{"X-A":"b"}`, "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
	}
	if diff := cmp.Diff(want, s.Environment()); diff != "" {
		t.Errorf("Environment() (-want +got):\n%s", diff)
	}
}

func TestSecretsOfTheSettings(t *testing.T) {
	t.Parallel()
	s, err := loadFrom(t, nil, map[string]string{
		"PREFECT_API_URL": "http://user:urlpass@h/api", "PREFECT_API_KEY": "key", "PREFECT_API_AUTH_STRING": "admin:authpass",
		"PREFECT_CLIENT_CUSTOM_HEADERS": `{"X-A": "header"}`, "PREFECT_SERVER_DATABASE_PASSWORD": "dbpass", "PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT_API_SSL_CERT_FILE": "",
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, value := range s.Secrets() {
		got[value] = true
	}
	want := map[string]bool{"urlpass": true, "key": true, "admin:authpass": true, "authpass": true, "header": true, `{"X-A": "header"}`: true, "dbpass": true}
	if !maps.Equal(got, want) {
		t.Errorf("Secrets() = %v, want %v", got, want)
	}
	if shown := fmt.Sprintf("%v %+v %#v %v %+v %#v", s.APIKey, s.AuthString, s.CustomHeaders, s, s, s); strings.Contains(shown, "key") || strings.Contains(shown, "authpass") || strings.Contains(shown, "header\"}") {
		t.Errorf("secrets print themselves: %s", shown)
	}
}

func TestUIURL(t *testing.T) {
	t.Parallel()
	tests := []struct {
		environ map[string]string
		want    string
	}{
		{map[string]string{"PREFECT_API_URL": "http://h:4200/api"}, "http://h:4200"},
		{map[string]string{"PREFECT_API_URL": "http://h/api/x"}, "http://h/x"},
		{map[string]string{"PREFECT_API_URL": "http://h/api", "PREFECT_UI_URL": "https://ui"}, "https://ui"},
		{map[string]string{"PREFECT_API_URL": "https://api.prefect.cloud/api/accounts/a/workspaces/w"}, "https://app.prefect.cloud/account/a/workspace/w"},
		{map[string]string{"PREFECT_API_URL": "https://api.x.dev/api/accounts/a/workspaces/w", "PREFECT_CLOUD_API_URL": "https://api.x.dev/api", "PREFECT_CLOUD_UI_URL": "https://ui.x.dev"}, "https://ui.x.dev/account/a/workspace/w"},
	}
	for _, test := range tests {
		s, err := loadFrom(t, nil, test.environ, "")
		if err != nil || s.UIURL != test.want {
			t.Errorf("UIURL of %v = %q, %v, want %q", test.environ, s.UIURL, err, test.want)
		}
	}
}
