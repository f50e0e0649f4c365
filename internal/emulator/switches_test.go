package emulator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSwitches puts every switch in every position and looks at what it changes.
func TestSwitches(t *testing.T) {
	t.Parallel()
	slow := Config{Runner: lasting(time.Minute)}
	active := func(t *testing.T, s *Server) string { return startRun(t, s, jobWith(`{"backoffLimit":0}`, 0), "{}") }
	run := func(id string) string { return jobsPath + "/one/runs/" + id }
	writes := func(line string) Config {
		return Config{Runner: RunnerFunc(func(_ context.Context, task Task) int { fmt.Fprintln(task.Stdout, line); return 0 })}
	}
	firstLog := func(t *testing.T, s *Server) string {
		await(t, s, active(t, s))
		return call(t, s, "GET", jobsPath+"/one/logs?queryType=range", "").want(t, 200).text
	}
	tests := []struct {
		name   string
		config Config
		want   map[string]string // position -> what look returns
		look   func(t *testing.T, s *Server) string
	}{
		{
			SwitchAbortedRun,
			Config{Runner: RunnerFunc(obedient)},
			map[string]string{"failed": "200 FAILED true 1", "gone": "404 <nil> <nil> 0", "running-concluded": "200 RUNNING true 1"},
			func(t *testing.T, s *Server) string {
				id := active(t, s)
				call(t, s, "DELETE", run(id), "").want(t, 200)
				synctest.Wait()
				listed, _ := call(t, s, "GET", jobsPath+"/one/runs", "").get("runs").([]any)
				r := call(t, s, "GET", run(id), "")
				return fmt.Sprint(r.status, " ", r.get("status"), " ", r.get("concluded"), " ", len(listed))
			},
		},
		{
			SwitchConcludedAt, slow,
			map[string]string{"absent": `200 `, "null": `200 "concludedAt":null`, "empty": `200 "concludedAt":""`},
			func(t *testing.T, s *Server) string {
				r := call(t, s, "GET", run(active(t, s)), "")
				_, after, _ := strings.Cut(r.text, `"concludedAt":`)
				value, _, _ := strings.Cut(after, ",")
				if after == "" {
					return fmt.Sprint(r.status, " ")
				}
				return fmt.Sprint(r.status, ` "concludedAt":`, value)
			},
		},
		{
			SwitchListOrder, slow,
			map[string]string{"newest": "second", "oldest": "first"},
			func(t *testing.T, s *Server) string {
				first := active(t, s)
				active(t, s)
				listed, _ := call(t, s, "GET", jobsPath+"/one/runs", "").get("runs").([]any)
				if listed[0].(map[string]any)["id"] == first {
					return "first"
				}
				return "second"
			},
		},
		{
			SwitchListLag, slow,
			map[string]string{"0s": "1 1 200", "10s": "0 1 200"},
			func(t *testing.T, s *Server) string {
				id := active(t, s)
				count := func() int {
					listed, _ := call(t, s, "GET", jobsPath+"/one/runs", "").get("runs").([]any)
					return len(listed)
				}
				before := count()
				sleep("10s")
				return fmt.Sprint(before, " ", count(), " ", call(t, s, "GET", run(id), "").status)
			},
		},
		{
			SwitchAbortFinished,
			Config{Runner: exits(0)},
			map[string]string{"409": "409", "200": "200", "404": "404"},
			func(t *testing.T, s *Server) string {
				id := active(t, s)
				await(t, s, id)
				return fmt.Sprint(call(t, s, "DELETE", run(id), "").status)
			},
		},
		{
			SwitchDuplicateJob, slow,
			map[string]string{"409": "409", "400": "400"},
			func(t *testing.T, s *Server) string {
				call(t, s, "POST", jobsPath, simple).want(t, 200)
				return fmt.Sprint(call(t, s, "POST", jobsPath, simple).status)
			},
		},
		{
			SwitchDeleteActive, slow,
			map[string]string{"kill": "200 404", "409": "409 200"},
			func(t *testing.T, s *Server) string {
				id := active(t, s)
				return fmt.Sprint(call(t, s, "DELETE", jobsPath+"/one", "").status, " ", call(t, s, "GET", run(id), "").status)
			},
		},
		{
			SwitchSucceeded,
			Config{Runner: exits(0)},
			map[string]string{"counted": "SUCCESS 1", "zero": "SUCCESS 0"},
			func(t *testing.T, s *Server) string {
				id := active(t, s)
				await(t, s, id)
				r := call(t, s, "GET", run(id), "")
				return fmt.Sprint(r.get("status"), " ", r.get("succeeded"))
			},
		},
		{
			SwitchErrorBody, slow,
			map[string]string{"json": `{"error":{"status":401,"message":"Unauthorized"}}`, "string": `{"error":"Unauthorized"}`, "text": "Unauthorized"},
			func(t *testing.T, s *Server) string {
				r, _ := send(t, s.Transport(), "", "GET", "http://nf.test"+jobsPath, "")
				return r.text
			},
		},
		{
			SwitchRetryAfter,
			Config{RateLimit: 1},
			map[string]string{"off": "", "on": "3600"},
			func(t *testing.T, s *Server) string {
				call(t, s, "GET", jobsPath, "").want(t, 200)
				return call(t, s, "GET", jobsPath, "").want(t, 429).header.Get("Retry-After")
			},
		},
		{
			SwitchPermissions,
			Config{Tokens: []Token{{Value: DefaultToken, Permissions: []string{"Project > Jobs > Deployment > Deploy Build"}}}},
			map[string]string{"new": "403", "old": "404"},
			func(t *testing.T, s *Server) string {
				return fmt.Sprint(call(t, s, "DELETE", run("x"), "").status)
			},
		},
		{
			SwitchTokenInfo, slow,
			map[string]string{"served": "200", "absent": "404"},
			func(t *testing.T, s *Server) string {
				return fmt.Sprint(call(t, s, "GET", "/v1/auth", "").status)
			},
		},
		{
			SwitchBodyBeforeAuth, slow,
			map[string]string{"off": "401", "on": "400"},
			func(t *testing.T, s *Server) string {
				r, _ := send(t, s.Transport(), "", "PUT", "http://nf.test"+jobsPath, "{}")
				return fmt.Sprint(r.status)
			},
		},
		{
			SwitchPagination, slow,
			map[string]string{"page": "true <nil>", "cursor": "true 2"},
			func(t *testing.T, s *Server) string {
				active(t, s)
				active(t, s)
				page := call(t, s, "GET", jobsPath+"/one/runs?per_page=1", "").page
				return fmt.Sprint(page["hasNextPage"], " ", page["cursor"])
			},
		},
		{
			SwitchUnknownTag, slow,
			map[string]string{"refuse": "400 <nil>", "drop": "200 []"},
			func(t *testing.T, s *Server) string {
				r := call(t, s, "PUT", jobsPath, overlay(t, simple, `{"tags":["unknown"]}`))
				return fmt.Sprint(r.status, " ", r.get("tags"))
			},
		},
		{
			SwitchUnknownPlan, slow,
			map[string]string{"refuse": "400", "accept": "200"},
			func(t *testing.T, s *Server) string {
				return fmt.Sprint(call(t, s, "PUT", jobsPath, overlay(t, simple, `{"billing":{"deploymentPlan":"own"}}`)).status)
			},
		},
		{
			SwitchBuilds,
			Config{Runner: exits(0)},
			map[string]string{"any": "200 200 200", "declared": "409 200 409"},
			func(t *testing.T, s *Server) string {
				call(t, s, "PUT", jobsPath, overlay(t, simple, `{"deployment":{"external":null,"internal":{"id":"svc","branch":"main"}}}`)).want(t, 200)
				start := func(body string) int { return call(t, s, "POST", jobsPath+"/one/runs", body).status }
				before := start("{}")
				if err := s.AddBuild("local", "svc", Build{ID: "b1", Branch: "main", SHA: strings.Repeat("a", 40), Status: "SUCCESS"}); err != nil {
					t.Fatal(err)
				}
				return fmt.Sprint(before, " ", start("{}"), " ", start(`{"deployment":{"internal":{"id":"svc","branch":"dev"}}}`))
			},
		},
		{
			SwitchLogPrefix, writes("hello"),
			map[string]string{"time": `"2000-01-01T00:00:00.000000000Z stdout F hello"`, "stream": `"stdout F hello"`},
			func(t *testing.T, s *Server) string {
				_, after, _ := strings.Cut(firstLog(t, s), `"log":`)
				value, _, _ := strings.Cut(after, `,"ts"`)
				return value
			},
		},
		{
			SwitchLogJSON, writes(`{"level":"info"}`),
			map[string]string{"string": "string", "object": "map[string]interface {}"},
			func(t *testing.T, s *Server) string {
				firstLog(t, s)
				lines, _ := call(t, s, "GET", jobsPath+"/one/logs?queryType=range", "").data.([]any)
				return fmt.Sprintf("%T", lines[0].(map[string]any)["log"])
			},
		},
		{
			SwitchLogEnvelope, writes("x"),
			map[string]string{"data": `{"data":[{"cont`, "logs": `{"data":{"logs"`, "nested": `{"data":{"data"`},
			func(t *testing.T, s *Server) string { return firstLog(t, s)[:15] },
		},
		{
			SwitchTailEnd, writes("x"),
			map[string]string{"open": "open", "close": "closed"},
			func(t *testing.T, s *Server) string {
				id := active(t, s)
				await(t, s, id)
				conn := dialTail(t, s, "runId="+id)
				conn.init(t, DefaultToken)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for {
					if _, _, err := conn.Read(ctx); err != nil {
						if ctx.Err() != nil {
							return "open"
						}
						return "closed"
					}
				}
			},
		},
		{
			SwitchWebhookRun,
			Config{Runner: exits(0)},
			map[string]string{"named": "job project run", "omitted": "job project"},
			func(t *testing.T, s *Server) string {
				return strings.Join(slices.Sorted(maps.Keys(told(t, s)[0].Data)), " ")
			},
		},
		{
			SwitchWebhookEvent,
			Config{Runner: exits(0)},
			map[string]string{"plain": "job-run:success job-run:success", "trigger": "trigger:job-run:success trigger:job-run:success"},
			func(t *testing.T, s *Server) string {
				n := told(t, s)[0]
				return n.Event + " " + n.Header.Get("X-Northflank-Notification-Integration-Event-Type")
			},
		},
		{
			SwitchWebhookCopies,
			Config{Runner: exits(0)},
			map[string]string{"once": "1 1", "twice": "2 1"},
			func(t *testing.T, s *Server) string {
				all, ids := told(t, s), map[string]bool{}
				for _, n := range all {
					ids[n.Header.Get("X-Northflank-Notification-Integration-Event-Id")] = true
				}
				return fmt.Sprint(len(all), " ", len(ids))
			},
		},
	}
	var covered []string
	for _, tt := range tests {
		covered = append(covered, tt.name)
		for position, want := range tt.want {
			t.Run(tt.name+"="+position, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					c := tt.config
					c.Switches = map[string]string{tt.name: position}
					if got := tt.look(t, start(t, c)); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
				})
			})
		}
	}
	for _, sw := range SwitchTable() {
		i := slices.Index(covered, sw.Name)
		if i < 0 {
			t.Errorf("switch %s has no test", sw.Name)
			continue
		}
		for _, position := range sw.Values {
			if _, tested := tests[i].want[position]; !tested {
				t.Errorf("switch %s=%s has no test", sw.Name, position)
			}
		}
	}
}

// told returns the notifications of a job run's success.
func told(t *testing.T, s *Server) []received {
	t.Helper()
	rc := newReceiver(nil)
	s.deliverer = newDeliverer(rc)
	hook(t, s, `{"events":{"trigger:job-run:start":false}}`)
	startRun(t, s, simple, "{}")
	synctest.Wait()
	return rc.received()
}

func TestSetSwitch(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	for _, wrong := range [][2]string{{"nothing", "x"}, {SwitchListOrder, "random"}, {SwitchListLag, "soon"}, {SwitchListLag, "-1s"}} {
		if err := s.SetSwitch(wrong[0], wrong[1]); err == nil {
			t.Errorf("%v was taken", wrong)
		}
	}
	if diff := cmp.Diff(switchDefaults(), s.Switches()); diff != "" {
		t.Errorf("switches (-want +got):\n%s", diff)
	}
	if _, err := New(Config{Switches: map[string]string{"nothing": ""}}); err == nil {
		t.Error("New took an unknown switch")
	}
}
