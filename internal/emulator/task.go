package emulator

import (
	"cmp"
	"context"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Runner executes containers.
type Runner interface {
	// Run executes one container and returns its exit code; above 128 it is 128
	// plus the signal that ended it. ctx ends where a container gets SIGTERM
	// (abort, deadline, server closed); Run must return soon after task.Killed is
	// closed, where a container gets SIGKILL.
	Run(ctx context.Context, task Task) (exitCode int)
}

// RunnerFunc makes a Go function a container.
type RunnerFunc func(ctx context.Context, task Task) (exitCode int)

// Run calls f.
func (f RunnerFunc) Run(ctx context.Context, task Task) int { return f(ctx, task) }

// Task is one container of a job run.
type Task struct {
	ProjectID, JobID, RunID string
	Container               string // its name, and its containerId in logs
	Attempt                 int    // 0, then 1 for the first retry ...
	Image                   string
	// Env is secret groups < job < job run, with ${NAME} expanded, and the
	// variables that Northflank injects.
	Env map[string]string
	// Entrypoint and Command as configured; "" is the image's own, which only a
	// scripted Runner can know.
	Entrypoint, Command string
	Files               map[string][]byte // by absolute path

	Stdout, Stderr io.Writer // end up in the job run's log, line by line
	Killed         <-chan struct{}

	grace time.Duration
}

// Northflank docs: 30 s between SIGTERM and SIGKILL unless set.
const defaultGrace = 30 * time.Second

// newTask merges a job and the overrides of one job run; s.mu must be held.
func (s *Server) newTask(p *project, j *job, r *run, d deploymentSpec, over runSpec) Task {
	env := s.inherited(p, j)
	maps.Copy(env, j.spec.RuntimeEnvironment)
	maps.Copy(env, over.RuntimeEnvironment)
	env = expandTemplates(env)
	// Northflank docs list more (NF_HOSTS, NF_DEPLOYMENT_SHA ...), but no id of the job run.
	env["NF_OBJECT_ID"], env["NF_PROJECT_ID"] = j.ID, p.ID
	t := Task{
		ProjectID: p.ID, JobID: j.ID, RunID: r.ID, Image: r.Image, Env: env,
		Files: map[string][]byte{}, grace: defaultGrace,
	}
	for _, files := range []map[string]mountedFile{j.spec.RuntimeFiles, over.RuntimeFiles} {
		for name, f := range files {
			t.Files[name] = f.content()
		}
	}
	if command := cmp.Or(d.Docker, d.Buildpack); command != nil {
		if strings.Contains(command.ConfigType, "Entrypoint") {
			t.Entrypoint = command.CustomEntrypoint
		}
		if strings.Contains(strings.ToLower(command.ConfigType), "customcommand") {
			t.Command = command.CustomCommand
		}
	}
	if g := d.GracePeriodSeconds; g != nil {
		t.grace = time.Duration(*g) * time.Second
	}
	return t
}

// mergeDeployment lays a job run's overrides over the job's deployment. An
// override of docker alone keeps the job's image.
func mergeDeployment(d, over deploymentSpec) deploymentSpec {
	switch {
	case over.External != nil:
		d.External, d.Internal, d.VCS = over.External, nil, nil
	case over.Internal != nil:
		d.External, d.Internal, d.VCS = nil, over.Internal, nil
	}
	if over.Docker != nil || over.Buildpack != nil {
		d.Docker, d.Buildpack = over.Docker, over.Buildpack
	}
	return d
}

// imageOf names the image that would be pulled; without one a job run answers
// 409 "No deployment configured".
func (s *Server) imageOf(p *project, d deploymentSpec) (string, bool) {
	switch {
	case d.External != nil:
		return d.External.ImagePath, true
	case d.Internal != nil:
		if s.switchIs(SwitchBuilds, "declared") && findBuild(p.builds[d.Internal.ID], *d.Internal) == nil {
			return "", false
		}
		return d.Internal.ID + ":" + cmp.Or(d.Internal.BuildID, d.Internal.BuildSHA, d.Internal.Branch, "latest"), true
	}
	return "", false
}

// templated is a reference to another variable of the same environment.
var templated = regexp.MustCompile(`\$\{([A-Za-z0-9_./-]+)\}`)

// expandTemplates replaces ${NAME} where NAME is a variable of the environment
// and leaves it otherwise. Northflank docs tell of the first; how it treats
// unknown names and chains is unpublished. One pass, so that a variable that
// names itself ends.
func expandTemplates(env map[string]string) map[string]string {
	expanded := make(map[string]string, len(env))
	for name, value := range env {
		if !strings.Contains(value, "${") {
			expanded[name] = value
			continue
		}
		expanded[name] = templated.ReplaceAllStringFunc(value, func(ref string) string {
			if v, known := env[ref[2:len(ref)-1]]; known {
				return v
			}
			return ref
		})
	}
	return expanded
}

// environ is a map as os/exec wants it, sorted.
func environ(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
