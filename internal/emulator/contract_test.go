package emulator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// TestBodies holds Northflank's rules for bodies, a row each: what a body is
// changed to and the one field that the answer then names. An empty field means
// that it is accepted. The rules are those of Northflank's API reference.
func TestBodies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change string // JSON that is laid over a valid body
		field  string
	}{
		{"valid", `{}`, ""},
		{"name with space and hyphen", `{"name":"My job-2"}`, ""},
		{"name missing", `{"name":null}`, "name"},
		{"name of 2", `{"name":"ab"}`, "name"},
		{"name of 52", `{"name":"` + strings.Repeat("a", 52) + `"}`, ""},
		{"name of 53", `{"name":"` + strings.Repeat("a", 53) + `"}`, "name"},
		{"name with digit first", `{"name":"1abc"}`, "name"},
		{"name with underscore", `{"name":"a_bc"}`, "name"},
		{"name with dot", `{"name":"a.bc"}`, "name"},
		{"name with hyphen last", `{"name":"abc-"}`, "name"},
		{"name with two hyphens", `{"name":"ab--c"}`, "name"},
		{"name with umlaut", `{"name":"abcä"}`, "name"},
		{"description", `{"description":"A job: flow's \"run\" (1/2); 100%!"}`, ""},
		{"description empty", `{"description":""}`, "description"},
		{"description with @", `{"description":"a@b"}`, "description"},
		{"description with pipe", `{"description":"a|b"}`, "description"},
		{"description with braces", `{"description":"a {b}"}`, "description"},
		{"description of 201", `{"description":"` + strings.Repeat("d", 201) + `"}`, "description"},
		{"billing missing", `{"billing":null}`, "billing"},
		{"deployment plan missing", `{"billing":{"deploymentPlan":null}}`, "billing.deploymentPlan"},
		{"deployment plan unknown", `{"billing":{"deploymentPlan":"nf-compute-30"}}`, "billing.deploymentPlan"},
		{"deployment plan with GPU", `{"billing":{"deploymentPlan":"nf-gpu-rtx_pro_6000-96-2g"}}`, ""},
		{"GPU without type", `{"billing":{"gpu":{"enabled":true,"configuration":{"gpuCount":1}}}}`, "billing.gpu.configuration.gpuType"},
		{"GPU count 0", `{"billing":{"gpu":{"configuration":{"gpuType":"l4-24","gpuCount":0}}}}`, "billing.gpu.configuration.gpuCount"},
		{"architecture", `{"infrastructure":{"architecture":"arm"}}`, ""},
		{"architecture unknown", `{"infrastructure":{"architecture":"amd64"}}`, "infrastructure.architecture"},
		{"tag of nobody", `{"tags":["unknown"]}`, "tags"},
		{"tag with underscore", `{"tags":["a_b_c"]}`, "tags.0"},
		{"image without tag", `{"deployment":{"external":{"imagePath":"prefecthq/prefect"}}}`, "deployment.external.imagePath"},
		{"image with digest", `{"deployment":{"external":{"imagePath":"a/b@sha256:abc"}}}`, ""},
		{"image of a registry with port", `{"deployment":{"external":{"imagePath":"host:5000/a/b:1"}}}`, ""},
		{"image with + in tag", `{"deployment":{"external":{"imagePath":"a/b:1+2"}}}`, "deployment.external.imagePath"},
		{"credentials without image", `{"deployment":{"external":{"imagePath":null,"credentials":"c"}}}`, "deployment.external.imagePath"},
		{"credentials with space", `{"deployment":{"external":{"credentials":"c d"}}}`, "deployment.external.credentials"},
		{"both sources", `{"deployment":{"internal":{"id":"svc"}}}`, "deployment.external"},
		{"internal", `{"deployment":{"external":null,"internal":{"id":"svc","buildSHA":"latest"}}}`, ""},
		{"internal with short SHA", `{"deployment":{"external":null,"internal":{"id":"svc","buildSHA":"abc1234"}}}`, "deployment.internal.buildSHA"},
		{"internal with SHA of 40", `{"deployment":{"external":null,"internal":{"id":"svc","buildSHA":"` + strings.Repeat("a", 40) + `"}}}`, ""},
		{"no source", `{"deployment":null}`, ""},
		{"docker without type", `{"deployment":{"docker":{"configType":null}}}`, "deployment.docker.configType"},
		{"docker type unknown", `{"deployment":{"docker":{"configType":"custom"}}}`, "deployment.docker.configType"},
		{"command announced and missing", `{"deployment":{"docker":{"customCommand":null}}}`, "deployment.docker.customCommand"},
		{"entrypoint announced and missing", `{"deployment":{"docker":{"configType":"customEntrypointCustomCommand"}}}`, "deployment.docker.customEntrypoint"},
		{"process announced and missing", `{"deployment":{"buildpack":{"configType":"customProcess"}}}`, "deployment.buildpack.customProcess"},
		{"buildpack command announced and missing", `{"deployment":{"buildpack":{"configType":"originalEntrypointCustomCommand"}}}`, "deployment.buildpack.customCommand"},
		{"storage size negative", `{"deployment":{"storage":{"ephemeralStorage":{"storageSize":-1}}}}`, "deployment.storage.ephemeralStorage.storageSize"},
		{"shm size as text", `{"deployment":{"storage":{"shmSize":"64"}}}`, "deployment.storage.shmSize"},
		{"grace negative", `{"deployment":{"gracePeriodSeconds":-1}}`, "deployment.gracePeriodSeconds"},
		{"labels", `{"deployment":{"metadata":{"labels":{"a":"b"}}}}`, ""},
		{"label as number", `{"deployment":{"metadata":{"labels":{"a":1}}}}`, "deployment.metadata.labels.a"},
		{"variable with every sign", `{"runtimeEnvironment":{"A_b-c/d.1":""}}`, ""},
		{"variable with space", `{"runtimeEnvironment":{"A B":"x"}}`, "runtimeEnvironment.A B"},
		{"variable as number", `{"runtimeEnvironment":{"A":1}}`, "runtimeEnvironment.A"},
		{"file", `{"runtimeFiles":{"/a/b":{"data":"YQ==","encoding":"utf-8"}}}`, ""},
		{"file with relative path", `{"runtimeFiles":{"a/b":{"data":"YQ==","encoding":"utf-8"}}}`, "runtimeFiles.a/b"},
		{"file without base64", `{"runtimeFiles":{"/a":{"data":"a b","encoding":"utf-8"}}}`, "runtimeFiles./a.data"},
		{"file with bad encoding", `{"runtimeFiles":{"/a":{"data":"YQ==","encoding":"latin1"}}}`, "runtimeFiles./a.encoding"},
		{"settings without back-off limit", `{"settings":{"backoffLimit":null,"runOnSourceChange":"never"}}`, "settings.backoffLimit"},
		{"back-off limit negative", `{"settings":{"backoffLimit":-1}}`, "settings.backoffLimit"},
		{"back-off limit fractional", `{"settings":{"backoffLimit":1.5}}`, "settings.backoffLimit"},
		{"source change unknown", `{"settings":{"runOnSourceChange":"sometimes"}}`, "settings.runOnSourceChange"},
		{"deadline as text", `{"settings":{"activeDeadlineSeconds":"60"}}`, "settings.activeDeadlineSeconds"},
		{"cron policy capitalised", `{"settings":{"cron":{"schedule":"* * * * *","concurrencyPolicy":"Allow"}}}`, "settings.cron.concurrencyPolicy"},
		{"health check incomplete", `{"healthChecks":[{"protocol":"CMD","type":"livenessProbe","initialDelaySeconds":1,"periodSeconds":1,"timeoutSeconds":1}]}`, "healthChecks.0.failureThreshold"},
		{"unknown key", `{"image":"a"}`, "image"},
		{"unknown key within", `{"deployment":{"external":{"image":"a"}}}`, "deployment.external.image"},
		{"deadline outside settings", `{"activeDeadlineSeconds":1}`, "activeDeadlineSeconds"},
	}
	s := start(t, Config{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res := call(t, s, "PUT", jobsPath, overlay(t, simple, tt.change))
			if tt.field == "" {
				res.want(t, 200)
				return
			}
			res.want(t, 400)
			var fields []string
			for name := range res.details() {
				fields = append(fields, name)
			}
			if diff := cmp.Diff([]string{tt.field}, fields); diff != "" {
				t.Errorf("fields at fault (-want +got):\n%s%s", diff, res.text)
			}
		})
	}
}

// overlay merges JSON objects; null removes.
func overlay(t *testing.T, base, change string) string {
	t.Helper()
	var a, b map[string]any
	for text, into := range map[string]*map[string]any{base: &a, change: &b} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	var merge func(a, b map[string]any)
	merge = func(a, b map[string]any) {
		for name, v := range b {
			before, ok := a[name].(map[string]any)
			after, isObject := v.(map[string]any)
			switch {
			case v == nil:
				delete(a, name)
			case ok && isObject:
				merge(before, after)
			default:
				a[name] = v
			}
		}
	}
	merge(a, b)
	data, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestRunBodies(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, body, field string }{
		{"nothing", `{}`, ""},
		{"everything", `{"runtimeEnvironment":{"A":"1"},"runtimeFiles":{"/a":{"data":"","encoding":"base64"}},"dockerSecretMounts":{},
			"billing":{"deploymentPlan":"nf-compute-50"},"deployment":{"docker":{"configType":"customCommand","customCommand":"x"},
			"storage":{"ephemeralStorage":{"storageSize":2048},"shmSize":64},"external":{"imagePath":"a/b:2","credentials":"c"},
			"gpu":{"enabled":true,"configuration":{"gpuType":"h100-80","gpuCount":1}}}}`, ""},
		{"both sources", `{"deployment":{"external":{"imagePath":"a:1"},"internal":{"id":"svc"}}}`, "deployment.external"},
		{"plan unknown", `{"billing":{"deploymentPlan":"big"}}`, "billing.deploymentPlan"},
		{"grace is the job's", `{"deployment":{"gracePeriodSeconds":1}}`, "deployment.gracePeriodSeconds"},
		{"settings are the job's", `{"settings":{"backoffLimit":1}}`, "settings"},
		{"tags are the job's", `{"tags":[]}`, "tags"},
	}
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{Runner: exits(0)})
		call(t, s, "PUT", jobsPath, simple).want(t, 200)
		for _, tt := range tests {
			res := call(t, s, "POST", jobsPath+"/one/runs", tt.body)
			if tt.field == "" && res.status != 200 || tt.field != "" && (res.status != 400 || len(res.details()) != 1 || res.details()[tt.field] == nil) {
				t.Errorf("%s: %d %s, want field %q", tt.name, res.status, res.text, tt.field)
			}
		}
	})
}

// Northflank docs: amountPerHour in the plan's currency, pricing.onDemand in US
// cents an hour.
func TestPrices(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Prices: map[string]float64{"nf-compute-20": 0.0075, "h100-80": 2.74}})
	plans := call(t, s, "GET", "/v1/plans", "").text
	for _, want := range []string{
		`"amountPerHour":0.0075,"cpuResource":0.2,"ramResource":512`, `"amountPerMonth":5.4,`, `"amountPerHour":0,"cpuResource":0.1`,
	} {
		if !strings.Contains(plans, want) {
			t.Errorf("GET /v1/plans = %s, want in it %s", plans, want)
		}
	}
	if regions := call(t, s, "GET", "/v1/regions", "").text; !strings.Contains(regions, `"pricing":{"onDemand":274}`) {
		t.Errorf("GET /v1/regions = %s, want the H100 at 274 cents", regions)
	}
}

// TestAnswers holds status and text of answers that are not about a field.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const runs = jobsPath + "/one/runs"
	tests := []struct {
		name, token, method, path, body string
		status                          int
		text                            string // a part of the answer
	}{
		{"unknown route", "", "GET", "/v1/nothing", "", 404, "The requested route does not exist"},
		{"outdated path", "", "POST", jobsPath + "/one/run", "{}", 404, "does not exist"},
		{"wrong verb", "", "DELETE", jobsPath, "", 405, "Method Not Allowed"},
		{"no token", "", "GET", jobsPath, "", 401, `{"error":{"status":401,"message":"Unauthorized"}}`},
		{"bad token", "nonsense", "GET", jobsPath, "", 401, `{"error":{"status":401,"message":"Unauthorized"}}`},
		{"auth before body", "nonsense", "PUT", jobsPath, "{}", 401, "Unauthorized"},
		{"plans are public", "", "GET", "/v1/plans", "", 200, `"nf-compute-20"`},
		{"regions are public", "", "GET", "/v1/regions", "", 200, `"europe-west"`},
		{"unknown project", DefaultToken, "GET", "/v1/projects/none/jobs", "", 404, "project"},
		{"resource before body", DefaultToken, "PUT", "/v1/projects/none/jobs", "{}", 404, "project"},
		{"unknown job", DefaultToken, "GET", jobsPath + "/none", "", 404, "job"},
		{"unknown job run", DefaultToken, "GET", runs + "/none", "", 404, "job run"},
		{"team form", DefaultToken, "GET", "/v1/teams/any/projects/local/jobs/one", "", 200, `"id":"one"`},
		{"encoded id", DefaultToken, "GET", "/v1/projects/local/jobs/%6Fne", "", 200, `"id":"one"`},
		{"body absent", DefaultToken, "POST", runs, "", 400, `"object":["\"value\" is required. Received \"undefined\""]`},
		{"body not JSON", DefaultToken, "POST", runs, "{", 400, "nf-invalid-request-body"},
		{"body not an object", DefaultToken, "POST", runs, "[]", 400, "must be of type object"},
		{"text after the body", DefaultToken, "POST", runs, "{}{}", 400, "nf-invalid-request-body"},
		{"duplicate name", DefaultToken, "POST", jobsPath, simple, 409, "same derived identifier"},
		{"duplicate after slugging", DefaultToken, "POST", jobsPath, strings.Replace(simple, `"one"`, `"ONE"`, 1), 409, "same derived identifier"},
		{"no image", DefaultToken, "POST", jobsPath + "/no-source/runs", "{}", 409, "No deployment configured"},
		{"resume without pause", DefaultToken, "POST", jobsPath + "/one/resume", "{}", 409, "not paused"},
		{"patch of the image", DefaultToken, "PATCH", jobsPath + "/one", `{"deployment":{}}`, 400, `"deployment"`},
		{"page of 101", DefaultToken, "GET", jobsPath + "?per_page=101", "", 400, "per_page"},
		{"containers without run", DefaultToken, "GET", jobsPath + "/one/containers", "", 400, "runId"},
		{"logs without kind", DefaultToken, "GET", jobsPath + "/one/logs", "", 400, "queryType"},
		{"logs with two filters", DefaultToken, "GET", jobsPath + "/one/logs?queryType=range&textIncludes=a&regexIncludes=b", "", 400, "conflicts"},
	}
	s := start(t, Config{})
	call(t, s, "PUT", jobsPath, simple).want(t, 200)
	call(t, s, "PUT", jobsPath, `{"name":"no source","billing":{"deploymentPlan":"nf-compute-20"}}`).want(t, 200)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res, err := send(t, s.Transport(), tt.token, tt.method, "http://nf.test"+tt.path, tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if res.status != tt.status || !strings.Contains(res.text, tt.text) {
				t.Errorf("got %d %s, want %d with %s", res.status, res.text, tt.status, tt.text)
			}
			if res.header.Get("X-Ratelimit-Limit") != "1000" {
				t.Error("no rate headers")
			}
			if tt.status == 405 && res.header.Get("Allow") != "GET, POST, PUT" {
				t.Errorf("Allow %q", res.header.Get("Allow"))
			}
		})
	}
}

// TestJobViews: a write echoes what was sent, reads leave most of it out.
func TestJobViews(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	sent := overlay(t, simple, `{"name":"My Job","description":"d","runtimeEnvironment":{"SECRET":"s"},"settings":{"activeDeadlineSeconds":null,"runOnSourceChange":"never"}}`)
	put := call(t, s, "PUT", jobsPath, sent).want(t, 200)
	if put.get("id") != "my-job" || put.get("jobType") != "manual" || put.get("runtimeEnvironment.SECRET") != "s" || put.get("appId") != "/local/local/my-job" {
		t.Errorf("put: %s", put.text)
	}
	read := call(t, s, "GET", jobsPath+"/my-job", "").want(t, 200)
	if strings.Contains(read.text, "SECRET") || strings.Contains(read.text, "imagePath") || strings.Contains(read.text, "runOnSourceChange") {
		t.Errorf("read shows too much: %s", read.text)
	}
	if read.get("billing.deploymentPlan") != "nf-compute-20" || read.get("description") != "d" || read.get("deployment.docker.customCommand") != "COMMAND" {
		t.Errorf("read: %s", read.text)
	}
	deployment := call(t, s, "GET", jobsPath+"/my-job/deployment", "").want(t, 200)
	if deployment.get("external.imagePath") != "prefecthq/prefect:3" {
		t.Errorf("deployment: %s", deployment.text)
	}
	project := call(t, s, "GET", "/v1/projects/local", "").want(t, 200)
	if jobs, _ := project.get("jobs").([]any); len(jobs) != 1 {
		t.Errorf("project: %s", project.text)
	}
	call(t, s, "DELETE", jobsPath+"/my-job", "").want(t, 200)
	call(t, s, "GET", jobsPath+"/my-job", "").want(t, 404)
}

// PUT replaces, PATCH merges, POST .../deployment changes the image.
func TestUpdates(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	full := overlay(t, simple, `{"description":"d","runtimeEnvironment":{"A":"1"},"settings":{"backoffLimit":2,"activeDeadlineSeconds":9}}`)
	call(t, s, "PUT", jobsPath, full).want(t, 200)
	patched := call(t, s, "PATCH", jobsPath+"/one", `{"settings":{"backoffLimit":5},"runtimeEnvironment":{"B":"2"}}`).want(t, 200)
	if diff := cmp.Diff(map[string]any{"backoffLimit": 5.0, "activeDeadlineSeconds": 9.0}, patched.get("settings")); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"B": "2"}, patched.get("runtimeEnvironment")); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	call(t, s, "POST", jobsPath+"/one/deployment", `{"internal":{"id":"svc"}}`).want(t, 200)
	if d := call(t, s, "GET", jobsPath+"/one/deployment", "").want(t, 200); d.get("internal.id") != "svc" || d.get("external") != nil || d.get("docker.customCommand") != "COMMAND" {
		t.Errorf("deployment: %s", d.text)
	}
	replaced := call(t, s, "PUT", jobsPath, simple).want(t, 200)
	if replaced.get("description") != nil || replaced.get("runtimeEnvironment") != nil {
		t.Errorf("PUT kept what it should reset: %s", replaced.text)
	}
	cron := call(t, s, "PUT", jobsPath+"/cron", `{"name":"nightly","billing":{"deploymentPlan":"nf-compute-20"},"backoffLimit":1,"schedule":"0 1 * * *","concurrencyPolicy":"forbid"}`).want(t, 200)
	if cron.get("jobType") != "cron" || cron.get("settings.backoffLimit") != 1.0 {
		t.Errorf("cron: %s", cron.text)
	}
	if read := call(t, s, "GET", jobsPath+"/nightly", "").want(t, 200); read.get("settings.cron.concurrencyPolicy") != "Forbid" {
		t.Errorf("cron read: %s", read.text)
	}
	call(t, s, "POST", jobsPath+"/one/pause", "").want(t, 200)
	if read := call(t, s, "GET", jobsPath+"/one", ""); read.get("suspended") != true || read.get("disabledCD") != true {
		t.Errorf("paused: %s", read.text)
	}
	call(t, s, "POST", jobsPath+"/one/resume", `{"disabledCI":true}`).want(t, 200)
	if read := call(t, s, "GET", jobsPath+"/one", ""); read.get("suspended") != false || read.get("disabledCI") != true {
		t.Errorf("resumed: %s", read.text)
	}
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	// The three rights of the product's first README, and what else a worker needs.
	basic := []string{"Project > Jobs > General > Read", "Project > Jobs > General > Create", "Project > Jobs > General > Delete"}
	s := start(t, Config{Projects: []string{"local", "other"}, Tokens: []Token{
		{Name: "basic", Value: "b", Permissions: basic},
		{Name: "no-right", Value: "n", Permissions: []string{}},
		{Name: "elsewhere", Value: "e", Projects: []string{"other"}},
		{Name: DefaultToken, Value: DefaultToken},
	}})
	call(t, s, "PUT", jobsPath, simple).want(t, 200)
	tests := []struct {
		tree, token, method, path, body string
		status                          int
		right                           string
	}{
		{"new", "b", "GET", jobsPath, "", 200, ""},
		{"new", "n", "GET", jobsPath, "", 403, "Project > Jobs > General > Read"},
		{"new", "b", "POST", jobsPath + "/no/runs", "{}", 403, "Project > Jobs > General > Run Job"},
		{"old", "b", "POST", jobsPath + "/no/runs", "{}", 404, ""},
		{"new", "b", "DELETE", jobsPath + "/one/runs/x", "", 403, "Project > Jobs > General > Update"},
		{"old", "b", "DELETE", jobsPath + "/one/runs/x", "", 403, "Project > Jobs > Deployment > Deploy Build"},
		{"new", "b", "GET", jobsPath + "/one/logs?queryType=range", "", 403, "Project > Jobs > Deployment > View Observability"},
		{"old", "b", "GET", jobsPath + "/one/containers?runId=x", "", 403, "Project > Jobs > Deployment > View Instance Logs"},
		{"new", "e", "GET", jobsPath, "", 403, ""},
		{"new", "e", "GET", "/v1/projects/other/jobs", "", 200, ""},
		{"new", "n", "GET", "/v1/auth", "", 200, ""},
	}
	for _, tt := range tests {
		if err := s.SetSwitch(SwitchPermissions, tt.tree); err != nil {
			t.Fatal(err)
		}
		res, err := send(t, s.Transport(), tt.token, tt.method, "http://nf.test"+tt.path, tt.body)
		if err != nil {
			t.Fatal(err)
		}
		right, _ := res.details()["permission"].([]any)
		if res.status != tt.status || tt.right != "" && fmt.Sprint(right...) != tt.right {
			t.Errorf("%s tree, token %s, %s %s: %d %s, want %d %s", tt.tree, tt.token, tt.method, tt.path, res.status, res.text, tt.status, tt.right)
		}
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{RateLimit: 3})
		header := func(r result) string {
			return r.header.Get("X-Ratelimit-Limit") + " " + r.header.Get("X-Ratelimit-Remaining") + " " + r.header.Get("X-Ratelimit-Reset")
		}
		step := func(path string, status int, want string) {
			t.Helper()
			if got := header(call(t, s, "GET", path, "").want(t, status)); got != want {
				t.Errorf("headers %q, want %q", got, want)
			}
		}
		step("/v1/plans", 200, "3 3 3600") // public: neither counted nor opening the window
		sleep("20m")
		step(jobsPath, 200, "3 2 3600")
		sleep("30m")
		step(jobsPath+"/none", 404, "3 1 1800") // errors count
		step("/v1/nothing", 404, "3 1 1800")    // unknown routes do not
		step(jobsPath, 200, "3 0 1800")
		limited := call(t, s, "GET", jobsPath, "").want(t, 429)
		if header(limited) != "3 0 1800" || limited.err["id"] != "nf-rate-limit-exceeded" || limited.header.Get("Retry-After") != "" {
			t.Errorf("429: %v %s", limited.header, limited.text)
		}
		if err := s.SetSwitch(SwitchRetryAfter, "on"); err != nil {
			t.Fatal(err)
		}
		if got := call(t, s, "GET", jobsPath, "").want(t, 429).header.Get("Retry-After"); got != "1800" {
			t.Errorf("Retry-After %q", got)
		}
		sleep("30m")
		step(jobsPath, 200, "3 2 3600") // a new window
		s.Spend(2)
		call(t, s, "GET", jobsPath, "").want(t, 429)
		s.SetRateLimit(-1)
		call(t, s, "GET", jobsPath, "").want(t, 200)
		if c := s.Counters(); c.Limited != 3 || c.Routes[RouteListJobs] != 7 {
			t.Errorf("counters %+v, want 3 limited, 7 lists", c)
		}
	})
}

func TestPagination(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	for i := range 5 {
		call(t, s, "PUT", jobsPath, strings.Replace(simple, `"one"`, fmt.Sprintf(`"job %d"`, i), 1)).want(t, 200)
	}
	for _, mode := range []string{"page", "cursor"} {
		if err := s.SetSwitch(SwitchPagination, mode); err != nil {
			t.Fatal(err)
		}
		var ids []string
		next := "page=1"
		for next != "" {
			res := call(t, s, "GET", jobsPath+"?per_page=2&"+next, "").want(t, 200)
			jobs, _ := res.get("jobs").([]any)
			for _, j := range jobs {
				ids = append(ids, fmt.Sprint(j.(map[string]any)["id"]))
			}
			if res.page["count"] != float64(len(jobs)) {
				t.Errorf("count %v for %d jobs", res.page["count"], len(jobs))
			}
			next = ""
			if res.page["hasNextPage"] == true {
				next = fmt.Sprintf("page=%d", len(ids)/2+1)
				if cursor, given := res.page["cursor"]; given != (mode == "cursor") {
					t.Errorf("mode %s: cursor %v", mode, cursor)
				} else if given {
					next = fmt.Sprintf("cursor=%v", cursor)
				}
			}
		}
		if diff := cmp.Diff([]string{"job-0", "job-1", "job-2", "job-3", "job-4"}, ids); diff != "" {
			t.Errorf("%s (-want +got):\n%s", mode, diff)
		}
	}
}

func TestCountersAndBodies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		s := start(t, Config{Runner: exits(0), OnRequest: func(n int, method, path string) {
			seen = append(seen, fmt.Sprint(n, " ", method, " ", path))
		}})
		spaced := strings.Replace(simple, `{"name"`, "{  \"name\"", 1)
		run := startRun(t, s, spaced, `{ "runtimeEnvironment": {"A": "1"} }`)
		call(t, s, "GET", jobsPath+"/one/runs/"+run, "").want(t, 200)
		got := s.Counters()
		want := map[string]int{RoutePutJob: 1, RouteStartRun: 1, RouteGetRun: 1}
		if diff := cmp.Diff(want, got.Routes); diff != "" {
			t.Errorf("routes (-want +got):\n%s", diff)
		}
		if got.Total != 3 || got.Tokens["local"] != 3 || got.Jobs["local/one"] != 2 || got.JobRuns[run] != 1 || got.Statuses[200] != 3 {
			t.Errorf("counters %+v", got)
		}
		bodies := s.Bodies()
		if len(bodies) != 2 || bodies[0].Body != spaced || bodies[1].Body != `{ "runtimeEnvironment": {"A": "1"} }` {
			t.Errorf("bodies %+v", bodies)
		}
		if bodies[0].JobID != "one" || bodies[1].JobRunID != run || bodies[1].Route != RouteStartRun {
			t.Errorf("bodies %+v", bodies)
		}
		if len(seen) != 3 || seen[1] != "2 POST "+jobsPath+"/one/runs" {
			t.Errorf("OnRequest saw %q", seen)
		}
		s.ResetCounters()
		if c := s.Counters(); c.Total != 0 || len(c.Routes) != 0 || len(s.Bodies()) != 0 {
			t.Errorf("after reset %+v", c)
		}
	})
}

func TestAccountObjects(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	call(t, s, "POST", "/v1/tags", `{"name":"prefect worker"}`).want(t, 200)
	call(t, s, "POST", "/v1/tags", `{"name":"prefect worker"}`).want(t, 409)
	call(t, s, "PUT", jobsPath, overlay(t, simple, `{"tags":["prefect-worker"]}`)).want(t, 200)
	call(t, s, "POST", "/v1/projects", `{"name":"My data","region":"us-central"}`).want(t, 200)
	if p := call(t, s, "GET", "/v1/projects/my-data", "").want(t, 200); p.get("deployment.region") != "us-central" {
		t.Errorf("project: %s", p.text)
	}
	s.AddRegistry(Registry{ID: "hub", Name: "Docker Hub", Provider: "dockerhub"})
	if r := call(t, s, "GET", "/v1/teams/acme/integrations/registries", "").want(t, 200); !strings.Contains(r.text, `[{"id":"hub","name":"Docker Hub","provider":"dockerhub"}]`) {
		t.Errorf("registry credentials: %s", r.text)
	}
	if m := call(t, s, "GET", jobsPath+"/one/metrics?metricTypes=memory", "").want(t, 200); m.get("memory.values") == nil {
		t.Errorf("metrics: %s", m.text)
	}
}

// The environment of a container: secret groups < job < job run < platform.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var task Task
		s := start(t, Config{Runner: RunnerFunc(func(_ context.Context, got Task) int { task = got; return 0 })})
		s.AddTag("tagged")
		group := func(name, priority, restrictions, variables string) {
			t.Helper()
			call(t, s, "PUT", "/v1/projects/local/secrets", fmt.Sprintf(
				`{"name":%q,"secretType":"environment","priority":%s,"restrictions":%s,"secrets":{"variables":%s}}`, name, priority, restrictions, variables)).want(t, 200)
		}
		group("all jobs", "1", `{"restricted":false}`, `{"A":"all","B":"all","C":"all","D":"all","E":"all"}`)
		group("by id", "50", `{"restricted":true,"nfObjects":[{"id":"one","type":"job"}]}`, `{"B":"id","C":"id"}`)
		group("by tag", "60", `{"restricted":true,"tags":["tagged"]}`, `{"C":"tag"}`)
		group("other job", "99", `{"restricted":true,"nfObjects":[{"id":"two","type":"job"}]}`, `{"A":"wrong"}`)
		group("both tags", "99", `{"restricted":true,"tags":["tagged","other"],"tagMatchCondition":"and"}`, `{"A":"wrong"}`)
		if list := call(t, s, "GET", "/v1/projects/local/secrets", "").want(t, 200); strings.Contains(list.text, "wrong") {
			t.Errorf("the list shows values: %s", list.text)
		}
		job := overlay(t, simple, `{"tags":["tagged"],"runtimeEnvironment":{"D":"job","E":"job","REF":"${E} ${NONE} ${REF}"},"runtimeFiles":{"/etc/a":{"data":"YQ==","encoding":"utf-8"},"/etc/b":{"data":"Yg==","encoding":"base64"}}}`)
		id := startRun(t, s, job, `{"runtimeEnvironment":{"E":"run"},"runtimeFiles":{"/etc/a":{"data":"cg==","encoding":"utf-8"}},"deployment":{"docker":{"configType":"customCommand","customCommand":"other"}}}`)
		await(t, s, id)
		want := map[string]string{
			"A": "all", "B": "id", "C": "tag", "D": "job", "E": "run", "REF": "run ${NONE} ${E} ${NONE} ${REF}",
			"NF_OBJECT_ID": "one", "NF_PROJECT_ID": "local",
		}
		if diff := cmp.Diff(want, task.Env); diff != "" {
			t.Errorf("environment (-want +got):\n%s", diff)
		}
		files := map[string]string{}
		for name, content := range maps.All(task.Files) {
			files[name] = string(content)
		}
		if diff := cmp.Diff(map[string]string{"/etc/a": "r", "/etc/b": "Yg=="}, files); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		if task.Command != "other" || task.Image != "prefecthq/prefect:3" || task.Entrypoint != "" {
			t.Errorf("task %+v", task)
		}
		shown := call(t, s, "GET", jobsPath+"/one/runtime-environment?show=inherited", "").want(t, 200)
		if shown.get("runtimeEnvironment.C") != "tag" || shown.get("runtimeEnvironment.E") != "all" {
			t.Errorf("inherited: %s", shown.text)
		}
	})
}
