package prefect

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// Settings are Prefect's settings as far as a worker uses them, read by
// [LoadSettings] in Prefect's precedence. Field comments name the setting.
// Numbers of seconds are kept as Prefect writes them.
type Settings struct {
	Home    string // PREFECT_HOME; ~/.prefect
	Profile string // name of the active profile

	APIURL         string                  // PREFECT_API_URL, without a slash at its end; "" when not set
	APIKey         secret.Value            // PREFECT_API_KEY
	AuthString     secret.Value            // PREFECT_API_AUTH_STRING, user:password; wins over the key
	CustomHeaders  map[string]secret.Value // PREFECT_CLIENT_CUSTOM_HEADERS
	RequestTimeout time.Duration           // PREFECT_API_REQUEST_TIMEOUT; 60 s
	HTTP2          bool                    // PREFECT_API_ENABLE_HTTP2
	TLSInsecure    bool                    // PREFECT_API_TLS_INSECURE_SKIP_VERIFY
	SSLCertFile    string                  // PREFECT_API_SSL_CERT_FILE, else SSL_CERT_FILE; "" is the system's authorities
	CloudAPIURL    string                  // PREFECT_CLOUD_API_URL
	UIURL          string                  // PREFECT_UI_URL, else derived from the API URL

	MaxRetries         int     // PREFECT_CLIENT_MAX_RETRIES; 5, after the first attempt
	RetryJitter        float64 // PREFECT_CLIENT_RETRY_JITTER_FACTOR; 0.2
	RetryExtraCodes    []int   // PREFECT_CLIENT_RETRY_EXTRA_CODES
	CSRFEnabled        bool    // PREFECT_CLIENT_CSRF_SUPPORT_ENABLED; true
	ServerVersionCheck bool    // PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED; true

	WorkerQuerySeconds            float64 // PREFECT_WORKER_QUERY_SECONDS; 10
	WorkerHeartbeatSeconds        float64 // PREFECT_WORKER_HEARTBEAT_SECONDS; 30
	WorkerPrefetchSeconds         float64 // PREFECT_WORKER_PREFETCH_SECONDS; 10
	WorkerEnableCancellation      bool    // PREFECT_WORKER_ENABLE_CANCELLATION
	WorkerCancellationPollSeconds float64 // PREFECT_WORKER_CANCELLATION_POLL_SECONDS; 120
	WebserverHost                 string  // PREFECT_WORKER_WEBSERVER_HOST; 0.0.0.0
	WebserverPort                 int     // PREFECT_WORKER_WEBSERVER_PORT; 8080

	LoggingLevel string // PREFECT_LOGGING_LEVEL; INFO
	LoggingToAPI LoggingToAPI

	// Warnings are for the user: things that were passed over while loading.
	Warnings []string

	explicit map[string]explicitValue // by canonical name
	environ  map[string]string        // the process environment, for {{ $NAME }}
}

// LoggingToAPI says how log lines are sent to Prefect.
type LoggingToAPI struct {
	Enabled       bool          // PREFECT_LOGGING_TO_API_ENABLED; true
	BatchInterval time.Duration // PREFECT_LOGGING_TO_API_BATCH_INTERVAL; 2 s
	BatchSize     int           // PREFECT_LOGGING_TO_API_BATCH_SIZE; bytes, 4,000,000
	MaxLogSize    int           // PREFECT_LOGGING_TO_API_MAX_LOG_SIZE; bytes, 1,000,000
}

// explicitValue is a setting that was set somewhere, and where.
type explicitValue struct{ text, source string }

// DefaultSettings are Prefect's defaults, without any source being read.
func DefaultSettings() *Settings {
	return &Settings{
		Profile:        defaultProfileName,
		RequestTimeout: 60 * time.Second, CloudAPIURL: "https://api.prefect.cloud/api",
		MaxRetries: 5, RetryJitter: 0.2, CSRFEnabled: true, ServerVersionCheck: true,
		WorkerQuerySeconds: 10, WorkerHeartbeatSeconds: 30, WorkerPrefetchSeconds: 10, WorkerCancellationPollSeconds: 120,
		WebserverHost: "0.0.0.0", WebserverPort: 8080, LoggingLevel: "INFO",
		LoggingToAPI: LoggingToAPI{Enabled: true, BatchInterval: 2 * time.Second, BatchSize: 4_000_000, MaxLogSize: 1_000_000},
	}
}

// IsCloud reports whether the API is Prefect Cloud; all else is a Prefect server.
func (s *Settings) IsCloud() bool {
	return s.CloudAPIURL != "" && strings.HasPrefix(s.APIURL, s.CloudAPIURL)
}

// RequireAPI is an error when no API is set.
func (s *Settings) RequireAPI() error {
	if s.APIURL != "" {
		return nil
	}
	cause := "it is not set"
	if s.Source("PREFECT_API_URL") != "" {
		cause = "it is set but empty"
	}
	return &SettingError{
		Name: "PREFECT_API_URL", Source: s.Source("PREFECT_API_URL"), Cause: cause,
		NextStep: "set it to your Prefect server (http://host:4200/api) or run: prefect cloud login",
	}
}

// Source says where a setting was set: "environment", ".env", "prefect.toml",
// "pyproject.toml" or `profile "name"`; "" when it has its default.
func (s *Settings) Source(name string) string { return s.explicit[strings.ToUpper(name)].source }

// origin is Source for messages.
func (s *Settings) origin(name string) string {
	if source := s.Source(name); source != "" {
		return source
	}
	return "nowhere: not set"
}

// Environment returns the settings that were set explicitly, for the environment
// of a flow run, secrets in clear. Left out is what concerns this host or this
// worker alone, and names with two underscores, which Prefect sets per flow run.
func (s *Settings) Environment() map[string]string {
	env := map[string]string{}
	for name, value := range s.explicit {
		if !hostOnly(name) {
			env[name] = value.text
		}
	}
	return env
}

func hostOnly(name string) bool {
	switch name {
	case "PREFECT_HOME", "PREFECT_PROFILES_PATH", "PREFECT_PROFILE":
		return true
	}
	return strings.HasPrefix(name, "PREFECT_WORKER_") || strings.HasPrefix(name, "PREFECT_NORTHFLANK_") ||
		strings.HasPrefix(name, "PREFECT__")
}

// Secrets lists the secret values among the settings, to be masked wherever
// text may repeat them. None is empty.
func (s *Settings) Secrets() []string {
	found := map[string]bool{s.APIKey.Reveal(): true, s.AuthString.Reveal(): true}
	if _, password, ok := strings.Cut(s.AuthString.Reveal(), ":"); ok {
		found[password] = true
	}
	for _, value := range s.CustomHeaders {
		found[value.Reveal()] = true
	}
	for name, value := range s.explicit {
		if secretName(name) {
			found[value.text] = true
		}
	}
	if u, err := url.Parse(s.APIURL); err == nil && u.User != nil {
		password, _ := u.User.Password()
		found[password] = true
	}
	delete(found, "")
	return slices.Sorted(maps.Keys(found))
}

// secretName reports whether a setting or an environment variable of this name
// is likely to hold a credential.
func secretName(name string) bool {
	name = strings.ToUpper(name)
	for _, part := range [...]string{"KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "AUTH_STRING", "CREDENTIAL", "CONNECTION_URL", "CUSTOM_HEADERS"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// String keeps the settings' secrets, and the process environment, out of
// anything that prints the struct.
func (s *Settings) String() string {
	return fmt.Sprintf("Prefect settings of profile %q", s.Profile)
}

// GoString is String.
func (s *Settings) GoString() string { return s.String() }

// SettingError is a setting that cannot be used as it is.
type SettingError struct {
	Name     string
	Source   string // as in [Settings.Source]
	Cause    string
	NextStep string
}

func (e *SettingError) Error() string {
	if e.Source == "" {
		return fmt.Sprintf("setting %s: %s", e.Name, e.Cause)
	}
	return fmt.Sprintf("setting %s from %s: %s", e.Name, e.Source, e.Cause)
}

// Hint is the next step.
func (e *SettingError) Hint() string { return e.NextStep }

// defaultProfileName is the profile that Prefect falls back to; it holds
// PREFECT_SERVER_EPHEMERAL_ENABLED=true and nothing else.
const defaultProfileName = "ephemeral"
