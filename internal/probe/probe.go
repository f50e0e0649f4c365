// Package probe answers: what does Northflank do where its documents say nothing?
// It finds out by harmless experiments in a project that the user names: jobs of
// its own that sleep or print a line, and are deleted afterwards, whatever
// happens.
package probe

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

// Answer is what was learned about one question.
type Answer struct {
	Question string   `json:"question"` // a name that never changes
	Asks     string   `json:"asks"`
	Answer   string   `json:"answer"` // "unknown: " and why, where nothing was learned
	Evidence []string `json:"evidence,omitempty"`
}

// Report is what the experiments told. It holds no secret, and names neither
// project nor team.
type Report struct {
	Version  string    `json:"version"` // of this product
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Answers  []Answer  `json:"answers"`
	Left     []string  `json:"left_behind,omitempty"` // jobs that could not be deleted
}

// Options say where to experiment.
type Options struct {
	Client  *northflank.Client
	Project string
	Suffix  string // makes the names of the jobs unique: lower-case letters and digits
	Version string
	Begin   func(asks string) // told of each question before its experiment; nil: nobody
}

// What the jobs run: the smallest plan, and an image of 2 MB.
const (
	deploymentPlan = "nf-compute-10"
	image          = "busybox:1.36"
)

const (
	// MaxRequests is more than all experiments and the clean-up ever spend.
	MaxRequests = 300
	// Minutes is about how long the experiments take, at most.
	Minutes = 5
)

// Plan says in sentences what the experiments do.
func Plan(o Options) []string {
	l := newLab(o)
	return []string{
		fmt.Sprintf("creates up to four jobs in project %q, all called %s-...; no other job is touched", o.Project, l.name("")),
		fmt.Sprintf("starts up to five job runs of image %s on %s, that print a line or sleep for 5 minutes at most, three at a time", image, deploymentPlan),
		fmt.Sprintf("aborts job runs and deletes the jobs again, also after Ctrl-C; takes between 1 and %d minutes", Minutes),
		fmt.Sprintf("spends between 30 and %d of the account's requests of this hour, depending on how fast containers start", MaxRequests),
	}
}

// experiment answers one question.
type experiment struct {
	question, asks string
	run            func(ctx context.Context, l *lab) error
}

// experiments are made in this order. Each stands on what those before left, and
// says so where that is missing.
func experiments() []experiment {
	return []experiment{
		{"null-deadline", "is a job without a deadline (activeDeadlineSeconds null) accepted?", nullDeadline},
		{"duplicate-name", "what answers the creation of a job whose name is taken?", duplicateName},
		{"unknown-tag", "is a tag that the team does not have refused, or left out?", unknownTag},
		{"patch", "does PATCH merge the environment of a job, or replace it?", patch},
		{"internal-override", "may a run of a job with a build service name an external image?", internalOverride},
		{"visibility", "when does a new job run appear in the list?", visibility},
		{"succeeded", "does the counter of a successful job run count?", succeeded},
		{"container-name", "does a container's name begin with the name of its job run?", containerName},
		{"line-limit", "how many lines of a log can be asked for?", lineLimit},
		{"parallel-runs", "do three job runs of one job run at once?", parallelRuns},
		{"list-order", "in which order are job runs listed?", listOrder},
		{"override-environment", "does the API show the environment that a job run was started with?", overrideEnvironment},
		{"stream-cost", "does the opening of a log stream cost a request?", streamCost},
		{"aborted-status", "what becomes of an aborted job run?", abortedStatus},
		{"stream-end", "does the log stream of a job run end with it?", streamEnd},
		{"abort-finished", "what answers the abort of a job run that has ended?", abortFinished},
		{"delete-active", "what answers the deletion of a job with an active job run?", deleteActive},
		{"rate-limit", "what does a 429 look like?", notTried("it would keep all programs of the account from their work for up to an hour")},
		{"webhook-payload", "what does a notification of a job run hold?", notTried("it needs an address that Northflank can reach")},
	}
}

// Run makes the experiments, cleans up, and returns what was learned, also when
// ctx ends early: the error is then its cause.
func Run(ctx context.Context, o Options) (Report, error) {
	l := newLab(o)
	report := Report{Version: o.Version, Started: time.Now().UTC()}
	err := l.check(ctx)
	if err != nil {
		return report, err
	}
	for _, x := range experiments() {
		if ctx.Err() != nil {
			break
		}
		if o.Begin != nil {
			o.Begin(x.asks)
		}
		l.answer, l.evidence = "", nil
		if err := x.run(ctx, l); err != nil && l.answer == "" {
			l.answer = "unknown: " + err.Error()
		}
		report.Answers = append(report.Answers, l.written(x))
	}
	l.stopStream()
	report.Left = l.cleanUp(context.WithoutCancel(ctx))
	if ctx.Err() != nil {
		// A request that was under way may have made a job after its deletion found none.
		sleep(context.WithoutCancel(ctx), lookEvery)
		report.Left = l.cleanUp(context.WithoutCancel(ctx))
	}
	report.Finished = time.Now().UTC()
	return report, context.Cause(ctx)
}

func notTried(why string) func(context.Context, *lab) error {
	return func(context.Context, *lab) error { return errors.New("not tried: " + why) }
}

// check makes sure that the project is there and that requests are left.
func (l *lab) check(ctx context.Context) error {
	if _, err := l.Client.GetProject(ctx, l.Project); err != nil {
		return err
	}
	if b := l.Client.Budget(); b.Limit > 0 && b.Remaining < MaxRequests {
		return &budgetError{b}
	}
	return nil
}

// budgetError: too few requests are left for experiments.
type budgetError struct{ northflank.Budget }

func (e *budgetError) Error() string {
	return fmt.Sprintf("%d of %d requests of this hour are left, and the experiments may take %d", e.Remaining, e.Limit, MaxRequests)
}

// Hint is the next step.
func (e *budgetError) Hint() string {
	return "try again after " + e.ResetAt.UTC().Format(time.RFC3339) + ", when no worker is busy"
}

// written is an answer without anything that is not to be shown.
func (l *lab) written(x experiment) Answer {
	a := Answer{Question: x.question, Asks: x.asks, Answer: l.hide(l.answer)}
	for _, e := range l.evidence {
		a.Evidence = append(a.Evidence, l.hide(e))
	}
	return a
}

// hide masks the ids of project and team where they stand alone. The client has
// hidden its token in all that it returned.
func (l *lab) hide(text string) string {
	for id, instead := range map[string]string{l.Project: "PROJECT", l.Client.TeamID(): "TEAM"} {
		if id != "" {
			text = regexp.MustCompile(`\b`+regexp.QuoteMeta(id)+`\b`).ReplaceAllString(text, instead)
		}
	}
	return text
}
