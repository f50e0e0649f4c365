package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

const (
	lookEvery    = 5 * time.Second // between two looks at a job run
	visibleWait  = 30 * time.Second
	startWait    = 2 * time.Minute // for a container to start, its image to be pulled
	abortWait    = 90 * time.Second
	streamWait   = 20 * time.Second // for a stream to end after its job run
	cleanUpWait  = 3 * time.Minute
	maxBodyShown = 400 // bytes of an answer in the evidence
)

// lab is where the experiments are made, and what they left for one another.
type lab struct {
	Options
	answer   string
	evidence []string

	jobs    []string // ids of jobs that may exist
	main    string   // the job that most experiments are about; "" before it is made
	quick   northflank.StartedRun
	long    []northflank.StartedRun // that sleep, in the order of their start
	quickIs northflank.JobRun       // the quick one at its end
	stream  *stream
}

var (
	errNoJob = errors.New("the job for it could not be made")
	errNoRun = errors.New("the job run for it could not be started")
)

func newLab(o Options) *lab { return &lab{Options: o} }

// name is that of a job; it is its id, too.
func (l *lab) name(what string) string {
	if what == "" {
		return "pn-probe-" + l.Suffix
	}
	return "pn-probe-" + l.Suffix + "-" + what
}

// jobBody is a job that sleeps for 5 minutes unless its run says otherwise.
func (l *lab) jobBody(what string, deployment map[string]any) map[string]any {
	if deployment == nil {
		deployment = map[string]any{"external": map[string]any{"imagePath": image}, "docker": command("sleep 300")}
	}
	return map[string]any{
		"name": l.name(what), "description": "made by prefect-northflank doctor --probe; may be deleted",
		"billing": map[string]any{"deploymentPlan": deploymentPlan}, "deployment": deployment,
		"settings": map[string]any{"backoffLimit": 0, "runOnSourceChange": "never", "activeDeadlineSeconds": 600},
	}
}

func command(line string) map[string]any {
	return map[string]any{"configType": "customCommand", "customCommand": line}
}

// make sends the body of a job and returns the job's id. The id that it will have
// is noted first, so that it is deleted even if the answer is lost.
func (l *lab) make(ctx context.Context, method, what string, body map[string]any) (id string, a northflank.TrialAnswer, err error) {
	id = l.name(what)
	l.own(id)
	a, err = l.try(ctx, method, body, nil, "jobs")
	var made struct {
		Data struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err == nil && a.Status < 300 && json.Unmarshal([]byte(a.Body), &made) == nil && made.Data.ID != "" {
		id = made.Data.ID
		l.own(id)
	}
	return id, a, err
}

// own notes a job that is to be deleted.
func (l *lab) own(id string) {
	if !slices.Contains(l.jobs, id) {
		l.jobs = append(l.jobs, id)
	}
}

// try sends a request and notes its answer as evidence.
func (l *lab) try(ctx context.Context, method string, body any, query url.Values, segments ...string) (northflank.TrialAnswer, error) {
	a, err := l.Client.Try(ctx, northflank.Trial{Method: method, Project: l.Project, Segments: segments, Query: query, Body: body})
	if err != nil {
		l.note("%s: %v", method, err)
		return a, err
	}
	var path strings.Builder
	for _, s := range segments {
		path.WriteString("/" + s)
	}
	if a.Status < 300 {
		l.note("%s %s: %d", method, path.String(), a.Status)
	} else {
		l.note("%s %s: %d %s", method, path.String(), a.Status, clip(a.Body))
	}
	return a, nil
}

func clip(text string) string {
	if len(text) > maxBodyShown {
		return text[:maxBodyShown] + "..."
	}
	return text
}

func (l *lab) note(format string, args ...any) {
	l.evidence = append(l.evidence, fmt.Sprintf(format, args...))
}

func (l *lab) learned(format string, args ...any) { l.answer = fmt.Sprintf(format, args...) }

// refused is why an experiment came to nothing.
func refused(a northflank.TrialAnswer) error {
	return fmt.Errorf("the request for it was answered with %d", a.Status)
}

// start starts a run of the main job.
func (l *lab) start(ctx context.Context, line string) (northflank.StartedRun, error) {
	if l.main == "" {
		return northflank.StartedRun{}, errNoJob
	}
	run, err := l.Client.StartRun(ctx, l.Project, l.main, northflank.RunRequest{
		RuntimeEnvironment: map[string]string{overrideName: overrideValue},
		Deployment:         &northflank.Deployment{Docker: &northflank.Docker{ConfigType: "customCommand", CustomCommand: line}},
	})
	if err != nil {
		l.note("%v", err)
	}
	return run, err
}

// sight is what a look at a job run told.
type sight struct {
	run  northflank.JobRun
	gone bool
}

// look reads a job run; that it is gone is an answer.
func (l *lab) look(ctx context.Context, id string) (sight, error) {
	run, err := l.Client.GetRun(ctx, l.Project, l.main, id)
	if errors.Is(err, northflank.ErrNotFound) {
		return sight{gone: true}, nil
	}
	return sight{run: run}, err
}

// watch looks at a job run until done says so, for a time at most.
func (l *lab) watch(ctx context.Context, id string, atMost time.Duration, done func(sight) bool) (s sight, met bool, err error) {
	for end := time.Now().Add(atMost); ; {
		if s, err = l.look(ctx, id); err != nil || done(s) {
			return s, err == nil, err
		}
		if time.Now().After(end) {
			return s, false, nil
		}
		if !sleep(ctx, lookEvery) {
			return s, false, context.Cause(ctx)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func ended(s sight) bool { return s.gone || s.run.Terminal() }

func running(s sight) bool { return ended(s) || s.run.Active > 0 }

// stream is an open log stream.
type stream struct {
	cancel context.CancelFunc
	ended  chan struct{} // closed when it is over
	err    error         // why; to be read after ended
}

func (l *lab) openStream(ctx context.Context, runID string) {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{cancel: cancel, ended: make(chan struct{})}
	l.stream = s
	go func() {
		defer close(s.ended)
		s.err = l.Client.TailLogs(ctx, l.Project, l.main, northflank.TailQuery{RunID: runID}, func([]northflank.LogLine) {})
	}()
}

// stopStream ends the stream, if one is open, and waits for that.
func (l *lab) stopStream() {
	if l.stream != nil {
		l.stream.cancel()
		<-l.stream.ended
	}
}

// cleanUp deletes the jobs and returns those that are still there.
func (l *lab) cleanUp(ctx context.Context) (left []string) {
	ctx, cancel := context.WithTimeout(northflank.WithClass(ctx, northflank.ClassAbort), cleanUpWait)
	defer cancel()
	for _, id := range l.jobs {
		if !l.remove(ctx, id) {
			left = append(left, id)
		}
	}
	return left
}

// remove deletes a job of ours, and aborts its runs where Northflank wants that
// first. It tries until ctx ends.
func (l *lab) remove(ctx context.Context, id string) bool {
	for {
		err := l.Client.DeleteJob(ctx, l.Project, id)
		if err == nil || errors.Is(err, northflank.ErrNotFound) {
			return true
		}
		if errors.Is(err, northflank.ErrUnauthorized) || errors.Is(err, northflank.ErrForbidden) {
			return false
		}
		for run, err := range l.Client.ListRuns(ctx, l.Project, id) {
			if err != nil {
				break
			}
			if !run.Terminal() {
				_ = l.Client.AbortRun(ctx, l.Project, id, run.ID) // the next deletion tells
			}
		}
		if !sleep(ctx, lookEvery) {
			return false
		}
	}
}

// Methods, as the experiments use them most.
const (
	put  = http.MethodPut
	post = http.MethodPost
	get  = http.MethodGet
)
