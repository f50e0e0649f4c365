package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// rendered is the answer of the render command. Job and Run are the bodies as
// they are sent, to the byte but for masked secrets.
type rendered struct {
	API      string          `json:"api"`
	TeamID   string          `json:"team_id,omitempty"`
	Project  string          `json:"project_id"`
	Job      json.RawMessage `json:"job"`
	Run      json.RawMessage `json:"run"`
	Origins  origins         `json:"origins"`
	Warnings []string        `json:"warnings"`

	what    string
	jobName string
}

// origins explain the values of both bodies, in their order, and what else
// decides about the flow run.
type origins struct {
	Job    []origin `json:"job"`
	Run    []origin `json:"run"`
	Worker []origin `json:"worker"`
}

func newRendered(t target, p *worker.Prepared, scrub *secret.Scrubber) (*rendered, error) {
	job, err := json.Marshal(p.Spec.Job)
	if err != nil {
		return nil, err
	}
	run, err := json.Marshal(p.Spec.Run)
	if err != nil {
		return nil, err
	}
	r := &rendered{
		API: p.Spec.Account.BaseURL, TeamID: p.Spec.Account.TeamID, Project: p.Spec.ProjectID,
		Job: maskJSON(job, scrub), Run: maskJSON(run, scrub),
		Warnings: []string{}, what: t.what, jobName: p.Spec.Job.Name,
	}
	tracer := newTracer(p)
	r.Origins = origins{Job: tracer.job(r.Job, r.Run), Run: tracer.run(r.Run), Worker: tracer.settings(scrub)}
	for _, w := range p.Warnings {
		r.Warnings = append(r.Warnings, scrub.Text(w.String()))
	}
	for _, name := range p.Values.Empty {
		r.Warnings = append(r.Warnings, fmt.Sprintf("{{ %s }} has no value and became an empty text", name))
	}
	return r, nil
}

// print writes both requests for people, each with the origin of its values.
func (r *rendered) print(streams Streams) error {
	for _, w := range r.Warnings {
		fmt.Fprintf(streams.Err, "warning: %s\n", w)
	}
	jobs := r.API + "/v1/"
	if r.TeamID != "" {
		jobs += "teams/" + r.TeamID + "/"
	}
	jobs += "projects/" + r.Project + "/jobs"
	for _, part := range []struct {
		title   string
		body    json.RawMessage
		origins []origin
	}{
		{fmt.Sprintf("For %s a worker sends, unless the job exists as it is:\n\nPUT %s", r.what, jobs), r.Job, r.Origins.Job},
		{fmt.Sprintf("and then:\n\nPOST %s/%s/runs", jobs, r.jobName), r.Run, r.Origins.Run},
		{"What else decides:", nil, r.Origins.Worker},
	} {
		fmt.Fprintln(streams.Out, part.title)
		if part.body != nil {
			var indented bytes.Buffer
			if err := json.Indent(&indented, part.body, "", "  "); err != nil {
				return err
			}
			fmt.Fprintln(streams.Out, indented.String())
		}
		rows := [][]string{{"PLACE", "VALUE", "JOB VARIABLE", "FROM"}}
		for _, o := range part.origins {
			rows = append(rows, []string{o.Place, shorten(o.Value), o.Variable, o.from()})
		}
		fmt.Fprintln(streams.Out)
		if err := printTable(streams.Out, rows...); err != nil {
			return err
		}
		if part.body != nil {
			fmt.Fprintln(streams.Out)
		}
	}
	return nil
}

func (o origin) from() string {
	if o.Via == "" {
		return o.Source
	}
	return o.Source + ", " + o.Via
}

// shorten makes a value fit a column of one line; the bodies show it whole.
func shorten(text string) string {
	const most = 48 // characters
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '·'
		}
		return r
	}, text)
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}
