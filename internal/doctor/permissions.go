package doctor

import (
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

// feature is something that flow runs need a right for.
type feature struct {
	does          string
	method, route string // of the request that the right is for
	without       Status // what its absence is
}

const logsRoute = "/jobs/{job}/logs"

// features of a worker, the ones without which nothing runs first.
var features = []feature{
	{"create jobs", http.MethodPut, "/jobs", Failure},
	{"start job runs", http.MethodPost, "/jobs/{job}/runs", Failure},
	{"watch job runs", http.MethodGet, "/jobs/{job}/runs", Failure},
	{"abort the container of a cancelled flow run", http.MethodDelete, "/jobs/{job}/runs/{run}", Warning},
	{"delete jobs that are not used any more", http.MethodDelete, "/jobs/{job}", Warning},
	{"tell why a flow run failed, and stream its output", http.MethodGet, logsRoute, Warning},
	{"read the project", http.MethodGet, "/projects/{project}", Warning},
}

// granted is the set of rights that a role has, and which of Northflank's two
// permission trees they are named by.
type granted struct {
	names    map[string]bool // as plain makes them
	now, old bool            // names that only the tree since October 2026, or the one before, has
}

// plain makes one of the spellings of a permission: Northflank's documents say
// "Project > Jobs > General > Run Job", and how its API spells that is not
// documented.
func plain(name string) string {
	letters := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
	return strings.TrimPrefix(letters, "project")
}

// Names that tell the trees apart.
var (
	onlyNow    = []string{"Project > Jobs > General > Run Job", "Project > Jobs > Deployment > View Observability"}
	onlyBefore = []string{
		"Project > Jobs > Deployment > Deploy Build", "Project > Jobs > Deployment > View Instance Logs",
		"Project > Jobs > Deployment > View Instance Metrics",
	}
)

// recognise reads the permissions that Northflank tells. ok is false when it
// tells none, or none that is known: then they are spelt in another way, and
// nothing can be said of those that are missing.
func recognise(permissions []string) (granted, bool) {
	g := granted{names: map[string]bool{}}
	for _, name := range permissions {
		g.names[plain(name)] = true
	}
	known := false
	for _, f := range features {
		now, before, _ := northflank.Permission(f.method, f.route)
		known = known || g.names[plain(now)] || g.names[plain(before)]
	}
	for _, name := range onlyNow {
		g.now = g.now || g.names[plain(name)]
	}
	for _, name := range onlyBefore {
		g.old = g.old || g.names[plain(name)]
	}
	return g, known
}

// judge says which features the role does not allow.
func judge(a *answers, acc *account, of string, g granted) {
	for _, f := range features {
		said := len(a.results)
		now, before, _ := northflank.Permission(f.method, f.route)
		hasNow, hasBefore := g.names[plain(now)], g.names[plain(before)]
		switch {
		case hasNow && hasBefore, hasNow && !g.old, hasBefore && g.old && !g.now:
		case hasNow || hasBefore:
			if g.now != g.old { // the tree is known, and in it the right is missing
				a.lacks(f.without, of, f.does, now, before)
			} else {
				a.lacks(Warning, of, f.does+", if the account shows the permission names since October 2026", now, before)
			}
		default:
			a.lacks(f.without, of, f.does, now, before)
		}
		if len(a.results) > said && f.route == logsRoute {
			acc.noLogs = true
		}
	}
}

func (a *answers) lacks(s Status, of, does, now, before string) {
	needs := now
	if now != before {
		needs = fmt.Sprintf("%s (older accounts: %s)", now, before)
	}
	a.add(s, "", "give the role "+needs+"; it counts at once", fmt.Sprintf("%sthe token's role may not %s", of, does))
}
