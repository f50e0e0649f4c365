package testkit

import (
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// initialLease is how long a flow run that is Pending keeps the slot of its
// deployment's concurrency limit, unless the deployment says otherwise
// (PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION).
const initialLease = 300 * time.Second

// lease is the time for which a deployment's Pending flow run keeps its slot.
func (d *deployment) lease() time.Duration {
	if d.GracePeriod != 0 {
		return d.GracePeriod
	}
	return initialLease
}

// holdsSlot reports whether a flow run takes a slot of its deployment's limit. The
// flow's process keeps the lease of one that runs; one that waits loses it unless
// somebody renews it. The server takes a slot back up to 15 s later.
func (r *flowRun) holdsSlot() bool {
	switch r.state.Type {
	case prefect.StatePending:
		return now().Before(r.leaseEnds)
	case prefect.StateRunning, prefect.StateCancelling:
		return true
	}
	return false
}

// takeSlot gives a flow run a slot of its deployment's limit, and reports whether
// one was free.
func (p *Prefect) takeSlot(r *flowRun, d *deployment, proposed *State) bool {
	active := 0
	for _, other := range p.order {
		if other.deploymentID == d.id && other != r && other.holdsSlot() {
			active++
		}
	}
	if active >= d.ConcurrencyLimit {
		return false
	}
	proposed.LeaseID, r.leaseEnds = p.newID(), now().Add(d.lease())
	return true
}

// validateLease: ValidateDeploymentConcurrencyAtRunning.
func validateLease(p *Prefect, r *flowRun, proposed *State) *verdict {
	d, limited := p.deployments[r.deploymentID]
	if r.state.Type != prefect.StatePending || proposed.Type != prefect.StateRunning || r.state.LeaseID == "" || !limited {
		return nil
	}
	if r.holdsSlot() || p.takeSlot(r, d, proposed) {
		return nil
	}
	return divert(State{
		Type: prefect.StateCancelled, Name: "Cancelled",
		Message: "Deployment concurrency slot lost during provisioning - no slots available to continue execution",
	}, "Deployment concurrency limit reached after lease expiry.")
}

// renewLease answers POST /v2/concurrency_limits/leases/{lease_id}/renew.
func (p *Prefect) renewLease(c *call) {
	var body struct {
		Seconds float64 `json:"lease_duration"`
	}
	if !c.decode(&body) {
		return
	}
	d := time.Duration(body.Seconds * float64(time.Second))
	if d < prefect.MinLease || d > prefect.MaxLease {
		c.invalid("lease_duration", "Input should be from 60 to 86400")
		return
	}
	for _, r := range p.order {
		if r.state.LeaseID == c.args[0] && r.holdsSlot() {
			r.leaseEnds = now().Add(d)
			c.reply(204, nil)
			return
		}
	}
	c.fail(410, "Lease not found - it may have expired or been revoked")
}
