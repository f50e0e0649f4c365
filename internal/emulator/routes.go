package emulator

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Keys of the routes that tests count and break most.
const (
	RoutePutJob         = "PUT /projects/{project}/jobs"
	RouteListJobs       = "GET /projects/{project}/jobs"
	RouteGetJob         = "GET /projects/{project}/jobs/{job}"
	RouteDeleteJob      = "DELETE /projects/{project}/jobs/{job}"
	RouteStartRun       = "POST /projects/{project}/jobs/{job}/runs"
	RouteListRuns       = "GET /projects/{project}/jobs/{job}/runs"
	RouteGetRun         = "GET /projects/{project}/jobs/{job}/runs/{run}"
	RouteAbortRun       = "DELETE /projects/{project}/jobs/{job}/runs/{run}"
	RouteListContainers = "GET /projects/{project}/jobs/{job}/containers"
	RouteLogs           = "GET /projects/{project}/jobs/{job}/logs"
	RouteGetProject     = "GET /projects/{project}"
)

// route is one row of the API: verb, path under /v1 (and again under
// /v1/teams/{team}), who may call it, what its body holds.
type route struct {
	method, path string
	public       bool       // neither token nor rate limit
	right        permission // "": none needed
	body         []field    // nil: no body is read
	recorded     bool       // the body is kept for tests
	handle       func(*Server, *request) (answer, *apiError)
	segments     []string
}

// key names a route in counters and faults.
func (r *route) key() string { return r.method + " " + r.path }

var routes = sync.OnceValue(func() []*route {
	const jobs, aJob = "/projects/{project}/jobs", "/projects/{project}/jobs/{job}"
	const secrets, aSecret = "/projects/{project}/secrets", "/projects/{project}/secrets/{secret}"
	const hooks, aHook = "/integrations/notifications", "/integrations/notifications/{notification}"
	table := []*route{
		{method: "GET", path: "/plans", public: true, handle: (*Server).listPlans},
		{method: "GET", path: "/regions", public: true, handle: (*Server).listRegions},
		{method: "GET", path: "/auth", handle: (*Server).getAuth},
		{method: "GET", path: "/tags", right: rightTagsRead, handle: (*Server).listTags},
		{method: "POST", path: "/tags", right: rightTagsCreate, body: tagFields, handle: (*Server).createTag},
		{method: "GET", path: "/integrations/registries", right: rightRegistries, handle: (*Server).listRegistries},
		{method: "GET", path: hooks, right: rightHooksRead, handle: (*Server).listNotifications},
		{method: "POST", path: hooks, right: rightHooksCreate, body: notificationFields, handle: (*Server).createNotification},
		{method: "GET", path: aHook, right: rightHooksRead, handle: (*Server).getNotification},
		{method: "POST", path: aHook, right: rightHooksUpdate, body: notificationUpdateFields, handle: (*Server).updateNotification},
		{method: "DELETE", path: aHook, right: rightHooksDelete, handle: (*Server).deleteNotification},

		{method: "GET", path: "/projects", right: rightProjectRead, handle: (*Server).listProjects},
		{method: "POST", path: "/projects", right: rightProjectCreate, body: projectFields, handle: (*Server).createProject},
		{method: "GET", path: "/projects/{project}", right: rightProjectRead, handle: (*Server).getProject},

		{method: "GET", path: jobs, right: rightJobRead, handle: (*Server).listJobs},
		{method: "POST", path: jobs, right: rightJobCreate, body: jobFields, recorded: true, handle: (*Server).createJob},
		{method: "PUT", path: jobs, right: rightJobCreate, body: jobFields, recorded: true, handle: (*Server).putJob},
		{method: "POST", path: jobs + "/manual", right: rightJobCreate, body: typedJobFields(false), recorded: true, handle: (*Server).createJob},
		{method: "PUT", path: jobs + "/manual", right: rightJobCreate, body: typedJobFields(false), recorded: true, handle: (*Server).putJob},
		{method: "POST", path: jobs + "/cron", right: rightJobCreate, body: typedJobFields(true), recorded: true, handle: (*Server).createJob},
		{method: "PUT", path: jobs + "/cron", right: rightJobCreate, body: typedJobFields(true), recorded: true, handle: (*Server).putJob},
		{method: "GET", path: aJob, right: rightJobRead, handle: (*Server).getJob},
		{method: "PATCH", path: aJob, right: rightJobUpdate, body: jobPatchFields, recorded: true, handle: (*Server).patchJob},
		{method: "DELETE", path: aJob, right: rightJobDelete, handle: (*Server).deleteJob},
		{method: "GET", path: aJob + "/deployment", right: rightJobRead, handle: (*Server).getDeployment},
		{method: "POST", path: aJob + "/deployment", right: rightDeploymentUpdate, body: deploymentFields, recorded: true, handle: (*Server).updateDeployment},
		{method: "GET", path: aJob + "/runtime-environment", right: rightEnvRead, handle: (*Server).getEnvironment},
		{method: "GET", path: aJob + "/runtime-environment/details", right: rightEnvRead, handle: (*Server).getEnvironmentDetails},
		{method: "POST", path: aJob + "/runtime-environment", right: rightEnvUpdate, body: environmentFields, recorded: true, handle: (*Server).updateEnvironment},
		{method: "POST", path: aJob + "/pause", right: rightJobUpdate, handle: (*Server).pauseJob},
		{method: "POST", path: aJob + "/resume", right: rightJobUpdate, body: resumeFields, handle: (*Server).resumeJob},

		{method: "GET", path: aJob + "/runs", right: rightJobRead, handle: (*Server).listRuns},
		{method: "POST", path: aJob + "/runs", right: rightRunStart, body: runFields, recorded: true, handle: (*Server).startRun},
		{method: "GET", path: aJob + "/runs/{run}", right: rightJobRead, handle: (*Server).getRun},
		{method: "DELETE", path: aJob + "/runs/{run}", right: rightRunAbort, handle: (*Server).abortRun},
		{method: "GET", path: aJob + "/containers", right: rightContainers, handle: (*Server).listContainers},
		{method: "GET", path: aJob + "/logs", right: rightLogs, handle: (*Server).rangeLogs},
		{method: "GET", path: aJob + "/metrics", right: rightMetrics, handle: (*Server).getMetrics},
		{method: "GET", path: aJob + "/build", right: rightJobRead, handle: (*Server).listJobBuilds},
		{method: "GET", path: "/projects/{project}/services/{service}/build", right: rightJobRead, handle: (*Server).listServiceBuilds},

		{method: "GET", path: secrets, right: rightSecretsList, handle: (*Server).listSecrets},
		{method: "POST", path: secrets, right: rightSecretsCreate, body: secretFields, handle: (*Server).createSecret},
		{method: "PUT", path: secrets, right: rightSecretsCreate, body: secretFields, handle: (*Server).putSecret},
		{method: "GET", path: aSecret, handle: (*Server).getSecret},
		{method: "GET", path: aSecret + "/details", handle: (*Server).getSecret},
		{method: "POST", path: aSecret, body: secretPatchFields, handle: (*Server).patchSecret},
		{method: "PATCH", path: aSecret, body: secretPatchFields, handle: (*Server).patchSecret},
		{method: "DELETE", path: aSecret, handle: (*Server).deleteSecret},
	}
	for _, r := range table {
		r.segments = strings.Split(r.path[1:], "/")
	}
	// A path with fewer parameters wins: /jobs/manual before /jobs/{job}.
	slices.SortStableFunc(table, func(a, b *route) int {
		return strings.Count(a.path, "{") - strings.Count(b.path, "{")
	})
	return table
})

// findRoute matches verb and path. With no route, allow lists the verbs that
// the path does take; empty means that there is no such path.
func findRoute(method string, u *url.URL) (found *route, params map[string]string, allow []string) {
	segments, team, ok := splitPath(u)
	if !ok {
		return nil, nil, nil
	}
	for _, r := range routes() {
		if !matchPath(r.segments, segments) {
			continue
		}
		if r.method != method {
			allow = append(allow, r.method)
			continue
		}
		params = map[string]string{"team": team}
		for i, name := range r.segments {
			if strings.HasPrefix(name, "{") {
				params[strings.Trim(name, "{}")] = segments[i]
			}
		}
		return r, params, nil
	}
	return nil, nil, allow
}

// splitPath takes /v1 or /v1/teams/{team} off and decodes the rest.
func splitPath(u *url.URL) (segments []string, team string, ok bool) {
	rest, ok := strings.CutPrefix(u.EscapedPath(), "/v1/")
	if !ok {
		return nil, "", false
	}
	for s := range strings.SplitSeq(rest, "/") {
		decoded, err := url.PathUnescape(s)
		if err != nil || decoded == "" {
			return nil, "", false
		}
		segments = append(segments, decoded)
	}
	if len(segments) > 2 && segments[0] == "teams" {
		return segments[2:], segments[1], true
	}
	return segments, "", true
}

func matchPath(template, segments []string) bool {
	if len(template) != len(segments) {
		return false
	}
	for i, s := range template {
		if !strings.HasPrefix(s, "{") && s != segments[i] {
			return false
		}
	}
	return true
}

// methodNotAllowed is the plain-text answer that the live service gives.
func methodNotAllowed(allow []string) reply {
	answer := newReply(http.StatusMethodNotAllowed, "text/plain; charset=utf-8", []byte("Method Not Allowed"))
	slices.Sort(allow)
	answer.header.Set("Allow", strings.Join(slices.Compact(allow), ", "))
	return answer
}
