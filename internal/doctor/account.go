package doctor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

const (
	expirySoon  = 14 * 24 * time.Hour
	maxSkew     = 30 * time.Second // beyond what a clock that is kept is off
	lowBudget   = 10               // percent of the hour's requests
	maxAccounts = 5                // that are looked at; each takes a handful of requests

	budgetCheck      = "budget"
	permissionsCheck = "permissions"
)

// trouble notes what an error of a request to Northflank means. That requests
// are used up is the budget's finding, wherever it is noticed.
func (e *exam) trouble(a *answers, err error, otherwise string) {
	if errors.Is(err, northflank.ErrBudgetSpent) || errors.Is(err, northflank.ErrRateLimited) {
		e.exhausted = true
		a.skip(budgetCheck, "not checked: no request to Northflank is left for it")
		return
	}
	a.err(Failure, err, otherwise)
}

// refusedBefore reports whether an error is the want of a right that the check of
// permissions has named, and says so.
func (e *exam) refusedBefore(a *answers, err error) bool {
	if !errors.Is(err, northflank.ErrForbidden) || e.outcome[permissionsCheck].Status == OK {
		return false
	}
	a.skip(permissionsCheck, "not checked: the token's role may not read this")
	return true
}

// of says whose account a finding is about, where there are several.
func (e *exam) of(acc *account) string {
	if len(e.accounts) == 1 {
		return ""
	}
	return "account of " + acc.of + ": "
}

// each calls visit for every account whose token is accepted.
func (e *exam) each(visit func(*account)) {
	for _, acc := range e.accounts {
		if acc.usable {
			visit(acc)
		}
	}
}

// eachProject calls visit for every project of every account whose token is
// accepted.
func (e *exam) eachProject(visit func(*account, *project)) {
	e.each(func(acc *account) {
		for _, p := range acc.projects {
			visit(acc, p)
		}
	})
}

// checkNorthflank reads the list of deployment plans, which takes no token and
// no request of the budget.
func checkNorthflank(ctx context.Context, e *exam, a *answers) {
	if err := e.gatherAccounts(ctx); err != nil {
		a.err(Failure, err, "save the credentials again with: prefect-northflank credentials save NAME --overwrite")
		return
	}
	if len(e.accounts) > maxAccounts {
		a.warn("", "only %d of %d Northflank accounts were looked at", maxAccounts, len(e.accounts))
		e.accounts = e.accounts[:maxAccounts]
	}
	if len(e.accounts) == 0 {
		needs := []string{"prefect-settings", "prefect-api", "prefect-login", "prefect-csrf", "pool", "credentials", "deployments"}
		because, _ := e.blocked(needs, e.outcome)
		a.skip(because.Because, "not checked: no Northflank API token is known")
		return
	}
	asked := map[string]bool{}
	for _, acc := range e.accounts {
		if asked[acc.client.BaseURL()] {
			continue
		}
		asked[acc.client.BaseURL()] = true
		ctx, cancel := ask(ctx)
		plans, err := acc.client.Plans(ctx)
		cancel()
		if err != nil {
			a.err(Failure, err, "check the network, HTTPS_PROXY and base_url of the credentials block")
			return
		}
		e.plans = plans
		if warning := acc.client.Warning(); warning != "" {
			a.warn("save the credentials block again with an https address", "%s", warning)
		}
	}
	if !a.found() {
		a.ok("the Northflank API answers")
	}
}

// checkToken asks Northflank to describe the token, in one request. Where it
// does not serve that, reading a project tells whether the token is accepted.
func checkToken(ctx context.Context, e *exam, a *answers) {
	for _, acc := range e.accounts {
		ctx, cancel := ask(ctx)
		info, err := acc.client.GetToken(ctx)
		if errors.Is(err, northflank.ErrNotFound) {
			info = ofJWT(acc)
			err = acc.tryToken(ctx)
		}
		cancel()
		if err != nil {
			e.trouble(a, fmt.Errorf("%s%w", e.of(acc), err), "save a token that works: prefect-northflank credentials save NAME --overwrite")
			continue
		}
		acc.info, acc.usable = info, true
	}
	if !a.found() {
		a.ok("Northflank accepts the API token")
	}
}

// tryToken reads a project to see whether the token is accepted. What else is
// wrong with the project is another check's; without one nothing is known.
func (a *account) tryToken(ctx context.Context) error {
	if len(a.projects) == 0 {
		return nil
	}
	_, err := a.client.GetProject(ctx, a.projects[0].id)
	if errors.Is(err, northflank.ErrUnauthorized) || exhausting(err) {
		return err
	}
	return nil
}

func exhausting(err error) bool {
	return errors.Is(err, northflank.ErrBudgetSpent) || errors.Is(err, northflank.ErrRateLimited)
}

// ofJWT reads what a token says of itself: Northflank's are JSON web tokens.
// Nothing is verified; Northflank does that.
func ofJWT(acc *account) northflank.TokenInfo {
	var claims struct {
		Expires    float64 `json:"exp"` // seconds since 1970 (RFC 7519)
		EntityType string  `json:"entityType"`
	}
	parts := strings.Split(acc.token.Reveal(), ".")
	if len(parts) != 3 {
		return northflank.TokenInfo{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return northflank.TokenInfo{}
	}
	info := northflank.TokenInfo{Organisation: claims.EntityType == "org"}
	if claims.Expires > 0 && claims.Expires < 1e11 {
		info.ExpiresAt = time.Unix(int64(claims.Expires), 0)
	}
	return info
}

func checkExpiry(_ context.Context, e *exam, a *answers) {
	const renew = "make a new token in Northflank, and save it: prefect-northflank credentials save NAME --overwrite"
	e.each(func(acc *account) {
		left := time.Until(acc.info.ExpiresAt)
		switch {
		case acc.info.ExpiresAt.IsZero():
		case left <= 0:
			a.fail(renew, "%sthe API token expired on %s", e.of(acc), day(acc.info.ExpiresAt))
		case left < expirySoon:
			a.warn(renew, "%sthe API token expires on %s", e.of(acc), day(acc.info.ExpiresAt))
		default:
			a.ok("the API token expires on %s", day(acc.info.ExpiresAt))
		}
	})
	if !a.found() {
		a.ok("no end of the API token is known")
	}
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// checkTeam asks whether an organisation's token has the team that it needs.
func checkTeam(_ context.Context, e *exam, a *answers) {
	e.each(func(acc *account) {
		if acc.info.Organisation && acc.client.TeamID() == "" {
			a.fail("add the ID of the team: prefect-northflank credentials save NAME --overwrite --team-id TEAM, or the job variable team_id",
				"%sthe API token is an organisation's, which reaches projects by a team only", e.of(acc))
		}
	})
	if !a.found() {
		a.ok("the token needs no other team")
	}
}

// checkBudget reads what Northflank told with its answers.
func checkBudget(_ context.Context, e *exam, a *answers) {
	const support = "it fills up again within the hour; Northflank support raises the limit on request"
	told := false
	for _, acc := range e.accounts {
		b := acc.client.Budget()
		told = told || b.Limit > 0
		switch {
		case b.Limit > 0 && b.Remaining == 0 || e.exhausted && b.Remaining*100 < b.Limit*lowBudget:
			a.fail(support, "%s%d of %d requests of this hour are left, too few to start flow runs, until %s", e.of(acc), b.Remaining, b.Limit, b.ResetAt.UTC().Format(time.RFC3339))
		case b.Limit > 0 && b.Remaining*100 < b.Limit*lowBudget:
			a.warn(support, "%s%d of %d requests of this hour are left, until %s", e.of(acc), b.Remaining, b.Limit, b.ResetAt.UTC().Format(time.RFC3339))
		case e.exhausted:
			a.fail(support, "%sNorthflank asked to wait with requests (429)", e.of(acc))
		case b.Limit > 0:
			a.ok("%d of %d requests of this hour are left", b.Remaining, b.Limit)
		}
	}
	if !told && !a.found() {
		a.ok("Northflank did not tell how many requests are left")
	}
}

// checkClock compares clocks by the Date of Northflank's answers.
func checkClock(_ context.Context, e *exam, a *answers) {
	for _, acc := range e.accounts {
		low, high, ok := acc.client.ClockSkew()
		if !ok || low < maxSkew && high > -maxSkew {
			continue
		}
		ahead, direction := low, "behind"
		if high < 0 {
			ahead, direction = -high, "ahead of"
		}
		a.warn("set this machine's clock by NTP", "this machine's clock is %v %s Northflank's: schedules and timeouts are off by that", ahead.Round(time.Second), direction)
		return
	}
	a.ok("this machine's clock agrees with Northflank's")
}

// checkWebhook asks whether an enabled webhook sends to the worker's address.
func checkWebhook(ctx context.Context, e *exam, a *answers) {
	if e.o.WebhookURL == "" {
		a.skip("", "not asked for: --webhook-url gives the address of a worker's webhook")
		return
	}
	e.each(func(acc *account) {
		ctx, cancel := ask(ctx)
		defer cancel()
		var others []string
		for n, err := range acc.client.ListNotifications(ctx) {
			if err != nil {
				e.trouble(a, err, "")
				return
			}
			if n.Type != northflank.TypeWebhook {
				continue
			}
			if n.Webhook == e.o.WebhookURL {
				e.examineWebhook(ctx, a, acc, n)
				return
			}
			others = append(others, fmt.Sprintf("%q sends to another address", n.Name))
		}
		a.fail("create it with: prefect-northflank webhook create --url "+e.o.WebhookURL,
			"no webhook of the account sends to %s%s", e.o.WebhookURL, bracketed(others))
	})
}

func bracketed(items []string) string {
	if len(items) == 0 {
		return ""
	}
	return " (" + someOf(items) + ")"
}

// examineWebhook looks at the webhook that sends to the right address.
func (e *exam) examineWebhook(ctx context.Context, a *answers, acc *account, n northflank.NotificationIntegration) {
	again := "enable it with: prefect-northflank webhook create --url " + e.o.WebhookURL
	if n.Disabled {
		a.fail("see that the worker answers at this address, then "+again, "webhook %q is disabled: too many notifications were not answered", n.Name)
		return
	}
	n, err := acc.client.GetNotification(ctx, n.ID)
	if err != nil {
		e.trouble(a, err, "")
		return
	}
	for _, p := range acc.projects {
		if n.Restricted && !slices.Contains(n.Projects, p.id) {
			a.warn("add it with: prefect-northflank webhook create --url "+e.o.WebhookURL+" --project "+p.id, "webhook %q tells nothing of project %q", n.Name, p.id)
		}
	}
	if !slices.Contains(n.Events, "trigger:job-run:failure") {
		a.warn("correct it with: prefect-northflank webhook create --url "+e.o.WebhookURL, "webhook %q does not tell of job runs that fail", n.Name)
	}
	if !a.found() {
		a.ok("webhook %q sends to %s", n.Name, e.o.WebhookURL)
	}
}

// checkPermissions asks whether the role allows what each feature needs.
func checkPermissions(ctx context.Context, e *exam, a *answers) {
	e.each(func(acc *account) {
		if granted, ok := recognise(acc.info.Permissions); ok {
			judge(a, acc, e.of(acc), granted)
			return
		}
		e.tryReads(ctx, a, acc)
	})
	if !a.found() {
		a.ok("the token's role has every permission that is needed")
	}
}

// tryReads finds refusals by reading, where Northflank does not tell the role's
// permissions. Rights to change anything cannot be seen by it.
func (e *exam) tryReads(ctx context.Context, a *answers, acc *account) {
	if len(acc.projects) > 0 { // one project tells what the role allows
		e.tryReadsIn(ctx, a, acc, acc.projects[0].id)
	}
	if !a.found() {
		a.ok("reading is allowed; Northflank does not tell what else the token's role allows")
	}
}

func (e *exam) tryReadsIn(ctx context.Context, a *answers, acc *account, projectID string) {
	ctx, cancel := ask(ctx)
	defer cancel()
	next, stop := iter.Pull2(acc.client.ListJobs(ctx, projectID))
	defer stop()
	job, err, some := next()
	switch {
	case errors.Is(err, northflank.ErrForbidden):
		a.err(Failure, err, "")
	case exhausting(err):
		e.trouble(a, err, "")
		return
	}
	if !some || err != nil {
		job.ID = "prefect-northflank-doctor" // none of this name: what is refused, is refused all the same
	}
	if _, err := acc.client.Logs(ctx, projectID, job.ID, northflank.LogQuery{LineLimit: 1}); errors.Is(err, northflank.ErrForbidden) {
		a.err(Warning, err, "")
		acc.noLogs = true
	}
}
