package northflank

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/secret"
)

const testWebhookSecret = "webhook-secret-0123456789"

func fullNotification() NotificationRequest {
	return NotificationRequest{
		Name: "prefect worker", Webhook: "https://worker.example/nf", Secret: secret.New(testWebhookSecret),
		Projects: []string{"data"}, Events: map[string]bool{"trigger:job-run:failure": true},
	}
}

func TestNotificationEndpoints(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 21, 15, 1, 17, 0, time.UTC)
	const one = `{"id":"prefect-worker","name":"prefect worker","type":"RAW_WEBHOOK","webhook":"https://worker.example/nf","createdAt":"2026-03-21T15:01:17.000Z","updatedAt":"2026-03-21T15:01:17.000Z\"","status":{"disabled":false}`
	want := NotificationIntegration{ID: "prefect-worker", Name: "prefect worker", Type: TypeWebhook, Webhook: "https://worker.example/nf", CreatedAt: at}
	wantRead := want
	wantRead.Restricted, wantRead.Projects, wantRead.Events = true, []string{"data"}, []string{"trigger:job-run:failure", "trigger:job-run:success"}
	wantRead.Disabled, wantRead.Reason = true, "it failed"
	tests := []struct {
		name   string
		step   step // want without the prefix of the team
		call   func(context.Context, *Client) (any, error)
		result any
	}{
		{
			name:   "list",
			step:   step{want: "GET /integrations/notifications?page=1&per_page=100", body: `{"data":{"notificationIntegrations":[` + one + `}]},"pagination":{"hasNextPage":false,"count":1}}`},
			call:   func(ctx context.Context, c *Client) (any, error) { return collect(c.ListNotifications(ctx)) },
			result: []NotificationIntegration{want},
		}, {
			name: "get",
			step: step{
				want: "GET /integrations/notifications/prefect-worker",
				body: strings.Replace(`{"data":`+one, `{"disabled":false}`, `{"disabled":true,"reason":"it failed"}`, 1) +
					`,"restricted":true,"projects":["data"],"events":{"trigger:job-run:success":true,"trigger:job-run:start":false,"trigger:job-run:failure":true}}}`,
			},
			call:   func(ctx context.Context, c *Client) (any, error) { return c.GetNotification(ctx, "prefect-worker") },
			result: wantRead,
		}, {
			name: "create",
			step: step{
				want:     "POST /integrations/notifications",
				wantBody: `{"name":"prefect worker","type":"RAW_WEBHOOK","webhook":"https://worker.example/nf","secret":"` + testWebhookSecret + `","restricted":true,"projects":["data"],"events":{"trigger:job-run:failure":true}}`,
				body:     `{"data":` + one + `}}`,
			},
			call: func(ctx context.Context, c *Client) (any, error) {
				return c.CreateNotification(ctx, fullNotification())
			},
			result: want,
		}, {
			name: "update",
			step: step{
				want:     "POST /integrations/notifications/prefect-worker",
				wantBody: `{"name":"prefect worker","webhook":"https://worker.example/nf","secret":"` + testWebhookSecret + `","restricted":true,"projects":["data"],"events":{"trigger:job-run:failure":true}}`,
				body:     `{"data":{}}`,
			},
			call: func(ctx context.Context, c *Client) (any, error) {
				return nil, c.UpdateNotification(ctx, "prefect-worker", fullNotification())
			},
		}, {
			name: "update that keeps the secret, for all projects",
			step: step{
				want:     "POST /integrations/notifications/prefect-worker",
				wantBody: `{"name":"prefect worker","webhook":"https://worker.example/nf","restricted":false,"projects":[],"events":{}}`,
				body:     `{"data":{}}`,
			},
			call: func(ctx context.Context, c *Client) (any, error) {
				req := fullNotification()
				req.Secret, req.Projects, req.Events = secret.Value{}, nil, map[string]bool{}
				return nil, c.UpdateNotification(ctx, "prefect-worker", req)
			},
		}, {
			name: "delete",
			step: step{want: "DELETE /integrations/notifications/prefect-worker", body: `{"data":{}}`},
			call: func(ctx context.Context, c *Client) (any, error) {
				return nil, c.DeleteNotification(ctx, "prefect-worker")
			},
		},
	}
	for _, tt := range tests {
		for team, prefix := range map[string]string{"": "/v1", "my team": "/v1/teams/my%20team"} {
			t.Run(tt.name+"/team "+team, func(t *testing.T) {
				t.Parallel()
				st := tt.step
				method, rest, _ := strings.Cut(st.want, " ")
				st.want = method + " " + prefix + rest
				var classes []Class
				c := scripted(t, st)
				c.team, c.observe = team, func(call Call) { classes = append(classes, call.Class) }
				got, err := tt.call(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.result, got); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]Class{ClassCleanup}, classes); diff != "" {
					t.Errorf("classes (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestNotificationErrors(t *testing.T) {
	t.Parallel()
	list := func(ctx context.Context, c *Client) error { _, err := collect(c.ListNotifications(ctx)); return err }
	get := func(ctx context.Context, c *Client) error { _, err := c.GetNotification(ctx, "hook"); return err }
	create := func(ctx context.Context, c *Client) error {
		_, err := c.CreateNotification(ctx, fullNotification())
		return err
	}
	update := func(ctx context.Context, c *Client) error {
		return c.UpdateNotification(ctx, "hook", fullNotification())
	}
	remove := func(ctx context.Context, c *Client) error { return c.DeleteNotification(ctx, "hook") }
	const forbidden = `{"error":{"status":403,"message":"Forbidden"}}`
	tests := []struct {
		name     string
		call     func(context.Context, *Client) error
		status   int
		body     string
		is       error
		want     string
		wantHint string
	}{
		{"list forbidden", list, 403, forbidden, ErrForbidden, `list notification integrations: 403 forbidden (northflank)`, "may not list webhooks here: give it Account > Observability > Notifications > Read (older accounts: Account > Team > Notifications > Read)"},
		{"get forbidden", get, 403, forbidden, ErrForbidden, `read notification integration "hook": 403 forbidden (northflank)`, "Account > Observability > Notifications > Read"},
		{"create forbidden", create, 403, forbidden, ErrForbidden, `create notification integration "prefect worker": 403 forbidden (northflank)`, "Account > Observability > Notifications > Create (older accounts: Account > Team > Notifications > Manage)"},
		{"update forbidden", update, 403, forbidden, ErrForbidden, `update notification integration "hook": 403 forbidden (northflank)`, "Account > Observability > Notifications > Update"},
		{"delete forbidden", remove, 403, forbidden, ErrForbidden, `delete notification integration "hook": 403 forbidden (northflank)`, "Account > Observability > Notifications > Delete"},
		{"create with a bad value", create, 400, `{"error":{"message":"Bad","details":{"secret":["` + testWebhookSecret + ` is too short"]}}}`, ErrInvalid, `create notification integration "prefect worker": 400 bad request (northflank): Bad: secret: *** is too short`, "correct the field named above"},
		{"name taken", create, 409, `{}`, ErrConflict, `create notification integration "prefect worker": 409 conflict (northflank): {}`, "choose another name"},
		{"gone", update, 404, ``, ErrNotFound, `update notification integration "hook": 404 not found (northflank)`, "does not exist any more"},
		{"other team", list, 404, ``, ErrNotFound, `list notification integrations: 404 not found (northflank)`, "team id"},
		{"token", create, 401, ``, ErrUnauthorized, `create notification integration "prefect worker": 401 unauthorized (northflank)`, "API token is refused"},
		{"created without an id", create, 200, `{"data":{}}`, nil, `create notification integration "prefect worker": unusable answer to POST /v1/integrations/notifications: it has no id`, "something other than Northflank"},
		{"nothing in place of a list", list, 200, `{}`, nil, `list notification integrations: unusable answer to GET /v1/integrations/notifications: it has no data`, "something other than Northflank"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // retries of repeatable calls wait
				c := newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) { return reply(tt.status, tt.body), nil }))
				err := tt.call(t.Context(), c)
				if err == nil || err.Error() != tt.want {
					t.Fatalf("error = %v\nwant    %s", err, tt.want)
				}
				if tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("errors.Is(err, %q) = false", tt.is)
				}
				if got := hint(err); !strings.Contains(got, tt.wantHint) || strings.Contains(got, "project") {
					t.Errorf("hint = %q, want %q in it and no project", got, tt.wantHint)
				}
			})
		})
	}
}

// A create whose answer is lost may have happened, and is not made twice.
func TestCreateNotificationIsNotRepeated(t *testing.T) {
	t.Parallel()
	c := scripted(t, step{want: "POST /v1/integrations/notifications", status: 503, wantBody: `{"name":"hook","type":"RAW_WEBHOOK","webhook":"https://w.example","restricted":false,"projects":[],"events":{"trigger:job-run:failure":true}}`})
	_, err := c.CreateNotification(t.Context(), NotificationRequest{Name: "hook", Webhook: "https://w.example", Events: map[string]bool{"trigger:job-run:failure": true}})
	if !MayHaveHappened(err) {
		t.Errorf("CreateNotification() = %v, want an error that may have happened", err)
	}
}

// An empty id would address the collection.
func TestNotificationIDs(t *testing.T) {
	t.Parallel()
	c := scripted(t, step{want: "DELETE /v1/integrations/notifications/a%2Fb", body: `{}`})
	if err := c.DeleteNotification(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", ".", ".."} {
		if err := c.DeleteNotification(t.Context(), id); !errors.Is(err, ErrInvalid) || MayHaveHappened(err) {
			t.Errorf("DeleteNotification(%q) = %v, want ErrInvalid and nothing sent", id, err)
		}
		if err := c.UpdateNotification(t.Context(), id, fullNotification()); !errors.Is(err, ErrInvalid) {
			t.Errorf("UpdateNotification(%q) = %v, want ErrInvalid", id, err)
		}
	}
}
