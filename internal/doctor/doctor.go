// Package doctor answers: what is wrong with a set-up? It asks Prefect and
// Northflank what a worker would ask them, changes nothing, and spends few
// requests. [Run] goes through a table of checks, each of which answers one
// question.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// Status is what a check found.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warning Status = "warning" // flow runs run all the same, or may
	Failure Status = "failure" // they do not
	Skipped Status = "skipped" // the question could not be asked, or does not arise
)

// Result is one answer. A check that finds several things wrong gives several.
type Result struct {
	Check    string `json:"check"` // name of the check, the same in every release
	Status   Status `json:"status"`
	Message  string `json:"message"`
	NextStep string `json:"next_step,omitempty"`
	// Because is the check whose finding kept this one from being made; "" when
	// nothing is wrong.
	Because string `json:"because,omitempty"`
}

// Report is what an examination found. No text in it holds a secret.
type Report struct {
	Results  []Result `json:"results"`
	Failures int      `json:"failures"`
	Warnings int      `json:"warnings"`
	Requests int      `json:"northflank_requests"` // that count against the account's budget
}

// Options say what is examined, and how.
type Options struct {
	Settings   *prefect.Settings
	Account    jobspec.Account // of the environment
	Pool       string          // "" is the only one of type northflank
	WebhookURL string          // public address of a worker's webhook; "" does not ask about webhooks
	Version    string          // of this product

	Begin       func(check string) // told of each check before it is made; nil: nobody
	PrefectHTTP *http.Client       // nil is the client's own
	Northflank  northflank.Options // what the clients of all accounts share
}

// checkTimeout bounds a request to either side, and with a few of them a check.
const checkTimeout = 10 * time.Second

// check is one question. It is independent of the others but for those whose
// answer it needs: they have found nothing that fails when it runs.
type check struct {
	name  string // never changes: scripts look for it
	needs []string
	run   func(ctx context.Context, e *exam, a *answers)
}

// checks are asked in this order; what a check needs comes before it.
func checks() []check {
	const settings, login, pool, token = "prefect-settings", "prefect-login", "pool", "northflank-token"
	return []check{
		{settings, nil, checkSettings},
		{"prefect-api", []string{settings}, checkAPI},
		{login, []string{"prefect-api"}, checkLogin},
		{"prefect-csrf", []string{login}, checkCSRF},
		{"prefect-version", []string{login}, checkVersion},
		{"prefect-events", []string{login}, checkEvents},
		{pool, []string{login, "prefect-csrf"}, checkPool},
		{"prefect-channel", []string{pool}, checkChannel},
		{"pool-template", []string{pool}, checkTemplate},
		{"pool-paused", []string{pool}, checkPaused},
		{"pool-limit", []string{pool}, checkLimit},
		{"work-queues", []string{pool}, checkQueues},
		{"workers", []string{pool}, checkWorkers},
		{"deployments", []string{pool}, checkDeployments},
		{"clear-tokens", []string{pool}, checkClearTokens},
		{"credentials", []string{pool}, checkCredentials},
		{"containers-reach-prefect", []string{settings}, checkReach},

		{"northflank-api", nil, checkNorthflank},
		{token, []string{"northflank-api"}, checkToken},
		{"token-expiry", []string{token}, checkExpiry},
		{"team", []string{token}, checkTeam},
		{"permissions", []string{token, "team"}, checkPermissions},
		{"project", []string{token, "team"}, checkProject},
		{"deployment-plan", []string{"northflank-api"}, checkPlan},
		{"gpu", []string{"northflank-api"}, checkGPU},
		{"registry-credentials", []string{token, "team"}, checkRegistry},
		{"builds", []string{token, "team"}, checkBuilds},
		{"log-stream", []string{token, "team"}, checkLogStream},
		{"webhook", []string{token, "team"}, checkWebhook},
		{"clock", []string{"northflank-api"}, checkClock},
		{"budget", []string{"northflank-api"}, checkBudget},
	}
}

// Run asks every question once. It ends early, with the context's cause, only
// when ctx does.
func Run(ctx context.Context, o Options) (Report, error) {
	e := newExam(o)
	outcome := map[string]Result{} // by check: its worst result
	var report Report
	for _, c := range checks() {
		a := &answers{check: c.name}
		if o.Begin != nil {
			o.Begin(c.name)
		}
		if because, ok := e.blocked(c.needs, outcome); ok {
			a.skip(because.Because, "not checked: %s", because.Message)
		} else {
			c.run(prefect.WithoutRetry(ctx), e, a)
		}
		if ctx.Err() != nil {
			return Report{}, context.Cause(ctx)
		}
		if len(a.results) == 0 {
			a.ok("nothing to object to")
		}
		outcome[c.name] = worst(a.results)
		e.outcome = outcome
		report.Results = append(report.Results, a.results...)
	}
	scrub := secret.NewScrubber(e.secrets...)
	for i := range report.Results {
		r := &report.Results[i]
		r.Message, r.NextStep = scrub.Text(r.Message), scrub.Text(r.NextStep)
		switch r.Status {
		case Failure:
			report.Failures++
		case Warning:
			report.Warnings++
		}
	}
	report.Requests = int(e.spent.Load())
	return report, nil
}

// worst returns the result that speaks for a check.
func worst(results []Result) Result {
	order := []Status{OK, Skipped, Warning, Failure}
	return slices.MaxFunc(results, func(a, b Result) int { return slices.Index(order, a.Status) - slices.Index(order, b.Status) })
}

// blocked reports whether a needed check keeps another from being made, and says
// what to give as the reason.
func (e *exam) blocked(needs []string, outcome map[string]Result) (Result, bool) {
	for _, need := range needs {
		switch r := outcome[need]; {
		case r.Status == Failure:
			return Result{Because: need, Message: "it needs " + need}, true
		case r.Status == Skipped && r.Because != "":
			return Result{Because: r.Because, Message: "it needs " + r.Because}, true
		case r.Status == Skipped:
			return Result{Message: "it needs " + need}, true
		}
	}
	return Result{}, false
}

// answers collects what a check finds.
type answers struct {
	check   string
	results []Result
}

func (a *answers) add(s Status, because, next, message string) {
	a.results = append(a.results, Result{Check: a.check, Status: s, Message: message, NextStep: next, Because: because})
}

func (a *answers) ok(format string, args ...any) { a.add(OK, "", "", fmt.Sprintf(format, args...)) }

func (a *answers) warn(next, format string, args ...any) {
	a.add(Warning, "", next, fmt.Sprintf(format, args...))
}

func (a *answers) fail(next, format string, args ...any) {
	a.add(Failure, "", next, fmt.Sprintf(format, args...))
}

// skip says why nothing is known; because is the check at fault, if one is.
func (a *answers) skip(because, format string, args ...any) {
	a.add(Skipped, because, "", fmt.Sprintf(format, args...))
}

// err is a finding that an error tells, with the error's own next step or else
// the one given.
func (a *answers) err(s Status, err error, otherwise string) {
	next := hintOf(err)
	if next == "" {
		next = otherwise
	}
	a.add(s, "", next, err.Error())
}

// found reports whether the check has anything to say already.
func (a *answers) found() bool { return len(a.results) > 0 }

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// exam is what the checks know. They run one after the other, so it needs no
// lock; only spent is counted from the clients' own goroutines.
type exam struct {
	o       Options
	outcome map[string]Result
	secrets []string // never to be shown
	spent   atomic.Int64

	prefect   *prefect.Client // nil when the settings do not do
	clientErr error
	older     bool // the server is older than what this client was written for

	pools    []prefect.WorkPool
	poolsErr error
	pool     prefect.WorkPool
	targets  []*target // nil until gathered

	gatherErr   error
	deployments int  // looked at
	unseen      bool // there are more

	accounts  []*account
	plans     []northflank.DeploymentPlan
	exhausted bool // Northflank let no more requests through
}

func newExam(o Options) *exam {
	e := &exam{o: o, secrets: append(o.Settings.Secrets(), o.Account.Token.Reveal())}
	e.prefect, e.clientErr = prefect.NewClient(prefect.ClientOptions{
		Settings: o.Settings, HTTPClient: o.PrefectHTTP, Version: o.Version, Logger: o.Northflank.Logger,
	})
	return e
}

// ask bounds one request.
func ask(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, checkTimeout, fmt.Errorf("no answer within %v", checkTimeout))
}
