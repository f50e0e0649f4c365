package northflank

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// TypeWebhook is the type of the integrations that send JSON to an address of
// one's own.
const TypeWebhook = "RAW_WEBHOOK"

// NotificationIntegration is an address that Northflank tells of events. Its
// secret is never in an answer.
type NotificationIntegration struct {
	ID        string // slug of the name
	Name      string
	Type      string // [TypeWebhook], DISCORD, SLACK, ...
	Webhook   string // the address
	Disabled  bool   // Northflank gave up: too many notifications were not answered with 2xx
	Reason    string // why it is disabled, when Northflank says so
	CreatedAt time.Time
	UpdatedAt time.Time

	// What only GetNotification tells.
	Restricted bool // to Projects
	Projects   []string
	Events     []string // those it is told of, sorted, such as "trigger:job-run:failure"
}

// UnmarshalJSON reads Northflank's integration leniently.
func (n *NotificationIntegration) UnmarshalJSON(b []byte) error {
	var wire struct {
		ID      string `json:"id"`
		Name    string `json:"name"`
		Type    string `json:"type"`
		Webhook string `json:"webhook"`
		Status  struct {
			Disabled bool `json:"disabled"`
			Reason   any  `json:"reason"` // documented as a boolean
		} `json:"status"`
		CreatedAt  wireTime        `json:"createdAt"`
		UpdatedAt  wireTime        `json:"updatedAt"`
		Restricted bool            `json:"restricted"`
		Projects   []string        `json:"projects"`
		Events     map[string]bool `json:"events"`
	}
	if err := json.Unmarshal(b, &wire); err != nil {
		return err
	}
	maps.DeleteFunc(wire.Events, func(_ string, wanted bool) bool { return !wanted })
	reason, _ := wire.Status.Reason.(string)
	*n = NotificationIntegration{
		ID: wire.ID, Name: wire.Name, Type: wire.Type, Webhook: wire.Webhook, Disabled: wire.Status.Disabled, Reason: reason,
		CreatedAt: wire.CreatedAt.Time, UpdatedAt: wire.UpdatedAt.Time,
		Restricted: wire.Restricted, Projects: wire.Projects, Events: slices.Sorted(maps.Keys(wire.Events)),
	}
	return nil
}

// NotificationRequest is what an integration of type [TypeWebhook] is made of.
type NotificationRequest struct {
	Name     string // 3..39 characters, pattern NAME
	Webhook  string
	Secret   secret.Value // sent with each notification; empty: none, or in an update the one it has
	Projects []string     // empty: all of the account
	Events   map[string]bool
}

// notificationBody is a NotificationRequest on the wire.
type notificationBody struct {
	Name       string          `json:"name"`
	Type       string          `json:"type,omitempty"` // not in an update
	Webhook    string          `json:"webhook"`
	Secret     string          `json:"secret,omitempty"`
	Restricted bool            `json:"restricted"`
	Projects   []string        `json:"projects"`
	Events     map[string]bool `json:"events"`
}

func (q NotificationRequest) body(typ string) notificationBody {
	return notificationBody{
		Name: q.Name, Type: typ, Webhook: q.Webhook, Secret: q.Secret.Reveal(),
		Restricted: len(q.Projects) > 0, Projects: append([]string{}, q.Projects...), Events: q.Events,
	}
}

// ListNotifications lists the account's notification integrations, without what
// only GetNotification tells. Northflank docs: api/integrations/list-notification-integrations.
func (c *Client) ListNotifications(ctx context.Context) iter.Seq2[NotificationIntegration, error] {
	return pages(ctx, c, "list notification integrations",
		func() (*request, error) {
			return c.accountRequest(http.MethodGet, routeNotifications, ClassCleanup, "integrations", "notifications")
		},
		func(data json.RawMessage) ([]NotificationIntegration, error) {
			var page struct {
				Integrations []NotificationIntegration `json:"notificationIntegrations"`
			}
			err := json.Unmarshal(data, &page)
			return page.Integrations, err
		},
		func(n NotificationIntegration) string { return n.ID })
}

// GetNotification reads a notification integration. Northflank docs:
// api/integrations/get-notification-integration.
func (c *Client) GetNotification(ctx context.Context, id string) (NotificationIntegration, error) {
	r, err := c.accountRequest(http.MethodGet, routeNotification, ClassCleanup, "integrations", "notifications", id)
	var n NotificationIntegration
	if err == nil {
		_, err = c.call(ctx, r, &n)
	}
	if err == nil && n.ID == "" {
		err = unusable(r, errNoID.Error())
	}
	if err != nil {
		return NotificationIntegration{}, fmt.Errorf("read notification integration %q: %w", id, err)
	}
	return n, nil
}

// CreateNotification makes a notification integration of type [TypeWebhook].
// It is not repeated: after an error for which [MayHaveHappened] is true, look
// for it. Northflank docs: api/integrations/create-notification-integration.
func (c *Client) CreateNotification(ctx context.Context, req NotificationRequest) (NotificationIntegration, error) {
	r, err := c.accountRequest(http.MethodPost, routeNotifications, ClassCleanup, "integrations", "notifications")
	var n NotificationIntegration
	if err == nil {
		err = c.sendNotification(ctx, r, req, TypeWebhook, &n)
	}
	if err == nil && n.ID == "" {
		err = unusable(r, errNoID.Error())
	}
	if err != nil {
		return NotificationIntegration{}, fmt.Errorf("create notification integration %q: %w", req.Name, err)
	}
	return n, nil
}

// UpdateNotification gives a notification integration the values of req. Whether
// that enables a disabled one is not documented. Northflank docs:
// api/integrations/update-notification-integration.
func (c *Client) UpdateNotification(ctx context.Context, id string, req NotificationRequest) error {
	r, err := c.accountRequest(http.MethodPost, routeNotification, ClassCleanup, "integrations", "notifications", id)
	if err == nil {
		err = c.sendNotification(ctx, r, req, "", nil) // the answer is empty
	}
	if err != nil {
		return fmt.Errorf("update notification integration %q: %w", id, err)
	}
	return nil
}

func (c *Client) sendNotification(ctx context.Context, r *request, req NotificationRequest, typ string, out any) error {
	r.secrets = []string{req.Secret.Reveal()}
	if err := r.setBody(req.body(typ)); err != nil {
		return err
	}
	_, err := c.call(ctx, r, out)
	return err
}

// DeleteNotification deletes a notification integration. Northflank docs:
// api/integrations/delete-notification-integration.
func (c *Client) DeleteNotification(ctx context.Context, id string) error {
	r, err := c.accountRequest(http.MethodDelete, routeNotification, ClassCleanup, "integrations", "notifications", id)
	if err == nil {
		_, err = c.call(ctx, r, nil)
	}
	if err != nil {
		return fmt.Errorf("delete notification integration %q: %w", id, err)
	}
	return nil
}
