//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// listedRun is what `prefect-northflank runs` tells of a flow run.
type listedRun struct {
	ID, Name   string
	State      struct{ Type, Message string }
	Northflank *struct {
		Job    string
		JobRun string `json:"job_run"`
		Status string
	}
}

// listed is the flow run in the list of the pool's.
func (s *scene) listed(id string) listedRun {
	s.Helper()
	var list []listedRun
	if err := json.Unmarshal([]byte(s.program("", "runs", "--pool", s.pool, "--output", "json")), &list); err != nil {
		s.Fatal(err)
	}
	for _, r := range list {
		if r.ID == id {
			return r
		}
	}
	s.Fatalf("flow run %s is not in the list %+v", id, list)
	return listedRun{}
}

// An operator lists the pool's flow runs, reads the output of one to its end, and
// cancels others, with a worker and without.
func TestRuns(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.settings["NORTHFLANK_API_TOKEN"], s.settings["NORTHFLANK_API_BASE_URL"] = s.northflank.Token, s.northflank.URL
	worker := s.work("w")
	const lines = 20 // four seconds
	talks, hangs, waits := s.flow(standin.Flow{Lines: lines}, nil), s.flow(hung, map[string]any{"settings_grace_period_seconds": 1}), s.flow(endless, nil)
	for _, id := range []string{talks, hangs, waits} {
		s.awaitBegun(id)
	}
	if r := s.listed(hangs); r.State.Type != "RUNNING" || r.Northflank == nil || r.Northflank.Status != "RUNNING" {
		t.Errorf("a flow run that runs is listed as %+v", r)
	}
	name := s.listed(talks).Name
	output := s.program("", "runs", "logs", name, "--pool", s.pool, "--follow")
	for n := 1; n <= lines; n++ {
		if got := strings.Count(output, standin.Line(talks, n)+"\n"); got != 1 {
			t.Errorf("line %d is %d times in the output, want once:\n%s", n, got, output)
		}
	}
	if got := s.program("", "runs", "logs", talks, "--tail", "1"); strings.Count(got, "\n") != 1 || !strings.HasSuffix(output, got) {
		t.Errorf("the last line is %q of\n%s", got, output)
	}

	// The worker ends a container that does not end itself.
	if said := s.program("", "runs", "cancel", hangs); !strings.Contains(said, "then the worker aborts job run") || strings.Contains(said, "warning") {
		t.Errorf("cancelling with a worker says %q", said)
	}
	s.awaitFinal(hangs)
	s.checkState(hangs, "CANCELLED", "its job run has ended")

	// Without one, the program does; the next worker sees it.
	s.stop(worker)
	if said := s.program("", "runs", "cancel", waits, "--abort"); !strings.Contains(said, "was aborted") {
		t.Errorf("cancelling without a worker says %q", said)
	}
	s.work("w")
	s.awaitFinal(waits)
	s.checkState(waits, "CANCELLED")
	s.awaitSettled()
	s.checkExecuted(talks, hangs, waits)
}
