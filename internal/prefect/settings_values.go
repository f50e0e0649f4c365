package prefect

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// interpret reads the explicit values into the typed fields and derives what
// follows from them. It reports every value that cannot be used.
func (s *Settings) interpret(homeDir string) error {
	p := &valueParser{settings: s}
	s.Home = expandHome(p.text("PREFECT_HOME", "~/.prefect"), homeDir)

	s.APIURL = p.url("PREFECT_API_URL", "")
	s.APIKey = secret.New(p.text("PREFECT_API_KEY", ""))
	s.AuthString = secret.New(p.text("PREFECT_API_AUTH_STRING", ""))
	s.CustomHeaders = p.headers("PREFECT_CLIENT_CUSTOM_HEADERS")
	s.RequestTimeout = p.duration("PREFECT_API_REQUEST_TIMEOUT", s.RequestTimeout)
	s.HTTP2 = p.bool("PREFECT_API_ENABLE_HTTP2", false)
	s.TLSInsecure = p.bool("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", false)
	s.SSLCertFile = p.text("PREFECT_API_SSL_CERT_FILE", s.environ["SSL_CERT_FILE"])
	s.CloudAPIURL = p.url("PREFECT_CLOUD_API_URL", s.CloudAPIURL)
	s.UIURL = cmp.Or(p.text("PREFECT_UI_URL", ""), s.deriveUIURL(p.text("PREFECT_CLOUD_UI_URL", "")))

	s.MaxRetries = p.integer("PREFECT_CLIENT_MAX_RETRIES", s.MaxRetries, 0, math.MaxInt32)
	s.RetryJitter = p.number("PREFECT_CLIENT_RETRY_JITTER_FACTOR", s.RetryJitter, 0)
	s.RetryExtraCodes = p.statusCodes("PREFECT_CLIENT_RETRY_EXTRA_CODES")
	s.CSRFEnabled = p.bool("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", true)
	s.ServerVersionCheck = p.bool("PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED", true)

	s.WorkerQuerySeconds = p.number("PREFECT_WORKER_QUERY_SECONDS", s.WorkerQuerySeconds, minInterval)
	s.WorkerHeartbeatSeconds = p.number("PREFECT_WORKER_HEARTBEAT_SECONDS", s.WorkerHeartbeatSeconds, 1)
	s.WorkerPrefetchSeconds = p.number("PREFECT_WORKER_PREFETCH_SECONDS", s.WorkerPrefetchSeconds, 0)
	s.WorkerEnableCancellation = p.bool("PREFECT_WORKER_ENABLE_CANCELLATION", false)
	s.WorkerCancellationPollSeconds = p.number("PREFECT_WORKER_CANCELLATION_POLL_SECONDS", s.WorkerCancellationPollSeconds, minInterval)
	s.WebserverHost = p.text("PREFECT_WORKER_WEBSERVER_HOST", s.WebserverHost)
	s.WebserverPort = p.integer("PREFECT_WORKER_WEBSERVER_PORT", s.WebserverPort, 0, 65535)

	s.LoggingLevel = strings.ToUpper(p.text("PREFECT_LOGGING_LEVEL", s.LoggingLevel))
	s.LoggingToAPI.Enabled = p.bool("PREFECT_LOGGING_TO_API_ENABLED", true)
	s.LoggingToAPI.BatchInterval = p.duration("PREFECT_LOGGING_TO_API_BATCH_INTERVAL", s.LoggingToAPI.BatchInterval)
	s.LoggingToAPI.BatchSize = p.integer("PREFECT_LOGGING_TO_API_BATCH_SIZE", s.LoggingToAPI.BatchSize, 1, math.MaxInt32)
	s.LoggingToAPI.MaxLogSize = p.integer("PREFECT_LOGGING_TO_API_MAX_LOG_SIZE", s.LoggingToAPI.MaxLogSize, 1, math.MaxInt32)
	return errors.Join(p.problems...)
}

const (
	minInterval = 0.1        // seconds; keeps a loop from spinning
	maxNumber   = 31_536_000 // a year in seconds; more is a slip, and would overflow a time.Duration
)

// deriveUIURL follows Prefect: the API URL with /api taken out, and Cloud's
// host and words put in.
func (s *Settings) deriveUIURL(cloudUI string) string {
	ui := s.APIURL
	if s.IsCloud() {
		cloudUI = cmp.Or(cloudUI, strings.TrimSuffix(strings.Replace(s.CloudAPIURL, "https://api.", "https://app.", 1), "/api"))
		ui = strings.Replace(ui, s.CloudAPIURL, cloudUI, 1)
	}
	ui = strings.ReplaceAll(strings.TrimSuffix(ui, "/api"), "/api/", "/")
	return strings.NewReplacer("/accounts/", "/account/", "/workspaces/", "/workspace/").Replace(ui)
}

// valueParser turns texts into values and collects what is wrong with them.
type valueParser struct {
	settings *Settings
	problems []error
}

func (p *valueParser) fail(name, cause, nextStep string) {
	p.problems = append(p.problems, &SettingError{
		Name: name, Source: p.settings.Source(name), Cause: cause, NextStep: nextStep,
	})
}

func (p *valueParser) text(name, fallback string) string {
	if value, ok := p.settings.explicit[name]; ok {
		return value.text
	}
	return fallback
}

// bool takes pydantic's spellings.
func (p *valueParser) bool(name string, fallback bool) bool {
	value, ok := p.settings.explicit[name]
	if !ok {
		return fallback
	}
	switch strings.ToLower(value.text) {
	case "1", "on", "t", "true", "y", "yes":
		return true
	case "0", "off", "f", "false", "n", "no":
		return false
	}
	p.fail(name, fmt.Sprintf("%q is neither true nor false", value.text), "set it to true or false")
	return fallback
}

func (p *valueParser) number(name string, fallback, least float64) float64 {
	value, ok := p.settings.explicit[name]
	if !ok {
		return fallback
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(value.text), 64)
	switch {
	case err != nil || math.IsNaN(n) || math.IsInf(n, 0):
		p.fail(name, fmt.Sprintf("%q is not a number", value.text), fmt.Sprintf("set it to a number such as %v", fallback))
	case n < least || n > maxNumber:
		p.fail(name, fmt.Sprintf("%s is not between %v and %v", value.text, least, maxNumber), fmt.Sprintf("set it to a number such as %v", fallback))
	default:
		return n
	}
	return fallback
}

func (p *valueParser) duration(name string, fallback time.Duration) time.Duration {
	return time.Duration(p.number(name, fallback.Seconds(), minInterval) * float64(time.Second))
}

func (p *valueParser) integer(name string, fallback, least, most int) int {
	value, ok := p.settings.explicit[name]
	if !ok {
		return fallback
	}
	n, err := strconv.Atoi(strings.TrimSpace(value.text))
	switch {
	case err != nil:
		p.fail(name, fmt.Sprintf("%q is not a whole number", value.text), fmt.Sprintf("set it to a whole number such as %d", fallback))
	case n < least || n > most:
		p.fail(name, fmt.Sprintf("%d is not between %d and %d", n, least, most), fmt.Sprintf("set it to a whole number such as %d", fallback))
	default:
		return n
	}
	return fallback
}

// url takes an http or https URL and drops slashes at its end. Empty stays empty.
func (p *valueParser) url(name, fallback string) string {
	value, ok := p.settings.explicit[name]
	if !ok {
		return fallback
	}
	trimmed := strings.TrimRight(strings.TrimSpace(value.text), "/")
	if trimmed == "" {
		return ""
	}
	u, err := url.Parse(trimmed)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		// The value is not repeated: it may hold user and password.
		p.fail(name, "it is not a URL of the form http://host:4200/api", "set it to the full URL of the API, with http:// or https:// and /api")
		return fallback
	}
	return trimmed
}

// headers reads a JSON object of strings. Values are never repeated in errors.
func (p *valueParser) headers(name string) map[string]secret.Value {
	value, ok := p.settings.explicit[name]
	if !ok || value.text == "" {
		return nil
	}
	const nextStep = `set it to a JSON object such as {"X-Team": "data"}`
	var raw map[string]any
	if err := decode([]byte(value.text), &raw); err != nil || raw == nil {
		p.fail(name, "it is not a JSON object", nextStep)
		return nil
	}
	headers := make(map[string]secret.Value, len(raw))
	for header, v := range raw {
		var content string
		switch v := v.(type) {
		case string:
			content = v
		case json.Number:
			content = v.String()
		case bool:
			content = strconv.FormatBool(v)
		default:
			p.fail(name, fmt.Sprintf("the value of header %q is not a string", header), nextStep)
			continue
		}
		if !validHeader(header, content) {
			p.fail(name, fmt.Sprintf("%q is no valid header, or its value holds control characters", header), nextStep)
			continue
		}
		headers[header] = secret.New(content)
	}
	return headers
}

// validHeader: RFC 9110, a token as name and no control characters in the value.
func validHeader(name, value string) bool {
	notToken := func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	}
	control := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	return name != "" && !strings.ContainsFunc(name, notToken) && !strings.ContainsFunc(value, control)
}

// statusCodes reads a list such as "404,500".
func (p *valueParser) statusCodes(name string) []int {
	value := p.text(name, "")
	var codes []int
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		code, err := strconv.Atoi(part)
		if err != nil || code < 100 || code > 599 {
			p.fail(name, fmt.Sprintf("%q is not an HTTP status", part), "set it to a list such as 404,500")
			return nil
		}
		codes = append(codes, code)
	}
	return codes
}
