package worker

import (
	"context"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

// maxLanes bounds the sibling jobs of one configuration. A job has at most one
// unconfirmed start, so that an unknown job run of it belongs to exactly one
// flow run; a second lane lets others start while an answer is lost, or while
// many wait.
const maxLanes = 4

// laneCrowd is how many flow runs wait for a lane before another one is used
// beside it: a further job costs a request to make, and one with each look.
const laneCrowd = 6

// place is a project of an account.
type place struct {
	client  *northflank.Client
	project string
}

// jobKey names a job in one account. The worker's jobs have names that are
// their own ids.
type jobKey struct {
	place
	id string
}

// job is what this process knows of one of its jobs. Guarded by table.mu.
type job struct {
	exists        bool            // PUT was acknowledged in this process
	made          bool            // a PUT may have made it
	cleanup       bool            // may be deleted when idle
	single        bool            // made for one flow run: deleted as soon as that ends
	searched      bool            // for job runs that an earlier process left
	deleting      bool            // a delete is under way: nothing may start on it
	runs          map[string]bool // job runs that belonged to flow runs of ours
	recent        []string        // the newest of them, oldest first
	lastUsed      time.Time
	sweptAt       time.Time // newest look, successful or not
	noRoundBefore time.Time // the budget does not allow one
	sweeping      bool      // a look is under way
	trouble       int       // failed looks in a row
	pages         int       // that the last list of its job runs took; 0: none yet
}

// maxKnownRuns bounds job.runs. Only job runs younger than an unconfirmed start
// matter, so that the set may be emptied when it grows large.
const maxKnownRuns = 5000

// remember notes that a job run belongs to a flow run.
func (j *job) remember(runID string) {
	if runID == "" {
		return
	}
	if j.runs == nil || len(j.runs) >= maxKnownRuns {
		j.runs = map[string]bool{}
	}
	if !j.runs[runID] {
		j.recent = append(j.recent[max(0, len(j.recent)-maxRecentRuns+1):], runID)
	}
	j.runs[runID] = true
}

// maxRecentRuns is how many earlier job runs an intent names: those that may
// have been started in the same second.
const maxRecentRuns = 10

// job returns the record of a job, made when needed. Called with mu held.
func (tb *table) job(key jobKey) *job {
	j := tb.jobs[key]
	if j == nil {
		j = &job{}
		tb.jobs[key] = j
	}
	return j
}

// listPages is what a list of the job's runs is expected to cost, in requests:
// what the last one took, or what its flow runs alone fill. Called with mu held.
func (tb *table) listPages(key jobKey) int {
	rows := 0
	for _, t := range tb.rows {
		if t.job == key.id {
			rows++
		}
	}
	return max(tb.job(key).pages, (rows+northflank.PageSize-1)/northflank.PageSize, 1)
}

// changeJob changes the record of a job under the lock.
func (tb *table) changeJob(key jobKey, change func(*job)) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	change(tb.job(key))
}

// holdsLane reports whether the row keeps others from starting on its job: its
// start is under way, or what became of it is not known to Prefect yet.
func (t *tracked) holdsLane() bool {
	if t.starting {
		return true
	}
	switch t.view.start {
	case notStarted:
		// Its intent may stand in Prefect until it is given back: a successor
		// would look for its job run here.
		return t.intended
	case unconfirmed:
		return true
	case started:
		return !t.view.pidSaved && !t.view.gone
	}
	return false
}

// takeLane gives the flow run one of the sibling jobs for its start and returns
// its index. It waits for a start that is just under way, and goes to the next
// sibling when one is stuck on a lost answer, or many wait already.
func (tb *table) takeLane(ctx context.Context, flowRunID string, p place, ids []string) (int, error) {
	first := jobKey{p, ids[0]}
	tb.mu.Lock()
	tb.waiting[first]++
	tb.mu.Unlock()
	defer func() {
		tb.mu.Lock()
		defer tb.mu.Unlock()
		if tb.waiting[first]--; tb.waiting[first] == 0 {
			delete(tb.waiting, first)
		}
	}()
	for {
		lane, changed := tb.tryLane(flowRunID, p, ids)
		if lane >= 0 {
			return lane, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// tryLane returns -1 and what to wait for when no lane is free.
func (tb *table) tryLane(flowRunID string, p place, ids []string) (int, <-chan struct{}) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	waiting := tb.waiting[jobKey{p, ids[0]}]
	for lane, id := range ids {
		holder := tb.laneHolder(id, flowRunID)
		if holder != nil && holder.starting && waiting < laneCrowd*(lane+1) {
			break // free in a moment: no need for another lane
		}
		j := tb.job(jobKey{p, id})
		if holder != nil || j.deleting {
			continue
		}
		if t, ok := tb.rows[flowRunID]; ok {
			t.job, t.starting = id, true
		}
		j.lastUsed = time.Now()
		return lane, nil
	}
	return -1, tb.lanes
}

// laneHolder returns a row other than flowRunID's that holds the lane of job
// id, one that is just starting for preference. Called with mu held.
func (tb *table) laneHolder(id, flowRunID string) *tracked {
	var holder *tracked
	for _, t := range tb.rows {
		if t.job == id && t.id != flowRunID && t.holdsLane() && (holder == nil || t.starting) {
			holder = t
		}
	}
	return holder
}

// rowsByJob returns the rows of each job that is watched. Called with mu held.
func (tb *table) rowsByJob() map[jobKey][]*tracked {
	out := map[jobKey][]*tracked{}
	for _, t := range tb.rows {
		if t.client != nil && t.job != "" && t.view.start != notStarted {
			key := jobKey{place{t.client, t.project}, t.job}
			out[key] = append(out[key], t)
		}
	}
	return out
}
