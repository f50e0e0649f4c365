package jobspec

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// Build turns a flow run's resolved job configuration into Northflank requests.
// An error is an [*InvalidError] with everything that is wrong; warnings are
// returned either way.
func Build(in Input) (Spec, []Warning, error) {
	b := &builder{in: in, scrub: secret.NewScrubber(in.Secrets...)}
	b.strangers()
	scope := Scope(b.text("job_scope"))
	cleanup, _ := b.boolean("cleanup_job")
	spec := Spec{
		Account:   b.account(),
		ProjectID: b.project(),
		Scope:     scope,
		Cleanup:   cleanup,
	}
	source := b.source()
	compute := b.compute()
	limits := b.limits()
	spec.Job = northflank.JobRequest{
		Infrastructure: compute.infrastructure,
		Tags:           b.list("tags"),
		Billing:        compute.jobBilling,
		Deployment: northflank.Deployment{
			External:           source.jobExternal,
			Internal:           source.jobInternal,
			GPU:                compute.jobBilling.GPU,
			GracePeriodSeconds: limits.grace,
			Metadata:           b.metadata(),
		},
		Settings: limits.settings,
	}
	env := b.environment()
	spec.Run = northflank.RunRequest{
		RuntimeEnvironment: env.values,
		RuntimeFiles:       b.files(),
		Billing:            &northflank.Billing{DeploymentPlan: compute.plan},
		Deployment: &northflank.Deployment{
			External: source.runExternal,
			Internal: source.runInternal,
			Storage:  b.storage(),
		},
	}
	b.command(spec.Run.Deployment)
	spec.EnvOrigins = env.origins
	b.workerLevel(&spec)
	spec.Deadline, spec.GracePeriod = limits.deadline, limits.gracePeriod
	b.name(&spec)
	b.keepSecretsOut()
	if len(b.problems) > 0 {
		return Spec{}, b.warnings, &InvalidError{Problems: b.ordered()}
	}
	spec.Secrets = b.secrets(spec)
	return spec, b.warnings, nil
}

// strangers warns of job variables that will not reach anything.
func (b *builder) strangers() {
	known := make([]string, 0, len(Variables()))
	for _, v := range Variables() {
		known = append(known, v.Name)
	}
	for _, name := range slices.Sorted(slices.Values(b.in.Unknown)) {
		switch near, ok := NearestName(name, known); {
		case slices.Contains(known, name):
			b.warn(KindNotInPool, name, fmt.Sprintf("the work pool's base job template does not have this job variable, so it is ignored; add it with: prefect-northflank pool upgrade %s", b.in.PoolName))
		case ok:
			b.warn(KindUnknown, name, fmt.Sprintf("no such job variable, so it is ignored; did you mean %s?", near))
		default:
			b.warn(KindUnknown, name, "no such job variable, so it is ignored; the job variables are listed in docs/reference/job-variables.md")
		}
	}
	for _, name := range slices.Sorted(slices.Values(b.in.Unused)) {
		if name == "build_configuration_docker_credentials" {
			b.warn(KindNoEffect, name, "has no effect: the worker builds no images; for a private image set deployment_external_credentials")
			continue
		}
		b.warn(KindNoEffect, name, "has no place in the job_configuration of the work pool's base job template, so it is ignored; add it there or remove the variable")
	}
}

// project reads project_id, the one variable without which nothing works.
func (b *builder) project() string {
	id := b.text("project_id")
	if id == "" && !b.isSet("project_id") {
		b.add(KindMissing, "project_id", "is not set", "set it to the ID of your Northflank project, in the work pool or in the deployment's job_variables")
	}
	return id
}

// account decides whose token is used. The worker's own token is never sent to
// an address that a job variable names: that would hand it to whoever may
// write a deployment.
func (b *builder) account() Account {
	account := b.in.Account
	given := b.in.Values["credentials"]
	switch given := given.(type) {
	case nil:
		if b.isSet("credentials_block") {
			b.add(KindBlock, "credentials_block", "there is no Northflank block of this name", "create it with: prefect-northflank credentials save "+b.text("credentials_block"))
			return account
		}
		if account.Token.IsZero() {
			b.add(KindMissing, "credentials", "no Northflank API token is configured", "save one with: prefect-northflank credentials save northflank-creds, then set credentials_block: northflank-creds, or start the worker with NORTHFLANK_API_TOKEN set")
		}
	case map[string]any:
		account = b.blockAccount(given)
	default:
		b.add(KindType, "credentials", "must be a Northflank block, not "+typeName(given), "give the block's name as credentials_block instead")
	}
	if team := b.text("team_id"); team != "" {
		account.TeamID = team
	}
	account.BaseURL = b.baseURL(account.BaseURL)
	return account
}

const defaultBaseURL = "https://api.northflank.com"

// blockAccount reads the fields of a Northflank block; others are ignored.
func (b *builder) blockAccount(block map[string]any) Account {
	field := func(name string) string {
		text, _ := toText(block[name])
		return strings.TrimSpace(text)
	}
	token := field("api_token")
	switch {
	case token == "":
		b.add(KindMissing, "credentials", "the Northflank block has no api_token", "save it again with: prefect-northflank credentials save NAME")
	case strings.Trim(token, "*") == "":
		b.add(KindValue, "credentials", "holds the asterisks that Prefect shows in place of a token, not the token: it was copied from Prefect's answer or page", "name the block instead, credentials_block: NAME")
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		b.add(KindValue, "credentials", "api_token has spaces or other characters that no token has", "copy the token from Northflank again and save it with: prefect-northflank credentials save NAME")
	}
	return Account{BaseURL: field("base_url"), TeamID: field("team_id"), Token: secret.New(token)}
}

func (b *builder) baseURL(text string) string {
	if text == "" {
		return defaultBaseURL
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil {
		b.add(KindValue, "credentials", "base_url is not the address of an API", "remove it, or write it like "+defaultBaseURL)
		return ""
	}
	return strings.TrimRight(text, "/")
}

type limits struct {
	settings              northflank.JobSettings
	grace                 *int
	deadline, gracePeriod time.Duration
}

func (b *builder) limits() limits {
	var l limits
	l.settings.BackoffLimit = b.backoffLimit()
	l.deadline = NoTimeout
	if seconds, set := b.integer("settings_active_deadline_seconds"); set {
		l.settings.ActiveDeadlineSeconds = &seconds
		l.deadline = time.Duration(seconds) * time.Second
	}
	if seconds, set := b.integer("settings_grace_period_seconds"); set {
		l.grace = &seconds
		l.gracePeriod = time.Duration(seconds) * time.Second
	}
	l.settings.RunOnSourceChange = b.text("settings_run_on_source_change")
	if l.settings.RunOnSourceChange != "never" && l.settings.RunOnSourceChange != "" {
		b.warn(KindStartsAlone, "settings_run_on_source_change", "a new build will start this job outside Prefect, without a flow run; set it to never unless you want that")
	}
	return l
}

// backoffLimit reads settings_backoff_limit, whose default of 3 comes from
// prefect-northflank 1.0.1 and is in every pool's template. A second container
// of the same job run would run a finished flow again, so the number counts
// only where somebody chose it: in a deployment, a flow run, or by editing the
// pool's default. See docs/decisions/0001.
func (b *builder) backoffLimit() int {
	const name = "settings_backoff_limit"
	n, _ := b.integer(name)
	untouched := !b.isSet(name) || b.in.Origins[name].Source == FromPoolDefault && n == mustLookup(name).Default
	if untouched {
		return 0
	}
	return n
}

// metadata reads Kubernetes labels and annotations of the containers.
func (b *builder) metadata() *northflank.Metadata {
	labels := b.labels()
	annotations := map[string]string{}
	for _, e := range b.entries("deployment_metadata_annotations") {
		if !e.Null {
			annotations[e.Key] = e.Text
		}
	}
	if len(labels)+len(annotations) == 0 {
		return nil
	}
	return &northflank.Metadata{Labels: labels, Annotations: annotations}
}

// labels leaves out what Kubernetes refuses, with a warning: the original
// worker ignored labels, so that pools may hold any.
func (b *builder) labels() map[string]string {
	labels := map[string]string{}
	for _, e := range b.entries("labels") {
		switch {
		case e.Null:
		case !labelKeyPattern.MatchString(e.Key) || !labelValuePattern.MatchString(e.Text):
			b.warn(KindValue, "labels", fmt.Sprintf("%q is left out: Kubernetes allows 63 letters, digits and . _ - in a label and in its value", e.Key))
		default:
			labels[e.Key] = e.Text
		}
	}
	return labels
}

func (b *builder) workerLevel(spec *Spec) {
	spec.Stream, _ = b.boolean("stream_output")
	spec.StartRetries, _ = b.integer("start_retries")
	timeout := func(name string) time.Duration {
		seconds, set := b.integer(name)
		if !set {
			return NoTimeout
		}
		return time.Duration(seconds) * time.Second
	}
	spec.StartTimeout = timeout("start_timeout_seconds")
	spec.LingerTimeout = timeout("linger_timeout_seconds")
}

// keepSecretsOut refuses secrets in what Northflank stores with the job, where
// everybody who may list jobs reads them.
func (b *builder) keepSecretsOut() {
	for _, name := range []string{"name", "description", "labels", "tags", "deployment_metadata_annotations"} {
		if !b.isSet(name) {
			continue
		}
		text, err := json.Marshal(b.in.Values[name])
		if err == nil && b.scrub.Text(string(text)) != string(text) {
			b.add(KindSecret, name, "holds a secret, and Northflank stores it with the job, where others can read it", "leave the secret out, or pass it in runtime_environment")
		}
	}
}

// ordered sorts problems as the table is ordered; problems of one variable keep
// their order.
func (b *builder) ordered() []Problem {
	row := func(p Problem) int {
		name, _, _ := strings.Cut(p.Variable, ".")
		return rows()[name]
	}
	slices.SortStableFunc(b.problems, func(x, y Problem) int { return row(x) - row(y) })
	return b.problems
}
