package prefect

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A server, or a cache before it, that answers each page with the first one is
// not asked for a thousand of them.
func TestSamePageAgain(t *testing.T) {
	t.Parallel()
	var items []string
	for i := range pageSize {
		items = append(items, fmt.Sprintf(`{"id":"%d","name":"n%d"}`, i, i))
	}
	page := step{status: 200, answer: "[" + strings.Join(items, ",") + "]"}
	for _, tt := range []struct {
		name string
		list func(*Client) error
	}{
		{"flow runs", func(c *Client) error {
			for _, err := range c.FlowRuns(t.Context(), FlowRunFilter{WorkPool: "p"}) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"deployments", func(c *Client) error {
			for _, err := range c.Deployments(t.Context(), "p") {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"workers", func(c *Client) error {
			_, err := c.Workers(t.Context(), "p")
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client, _ := newScriptedClient(t, testSettings(), page, page)
			if err := tt.list(client); !errors.Is(err, errSamePage) {
				t.Errorf("listing %s: error %v, want %v", tt.name, err, errSamePage)
			}
		})
	}
}
