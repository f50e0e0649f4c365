package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// Inspector answers, without a worker, where the job runs of a pool's flow runs
// are and how they do. It changes nothing. It is not safe for concurrent use.
type Inspector struct {
	Preparer *Preparer
	Accounts *northflank.Accounts
	Pool     prefect.WorkPool

	reached map[string]reached // by what Whereabouts.account says
}

// Whereabouts is where a flow run's newest job run is, as Prefect tells it.
type Whereabouts struct {
	Worker    string // that took the flow run
	API, Team string // of the account; "" for a flow run of 1.0.1, and Team for the token's own
	Project   string
	Job       string // "" when Northflank was not asked for anything
	JobRun    string // "" when it is not known, yet or for good
	since     time.Time
}

// Locate reads a flow run's whereabouts.
func Locate(fr prefect.FlowRun) Whereabouts {
	f := readFootprint(fr)
	w := Whereabouts{Worker: f.owner, API: f.api, Team: f.team, Project: f.project, Job: f.job, since: f.intentAt}
	// A flow run that is scheduled again keeps the job run of its last start.
	if job, run, ok := splitPID(fr.InfrastructurePID); ok {
		w.Job, w.JobRun = job, run
	}
	if !fr.ExpectedStartTime.IsZero() && fr.ExpectedStartTime.Before(w.since) {
		w.since = fr.ExpectedStartTime
	}
	w.since = w.since.Add(-time.Minute) // clocks differ
	return w
}

// reached is an account that may be asked about job runs in a project.
type reached struct {
	client  *northflank.Client
	project string
	secrets []string // of the flow run's configuration
	err     error
}

// account names what is reached alike: where the labels say, or else what the
// deployment's configuration gives.
func (w Whereabouts) account(fr prefect.FlowRun) string {
	if w.API != "" && w.Project != "" {
		return w.API + " " + w.Team + " " + w.Project
	}
	return fr.DeploymentID
}

// reach finds credentials for the account that a flow run's job run is in: those
// that its configuration gives today, else any that are at hand. A token is never
// sent to another address than its own.
func (i *Inspector) reach(ctx context.Context, fr prefect.FlowRun, w Whereabouts) reached {
	prepared, err := i.Preparer.Prepare(ctx, i.Pool, fr)
	r := reached{project: w.Project}
	var candidates []*northflank.Client
	if err == nil {
		r.secrets = prepared.Spec.Secrets
		if r.project == "" {
			r.project = prepared.Spec.ProjectID // started by the Python package, which leaves no labels
		}
		candidates = i.appendClient(candidates, prepared.Spec.Account.BaseURL, prepared.Spec.Account.TeamID, prepared.Spec.Account.Token)
	}
	if own := i.Preparer.Account; !own.Token.IsZero() {
		candidates = i.appendClient(candidates, own.BaseURL, own.TeamID, own.Token)
	}
	for _, c := range append(candidates, i.Accounts.All()...) {
		if w.API == "" || c.BaseURL() == w.API && c.TeamID() == w.Team {
			r.client = c
			break
		}
	}
	switch {
	case r.client != nil && r.project != "":
	case err != nil:
		r.err = fmt.Errorf("find the credentials of flow run %q: %w", fr.Name, err)
	case r.client == nil:
		r.err = fmt.Errorf("the credentials of flow run %q are for another account than the one its job run is in (%s)", fr.Name, w.API)
	default:
		r.err = fmt.Errorf("the project of job %q is not known", w.Job)
	}
	return r
}

func (i *Inspector) appendClient(all []*northflank.Client, base, team string, token secret.Value) []*northflank.Client {
	if c, _, err := i.Accounts.Client(base, team, token); err == nil {
		return append(all, c)
	}
	return all
}

// Sight is what was seen of a flow run's job run.
type Sight struct {
	Whereabouts
	Run    *northflank.JobRun // nil: not looked at, or not there
	Absent bool               // Northflank does not know it: it, or its job, was deleted
}

// Look looks at the job runs of flow runs, the first ones first, with no more
// requests to Northflank than given: flow runs of one job share them. Errors keep
// job runs from being looked at; each is told once.
func (i *Inspector) Look(ctx context.Context, flowRuns []prefect.FlowRun, requests int) (sights []Sight, errs []error) {
	ctx = northflank.WithClass(ctx, northflank.ClassEvidence)
	jobs := map[jobKey][]*Sight{}
	var order []jobKey
	told := map[string]bool{}
	tell := func(err error) {
		if err != nil && !told[err.Error()] {
			told[err.Error()] = true
			errs = append(errs, err)
		}
	}
	sights = make([]Sight, len(flowRuns))
	for n, fr := range flowRuns {
		s := &sights[n]
		s.Whereabouts = Locate(fr)
		if s.JobRun == "" {
			continue
		}
		account := s.account(fr)
		r, known := i.reached[account]
		if !known {
			r = i.reach(ctx, fr, s.Whereabouts)
			if i.reached == nil {
				i.reached = map[string]reached{}
			}
			i.reached[account] = r
			tell(r.err)
		}
		if r.err != nil {
			continue
		}
		s.API, s.Team, s.Project = r.client.BaseURL(), r.client.TeamID(), r.project
		key := jobKey{place{r.client, r.project}, s.Job}
		if jobs[key] == nil {
			order = append(order, key)
		}
		jobs[key] = append(jobs[key], s)
	}
	for _, key := range order {
		if requests <= 0 {
			break
		}
		spent, err := lookAtJob(ctx, key, jobs[key], requests)
		requests -= spent
		tell(err)
		if errors.Is(err, northflank.ErrBudgetSpent) {
			break
		}
	}
	return sights, errs
}

// lookAtJob looks at job runs of one job: a single one costs a request, of more
// each page of the job's list does.
func lookAtJob(ctx context.Context, key jobKey, wanted []*Sight, requests int) (spent int, err error) {
	if len(wanted) == 1 {
		run, err := key.client.GetRun(ctx, key.project, key.id, wanted[0].JobRun)
		switch {
		case err == nil:
			wanted[0].Run = &run
		case errors.Is(err, northflank.ErrNotFound):
			wanted[0].Absent, err = true, nil
		}
		return 1, err
	}
	missing := map[string]*Sight{}
	for _, s := range wanted {
		missing[s.JobRun] = s
	}
	seen := 0
	for run, err := range key.client.ListRuns(ctx, key.project, key.id) {
		if err != nil && !errors.Is(err, northflank.ErrNotFound) {
			return seen/northflank.PageSize + 1, err
		}
		if err != nil {
			break // the job is gone
		}
		if s := missing[run.ID]; s != nil {
			s.Run = &run
			delete(missing, run.ID)
		}
		if seen++; len(missing) == 0 || seen == requests*northflank.PageSize {
			return (seen + northflank.PageSize - 1) / northflank.PageSize, nil
		}
	}
	for _, s := range missing {
		s.Absent = time.Since(s.since) > 2*time.Minute // a list may be some seconds late
	}
	return seen/northflank.PageSize + 1, nil
}
