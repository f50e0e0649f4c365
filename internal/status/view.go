package status

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/worker"
)

// pageRows is how many live flow runs the page shows at most.
const pageRows = 100

// view is what the template shows.
type view struct {
	worker.Status
	Version  string
	PoolLink string
	Ready    bool
	Wrong    []Problem // what keeps it from living or starting, and is no refusal
	Waits    []string  // what it waits for, besides
	Late     []worker.Trouble
	Budgets  []budgetView
	Spent    []spent
	Phases   []phaseCount
	Rows     []flowRunView
	More     int // live flow runs that are not shown
	Ends     []outcomeView
}

type budgetView struct {
	worker.Account
	Host          string
	Left          int
	Share, Window float64   // of the requests left and of the hour left, in percent
	Ends          time.Time // zero: the hour begins with the next request
}

type spent struct {
	For string
	N   uint64
}

type phaseCount struct {
	Phase worker.Phase
	N     int
}

type flowRunView struct {
	worker.LiveFlowRun
	Link, JobLink string
}

type outcomeView struct {
	worker.Outcome
	Why           string
	Link, JobLink string
}

func (p *page) view() view {
	s := p.Source.Status()
	v := view{
		Status: s, Version: p.Version, PoolLink: p.link("/work-pools/work-pool/", s.Pool.Name),
		Waits: waits(s),
	}
	problems := append(NotAlive(s.Loops), NotReady(s)...)
	v.Ready, v.Late = len(problems) == 0, untold(s, problems)
	v.Wrong = slices.DeleteFunc(problems, func(p Problem) bool {
		return slices.ContainsFunc(s.Refusals, func(r worker.Refusal) bool { return strings.Contains(p.Detail, r.Text) })
	})
	for _, a := range s.Accounts {
		if a.Budget.Limit > 0 {
			v.Budgets = append(v.Budgets, budgetOf(a, s.Now))
		}
	}
	v.Spent = spentBy(p.Stats)
	v.addFlowRuns(p)
	return v
}

// addFlowRuns adds the live flow runs and those that ended.
func (v *view) addFlowRuns(p *page) {
	n := map[worker.Phase]int{}
	for i, fr := range v.FlowRuns {
		n[fr.Phase]++
		if i < pageRows {
			v.Rows = append(v.Rows, flowRunView{fr, p.flowRunLink(fr.ID), jobLink(fr.API, fr.Team, fr.Project, fr.Job)})
		}
	}
	v.More = len(v.FlowRuns) - len(v.Rows)
	for _, phase := range worker.Phases() {
		if n[phase] > 0 {
			v.Phases = append(v.Phases, phaseCount{phase, n[phase]})
		}
	}
	for _, o := range v.Outcomes {
		why := o.Text
		switch {
		case why != "":
		case o.Reason == "reported":
			why = "Reported by the flow, or set in Prefect."
		default:
			why = strings.ReplaceAll(o.Reason, "_", " ")
		}
		v.Ends = append(v.Ends, outcomeView{o, why, p.flowRunLink(o.ID), jobLink(o.API, o.Team, o.Project, o.Job)})
	}
}

// spentBy counts the requests that were sent to Northflank, by what they were
// for, the most first.
func spentBy(stats *worker.Stats) []spent {
	n := map[string]uint64{}
	for labels, count := range stats.NorthflankCalls.Counts() {
		if labels[3] != worker.CallHeldBack {
			n[labels[0]] += count
		}
	}
	out := make([]spent, 0, len(n))
	for class, count := range n {
		out = append(out, spent{class, count})
	}
	slices.SortFunc(out, func(a, b spent) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.For, b.For)) })
	return out
}

// untold returns the troubles that neither problems nor refusals tell already.
func untold(s worker.Status, problems []Problem) []worker.Trouble {
	return slices.DeleteFunc(slices.Clone(lateTroubles(s)), func(t worker.Trouble) bool {
		return slices.ContainsFunc(problems, func(p Problem) bool { return strings.Contains(p.Detail, t.Text) }) ||
			slices.ContainsFunc(s.Refusals, func(r worker.Refusal) bool { return r.Text == t.Text })
	})
}

func budgetOf(a worker.Account, now time.Time) budgetView {
	b := budgetView{Account: a, Host: a.API, Left: requestsLeft(a, now), Window: 100}
	if u, err := url.Parse(a.API); err == nil && u.Host != "" {
		b.Host = u.Host
	}
	b.Share = share(float64(b.Left) / float64(a.Budget.Limit))
	if now.Before(a.Budget.ResetAt) {
		b.Ends, b.Window = a.Budget.ResetAt, share(a.Budget.ResetAt.Sub(now).Hours())
	}
	return b
}

// share is a part of one in whole percent: finer would redraw the page all the time.
func share(part float64) float64 { return float64(int(100*min(max(part, 0), 1) + 0.5)) }

// waits says what keeps flow runs waiting though nothing is wrong with the worker.
func waits(s worker.Status) []string {
	var out []string
	if s.Pool.Paused {
		out = append(out, "The work pool is paused.")
	}
	if s.Full {
		out = append(out, fmt.Sprintf("The limit of %d flow runs is reached.", s.Limit))
	}
	if s.Pool.ID != "" && !s.EventStreamUp {
		out = append(out, "Prefect's event stream cannot be followed: all is found out by polling.")
	}
	return out
}

func (p *page) flowRunLink(id string) string { return p.link("/runs/flow-run/", id) }

// link is an address in Prefect's web pages; "" when they are not known.
func (p *page) link(path, id string) string {
	if p.UI == "" {
		return ""
	}
	return p.UI + path + url.PathEscape(id)
}

// jobLink is the address of a job in Northflank's web pages, which name the team;
// "" when it is not known, or the API is another one than Northflank's own.
func jobLink(api, team, project, job string) string {
	if api != "https://api.northflank.com" || team == "" || project == "" || job == "" {
		return ""
	}
	return "https://app.northflank.com/t/" + url.PathEscape(team) + "/project/" + url.PathEscape(project) + "/jobs/" + url.PathEscape(job)
}

// iso is a time for the page's script, which tells how long ago it was.
func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }
