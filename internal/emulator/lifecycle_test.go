package emulator

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// forever is a container that ignores SIGTERM.
func forever(_ context.Context, task Task) int {
	<-task.Killed
	return exitKilled
}

// obedient is a container that ends on SIGTERM.
func obedient(ctx context.Context, _ Task) int {
	<-ctx.Done()
	return 143
}

func exits(code int) RunnerFunc { return func(context.Context, Task) int { return code } }

// lasting ends by itself after d.
func lasting(d time.Duration) RunnerFunc {
	return func(ctx context.Context, _ Task) int {
		select {
		case <-time.After(d):
			return 0
		case <-ctx.Done():
			return 143
		}
	}
}

func jobWith(settings string, grace int) string {
	return fmt.Sprintf(`{"name":"one","billing":{"deploymentPlan":"nf-compute-20"},"settings":%s,
		"deployment":{"external":{"imagePath":"a/b:1"},"gracePeriodSeconds":%d,"docker":{"configType":"customCommand","customCommand":"x"}}}`, settings, grace)
}

func TestLifecycle(t *testing.T) {
	t.Parallel()
	const noRetry = `{"backoffLimit":0}`
	tests := []struct {
		name     string
		settings string
		grace    int
		runner   RunnerFunc
		scale    float64
		abort    time.Duration // 0: not
		fault    Fault
		want     string // status, reason, exit code
		took     time.Duration
		tasks    []string
	}{
		{name: "success", settings: noRetry, runner: lasting(5 * time.Second), want: "SUCCESS completed 0", took: 5 * time.Second, tasks: []string{taskFinished}},
		{name: "failure", settings: noRetry, runner: exits(3), want: "FAILED exit code 3 3", tasks: []string{taskFailed}},
		{name: "retries back off", settings: `{"backoffLimit":3}`, runner: exits(1), want: "FAILED exit code 1 1", took: 70 * time.Second, tasks: []string{taskFailed, taskFailed, taskFailed, taskFailed}},
		{name: "time scale", settings: `{"backoffLimit":3}`, runner: exits(1), scale: 10, want: "FAILED exit code 1 1", took: 7 * time.Second, tasks: []string{taskFailed, taskFailed, taskFailed, taskFailed}},
		{name: "deadline", settings: `{"backoffLimit":0,"activeDeadlineSeconds":60}`, runner: obedient, want: "FAILED deadline exceeded 143", took: time.Minute, tasks: []string{taskKilled}},
		{name: "deadline wins over retries", settings: `{"backoffLimit":9,"activeDeadlineSeconds":15}`, runner: exits(1), want: "FAILED deadline exceeded 1", took: 15 * time.Second, tasks: []string{taskFailed, taskFailed}},
		{name: "null deadline is none", settings: `{"backoffLimit":0,"activeDeadlineSeconds":null}`, runner: lasting(100 * time.Hour), want: "SUCCESS completed 0", took: 100 * time.Hour, tasks: []string{taskFinished}},
		{name: "abort", settings: noRetry, grace: 30, runner: obedient, abort: 9 * time.Second, want: "FAILED aborted 143", took: 9 * time.Second, tasks: []string{taskKilled}},
		{name: "abort after grace", settings: noRetry, grace: 30, runner: forever, abort: 9 * time.Second, want: "FAILED aborted 137", took: 39 * time.Second, tasks: []string{taskKilled}},
		{name: "abort in back-off", settings: `{"backoffLimit":9}`, runner: exits(1), abort: 5 * time.Second, want: "FAILED aborted 1", took: 5 * time.Second, tasks: []string{taskFailed}},
		{name: "never pulls", settings: `{"backoffLimit":0,"activeDeadlineSeconds":60}`, runner: exits(0), fault: Fault{Action: ActionNeverPulls}, want: "FAILED deadline exceeded 0", took: time.Minute, tasks: []string{taskKilled}},
		{name: "slow start", settings: noRetry, runner: exits(0), fault: Fault{Action: ActionSlowStart, Delay: time.Minute}, want: "SUCCESS completed 0", took: time.Minute, tasks: []string{taskFinished}},
		{name: "out of memory", settings: noRetry, grace: 30, runner: forever, fault: Fault{Action: ActionOOM, Delay: 4 * time.Second}, want: "FAILED out of memory 137", took: 4 * time.Second, tasks: []string{taskFailed}},
		{name: "out of memory once, then well", settings: `{"backoffLimit":1}`, runner: lasting(time.Minute), fault: Fault{Action: ActionOOM, Delay: 4 * time.Second, Times: 1}, want: "SUCCESS completed 0", took: 74 * time.Second, tasks: []string{taskFailed, taskFinished}},
		{name: "evicted", settings: noRetry, runner: obedient, fault: Fault{Action: ActionEvict, Delay: 4 * time.Second}, want: "FAILED evicted 143", took: 4 * time.Second, tasks: []string{taskKilled}},
		{name: "aborted by hand", settings: `{"backoffLimit":5}`, runner: obedient, fault: Fault{Action: ActionAbort, Delay: 4 * time.Second, Job: "o*"}, want: "FAILED aborted 143", took: 4 * time.Second, tasks: []string{taskKilled}},
		{name: "fault of another image", settings: noRetry, runner: exits(0), fault: Fault{Action: ActionOOM, Image: "c/*"}, want: "SUCCESS completed 0", tasks: []string{taskFinished}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := start(t, Config{Runner: tt.runner, TimeScale: tt.scale})
				if tt.fault.Action != "" {
					if _, err := s.Faults().Add(tt.fault); err != nil {
						t.Fatal(err)
					}
				}
				begin := time.Now()
				id := startRun(t, s, jobWith(tt.settings, tt.grace), "{}")
				if tt.abort > 0 {
					time.Sleep(tt.abort)
					call(t, s, "DELETE", jobsPath+"/one/runs/"+id, "").want(t, 200)
				}
				r := await(t, s, id)
				if got := fmt.Sprintf("%s %s %d", r.Status, r.Reason, r.ExitCode); got != tt.want {
					t.Errorf("job run ended %q, want %q", got, tt.want)
				}
				if took := time.Since(begin); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				var tasks []string
				for _, c := range r.Containers {
					tasks = append(tasks, c.Status)
				}
				if diff := cmp.Diff(tt.tasks, tasks); diff != "" {
					t.Errorf("containers (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{Runner: lasting(10 * time.Second)})
		if _, err := s.Faults().Add(Fault{Action: ActionSlowStart, Delay: 2 * time.Second}); err != nil {
			t.Fatal(err)
		}
		id := startRun(t, s, jobWith(`{"backoffLimit":0}`, 0), "{}")
		for _, want := range []string{"RUNNING 0 false " + taskStarting, "RUNNING 1 false " + taskRunning, "SUCCESS 0 true " + taskFinished} {
			time.Sleep(time.Second)
			synctest.Wait()
			run := call(t, s, "GET", jobsPath+"/one/runs/"+id, "").want(t, 200)
			containers, _ := call(t, s, "GET", jobsPath+"/one/containers?runId="+id, "").want(t, 200).get("containers").([]any)
			c, _ := containers[0].(map[string]any)
			got := fmt.Sprint(run.get("status"), " ", run.get("active"), " ", run.get("concluded"), " ", c["status"])
			if got != want {
				t.Errorf("at %v: %s, want %s", time.Now(), got, want)
			}
			time.Sleep(9 * time.Second)
		}
	})
}

// A closed server leaves nothing running, whatever its containers do.
func TestClose(t *testing.T) {
	t.Parallel()
	for name, runner := range map[string]RunnerFunc{"obedient": obedient, "forever": forever} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := start(t, Config{Runner: runner})
				id := startRun(t, s, jobWith(`{"backoffLimit":0}`, 600), "{}")
				s.Close()
				if r := await(t, s, id); r.Status != StatusFailed || r.Reason != errClosed.Error() {
					t.Errorf("job run %+v, want FAILED, emulator closed", r)
				}
				if _, err := send(t, s.Transport(), DefaultToken, "GET", "http://nf.test/v1/plans", ""); err == nil {
					t.Error("a closed server answered")
				}
			})
		})
	}
}
