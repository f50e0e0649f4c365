package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

func TestTable(t *testing.T) {
	t.Parallel()
	put := localstack.RecordedBody{Route: routePutJob, JobID: "j"}
	start := func(jobRun string) localstack.RecordedBody {
		return localstack.RecordedBody{Route: routeStartRun, JobID: "j", JobRunID: jobRun}
	}
	tests := []struct {
		name   string
		pid    string
		bodies []localstack.RecordedBody
		total  int
		want   []string // the cells after the name of the flow run, and the shared requests
	}{
		{"the first of a job", "j:r1", []localstack.RecordedBody{put, start("r1"), start("r2")}, 5, []string{"Completed", "j", "r1", "2 (put job, start run)", "3"}},
		{"the second", "j:r2", []localstack.RecordedBody{put, start("r1"), start("r2")}, 5, []string{"Completed", "j", "r2", "1 (start run)", "4"}},
		{"after a change of the job", "j:r2", []localstack.RecordedBody{start("r1"), put, start("r2")}, 3, []string{"Completed", "j", "r2", "2 (put job, start run)", "1"}},
		{"never started", "", []localstack.RecordedBody{put, start("r1")}, 2, []string{"Completed", "-", "-", "0 ()", "2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			run := flowRun{Name: "calm-otter", InfrastructurePID: tt.pid, State: flowRunState{Name: "Completed"}}
			lines := strings.Split(table([]flowRun{run}, tt.bodies, tt.total), "\n")
			got := strings.Join(strings.Fields(strings.TrimPrefix(lines[1], "calm-otter")), " ")
			shared := strings.Fields(strings.TrimPrefix(lines[2], "shared by all"))[0]
			if diff := cmp.Diff(strings.Join(tt.want, " "), got+" "+shared); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
}
