package prefect

import (
	"context"
	"fmt"
	"time"
)

// Shortest and longest time that a lease can be renewed for (Prefect 3.8:
// server/api/concurrency_limits_v2.py).
const (
	MinLease = time.Minute
	MaxLease = 24 * time.Hour
)

// RenewLease makes the lease of a concurrency slot end d from now. [ErrGone]: it
// ended before, or was given back.
func (c *Client) RenewLease(ctx context.Context, id string, d time.Duration) error {
	body := map[string]any{"lease_duration": min(max(d, MinLease), MaxLease).Seconds()}
	if err := c.call(ctx, routeRenewLease, request{args: []string{id}, body: body}, nil); err != nil {
		return fmt.Errorf("renew concurrency lease %s: %w", id, err)
	}
	return nil
}
