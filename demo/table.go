package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// Writes of the local Northflank, as it names them.
const (
	routePutJob   = "PUT /projects/{project}/jobs"
	routeStartRun = "POST /projects/{project}/jobs/{job}/runs"
)

// table shows how each flow run ended and what it cost. total is the number of
// all requests that Northflank received.
func table(runs []flowRun, bodies []localstack.RecordedBody, total int) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FLOW RUN\tFINAL STATE\tJOB\tJOB RUN\tREQUESTS")
	spent := 0
	for _, r := range runs {
		job, jobRun, _ := strings.Cut(r.InfrastructurePID, ":")
		requests := spentOn(jobRun, bodies)
		spent += len(requests)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d (%s)\n", r.Name, r.State.Name, orDash(job), orDash(jobRun), len(requests), strings.Join(requests, ", "))
	}
	fmt.Fprintf(w, "shared by all\t\t\t\t%d (lists of jobs and job runs)\n", total-spent)
	_ = w.Flush() // into memory
	return text.String()
}

// spentOn lists the requests that one job run took: its start, and the writes of
// the job that came between the start before and its own.
func spentOn(jobRun string, bodies []localstack.RecordedBody) []string {
	var writes []string
	for _, b := range bodies {
		switch {
		case b.Route == routePutJob:
			writes = append(writes, "put job")
		case b.Route == routeStartRun && b.JobRunID == jobRun && jobRun != "":
			return append(writes, "start run")
		case b.Route == routeStartRun:
			writes = nil
		}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
