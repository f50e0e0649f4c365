package emulator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Switch is a choice among answers that Northflank does not document. A client
// must be right in every position.
type Switch struct {
	Name string `json:"name"`
	// Values it takes, the default first. Empty: a duration such as 5s.
	Values []string `json:"values"`
	Help   string   `json:"help"`
}

// Names of the switches.
const (
	SwitchAbortedRun     = "aborted-run"
	SwitchConcludedAt    = "concluded-at"
	SwitchListOrder      = "list-order"
	SwitchListLag        = "list-lag"
	SwitchAbortFinished  = "abort-finished"
	SwitchDuplicateJob   = "duplicate-job"
	SwitchDeleteActive   = "delete-active-job"
	SwitchSucceeded      = "succeeded"
	SwitchErrorBody      = "error-body"
	SwitchRetryAfter     = "retry-after"
	SwitchPermissions    = "permissions"
	SwitchTokenInfo      = "token-info"
	SwitchBodyBeforeAuth = "body-before-auth"
	SwitchPagination     = "pagination"
	SwitchUnknownTag     = "unknown-tag"
	SwitchUnknownPlan    = "unknown-plan"
	SwitchBuilds         = "builds"
	SwitchLogPrefix      = "log-prefix"
	SwitchLogJSON        = "log-json"
	SwitchLogEnvelope    = "log-envelope"
	SwitchTailEnd        = "tail-end"
	SwitchWebhookRun     = "webhook-run"
	SwitchWebhookEvent   = "webhook-event"
	SwitchWebhookCopies  = "webhook-copies"
)

// SwitchTable lists every switch.
func SwitchTable() []Switch {
	return []Switch{
		{SwitchAbortedRun, []string{"failed", "gone", "running-concluded"}, "an aborted job run shows FAILED, answers 404, or stays RUNNING with concluded true"},
		{SwitchConcludedAt, []string{"absent", "null", "empty"}, "concludedAt while a job run is active"},
		{SwitchListOrder, []string{"newest", "oldest"}, "order of the list of job runs"},
		{SwitchListLag, nil, "how long a new job run is missing from the list"},
		{SwitchAbortFinished, []string{"409", "200", "404"}, "answer to the abort of a concluded job run"},
		{SwitchDuplicateJob, []string{"409", "400"}, "answer to POST of a job whose name is taken"},
		{SwitchDeleteActive, []string{"kill", "409"}, "deleting a job with an active job run kills it, or is refused"},
		{SwitchSucceeded, []string{"counted", "zero"}, "the counter succeeded of a successful job run"},
		{SwitchErrorBody, []string{"json", "string", "text"}, "error bodies: Northflank's envelope, {\"error\":\"text\"}, or plain text as from a proxy"},
		{SwitchRetryAfter, []string{"off", "on"}, "Retry-After on 429"},
		{SwitchPermissions, []string{"new", "old"}, "permission tree: since October 2026, or before"},
		{SwitchTokenInfo, []string{"served", "absent"}, "GET /v1/auth describes the token, or is unknown, as before 2026"},
		{SwitchBodyBeforeAuth, []string{"off", "on"}, "a wrong body answers 400 before a wrong token answers 401"},
		{SwitchPagination, []string{"page", "cursor"}, "lists hand out no cursor, or one"},
		{SwitchUnknownTag, []string{"refuse", "drop"}, "a tag that the team does not have: 400, or left out silently"},
		{SwitchUnknownPlan, []string{"refuse", "accept"}, "a deployment plan that is not in /v1/plans: 400, or taken as a custom plan"},
		{SwitchBuilds, []string{"any", "declared"}, "internal deployments: every build service counts as built, or only those added with AddBuild"},
		{SwitchLogPrefix, []string{"time", "stream"}, "prefix of log lines: with time, or stream and flag only"},
		{SwitchLogJSON, []string{"string", "object"}, "log lines that are JSON objects: as text, or as objects without prefix"},
		{SwitchLogEnvelope, []string{"data", "logs", "nested"}, "range answer: data:[..], data:{logs:[..]}, or data:{data:[..]}"},
		{SwitchTailEnd, []string{"open", "close"}, "a tail of one job run stays open after its end, or is closed by the server"},
		{SwitchWebhookRun, []string{"named", "omitted"}, "notifications name the job run, or only its job and project"},
		{SwitchWebhookEvent, []string{"plain", "trigger"}, "event names in notifications: job-run:start, or trigger:job-run:start"},
		{SwitchWebhookCopies, []string{"once", "twice"}, "a notification comes once, or twice with the same event id"},
	}
}

func switchDefaults() map[string]string {
	defaults := make(map[string]string)
	for _, sw := range SwitchTable() {
		defaults[sw.Name] = "0s"
		if len(sw.Values) > 0 {
			defaults[sw.Name] = sw.Values[0]
		}
	}
	return defaults
}

// CheckSwitch reports an unknown switch or position.
func CheckSwitch(name, value string) error {
	var names []string
	for _, sw := range SwitchTable() {
		names = append(names, sw.Name)
		if sw.Name != name {
			continue
		}
		if sw.Values == nil {
			if d, err := time.ParseDuration(value); err != nil || d < 0 {
				return fmt.Errorf("switch %s=%s: want a duration such as 5s", name, value)
			}
			return nil
		}
		if !slices.Contains(sw.Values, value) {
			return fmt.Errorf("switch %s=%s: want one of %s", name, value, strings.Join(sw.Values, ", "))
		}
		return nil
	}
	return fmt.Errorf("unknown switch %q: there are %s", name, strings.Join(names, ", "))
}

// Switches returns the position of every switch.
func (s *Server) Switches() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.switches)
}

// SetSwitch moves a switch; it holds from the next request on.
func (s *Server) SetSwitch(name, value string) error {
	if err := CheckSwitch(name, value); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.switches[name] = value
	return nil
}

// switchIs reports a switch's position; s.mu must be held.
func (s *Server) switchIs(name, value string) bool { return s.switches[name] == value }
