package emulator

import (
	"cmp"
	"slices"
	"time"
)

// JobInfo and JobRunInfo show more than the API does, for tests and the web page.
type JobInfo struct {
	Project        string         `json:"project"`
	ID             string         `json:"id"`
	Name           string         `json:"name"`
	Description    string         `json:"description"`
	DeploymentPlan string         `json:"deploymentPlan"`
	Body           map[string]any `json:"-"` // as sent; holds secrets if the client put some there; read only
	JobRuns        int            `json:"jobRuns"`
	Active         int            `json:"active"`
	CreatedAt      time.Time      `json:"createdAt"`
	UpdatedAt      time.Time      `json:"updatedAt"`
}

// JobRunInfo is a job run with what the API keeps to itself.
type JobRunInfo struct {
	Project     string          `json:"project"`
	Job         string          `json:"job"`
	ID          string          `json:"id"`
	Name        string          `json:"name"`
	Status      string          `json:"status"`
	Concluded   bool            `json:"concluded"`
	Active      bool            `json:"active"` // a container runs
	Plan        string          `json:"plan"`
	Image       string          `json:"image"`
	ExitCode    int             `json:"exitCode"` // of the last container, once concluded
	Reason      string          `json:"reason"`   // completed, exit code 3, aborted, deadline exceeded, out of memory ...
	StartedAt   time.Time       `json:"startedAt"`
	ConcludedAt time.Time       `json:"concludedAt"`
	Containers  []ContainerInfo `json:"containers"`
}

// ContainerInfo is a container of a job run.
type ContainerInfo struct {
	Name   string `json:"name"`
	Status string `json:"status"`
}

// Jobs returns all jobs, oldest first.
func (s *Server) Jobs() []JobInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []JobInfo
	for _, p := range sortedByID(s.projects, func(p *project) string { return p.ID }) {
		for _, j := range sortedJobs(p) {
			info := JobInfo{
				Project: p.ID, ID: j.ID, Name: j.Name, Description: j.spec.Description,
				DeploymentPlan: j.spec.Billing.DeploymentPlan, Body: j.Body,
				JobRuns: len(j.runs), CreatedAt: j.CreatedAt, UpdatedAt: j.UpdatedAt,
			}
			for _, r := range j.runs {
				if !r.Concluded {
					info.Active++
				}
			}
			list = append(list, info)
		}
	}
	return list
}

// JobRuns returns the job runs of all jobs that exist, oldest first; those that
// an abort made disappear from the API are among them.
func (s *Server) JobRuns() []JobRunInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*run
	for _, p := range s.projects {
		for _, j := range p.jobs {
			all = append(all, j.runs...)
		}
	}
	slices.SortFunc(all, func(a, b *run) int { return cmp.Compare(a.Order, b.Order) })
	list := make([]JobRunInfo, 0, len(all))
	for _, r := range all {
		info := JobRunInfo{
			Project: r.Project, Job: r.Job, ID: r.ID, Name: r.Name, Status: r.Status, Concluded: r.Concluded,
			Active: r.Active > 0, Plan: r.Plan, Image: r.Image, ExitCode: r.ExitCode, Reason: r.Reason,
			StartedAt: r.StartedAt, ConcludedAt: r.ConcludedAt,
		}
		for _, c := range r.Containers {
			info.Containers = append(info.Containers, ContainerInfo{Name: c.Name, Status: c.Status})
		}
		list = append(list, info)
	}
	return list
}

// LogLine is a line of a job run's log, without the prefix of the API.
type LogLine struct {
	Time      time.Time
	Container string
	Stream    string
	Text      string
}

// Log returns the log of a job run, oldest line first.
func (s *Server) Log(jobRunID string) []LogLine {
	r := s.anyRun(jobRunID)
	if r == nil {
		return nil
	}
	lines, _ := r.linesFrom(0)
	return lines
}

// linesFrom returns the lines from number n on, and the number after them.
func (r *run) linesFrom(n int) ([]LogLine, int) {
	lines, first := r.log.since(n)
	list := make([]LogLine, 0, len(lines))
	for _, l := range lines {
		list = append(list, LogLine{Time: l.TS, Container: l.Container, Stream: l.Stream, Text: l.Text})
	}
	return list, first + len(lines)
}

// anyRun finds a job run by id in all projects.
func (s *Server) anyRun(id string) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.projects {
		for _, j := range p.jobs {
			for _, r := range j.runs {
				if r.ID == id {
					return r
				}
			}
		}
	}
	return nil
}
