package localstack

import (
	"context"
	"strings"
)

// WorkerOptions say what worker to start.
type WorkerOptions struct {
	Name string // of the process in the stack
	Pool string
	Args []string          // more options of the command
	Env  map[string]string // settings, PREFECT_API_URL among them
}

// StartWorker starts a worker of the pool and returns when it says that it has
// started.
func (s *Stack) StartWorker(ctx context.Context, options WorkerOptions) (*Process, error) {
	process, err := s.Start(ctx, ProcessSpec{
		Name: options.Name, Path: s.options.Binary, Env: options.Env,
		Args: append([]string{"worker", "start", "--pool", options.Pool}, options.Args...),
	})
	if err != nil {
		return nil, err
	}
	return process, process.awaitReady(ctx, func() bool { return strings.Contains(process.Log(), " started!") })
}
