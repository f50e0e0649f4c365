package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

// What a job run's own environment holds, to be looked for.
const (
	overrideName  = "PROBE_OF_THIS_RUN"
	overrideValue = "value-of-this-run-alone"
)

func nullDeadline(ctx context.Context, l *lab) error {
	body := l.jobBody("main", nil)
	body["settings"].(map[string]any)["activeDeadlineSeconds"] = nil
	id, a, err := l.make(ctx, put, "main", body)
	if err != nil {
		return err
	}
	if a.Status < 300 {
		l.main = id
		l.learned("accepted")
		return nil
	}
	l.learned("refused with %d", a.Status)
	// The others need the job all the same.
	if id, a, err = l.make(ctx, put, "main", l.jobBody("main", nil)); err == nil && a.Status < 300 {
		l.main = id
	}
	return err
}

func duplicateName(ctx context.Context, l *lab) error {
	if l.main == "" {
		return errNoJob
	}
	_, a, err := l.make(ctx, post, "main", l.jobBody("main", nil))
	if err == nil {
		l.learned("%d", a.Status)
	}
	return err
}

func unknownTag(ctx context.Context, l *lab) error {
	tag := "no-such-tag-" + l.Suffix
	body := l.jobBody("tag", nil)
	body["tags"] = []string{tag}
	id, a, err := l.make(ctx, put, "tag", body)
	switch {
	case err != nil:
		return err
	case a.Status >= 300:
		l.learned("refused with %d", a.Status)
		return nil
	}
	read, err := l.try(ctx, get, nil, nil, "jobs", id)
	switch {
	case err != nil:
		return err
	case read.Status >= 300:
		return refused(read)
	case strings.Contains(read.Body, tag):
		l.learned("accepted and kept")
	default:
		l.learned("accepted and left out")
	}
	return nil
}

func patch(ctx context.Context, l *lab) error {
	if l.main == "" {
		return errNoJob
	}
	var a northflank.TrialAnswer
	for _, name := range []string{"PROBE_FIRST", "PROBE_SECOND"} {
		var err error
		body := map[string]any{"runtimeEnvironment": map[string]string{name: "1"}}
		if a, err = l.try(ctx, http.MethodPatch, body, nil, "jobs", l.main); err != nil {
			return err
		}
		if a.Status >= 300 {
			return refused(a)
		}
	}
	first, second := strings.Contains(a.Body, "PROBE_FIRST"), strings.Contains(a.Body, "PROBE_SECOND")
	switch {
	case first && second:
		l.learned("merged")
	case second:
		l.learned("replaced")
	default:
		return errors.New("the answer does not show the environment")
	}
	return nil
}

// internalOverride makes a job of a build service that does not exist, if
// Northflank lets it, and starts a run with an image.
func internalOverride(ctx context.Context, l *lab) error {
	id, a, err := l.make(ctx, put, "internal", l.jobBody("internal", map[string]any{
		"internal": map[string]any{"id": "no-such-service-" + l.Suffix, "branch": "main"},
	}))
	if err != nil {
		return err
	}
	if a.Status >= 300 {
		return fmt.Errorf("a job of a build service that does not exist is refused with %d", a.Status)
	}
	run := map[string]any{"deployment": map[string]any{"external": map[string]any{"imagePath": image}, "docker": command("echo probe")}}
	if a, err = l.try(ctx, post, run, nil, "jobs", id, "runs"); err != nil {
		return err
	}
	if a.Status < 300 {
		l.learned("accepted; what runs is to be seen in Northflank")
	} else {
		l.learned("refused with %d", a.Status)
	}
	return nil
}

// visibility starts a job run that prints a line, and lists until it is there.
func visibility(ctx context.Context, l *lab) error {
	var err error
	if l.quick, err = l.start(ctx, "echo probe"); err != nil {
		return err
	}
	began := time.Now()
	for {
		runs, err := l.list(ctx)
		if err != nil {
			return err
		}
		waited := time.Since(began)
		if slices.ContainsFunc(runs, func(r northflank.JobRun) bool { return r.ID == l.quick.ID }) {
			l.learned("within %v", max(time.Second, waited.Round(time.Second)))
			return nil
		}
		if waited > visibleWait {
			l.learned("not within %v", visibleWait)
			return nil
		}
		if !sleep(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
}

// list reads the first page of the main job's runs.
func (l *lab) list(ctx context.Context) ([]northflank.JobRun, error) {
	var runs []northflank.JobRun
	for run, err := range l.Client.ListRuns(ctx, l.Project, l.main) {
		if err != nil {
			return nil, err
		}
		if runs = append(runs, run); len(runs) == northflank.PageSize {
			break
		}
	}
	return runs, nil
}

func succeeded(ctx context.Context, l *lab) error {
	if l.quick.ID == "" {
		return errNoRun
	}
	s, met, err := l.watch(ctx, l.quick.ID, startWait, ended)
	switch {
	case err != nil:
		return err
	case !met || s.gone:
		return fmt.Errorf("the job run did not end within %v", startWait)
	}
	l.quickIs = s.run
	l.note("status %s, concluded %t, succeeded %d, failed %d", s.run.Status, s.run.Concluded, s.run.Succeeded, s.run.Failed)
	if !s.run.Success() {
		return errors.New("the job run did not succeed")
	}
	l.learned("%t", s.run.Succeeded > 0)
	return nil
}

func containerName(ctx context.Context, l *lab) error {
	if l.quick.ID == "" {
		return errNoRun
	}
	containers, err := l.Client.ListContainers(ctx, l.Project, l.main, l.quick.ID)
	switch {
	case err != nil:
		return err
	case len(containers) == 0:
		return errors.New("no container is listed")
	}
	l.note("job run %s, container %s", l.quick.Name, containers[0].Name)
	l.learned("%t", strings.HasPrefix(containers[0].Name, l.quick.Name))
	return nil
}

// lineLimit asks for more and more lines of a log that has one.
func lineLimit(ctx context.Context, l *lab) error {
	if l.main == "" {
		return errNoJob
	}
	accepted := 0
	for _, n := range []int{100, 1000, 5000, 10_000, 100_000} {
		query := url.Values{"queryType": {"range"}, "lineLimit": {strconv.Itoa(n)}}
		a, err := l.try(ctx, get, nil, query, "jobs", l.main, "logs")
		switch {
		case err != nil:
			return err
		case a.Status >= 300 && accepted == 0:
			return refused(a)
		case a.Status >= 300:
			l.learned("at least %d, not %d", accepted, n)
			return nil
		}
		accepted = n
	}
	l.learned("at least %d", accepted)
	return nil
}

func parallelRuns(ctx context.Context, l *lab) error {
	for range 3 {
		run, err := l.start(ctx, "sleep 300")
		if err != nil {
			break
		}
		l.long = append(l.long, run)
	}
	if len(l.long) == 0 {
		return errNoRun
	}
	active := 0
	for _, run := range l.long { // they sleep for longer than this takes
		s, _, err := l.watch(ctx, run.ID, startWait, running)
		if err != nil {
			return err
		}
		if !ended(s) && s.run.Active > 0 {
			active++
		}
	}
	l.learned("%d of %d were active at once", active, len(l.long))
	return nil
}

// listOrder compares the first job run with one that was started later.
func listOrder(ctx context.Context, l *lab) error {
	if l.quick.ID == "" || len(l.long) == 0 {
		return errNoRun
	}
	newest := l.long[len(l.long)-1].ID
	for end := time.Now().Add(visibleWait); ; {
		runs, err := l.list(ctx)
		if err != nil {
			return err
		}
		at := func(id string) int {
			return slices.IndexFunc(runs, func(r northflank.JobRun) bool { return r.ID == id })
		}
		switch first, last := at(l.quick.ID), at(newest); {
		case first >= 0 && last >= 0 && first > last:
			l.learned("newest first")
			return nil
		case first >= 0 && last >= 0:
			l.learned("oldest first")
			return nil
		case time.Now().After(end):
			return errors.New("the list lacks a job run")
		}
		if !sleep(ctx, lookEvery) {
			return context.Cause(ctx)
		}
	}
}

func overrideEnvironment(ctx context.Context, l *lab) error {
	if len(l.long) == 0 {
		return errNoRun
	}
	run, err := l.try(ctx, get, nil, nil, "jobs", l.main, "runs", l.long[0].ID)
	if err != nil {
		return err
	}
	environment, err := l.try(ctx, get, nil, url.Values{"show": {"all"}}, "jobs", l.main, "runtime-environment")
	switch {
	case err != nil:
		return err
	case strings.Contains(run.Body, overrideValue) || strings.Contains(environment.Body, overrideValue):
		l.learned("shown")
	case run.Status >= 300:
		return refused(run)
	case environment.Status >= 300: // needs a right of its own
		l.learned("not shown with the job run; the job's environment was not readable (%d)", environment.Status)
	default:
		l.learned("not shown")
	}
	return nil
}

// streamCost opens a log stream between two reads whose answers tell how many
// requests are left.
func streamCost(ctx context.Context, l *lab) error {
	if len(l.long) == 0 {
		return errNoRun
	}
	id := l.long[0].ID
	if _, err := l.look(ctx, id); err != nil {
		return err
	}
	before := l.Client.Budget()
	l.openStream(ctx, id)
	if !sleep(ctx, lookEvery) {
		return context.Cause(ctx)
	}
	if _, err := l.look(ctx, id); err != nil {
		return err
	}
	after := l.Client.Budget()
	if over(l.stream) {
		return fmt.Errorf("the stream did not stay open: %w", l.stream.err)
	}
	if before.Limit == 0 || after.Remaining > before.Remaining {
		return errors.New("how many requests are left was not told, or a new hour began")
	}
	l.note("%d requests left before, %d after it and one more request; other programs of the account count too", before.Remaining, after.Remaining)
	l.learned("%d", before.Remaining-after.Remaining-1)
	return nil
}

func over(s *stream) bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

func abortedStatus(ctx context.Context, l *lab) error {
	if len(l.long) == 0 {
		return errNoRun
	}
	id := l.long[0].ID
	if err := l.Client.AbortRun(ctx, l.Project, l.main, id); err != nil {
		return err
	}
	began := time.Now()
	s, met, err := l.watch(ctx, id, abortWait, ended)
	switch {
	case err != nil:
		return err
	case s.gone:
		l.learned("gone (404)")
	case !met:
		l.learned("not concluded within %v, status %s", abortWait, s.run.Status)
	default:
		l.learned("status %s, concluded %t", s.run.Status, s.run.Concluded)
	}
	l.note("after %v: succeeded %d, failed %d", time.Since(began).Round(time.Second), s.run.Succeeded, s.run.Failed)
	return nil
}

func streamEnd(ctx context.Context, l *lab) error {
	if l.stream == nil {
		return errors.New("no stream was open")
	}
	timer := time.NewTimer(streamWait)
	defer timer.Stop()
	select {
	case <-l.stream.ended:
		if l.stream.err != nil {
			l.note("%v", l.stream.err)
		}
		l.learned("it ends")
	case <-timer.C:
		l.learned("it was open %v later", streamWait)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

func abortFinished(ctx context.Context, l *lab) error {
	if l.quickIs.ID == "" {
		return errNoRun
	}
	a, err := l.try(ctx, http.MethodDelete, nil, nil, "jobs", l.main, "runs", l.quickIs.ID)
	if err == nil {
		l.learned("%d", a.Status)
	}
	return err
}

// deleteActive deletes the job while its last job run sleeps.
func deleteActive(ctx context.Context, l *lab) error {
	if len(l.long) < 2 {
		return errNoRun
	}
	last := l.long[len(l.long)-1].ID
	if s, err := l.look(ctx, last); err != nil || ended(s) {
		return errors.Join(errors.New("no job run is active"), err)
	}
	a, err := l.try(ctx, http.MethodDelete, nil, nil, "jobs", l.main)
	if err != nil {
		return err
	}
	if a.Status >= 300 {
		l.learned("refused with %d", a.Status)
		return nil
	}
	s, err := l.look(ctx, last)
	switch {
	case err != nil:
		return err
	case s.gone:
		l.learned("deleted with its job runs")
	default:
		l.learned("deleted; its job run can be read, status %s", s.run.Status)
	}
	return nil
}
