package prefect

import (
	"context"
	"encoding/base64"
	"log/slog"
	"maps"
	"net/http"
	"strings"
)

// What the client says it is. Prefect 3.8 takes the User-Agent apart with
// ^prefect/(x.y.z) \(API \S+\)$ and treats a client that it cannot parse as one
// from before deployment concurrency leases, whose lease it then revokes. So the
// form is Prefect's own, and our name goes into a header of ours.
const (
	imitatedVersion = "3.8.8"
	apiVersion      = "0.8.4"
	userAgent       = "prefect/" + imitatedVersion + " (API " + apiVersion + ")"

	headerProductVersion = "X-Prefect-Northflank-Version"
)

// headersStage sets the headers of each attempt: fixed ones, content type, and
// what the CSRF stage put into the exchange, and the worker's id once it is known.
func headersStage(next stage, fixed http.Header, workerID func() string) stage {
	return func(ctx context.Context, ex *exchange) (*reply, error) {
		csrf := ex.header
		ex.header = fixed.Clone()
		if ex.body != nil {
			ex.header.Set("Content-Type", "application/json")
		}
		if id := workerID(); id != "" {
			ex.header.Set("X-Prefect-Worker-Id", id)
		}
		maps.Copy(ex.header, csrf)
		defer func() { ex.header = csrf }()
		return next(ctx, ex)
	}
}

// fixedHeaders are the same for every request of the client. Custom headers
// come last, so that a custom Authorization replaces ours, as in Prefect.
func fixedHeaders(s *Settings, workerName, productVersion string, logger *slog.Logger) http.Header {
	h := http.Header{}
	h.Set("Accept", "application/json")
	h.Set("X-Prefect-Api-Version", apiVersion)
	if productVersion != "" {
		h.Set(headerProductVersion, productVersion)
	}
	if name := strings.Trim(workerName, " \t"); name != "" {
		h.Set("X-Prefect-Worker-Name", name)
	}
	switch {
	case !s.AuthString.IsZero():
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(s.AuthString.Reveal())))
	case !s.APIKey.IsZero():
		h.Set("Authorization", "Bearer "+s.APIKey.Reveal())
	}
	for name, value := range s.CustomHeaders {
		if protectedHeader(name) {
			logger.Warn("custom header ignored, Prefect's clients set it themselves", slog.String("header", name))
			continue
		}
		h.Set(name, value.Reveal())
	}
	h.Set("User-Agent", userAgent)
	return h
}

// protectedHeader: Prefect 3.8 ignores these in PREFECT_CLIENT_CUSTOM_HEADERS.
func protectedHeader(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "User-Agent", headerCSRFToken, headerCSRFClient:
		return true
	}
	return false
}
