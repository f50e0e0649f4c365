package worker

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// joinPID is the infrastructure pid: "<job id>:<job run id>", the form that
// the Python package wrote, so that flow runs of either are understood.
func joinPID(job, run string) string { return job + ":" + run }

// splitPID is the inverse of joinPID; ok is false for a pid of another form.
func splitPID(pid string) (job, run string, ok bool) {
	job, run, ok = strings.Cut(pid, ":")
	ok = ok && job != "" && run != "" && !strings.ContainsAny(pid, "/ ?#")
	return job, run, ok
}

func labelText(labels map[string]any, key string) string {
	switch v := labels[key].(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

func labelInt(labels map[string]any, key string) int {
	switch v := labels[key].(type) {
	case json.Number:
		n, _ := v.Int64()
		return int(n)
	case float64:
		return int(v)
	case int:
		return v
	case string:
		n, _ := strconv.Atoi(v)
		return n
	}
	return 0
}

// unquote undoes %q's escapes inside a quoted text.
func unquote(s string) string {
	if u, err := strconv.Unquote(`"` + s + `"`); err == nil {
		return u
	}
	return s
}
