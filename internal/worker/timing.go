package worker

import "time"

// Timing holds the waits of the engine. The zero value of a field is replaced
// by the default that [Timing.withDefaults] gives it.
type Timing struct {
	StartLease  time.Duration   // a start may be asked for only this long after its intent was written
	StartSettle time.Duration   // after this, a job run that no look shows was never started
	StartLooks  []time.Duration // looks for an unconfirmed start, after its intent
	ListLag     time.Duration   // how long Northflank's list may lag behind
	Relook      time.Duration   // shortest sensible time between two looks at the same job run
	LateReport  time.Duration   // a flow's last report may arrive this long after its container ended
	CancelGrace time.Duration   // a cancelled flow may end itself this long before its container is aborted
	LingerNote  time.Duration   // a container alive this long after its flow run ended is reported in the log
	UnownedAge  time.Duration   // a claim that names no worker is taken over after this
	JobIdle     time.Duration   // a shared job is deleted when unused for this long
	Janitor     time.Duration   // between two searches for jobs that dead workers left behind
	RetryDelay  time.Duration   // before the first restart of a failed start; doubles
	SweepMin    time.Duration   // shortest interval between two rounds of looks at job runs
	SweepMax    time.Duration   // longest, unless the request budget runs short
	FirstLook   time.Duration   // a flow that has not begun is looked for after this
	Settle      time.Duration   // the container of a flow run that ended is looked for after this
}

// DefaultTiming returns the waits that are used where none are given.
func DefaultTiming() Timing { return Timing{}.withDefaults() }

// withDefaults fills the zero fields. The relations that matter: a start can
// take effect at the latest StartLease plus one request timeout (30 s) after
// its intent, and is listed ListLag later at the latest; StartSettle is more
// than their sum, so that nothing is ever given back while a start is under way.
func (t Timing) withDefaults() Timing {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&t.StartLease, 20*time.Second)
	set(&t.ListLag, 30*time.Second)
	set(&t.StartSettle, 90*time.Second)
	if t.StartLooks == nil {
		t.StartLooks = []time.Duration{3 * time.Second, 12 * time.Second, 40 * time.Second}
	}
	set(&t.Relook, 5*time.Second)
	set(&t.LateReport, 3*time.Second)
	set(&t.CancelGrace, 60*time.Second)
	set(&t.LingerNote, 60*time.Second)
	set(&t.UnownedAge, 2*time.Minute)
	set(&t.JobIdle, 10*time.Minute)
	set(&t.Janitor, 30*time.Minute)
	set(&t.RetryDelay, 10*time.Second)
	set(&t.SweepMin, 15*time.Second)
	set(&t.SweepMax, 5*time.Minute)
	set(&t.FirstLook, 30*time.Second)
	set(&t.Settle, 4*time.Minute)
	return t
}
