// Package webhook answers: did Northflank just say that something happened to a
// job run, and to which? It receives the notifications of a Northflank
// notification integration and believes nothing in them: they are hints where
// to look. Who looks, and how the integration is made, is left to others.
package webhook

import (
	"errors"
	"fmt"
	"strings"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// Notification is a hint that something happened to a job run: look there. The
// ids are those of the sender and may be wrong, old or "": Northflank publishes
// the payload of builds only, so a job run's notification may name its job, its
// project, or nothing.
type Notification struct {
	Event     string // without "trigger:", such as "job-run:failure"
	ProjectID string
	JobID     string
	RunID     string // "" when not told
}

// trigger stands before an event's name where Northflank subscribes to it, and
// is left out where it sends it (Northflank docs: "build:start"). Both are
// understood.
const trigger = "trigger:"

// events are those that tell of an end, or of one that comes.
//
// The start of a job run is none of them. Whoever started it has the answer to
// the start, and Prefect tells when the flow begins; to look after each start
// would double the requests that a flow run costs.
func events() []string {
	return []string{
		"job-run:success",
		"job-run:failure",
		"job-run:abort",
		"job-run:terminate",
		"infrastructure:job:container-crash",
		"infrastructure:job:container-eviction",
	}
}

// Events is what an integration has to subscribe to, as the body of its
// creation has it.
func Events() map[string]bool {
	subscribed := make(map[string]bool)
	for _, event := range events() {
		subscribed[trigger+event] = true
	}
	return subscribed
}

// minSecret is the length of the shortest secret that is taken: of hexadecimal
// digits, 64 bits, which nobody guesses over a network.
const minSecret = 16

// CheckSecret refuses what cannot travel in a header, or can be guessed. The
// text is not shown.
func CheckSecret(s secret.Value) error {
	text := s.Reveal()
	switch {
	case len(text) < minSecret:
		return fmt.Errorf("the webhook's secret is too short: it must have %d characters at least", minSecret)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("the webhook's secret has spaces, line breaks or other characters that a header cannot carry")
	}
	return nil
}
