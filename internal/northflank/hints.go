package northflank

import (
	"cmp"
	"fmt"
	"net/http"
)

// permission names the right that an operation needs. Northflank renamed its
// permission tree between June and October 2026, and an account may show either.
type permission struct{ does, now, before string }

// permissions by method and route (Northflank docs: role-based access control).
var permissions = map[string]permission{
	"GET " + routeProjects:   {"list projects", "Project > Projects > Manage > Read", ""},
	"GET " + routeProject:    {"read the project", "Project > Projects > Manage > Read", ""},
	"GET " + routeJobs:       {"list jobs", "Project > Jobs > General > Read", ""},
	"PUT " + routeJobs:       {"create jobs", "Project > Jobs > General > Create", ""},
	"GET " + routeJob:        {"read jobs", "Project > Jobs > General > Read", ""},
	"DELETE " + routeJob:     {"delete jobs", "Project > Jobs > General > Delete", ""},
	"GET " + routeRuns:       {"list job runs", "Project > Jobs > General > Read", ""},
	"POST " + routeRuns:      {"start job runs", "Project > Jobs > General > Run Job", "Project > Jobs > General > Read"},
	"GET " + routeRun:        {"read job runs", "Project > Jobs > General > Read", ""},
	"DELETE " + routeRun:     {"abort job runs", "Project > Jobs > General > Update", "Project > Jobs > Deployment > Deploy Build"},
	"GET " + routeContainers: {"list containers", "Project > Jobs > Deployment > View Observability", "Project > Jobs > Deployment > View Instance Logs"},
	"GET " + routeLogs:       {"read logs", "Project > Jobs > Deployment > View Observability", "Project > Jobs > Deployment > View Instance Logs"},

	"GET " + routeBuilds:     {"list builds", "Project > Jobs > General > Read", ""},
	"GET " + routeRegistries: {"list registry credentials", "Account > Cloud > Registries > Read", "Account > Credentials > General > Read"},

	"GET " + routeNotifications:   {"list webhooks", "Account > Observability > Notifications > Read", "Account > Team > Notifications > Read"},
	"POST " + routeNotifications:  {"create webhooks", "Account > Observability > Notifications > Create", "Account > Team > Notifications > Manage"},
	"GET " + routeNotification:    {"read webhooks", "Account > Observability > Notifications > Read", "Account > Team > Notifications > Read"},
	"POST " + routeNotification:   {"update webhooks", "Account > Observability > Notifications > Update", "Account > Team > Notifications > Manage"},
	"DELETE " + routeNotification: {"delete webhooks", "Account > Observability > Notifications > Delete", "Account > Team > Notifications > Manage"},
}

// Permission returns the right that an operation needs: its name since October
// 2026, and the one before. ok is false for an operation that needs none.
func Permission(method, route string) (now, before string, ok bool) {
	p, ok := permissions[method+" "+route]
	return p.now, cmp.Or(p.before, p.now), ok
}

// Hint is the next step, or "" where there is none to give.
func (e *Error) Hint() string {
	switch {
	case e.Status >= 300 && e.Status < 400:
		return "Northflank never redirects: check the Northflank API address"
	case e.ofNotifications() && e.notificationHint() != "":
		return e.notificationHint()
	case e.Status == http.StatusBadRequest:
		return "Northflank refused a value: correct the job variable that sets the field named above"
	case e.Status == http.StatusUnauthorized:
		return "the API token is refused: check that it is complete, has not expired and that its role still exists, then save it again in the credentials block"
	case e.Status == http.StatusForbidden:
		return e.permissionHint()
	case e.Status == http.StatusNotFound:
		return e.notFoundHint()
	case e.Status == http.StatusConflict && e.Method == http.MethodPost && e.Route == routeRuns:
		return "the job has no image to run yet: build the branch in Northflank first, or check the build service, branch and commit that the job variables name"
	case e.Status == http.StatusConflict && e.Method == http.MethodPut:
		return "another object in the project has a name too much like this one: delete it or choose another name"
	case e.Status == http.StatusTooManyRequests:
		return "the account's requests for this hour are used up (1,000 by default, shared by all tokens); it goes on by itself, and Northflank support raises the limit on request"
	case e.Status >= 500:
		return "trouble on Northflank's side: try again, and see https://status.northflank.com"
	}
	return ""
}

func (e *Error) permissionHint() string {
	p, ok := permissions[e.Method+" "+e.Route]
	if !ok {
		return "the token's API role lacks a permission for this"
	}
	needs := p.now
	if p.before != "" {
		needs += fmt.Sprintf(" (older accounts: %s)", p.before)
	}
	hint := fmt.Sprintf("the token's API role may not %s here: give it %s", p.does, needs)
	if e.Project != "" {
		hint += fmt.Sprintf(", and check that its project restriction includes project %q", e.Project)
	}
	return hint
}

func (e *Error) notFoundHint() string {
	switch e.Route {
	case routeProject, routeJobs:
		return fmt.Sprintf("no project %q for this token: check the project id, and give the team id if the token is an organisation's", e.Project)
	case routeJob, routeRuns:
		return fmt.Sprintf("the job does not exist in project %q (deleted?), or the token does not see it", e.Project)
	case routeBuilds:
		return fmt.Sprintf("there is no such build service in project %q: check deployment_internal_id", e.Project)
	case routePlans, routeRegions, routeProjects:
		return "check the Northflank API address"
	}
	return ""
}

func (e *Error) ofNotifications() bool {
	return e.Route == routeNotifications || e.Route == routeNotification
}

// notificationHint is what webhooks have a next step of their own for.
func (e *Error) notificationHint() string {
	switch {
	case e.Status == http.StatusBadRequest:
		return "Northflank refused a value: correct the field named above"
	case e.Status == http.StatusNotFound && e.Route == routeNotification:
		return "the webhook does not exist any more, or the token does not see it"
	case e.Status == http.StatusNotFound:
		return "check the Northflank API address, and give the team id if the token is an organisation's"
	case e.Status == http.StatusConflict:
		return "another notification integration has a name too much like this one: choose another name"
	}
	return ""
}
