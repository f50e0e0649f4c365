package prefect

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxMessageBytes bounds what an error repeats of a server's text.
const maxMessageBytes = 2000

// errorStage turns transport errors and answers other than 2xx into *Error.
type errorStage struct {
	next     stage
	settings *Settings
	mask     *strings.Replacer // replaces our credentials, should a server echo them
}

func newErrorStage(next stage, s *Settings) *errorStage {
	var pairs []string
	for _, value := range s.Secrets() {
		// A shorter one would blank ordinary letters out of every message.
		if len(value) >= 4 {
			pairs = append(pairs, value, "***")
		}
	}
	return &errorStage{next: next, settings: s, mask: strings.NewReplacer(pairs...)}
}

func (s *errorStage) do(ctx context.Context, ex *exchange) (*reply, error) {
	rep, err := s.next(ctx, ex)
	if err == nil && rep.status >= 200 && rep.status < 300 {
		return rep, nil
	}
	e := &Error{Method: ex.route.Method, Path: ex.path, Attempts: ex.attempts, retryAfter: -1}
	if err != nil {
		e.Message, e.cause = s.fit(err.Error()), err
		e.uncertain = ex.route.changes() && !neverSent(err)
		e.hint = s.transportHint(err)
		return nil, e
	}
	e.Status = rep.status
	e.Message = s.fit(answerMessage(rep))
	e.uncertain = ex.route.changes() && !rep.unsent && rep.status >= 500
	e.retryAfter = parseRetryAfter(rep.header.Get("Retry-After"), time.Now())
	e.maintenance = rep.header.Get("Prefect-Maintenance") == "true"
	e.foreign = s.isForeign(rep, e.Message)
	e.hint = s.statusHint(rep, e.foreign)
	return nil, e
}

// answerMessage takes the reason out of Prefect's error bodies, which come as
// {"detail": …} from routes and {"exception_message": …, "exception_detail": […]}
// from handlers. The request body that the latter echoes is left out: it may
// hold secrets.
func answerMessage(rep *reply) string {
	if rep.status >= 300 && rep.status < 400 {
		return "redirected to " + redirectTarget(rep.header.Get("Location"))
	}
	var body struct {
		Detail           json.RawMessage `json:"detail"`
		ExceptionMessage string          `json:"exception_message"`
		ExceptionDetail  json.RawMessage `json:"exception_detail"`
	}
	if json.Unmarshal(rep.body, &body) != nil {
		if rep.isJSON() || len(rep.body) == 0 {
			return ""
		}
		return fmt.Sprintf("the answer is not Prefect's (%s)", cmp.Or(rep.header.Get("Content-Type"), "no content type"))
	}
	parts := []string{body.ExceptionMessage}
	for _, raw := range []json.RawMessage{body.Detail, body.ExceptionDetail} {
		parts = append(parts, detailText(raw))
	}
	return strings.Join(nonEmpty(parts), ": ")
}

// detailText reads a detail that is a string or a list of pydantic's problems,
// whose "input" is left out for the same reason.
func detailText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var problems []struct {
		Loc []any  `json:"loc"`
		Msg string `json:"msg"`
	}
	if json.Unmarshal(raw, &problems) != nil {
		return ""
	}
	var lines []string
	for _, p := range problems {
		var loc []string
		for _, l := range p.Loc {
			loc = append(loc, fmt.Sprint(l))
		}
		lines = append(lines, strings.Join(nonEmpty([]string{strings.Join(loc, "."), p.Msg}), " "))
	}
	return strings.Join(nonEmpty(lines), "; ")
}

func nonEmpty(parts []string) []string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return kept
}

// fit is a text of others without our credentials, fit to be shown.
func (s *errorStage) fit(text string) string { return clip(s.mask.Replace(text)) }

// clip makes a server's text fit to be shown: without control characters, and not
// longer than maxMessageBytes.
func clip(text string) string {
	text = strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			return ' ' // it could steer the terminal that it is shown on
		}
		return r
	}, text)
	if len(text) <= maxMessageBytes {
		return text
	}
	cut := maxMessageBytes
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// redirectTarget is scheme and host alone: the rest may carry anything.
func redirectTarget(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return "another path"
	}
	return u.Scheme + "://" + u.Host
}

// isForeign recognises an answer that no route of the API gave: not JSON, or the
// web framework's own "Not Found" for a path that it does not know. Prefect 3.8
// server names the missing object in every 404 of its own; what Cloud writes is
// not known.
func (s *errorStage) isForeign(rep *reply, message string) bool {
	unknownPath := rep.status == http.StatusNotFound && message == "Not Found" && !s.settings.IsCloud()
	return rep.status >= 400 && (!rep.isJSON() || unknownPath)
}

func (s *errorStage) statusHint(rep *reply, foreign bool) string {
	source := s.settings.origin("PREFECT_API_URL")
	switch {
	case rep.status >= 300 && rep.status < 400:
		return "redirects that leave the server or change the method are not followed, so that no credential goes astray;" +
			" set PREFECT_API_URL (from " + source + ") to the address that the server wants, ending in /api"
	case rep.status == http.StatusUnauthorized:
		return "check PREFECT_API_KEY (from " + s.settings.origin("PREFECT_API_KEY") + ") or PREFECT_API_AUTH_STRING (from " +
			s.settings.origin("PREFECT_API_AUTH_STRING") + ")"
	case refusedToken(rep) && !s.settings.CSRFEnabled:
		return "the server wants CSRF tokens; set PREFECT_CLIENT_CSRF_SUPPORT_ENABLED=true"
	case rep.status == http.StatusForbidden && s.settings.IsCloud():
		return "the account behind PREFECT_API_KEY lacks a permission in this workspace"
	case foreign && rep.isJSON():
		return "the server knows no such path: PREFECT_API_URL (from " + source + ") ends in /api for a Prefect server, and ids are UUIDs"
	case foreign:
		return "PREFECT_API_URL (from " + source + ") may not point at a Prefect API; for a Prefect server it ends in /api"
	}
	return ""
}

func (s *errorStage) transportHint(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "set PREFECT_API_SSL_CERT_FILE to the file with your certificate authority's certificate"
	}
	if errors.Is(err, context.Canceled) {
		return ""
	}
	if neverSent(err) {
		return "is the Prefect server running? PREFECT_API_URL comes from " + s.settings.origin("PREFECT_API_URL") +
			"; try: prefect version, or open the URL with /health at its end"
	}
	return ""
}

// maxRetryAfter bounds what one Retry-After can make us wait.
const maxRetryAfter = time.Hour

// parseRetryAfter reads both forms of RFC 9110, seconds and an HTTP date.
// Negative means that there is nothing to go by.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return -1
	}
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil {
		at, err := http.ParseTime(value)
		if err != nil {
			return -1
		}
		seconds = at.Sub(now).Seconds()
	}
	if math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return -1
	}
	return time.Duration(min(max(seconds, 0), maxRetryAfter.Seconds()) * float64(time.Second))
}

func asError(err error) (*Error, bool) { return errors.AsType[*Error](err) }
