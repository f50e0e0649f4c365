package status

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/northflank/prefect-northflank/internal/worker"
)

// Source is a worker to be shown.
type Source interface {
	Status() worker.Status
	Loops() []worker.Loop // without waiting for a lock
	Healthy() bool
}

// Problem is a reason why a worker is not alive, or not ready.
type Problem struct {
	Name   string `json:"name"`   // one of a small set
	Detail string `json:"detail"` // what is wrong, and where known what to do
}

// The names of problems.
const (
	ProblemStalled               = "loop_stalled"
	ProblemConnecting            = "connecting"
	ProblemPrefectCredentials    = "prefect_credentials"
	ProblemPrefectUnreachable    = "prefect_unreachable"
	ProblemPoolMissing           = "pool_missing"
	ProblemPoolType              = "pool_type"
	ProblemNorthflankCredentials = "northflank_credentials"
	ProblemNorthflankRefuses     = "northflank_refuses"
	ProblemNorthflankFails       = "northflank_fails"
)

// problemNames lists the names of all problems.
func problemNames() []string {
	return []string{
		ProblemStalled, ProblemConnecting, ProblemPrefectCredentials, ProblemPrefectUnreachable, ProblemPoolMissing, ProblemPoolType,
		ProblemNorthflankCredentials, ProblemNorthflankRefuses, ProblemNorthflankFails,
	}
}

const (
	// freshFor is how long a trouble counts after it was met last: the longest
	// wait between two tries is 2 minutes, give or take.
	freshFor = 5 * time.Minute
	// refusedFor is how long Northflank may refuse starts, or either side fail,
	// before the worker is not ready: a lone error is over by then.
	refusedFor = time.Minute
	// beatsMissed is after how many heartbeats that Prefect did not take it calls
	// a worker offline.
	beatsMissed = 3
)

// Health serves the health checks.
func Health(s Source) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { serveHealth(w, s.Healthy()) })
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { serveProblems(w, NotAlive(s.Loops())) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { serveProblems(w, NotReady(s.Status())) })
	return mux
}

// serveHealth answers as Prefect's own workers do.
func serveHealth(w http.ResponseWriter, healthy bool) {
	w.Header().Set("Content-Type", "application/json")
	if healthy {
		_, _ = io.WriteString(w, `{"message":"OK"}`)
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, `{"message":"Worker may be unresponsive at this time"}`)
}

func serveProblems(w http.ResponseWriter, problems []Problem) {
	answer := struct {
		Status   string    `json:"status"`
		Problems []Problem `json:"problems,omitempty"`
	}{"ok", problems}
	code := http.StatusOK
	if len(problems) > 0 {
		answer.Status, code = "failing", http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

// NotAlive returns what only a restart helps against.
func NotAlive(loops []worker.Loop) []Problem {
	var problems []Problem
	for _, l := range loops {
		if l.Stalled {
			problems = append(problems, Problem{ProblemStalled, fmt.Sprintf("loop %q has not come round since %s", l.Name, l.Round.UTC().Format(time.RFC3339))})
		}
	}
	return problems
}

// NotReady returns what keeps the worker from starting flow runs. What passes by
// itself within a minute is none of it.
func NotReady(s worker.Status) []Problem {
	problems := prefectProblems(s)
	return append(problems, northflankProblems(s)...)
}

func prefectProblems(s worker.Status) []Problem {
	if t, ok := trouble(s, worker.CausePrefectRefuses, 0); ok {
		return []Problem{{ProblemPrefectCredentials, explain(t)}}
	}
	var problems []Problem
	silent := max(s.HeartbeatEvery, time.Second) * beatsMissed
	switch t, missing := trouble(s, worker.CausePoolMissing, 0); {
	case missing:
		problems = append(problems, Problem{ProblemPoolMissing, explain(t)})
	case s.Pool.ID == "":
		detail := fmt.Sprintf("work pool %q was not read yet", s.Pool.Name)
		if len(s.Troubles) > 0 {
			detail += ": " + explain(s.Troubles[0])
		}
		return append(problems, Problem{ProblemConnecting, detail})
	case s.Pool.Type != worker.Type:
		problems = append(problems, Problem{
			ProblemPoolType,
			fmt.Sprintf("work pool %q is of type %q, this worker of type %q: name another pool", s.Pool.Name, s.Pool.Type, worker.Type),
		})
	}
	if t, ok := trouble(s, worker.CausePrefectFails, refusedFor); ok {
		return append(problems, Problem{ProblemPrefectUnreachable, explain(t)})
	}
	if !s.Heartbeat.IsZero() && s.Now.Sub(s.Heartbeat) > silent {
		problems = append(problems, Problem{
			ProblemPrefectUnreachable,
			fmt.Sprintf("Prefect took no heartbeat since %s, so that nothing is started", s.Heartbeat.UTC().Format(time.RFC3339)),
		})
	}
	return problems
}

// northflankProblems: one project that refuses starts is its users' concern, as
// long as others take them.
func northflankProblems(s worker.Status) []Problem {
	var problems []Problem
	if t, ok := trouble(s, worker.CauseNorthflankRefuses, 0); ok {
		problems = append(problems, Problem{ProblemNorthflankCredentials, explain(t)})
	}
	if t, ok := trouble(s, worker.CauseNorthflankFails, refusedFor); ok {
		problems = append(problems, Problem{ProblemNorthflankFails, explain(t)})
	}
	if s.Takers > 0 {
		return problems
	}
	for _, r := range s.Refusals {
		detail := fmt.Sprintf("project %q takes no job runs since %s: %s", r.Project, r.Since.UTC().Format(time.RFC3339), r.Text)
		switch {
		case r.Denied:
			problems = append(problems, Problem{ProblemNorthflankCredentials, detail})
		case s.Now.Sub(r.Since) > refusedFor:
			problems = append(problems, Problem{ProblemNorthflankRefuses, detail})
		}
	}
	return problems
}

// trouble returns the newest trouble of a cause that was met lately, and again and
// again for some time.
func trouble(s worker.Status, cause worker.TroubleCause, atLeast time.Duration) (worker.Trouble, bool) {
	for _, t := range s.Troubles {
		if t.Cause == cause && s.Now.Sub(t.Last) <= freshFor && t.Last.Sub(t.Since) >= atLeast {
			return t, true
		}
	}
	return worker.Trouble{}, false
}

// lateTroubles returns the troubles that were met within the last ten minutes.
func lateTroubles(s worker.Status) []worker.Trouble {
	late := s.Troubles
	for i, t := range late { // newest first
		if s.Now.Sub(t.Last) > 10*time.Minute {
			return late[:i]
		}
	}
	return late
}

func explain(t worker.Trouble) string {
	text := t.Subject + ": " + t.Text
	if t.Hint != "" {
		text += "; " + t.Hint
	}
	return text
}
