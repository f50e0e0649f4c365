package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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

// print writes both requests and the table for people.
func (r *rendered) print(streams Streams) error {
	for _, w := range r.Warnings {
		fmt.Fprintf(streams.Err, "warning: %s\n", w)
	}
	jobs := r.API + "/v1/"
	if r.TeamID != "" {
		jobs += "teams/" + r.TeamID + "/"
	}
	jobs += "projects/" + r.Project + "/jobs"
	fmt.Fprintf(streams.Out, "For %s a worker sends, unless the job exists already:\n\nPUT %s\n", r.what, jobs)
	if err := printIndented(streams.Out, r.Job); err != nil {
		return err
	}
	fmt.Fprintf(streams.Out, "\nand then:\n\nPOST %s/%s/runs\n", jobs, r.jobName)
	if err := printIndented(streams.Out, r.Run); err != nil {
		return err
	}
	fmt.Fprintln(streams.Out)
	rows := [][]string{{"PLACE", "VALUE", "JOB VARIABLE", "FROM"}}
	for _, group := range []struct {
		name    string
		origins []origin
	}{{"PUT ", r.Origins.Job}, {"POST ", r.Origins.Run}, {"", r.Origins.Worker}} {
		for _, o := range group.origins {
			rows = append(rows, []string{group.name + o.Place, shorten(o.Value), o.Variable, o.from()})
		}
	}
	return printTable(streams.Out, rows...)
}

func (o origin) from() string {
	if o.Via == "" {
		return o.Source
	}
	return o.Source + ", " + o.Via
}

func printIndented(w io.Writer, body json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// shorten makes a value fit a column; the bodies above show it whole.
func shorten(text string) string {
	const most = 48 // characters
	text = fmt.Sprintf("%q", text)
	text = text[1 : len(text)-1] // no line break or tab gets into the table
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}
