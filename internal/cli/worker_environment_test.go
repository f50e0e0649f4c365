package cli_test

import (
	"strings"
	"testing"
)

// What Prefect's own command has no option for is given in the environment.
func TestWorkerOptionsInTheEnvironment(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"PREFECT_NORTHFLANK_SWEEP_MIN_SECONDS", "often", "PREFECT_NORTHFLANK_SWEEP_MIN_SECONDS"},
		{"PREFECT_NORTHFLANK_SWEEP_MIN_SECONDS", "-1", "--sweep-min-seconds"},
		{"PREFECT_NORTHFLANK_SWEEP_MAX_SECONDS", "-1", "--sweep-max-seconds"},
		{"PREFECT_NORTHFLANK_WEBHOOK_LISTEN", "127.0.0.1:8080", "--webhook-url"},
		{"PREFECT_NORTHFLANK_WEBHOOK_URL", "https://worker.example/hook", "--webhook-listen"},
		{"PREFECT_NORTHFLANK_STATUS_LISTEN", "8081", `--status-listen "8081"`},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			t.Setenv(tt.name, tt.value)
			status, _, stderr := run(t, "", "worker", "start", "--pool", "my-pool")
			if status == 0 || !strings.Contains(stderr, tt.want) {
				t.Errorf("worker start: exit status %d, %q; want a failure, and %q named", status, stderr, tt.want)
			}
		})
	}
}
