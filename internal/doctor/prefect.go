package doctor

import (
	"context"
	"errors"
	"strings"

	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/worker"
)

func checkSettings(_ context.Context, e *exam, a *answers) {
	if e.clientErr != nil {
		a.err(Failure, e.clientErr, "")
		return
	}
	a.ok("PREFECT_API_URL is set (from %s)", stepOr(e.o.Settings.Source("PREFECT_API_URL"), "defaults"))
}

func checkAPI(ctx context.Context, e *exam, a *answers) {
	ctx, cancel := ask(ctx)
	defer cancel()
	if err := e.prefect.Health(ctx); err != nil {
		a.err(Failure, err, "check that the Prefect server runs and that PREFECT_API_URL is its address")
		return
	}
	a.ok("the Prefect API answers")
}

// checkLogin lists work pools, which needs whatever the server wants of clients.
// A refusal for want of a CSRF token is the next check's.
func checkLogin(ctx context.Context, e *exam, a *answers) {
	ctx, cancel := ask(ctx)
	defer cancel()
	e.pools, e.poolsErr = e.prefect.WorkPools(ctx)
	if e.poolsErr != nil && !wantsCSRF(e.poolsErr) {
		a.err(Failure, e.poolsErr, "check PREFECT_API_KEY or PREFECT_API_AUTH_STRING")
		return
	}
	a.ok("Prefect accepts the credentials")
}

// wantsCSRF recognises what a Prefect server answers to a changing request
// without a token. It marks the answer in no other way.
func wantsCSRF(err error) bool {
	return errors.Is(err, prefect.ErrForbidden) && strings.Contains(err.Error(), "CSRF token")
}

func checkCSRF(_ context.Context, e *exam, a *answers) {
	if e.poolsErr != nil {
		a.err(Failure, e.poolsErr, "set PREFECT_CLIENT_CSRF_SUPPORT_ENABLED=true")
		return
	}
	a.ok("changing requests pass")
}

func checkVersion(ctx context.Context, e *exam, a *answers) {
	ctx, cancel := ask(ctx)
	defer cancel()
	warning, err := e.prefect.CheckServerVersion(ctx)
	switch {
	case err != nil:
		a.err(Failure, err, "")
	case warning != "":
		e.older = true
		a.warn("upgrade the server when you can", "%s", warning)
	case e.o.Settings.IsCloud():
		a.ok("Prefect Cloud has no version to look at")
	case !e.o.Settings.ServerVersionCheck:
		a.skip("", "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED is false")
	default:
		a.ok("the Prefect server's version fits")
	}
}

func checkEvents(ctx context.Context, e *exam, a *answers) {
	ctx, cancel := ask(ctx)
	defer cancel()
	if err := e.prefect.CheckEvents(ctx); err != nil {
		a.add(Warning, "", websocketStep(err), "the event stream does not open, so that flow runs begin and end a poll later: "+err.Error())
		return
	}
	a.ok("the event stream opens")
}

// websocketStep is the next step for a websocket that does not open.
func websocketStep(err error) string {
	if hint := hintOf(err); hint != "" {
		return hint
	}
	return "let proxies on the way pass websockets on (headers Upgrade and Connection); without them all goes by polling"
}

func checkChannel(ctx context.Context, e *exam, a *answers) {
	ctx, cancel := ask(ctx)
	defer cancel()
	err := e.prefect.CheckChannel(ctx, e.pool.Name)
	end, _ := errors.AsType[*prefect.ChannelError](err)
	switch {
	case err == nil:
		a.ok("the worker channel opens")
	case e.older && end.Refused && end.Reason != prefect.ChannelAuthentication:
		a.ok("the server is older than the worker channel: heartbeats go by REST")
	default:
		a.add(Warning, "", websocketStep(err), "the worker channel does not open, so that heartbeats go by REST: "+err.Error())
	}
}

// checkReach asks whether containers on Northflank reach the Prefect API, under
// the address that their environment gives them.
func checkReach(ctx context.Context, e *exam, a *answers) {
	seen := map[string]bool{}
	for _, t := range e.reachable(ctx) {
		warning := worker.UnreachableAPI(t.apiURL, t.northflankURL)
		if warning == "" || seen[warning] {
			continue
		}
		seen[warning] = true
		cause, next, _ := strings.Cut(warning, ". ")
		a.fail(strings.TrimSuffix("u"+strings.TrimPrefix(next, "U"), "."), "%s%s", t.prefix(), cause)
	}
	if because, blocked := e.blocked([]string{"prefect-api", "prefect-login", "prefect-csrf", "pool"}, e.outcome); blocked {
		a.skip(because.Because, "not checked for deployments, which may give flow runs another address")
	}
	if !a.found() {
		a.ok("flow runs do not get an address of this machine or of a private network, or Northflank is local too")
	}
}

// reach is one address of the Prefect API as flow runs get it.
type reach struct{ of, apiURL, northflankURL string }

func (r reach) prefix() string {
	if r.of == "" {
		return ""
	}
	return r.of + ": "
}

// reachable lists the addresses that are given to flow runs; without any
// deployment, the one that would be.
func (e *exam) reachable(ctx context.Context) []reach {
	var all []reach
	for _, t := range e.gathered(ctx) {
		address, given := t.apiURL()
		if !given {
			address = e.o.Settings.APIURL
		}
		r := reach{apiURL: address, northflankURL: t.account.BaseURL}
		if given {
			r.of = t.of
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		all = append(all, reach{apiURL: e.o.Settings.APIURL, northflankURL: e.o.Account.BaseURL})
	}
	return all
}

// apiURL is the address of the Prefect API that job variables give.
func (t *target) apiURL() (address string, given bool) {
	for _, name := range []string{"env", "runtime_environment"} { // the latter wins
		variables, _ := t.values[name].(map[string]any)
		if text, ok := variables["PREFECT_API_URL"].(string); ok {
			address, given = text, true
		}
	}
	return address, given
}
