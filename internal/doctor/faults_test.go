package doctor

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
)

// planted is something wrong with a set-up, and how the doctor is to put it.
type planted struct {
	name  string
	part  string // words for what of the set-up it changes
	plant func(*setup)

	check  string
	status Status
	text   string // in the message
	next   string // in the next step
}

// plantedFaults are told one from another by the check and the text.
func plantedFaults() []planted {
	return slices.Concat(prefectFaults(), poolFaults(), deploymentFaults(), accountFaults(), permissionFaults(), projectFaults())
}

func prefectFaults() []planted {
	refuse := func(status int, body string, matches func(*http.Request) bool) func(*setup) {
		return func(s *setup) {
			s.wrapPrefect = append(s.wrapPrefect, answering(status, "application/json", body, matches))
		}
	}
	version := func(v string) func(*setup) { return refuse(200, `"`+v+`"`, pathIs("/admin/version")) }
	apiURL := func(url string) func(*setup) { return func(s *setup) { s.apiURL = url } }
	csrf := func(s *setup) {
		s.csrfOff = true
		refuse(403, `{"detail":"Missing CSRF token."}`, func(r *http.Request) bool { return r.Method != http.MethodGet })(s)
	}
	page := func(s *setup) {
		s.wrapPrefect = append(s.wrapPrefect, answering(200, "text/html", "<html>", anyRequest))
	}
	down := func(s *setup) { s.wrapPrefect = append(s.wrapPrefect, unreachable) }
	notHealth := func(r *http.Request) bool { return !strings.HasSuffix(r.URL.Path, "/health") }
	return []planted{
		{"no API URL", "url", apiURL(""), "prefect-settings", Failure, "PREFECT_API_URL", "prefect cloud login"},
		{"Prefect is down", "prefect", down, "prefect-api", Failure, "no route to host", "PREFECT_API_URL"},
		{"a web page in Prefect's place", "prefect", page, "prefect-api", Failure, "not Prefect's", "/api"},
		{"key refused", "prefect", refuse(401, `{"detail":"Unauthorized"}`, notHealth), "prefect-login", Failure, "401", "PREFECT_API_KEY"},
		{"CSRF switched off", "prefect", csrf, "prefect-csrf", Failure, "CSRF", "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED=true"},
		{"old server", "version", version("3.5.0"), "prefect-version", Failure, "3.5.0", "upgrade the server"},
		{"server of another major version", "version", version("2.20.0"), "prefect-version", Failure, "2.20.0", "upgrade the server"},
		{"server a little older", "version", version("3.7.1"), "prefect-version", Warning, "3.7.1", "upgrade"},
		{"event stream refused", "events", func(s *setup) { s.refuseEvents = 403 }, "prefect-events", Warning, "event stream", ""},
		{"worker channel refused", "channel", func(s *setup) { s.refuseChannels = 502 }, "prefect-channel", Warning, "worker channel", ""},
		{"API at loopback", "url", apiURL("http://127.0.0.1:4200/api"), "containers-reach-prefect", Failure, "this machine", "use an address"},
		{"API at localhost", "url", apiURL("http://localhost:4200/api"), "containers-reach-prefect", Failure, "this machine", "use an address"},
		{"API at a private address", "url", apiURL("http://192.168.7.1:4200/api"), "containers-reach-prefect", Failure, "private network", "use an address"},
		{"API at a link-local address", "url", apiURL("http://169.254.7.1:4200/api"), "containers-reach-prefect", Failure, "private network", "use an address"},
		{"API at a local name", "url", apiURL("http://prefect:4200/api"), "containers-reach-prefect", Failure, "private network", "use an address"},
	}
}

func poolFaults() []planted {
	zero := 0
	return []planted{
		{"pool misspelt", "pool", func(s *setup) { s.poolName = "data-poll" }, "pool", Failure, `no work pool "data-poll"`, `"data-pool"`},
		{"pool of another type", "pool", func(s *setup) { s.pool.Type = "docker" }, "pool", Failure, `"docker"`, "another work pool"},
		{"template of an earlier release", "template", func(s *setup) {
			s.pool.Template = []byte(strings.Replace(string(s.pool.Template), `"start_retries":`, `"start_tries":`, 2))
		}, "pool-template", Warning, "start_retries", "pool upgrade data-pool"},
		{"pool paused", "paused", func(s *setup) { s.pool.Paused = true }, "pool-paused", Warning, "paused", "resume"},
		{"pool limited to nothing", "limit", func(s *setup) { s.pool.Limit = &zero }, "pool-limit", Warning, "is 0", "set-concurrency-limit"},
		{"queue paused", "queue", func(s *setup) { s.pool.Queues[0].Paused = true }, "work-queues", Warning, `"high" is paused`, "work-queue resume high"},
		{"queue limited to nothing", "queue", func(s *setup) { s.pool.Queues[0].Limit = &zero }, "work-queues", Warning, `"high" is 0`, "clear-concurrency-limit high"},
		{"no worker", "worker", func(s *setup) { s.worker = false }, "workers", Warning, "no worker", "worker start --pool data-pool"},
	}
}

func deploymentFaults() []planted {
	etl := func(name string, value any) func(*setup) {
		return func(s *setup) { s.etl = with(s.etl, name, value) }
	}
	block := func(name string, value any) func(*setup) {
		return func(s *setup) { s.block = with(s.block, name, value) }
	}
	clear := map[string]any{"api_token": plantedToken, "base_url": northflankURL}
	return []planted{
		{"token in clear", "etl-credentials", etl("credentials", clear), "clear-tokens", Warning, `deployment "flow/etl"`, "credentials_block"},
		{"job variable misspelt", "etl-typo", etl("billing_deployment_plann", "x"), "deployments", Warning, "billing_deployment_plan?", "prefect.yaml"},
		{"image without a tag", "etl-image", etl("deployment_external_image_path", "example/etl"), "deployments", Failure, "no tag", "example/etl:latest"},
		{"image that is none", "etl-image", etl("deployment_external_image_path", "example/etl:a+b"), "deployments", Failure, "deployment_external_image_path", ""},
		{"short commit", "built-sha", func(s *setup) { s.built = with(s.built, "deployment_internal_build_sha", "abcdef1") }, "deployments", Failure, "shortened commit", "git rev-parse"},
		{"text for a number", "etl-number", etl("start_timeout_seconds", "soon"), "deployments", Failure, "start_timeout_seconds", ""},
		{"no project", "etl-project", func(s *setup) { s.etl = with(s.etl, "project_id", nil) }, "deployments", Failure, "project_id (deployment): is not set", "Northflank project"},
		{"Prefect's address given to flow runs", "etl-env", etl("runtime_environment", map[string]any{"PREFECT_API_URL": "http://10.0.0.1/api"}), "containers-reach-prefect", Failure, "private network", "use an address"},
		{"block deleted", "block", func(s *setup) { s.noBlock = true }, "credentials", Failure, "Block not found", "create the block"},
		{"block of no name", "etl-credentials", etl("credentials_block", "nobody"), "credentials", Failure, "no Northflank block of this name", "credentials save nobody"},
		{"block without token", "block", block("api_token", ""), "credentials", Failure, "no api_token", "credentials save"},
		{"block with asterisks", "block", block("api_token", "********"), "credentials", Failure, "asterisks", "credentials_block"},
		{"no credentials at all", "block", func(s *setup) { s.poolRef = false }, "credentials", Failure, "no Northflank API token", "credentials save"},
	}
}

func accountFaults() []planted {
	northflankDown := func(s *setup) { s.wrapNorthflank = append(s.wrapNorthflank, unreachable) }
	hook := func(url string) func(*setup) { return func(s *setup) { s.webhook = url } }
	expires := func(d time.Duration) func(*setup) {
		return func(s *setup) { s.token.ExpiresAt = time.Now().Add(d) }
	}
	clock := func(d time.Duration) func(*setup) {
		return func(s *setup) { s.wrapNorthflank = append(s.wrapNorthflank, dated(d)) }
	}
	// Northflank's tokens are JSON web tokens, which say themselves when they end.
	webToken := func(claims string) func(*setup) {
		return func(s *setup) {
			s.switches[emulator.SwitchTokenInfo] = "absent"
			s.token.Value = "eyJhbGciOiJIUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2lnbmF0dXJl"
			s.block = with(s.block, "api_token", s.token.Value)
		}
	}
	return []planted{
		{"web token that expires soon", "expiry token block rights team etl-project etl-credentials", webToken(fmt.Sprintf(`{"exp":%d}`, time.Date(2000, 1, 3, 0, 0, 0, 0, time.UTC).Unix())), "token-expiry", Warning, "expires on 3 January 2000", "new token"},
		{"web token of an organisation", "expiry token block rights team etl-project etl-credentials", webToken(`{"entityType":"org"}`), "team", Failure, "organisation", "--team-id"},
		{"token of one deployment revoked", "another token etl-credentials block", func(s *setup) {
			s.another = map[string]any{"api_token": "revoked-token", "base_url": northflankURL}
			s.gpu = with(s.gpu, "credentials_block", "another")
		}, "northflank-token", Failure, `account of deployment "flow/gpu"`, "token is refused"},
		{"Northflank is down", "northflank", northflankDown, "northflank-api", Failure, "reach " + northflankURL + ": no route to host", "HTTPS_PROXY"},
		{"token revoked", "token", func(s *setup) { s.token.Value = "another" }, "northflank-token", Failure, "401", "token is refused"},
		{"token expires soon", "expiry", expires(3 * 24 * time.Hour), "token-expiry", Warning, "expires on", "new token"},
		{"token expired", "expiry", expires(-time.Hour), "token-expiry", Failure, "expired on", "new token"},
		{"organisation's token without team", "team", func(s *setup) { s.token.Organisation = true }, "team", Failure, "organisation", "--team-id"},
		{"budget low", "budget", func(s *setup) { s.spend = 920 }, "budget", Warning, "requests of this hour are left", "support"},
		{"budget used up", "budget", func(s *setup) { s.spend = 1000 }, "budget", Failure, "0 of 1000", "support"},
		{"clock slow", "clock", clock(5 * time.Minute), "clock", Warning, "behind", "NTP"},
		{"clock fast", "clock", clock(-5 * time.Minute), "clock", Warning, "ahead of", "NTP"},
		{"role without Notifications > Read", "rights webhook", func(s *setup) {
			s.token.Permissions = without(newRights(), "Notifications > Read")
		}, "webhook", Failure, "403", "Account > Observability > Notifications > Read"},
		{"webhook to another address", "webhook", hook("https://old.example/northflank"), "webhook", Failure, "no webhook of the account sends to " + hookURL, "webhook create"},
		{"webhook with another path", "webhook", hook("https://worker.example/"), "webhook", Failure, "prefect worker", "webhook create"},
	}
}

func permissionFaults() []planted {
	var all []planted
	for _, f := range []struct {
		right, does string
		status      Status
		old         bool
	}{
		{"General > Create", "create jobs", Failure, false},
		{"Run Job", "start job runs", Failure, false},
		{"Jobs > General > Read", "watch job runs", Failure, false},
		{"General > Update", "abort the container", Warning, false},
		{"General > Delete", "delete jobs", Warning, false},
		{"View Observability", "tell why a flow run failed", Warning, false},
		{"Manage > Read", "read the project", Warning, false},
		{"General > Create", "create jobs", Failure, true},
		{"Jobs > General > Read", "start job runs", Failure, true},
		{"Deploy Build", "abort the container", Warning, true},
		{"View Instance Logs", "tell why a flow run failed", Warning, true},
	} {
		rights, tree := newRights, "new"
		if f.old {
			rights, tree = oldRights, "old"
		}
		all = append(all, planted{
			name: "role without " + f.right + ", " + tree + " names", part: "rights",
			plant: func(s *setup) {
				s.token.Permissions = without(rights(), f.right)
				s.switches[emulator.SwitchPermissions] = tree
			},
			check: "permissions", status: f.status, text: "may not " + f.does, next: f.right,
		})
	}
	return all
}

func projectFaults() []planted {
	etl := func(name string, value any) func(*setup) {
		return func(s *setup) { s.etl = with(s.etl, name, value) }
	}
	gpu := func(name string, value any) func(*setup) {
		return func(s *setup) { s.gpu = with(s.gpu, name, value) }
	}
	build := func(branch, status string) func(*setup) {
		return func(s *setup) {
			s.builds = []emulator.Build{{ID: "one-1", Branch: branch, SHA: strings.Repeat("a", 40), Status: status}}
		}
	}
	return []planted{
		{"project misspelt", "etl-project", etl("project_id", "date"), "project", Failure, `project "date"`, "check the project id"},
		{"role restricted to another project", "etl-project", func(s *setup) { s.token.Projects = []string{"training"} }, "project", Failure, "restricted to other projects", "role's projects"},
		{"plan of no one", "etl-plan", etl("billing_deployment_plan", "nf-compute-51"), "deployment-plan", Warning, `"nf-compute-51"`, "nf-compute-50"},
		{"GPU of no one", "gpu region", gpu("billing_gpu_type", "h100-81"), "gpu", Warning, `"h100-81"`, "h100-80"},
		{"GPU in another region", "region", func(s *setup) { s.region = "europe-west" }, "gpu", Warning, "region europe-west", "us-central"},
		{"GPU three at a time", "gpu", gpu("billing_gpu_count", 3), "gpu", Warning, "3 at a time", "billing_gpu_count"},
		{"registry credentials of no one", "etl-registry", etl("deployment_external_credentials", "docker-hub"), "registry-credentials", Failure, `"docker-hub"`, "dockerhub"},
		{"nothing built", "builds", func(s *setup) { s.builds = nil }, "builds", Failure, `"flows" has no finished build`, "build it"},
		{"build failed", "builds", build("main", "FAILURE"), "builds", Failure, `branch "main"`, "build it"},
		{"another branch built", "builds", build("dev", "SUCCESS"), "builds", Failure, `branch "main"`, "build it"},
		{"log stream refused", "tail", func(s *setup) {
			s.faults = append(s.faults, emulator.Fault{Action: emulator.ActionTailRefuse})
		}, "log-stream", Warning, "stream_output", ""},
	}
}

// excludes reports whether two faults cannot be there, or not be told, together.
func excludes(a, b planted) bool {
	return slices.ContainsFunc(strings.Fields(a.part), func(word string) bool { return slices.Contains(strings.Fields(b.part), word) })
}

// finds reports whether the doctor put the fault as it should.
func (f planted) finds(report Report) bool {
	return slices.ContainsFunc(report.Results, func(r Result) bool {
		return r.Check == f.check && r.Status == f.status && strings.Contains(r.Message, f.text) && strings.Contains(r.NextStep, f.next)
	})
}

// hidden reports whether the doctor says that it could not look for the fault,
// for the sake of what another one broke.
func (f planted) hidden(report Report, by planted) bool {
	return slices.ContainsFunc(report.Results, func(r Result) bool {
		return r.Check == f.check && r.Status == Skipped && r.Because == by.check
	})
}

func TestPlantedFaults(t *testing.T) {
	t.Parallel()
	for _, f := range plantedFaults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := healthy()
				f.plant(s)
				report := examine(t.Context(), t, newWorld(t, s))
				if !f.finds(report) {
					t.Errorf("%s: not found as %s with %q, next step %q, in\n%s", f.check, f.status, f.text, f.next, findings(report))
				}
				for _, r := range report.Results {
					if (r.Status == Warning || r.Status == Failure) && r.NextStep == "" {
						t.Errorf("a finding without a next step: %+v", r)
					}
				}
			})
		})
	}
}

// TestPlantedPairs plants two faults that can be there together: each is found,
// or the doctor says which of its findings hides it. SIMULATE=full takes every two
// faults, and not a third of those of different checks.
func TestPlantedPairs(t *testing.T) {
	t.Parallel()
	all, full := plantedFaults(), os.Getenv("SIMULATE") == "full"
	if !full {
		met := map[string]bool{}
		all = slices.DeleteFunc(all, func(f planted) bool {
			known := met[f.check]
			met[f.check] = true
			return known
		})
	}
	for i, first := range all {
		t.Run(first.name, func(t *testing.T) {
			t.Parallel()
			for j, second := range all[i+1:] {
				if excludes(first, second) || !full && j%3 != 0 {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					s := healthy()
					first.plant(s)
					second.plant(s)
					report := examine(t.Context(), t, newWorld(t, s))
					for _, pair := range [][2]planted{{first, second}, {second, first}} {
						if f, other := pair[0], pair[1]; !f.finds(report) && !f.hidden(report, other) {
							t.Errorf("with %q, %q is neither found nor named as hidden, in\n%s", other.name, f.name, findings(report))
						}
					}
				})
			}
		})
	}
}

// findings prints all but what is ok.
func findings(report Report) string {
	var b strings.Builder
	for _, r := range report.Results {
		if r.Status != OK {
			fmt.Fprintf(&b, "  %s %s: %s [%s] %s\n", r.Check, r.Status, r.Message, r.NextStep, r.Because)
		}
	}
	return b.String()
}
