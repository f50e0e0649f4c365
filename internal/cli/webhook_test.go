package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/webhook"
)

// northflankAs is the environment that uses newNorthflank with one of its tokens.
func northflankAs(token string) map[string]string {
	return map[string]string{"NORTHFLANK_API_BASE_URL": "NORTHFLANK", "NORTHFLANK_API_TOKEN": token}
}

// newNorthflank serves a local Northflank with a webhook and a chat of somebody
// else's, and tokens of different rights.
func newNorthflank(t *testing.T) (url string) {
	t.Helper()
	nf, err := emulator.New(emulator.Config{Tokens: []emulator.Token{
		{Name: "owner", Value: "owner"},
		{Name: "reader", Value: "reader", Permissions: []string{"Account > Observability > Notifications > Read"}},
		{Name: "no-right", Value: "no-right", Permissions: []string{}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nf.Close)
	for name, typ := range map[string]string{"alerts": "RAW_WEBHOOK", "chat": "DISCORD"} {
		northflankRequest(t, nf, "owner", http.MethodPost, "/v1/integrations/notifications", fmt.Sprintf(
			`{"name":%q,"type":%q,"webhook":"https://alerts.example/in","events":{"trigger:job-run:failure":true}}`, name, typ))
	}
	return listen(t, nf)
}

func listen(t *testing.T, nf *emulator.Server) (url string) {
	t.Helper()
	url, err := nf.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return url
}

func northflankRequest(t *testing.T, nf *emulator.Server, token, method, path, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://northflank.test"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := nf.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s", method, path, answer.Status)
	}
}

// What webhook create makes is what the receiver takes, in whatever form
// Northflank sends it.
func TestWebhookArrives(t *testing.T) {
	const given = "0123456789abcdef0123456789abcdef"
	for name, switches := range map[string]map[string]string{
		"as expected": nil,
		"otherwise":   {emulator.SwitchWebhookRun: "omitted", emulator.SwitchWebhookEvent: "trigger", emulator.SwitchWebhookCopies: "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			told := make(chan webhook.Notification, 10)
			receiver := httptest.NewServer(webhook.NewHandler(webhook.Options{
				Secret: secret.New(given), Path: "/northflank", Receive: func(n webhook.Notification) { told <- n },
			}))
			t.Cleanup(receiver.Close)
			nf, err := emulator.New(emulator.Config{Runner: emulator.RunnerFunc(succeed), Switches: switches})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nf.Close)
			hermetic(t, map[string]string{
				"NORTHFLANK_API_BASE_URL": listen(t, nf), "NORTHFLANK_API_TOKEN": emulator.DefaultToken, "NORTHFLANK_WEBHOOK_SECRET": given,
			})
			if status, _, stderr := run(t, "", "webhook", "create", "--url", receiver.URL+"/northflank", "--project", "local"); status != 0 {
				t.Fatal(stderr)
			}
			runJob(t, nf)
			want := webhook.Notification{Event: "job-run:success", ProjectID: "local", JobID: "one"}
			if switches == nil {
				want.RunID = nf.JobRuns()[0].ID
			}
			select {
			case got := <-told:
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("notification (-want +got):\n%s", diff)
				}
			case <-t.Context().Done():
				t.Fatal("no notification arrived")
			}
		})
	}
}

func succeed(context.Context, emulator.Task) int { return 0 }

// runJob starts a job run of a job of its own.
func runJob(t *testing.T, nf *emulator.Server) {
	t.Helper()
	northflankRequest(t, nf, emulator.DefaultToken, http.MethodPut, "/v1/projects/local/jobs",
		`{"name":"one","billing":{"deploymentPlan":"nf-compute-20"},"deployment":{"external":{"imagePath":"a/b:1"}}}`)
	northflankRequest(t, nf, emulator.DefaultToken, http.MethodPost, "/v1/projects/local/jobs/one/runs", `{}`)
}

// A webhook whose receiver is down is disabled by Northflank, seen as such, and
// enabled again.
func TestDisabledWebhook(t *testing.T) {
	nf, err := emulator.New(emulator.Config{
		TimeScale: 1e6, // retries at once
		Runner:    emulator.RunnerFunc(succeed),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nf.Close)
	hermetic(t, map[string]string{"NORTHFLANK_API_BASE_URL": listen(t, nf), "NORTHFLANK_API_TOKEN": emulator.DefaultToken})
	create := []string{"webhook", "create", "--url", "http://127.0.0.1:1/", "--name", "worker"} // a port that nobody listens on
	if status, _, stderr := run(t, "", create...); status != 0 {
		t.Fatal(stderr)
	}
	runJob(t, nf)
	for {
		changed := nf.Changed()
		_, stdout, _ := run(t, "", "webhook", "ls")
		if strings.Contains(stdout, "disabled: not delivered in 6 attempts") {
			break
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("the webhook was not disabled: %s", stdout)
		}
	}
	if status, stdout, stderr := run(t, "", create...); status != 0 || !strings.Contains(stdout, "Updated webhook") {
		t.Fatalf("%s%s", stdout, stderr)
	}
	if _, stdout, _ := run(t, "", "webhook", "ls"); !strings.Contains(stdout, "enabled") {
		t.Errorf("after webhook create: %s", stdout)
	}
}

// Should Northflank not enable a webhook by an update, one is told.
func TestWebhookThatStaysDisabled(t *testing.T) {
	const one = `{"id":"worker","name":"worker","type":"RAW_WEBHOOK","webhook":"https://worker.example","status":{"disabled":true}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			fmt.Fprint(w, `{"data":{}}`)
		case strings.HasSuffix(r.URL.Path, "/worker"):
			fmt.Fprint(w, `{"data":`+one+`}`)
		default:
			fmt.Fprint(w, `{"data":{"notificationIntegrations":[`+one+`]}}`)
		}
	}))
	t.Cleanup(server.Close)
	hermetic(t, map[string]string{"NORTHFLANK_API_BASE_URL": server.URL, "NORTHFLANK_API_TOKEN": "token"})
	status, _, stderr := run(t, "", "webhook", "create", "--url", "https://worker.example", "--name", "worker")
	if status != 1 || !strings.Contains(stderr, `error: webhook "worker" is still disabled`) || !strings.Contains(stderr, "\nhint:") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
}
