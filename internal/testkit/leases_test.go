package testkit

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// What becomes of a flow run that begins late, with another in line for its slot.
func TestLeaseOfASlot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		grace         time.Duration
		renewFor      time.Duration // 0: not renewed
		before, after time.Duration // from Pending to the renewal, and from there to the flow's beginning
		other         bool          // another flow run takes the slot if it can
		want          string
	}{
		{name: "in time", before: 299 * time.Second, other: true, want: "RUNNING/Running"},
		{name: "late", before: 301 * time.Second, other: true, want: "CANCELLED/Cancelled"},
		{name: "late, nobody else", before: 301 * time.Second, want: "RUNNING/Running"},
		{name: "renewed", before: 299 * time.Second, renewFor: time.Minute, after: 59 * time.Second, other: true, want: "RUNNING/Running"},
		{name: "renewed, and late", before: 299 * time.Second, renewFor: time.Minute, after: 61 * time.Second, other: true, want: "CANCELLED/Cancelled"},
		{name: "grace period", grace: time.Hour, before: 59 * time.Minute, other: true, want: "RUNNING/Running"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := NewPrefect()
				p.AddPool(PoolSpec{Name: "p"})
				d := p.AddDeployment(DeploymentSpec{Name: "d", Pool: "p", ConcurrencyLimit: 1, GracePeriod: tt.grace})
				first, other := p.Schedule(FlowRunSpec{Deployment: d}), p.Schedule(FlowRunSpec{Deployment: d})
				id := p.SetState(first, pending, false).State.LeaseID
				time.Sleep(tt.before)
				if tt.renewFor != 0 {
					if err := newClient(t, p).RenewLease(t.Context(), id, tt.renewFor); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(tt.after)
				if tt.other {
					p.SetState(other, pending, false)
				}
				p.SetState(first, State{Type: prefect.StateRunning}, false)
				run, _ := p.FlowRun(first)
				if diff := cmp.Diff(tt.want, run.State.label()); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		})
	}
}
