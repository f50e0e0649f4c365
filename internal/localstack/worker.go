package localstack

import (
	"context"
	"maps"
	"strings"
)

// WorkerOptions say what worker to start.
type WorkerOptions struct {
	Name string // of the process in the stack
	Pool string
	Args []string          // more options of the command
	Env  map[string]string // settings
}

// StartWorker starts a worker of the pool and returns when it says that it has
// started.
func (s *Stack) StartWorker(ctx context.Context, server *Prefect, options WorkerOptions) (*Process, error) {
	env := map[string]string{"PREFECT_API_URL": server.APIURL}
	maps.Copy(env, options.Env)
	process, err := s.Start(ctx, ProcessSpec{
		Name: options.Name, Path: s.options.Binary, Env: env,
		Args: append([]string{"worker", "start", "--pool", options.Pool}, options.Args...),
	})
	if err != nil {
		return nil, err
	}
	return process, process.awaitReady(ctx, func() bool { return strings.Contains(process.Log(), " started!") })
}
