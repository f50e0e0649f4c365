//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// With stream_output every line of a container is in the log of its own flow run,
// once, though two flow runs share a job and the connection breaks meanwhile.
func TestStreamOutput(t *testing.T) {
	t.Parallel()
	const lines = 40 // eight seconds
	s := newScene(t)
	s.fault(emulator.Fault{Action: emulator.ActionTailDrop, Delay: 2 * time.Second, Times: 2})
	s.work("w")
	streamed := map[string]any{"stream_output": true}
	first, second := s.flow(standin.Flow{Lines: lines}, streamed), s.flow(standin.Flow{Lines: lines}, streamed)
	silent := s.flow(standin.Flow{Lines: lines}, nil)
	broken := s.flow(standin.Flow{}, map[string]any{"stream_output": true, command: "sh -c 'echo no such library; exit 3'"})
	for _, id := range []string{first, second, silent, broken} {
		s.awaitFinal(id)
	}
	s.awaitLog(broken, "no such library")
	for _, id := range []string{first, second} {
		s.awaitLog(id, standin.Line(id, lines))
		s.awaitLog(id, "COMPLETED ACCEPT") // what the stand-in writes last
	}
	s.awaitSettled()
	s.awaitFaults()
	for _, id := range []string{first, second} {
		log := s.logs(id)
		for n := 1; n <= lines; n++ {
			if got := countExactly(log, standin.Line(id, n)); got != 1 {
				t.Errorf("line %d is %d times in the flow run's log, want once", n, got)
			}
		}
		if got := countLines(log, "line "); got != lines {
			t.Errorf("the log of flow run %s has %d lines of containers, want %d:\n%s", id, got, lines, strings.Join(log, "\n"))
		}
	}
	if got := countLines(s.logs(silent), "line "); got != 0 {
		t.Errorf("the log of the flow run without stream_output has %d lines of its container, want none", got)
	}
	if got := countExactly(s.logs(broken), "no such library"); got != 1 {
		t.Errorf("the last words of a container that failed are %d times in the log, want once", got)
	}
	if t.Failed() {
		t.Log(s.workerLogs())
	}
}

// A worker that takes over carries on with the output: no line is lost, and none
// comes twice.
func TestStreamOutputAfterARestart(t *testing.T) {
	t.Parallel()
	const lines = 80 // sixteen seconds
	s := newScene(t)
	worker := s.work("w")
	id := s.flow(standin.Flow{Lines: lines}, map[string]any{"stream_output": true})
	s.awaitLog(id, standin.Line(id, 10))
	worker.Kill()
	s.work("w")
	s.awaitFinal(id)
	s.awaitLog(id, standin.Line(id, lines))
	s.awaitSettled()
	log := s.logs(id)
	for n := 1; n <= lines; n++ {
		if got := countExactly(log, standin.Line(id, n)); got != 1 {
			t.Errorf("line %d is %d times in the flow run's log, want once", n, got)
		}
	}
	if t.Failed() {
		t.Log(s.workerLogs())
	}
}

func countExactly(lines []string, text string) int {
	n := 0
	for _, line := range lines {
		if line == text {
			n++
		}
	}
	return n
}

// A container that outlives its flow run is reported in the flow run's log, and
// aborted after the time that the user sets.
func TestLingeringContainer(t *testing.T) {
	t.Parallel()
	const left = 5 // seconds
	s := newScene(t)
	s.work("w")
	lingering := standin.Flow{Lingers: 600}
	ended := s.flow(lingering, map[string]any{"linger_timeout_seconds": left})
	forever := s.flow(standin.Flow{Lingers: 20}, map[string]any{"linger_timeout_seconds": nil})
	quick := s.flow(standin.Flow{Lingers: 1}, map[string]any{"linger_timeout_seconds": left})
	for _, id := range []string{ended, forever, quick} {
		s.awaitFinal(id)
	}
	s.awaitLog(ended, "its container still runs in Northflank")
	s.awaitLog(ended, "it will be aborted at")
	s.awaitLog(ended, "aborted: the flow run ended but its container lives on")
	s.awaitLog(forever, "it is left alone")
	runs := s.awaitSettled()
	for id, want := range map[string]string{ended: aborted, forever: "completed", quick: "completed"} {
		s.checkState(id, "COMPLETED")
		for _, run := range s.started(id) {
			if got := runs[run].Reason; got != want {
				t.Errorf("the job run of flow run %s ended by %q, want %q", id, got, want)
			}
		}
	}
	for id, want := range map[string]int{ended: 1, forever: 1, quick: 0} {
		if got := countLines(s.logs(id), "its container still runs"); got != want {
			t.Errorf("flow run %s was reported %d times, want %d", id, got, want)
		}
	}
	if got := s.count(routeAbortRun); got != 1 {
		t.Errorf("%d aborts were sent, want 1", got)
	}
	run := runs[s.started(ended)[0]]
	if took := run.ConcludedAt.Sub(run.StartedAt); took < left*time.Second {
		t.Errorf("the lingering container was ended after %s, want %d s at least", took, left)
	}
}
