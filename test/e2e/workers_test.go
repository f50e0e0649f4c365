//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
	"github.com/northflank/prefect-northflank/internal/testkit/standin"
)

// Several workers share the flow runs of a pool, each of which is executed once.
// When one of them is killed and never returns, each of its flow runs is adopted
// by one of the others.
func TestManyWorkers(t *testing.T) {
	t.Parallel()
	tests := []struct{ workers, short int }{
		{2, 10}, // and 3 long ones
		{3, 48}, // and 12 long ones
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d workers", tt.workers), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			var ids, long []string
			for i := range tt.short {
				id := s.flow(standin.Flow{Seconds: float64(1 + i%3)}, nil)
				if ids = append(ids, id); i%4 == 0 {
					// Longer than a killed worker is believed to be alive.
					id = s.flow(standin.Flow{Seconds: 25}, nil)
					ids, long = append(ids, id), append(long, id)
				}
			}
			var workers []*localstack.Process
			for i := range tt.workers {
				workers = append(workers, s.work(nameOf(i), func(w *standin.Worker) {
					w.Limit = 12 / tt.workers
					w.Heartbeat = 4 * time.Second // a busy server answers late, and three missing ones mean death
				}))
			}
			victim := workers[0]
			s.await("the first worker to have a long flow run under way", func() bool {
				executed := s.executions()
				return slices.ContainsFunc(long, func(id string) bool {
					return len(executed[id]) > 0 && logged(victim, "flow run submitted", id) > 0
				})
			}, s.workerLogs)
			if err := victim.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-victim.Done()
			for _, id := range ids {
				s.awaitFinal(id)
			}
			s.awaitSettled()
			s.checkExecuted(ids...)
			for _, id := range ids {
				s.checkState(id, "COMPLETED")
			}
			s.checkAdoptions(ids, workers)
		})
	}
}

// checkAdoptions checks that every worker had flow runs of its own, and that
// those which the first of them left were adopted, each once.
func (s *scene) checkAdoptions(ids []string, workers []*localstack.Process) {
	s.Helper()
	// On a machine that is too busy a live worker's heartbeats come late, and its
	// flow runs are taken over too; executed twice they must not be all the same.
	late := false
	for i := range workers[1:] {
		late = late || slices.ContainsFunc(workers, func(w *localstack.Process) bool { return wentOffline(w, nameOf(i+1)) })
	}
	if late {
		s.Log("a live worker was taken for dead: how often flow runs were adopted is not checked")
	}
	total := 0
	for _, id := range ids {
		adopted := 0
		for _, other := range workers[1:] {
			adopted += logged(other, "flow run adopted", id)
		}
		if adopted > 1 && !late {
			s.Errorf("flow run %s was adopted %d times\n%s", id, adopted, s.workerLogs())
		}
		total += adopted
	}
	if total == 0 {
		s.Error("none of the killed worker's flow runs was adopted")
	}
	for _, worker := range workers {
		if !strings.Contains(worker.Log(), "flow run submitted") {
			s.Errorf("%s started no flow run", worker.Name)
		}
		for line := range strings.Lines(worker.Log()) {
			if strings.Contains(line, `msg="flow run adopted"`) && !strings.Contains(line, " from_worker="+nameOf(0)+" ") && !late {
				s.Errorf("a live worker's flow run was adopted: %s", line)
			}
		}
	}
}

// nameOf is the name of the i-th of several workers, from 0.
func nameOf(i int) string { return fmt.Sprintf("w%d", i+1) }

// wentOffline reports whether a worker wrote that Prefect lists another as offline.
func wentOffline(worker *localstack.Process, name string) bool {
	for line := range strings.Lines(worker.Log()) {
		if strings.Contains(line, "another worker of the pool went offline") && strings.HasSuffix(strings.TrimSpace(line), "worker="+name) {
			return true
		}
	}
	return false
}

// logged returns how many lines with the message a worker wrote about a flow run.
func logged(worker *localstack.Process, message, id string) int {
	n := 0
	for line := range strings.Lines(worker.Log()) {
		if strings.Contains(line, `msg="`+message+`"`) && strings.Contains(line, id) {
			n++
		}
	}
	return n
}
