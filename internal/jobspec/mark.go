package jobspec

import (
	"fmt"
	"regexp"
	"strings"
)

// Mark is what a worker reads from a job's name and description about whose it
// is. It is kept there because Northflank lists both, and nothing else that a
// worker may choose freely (tags must exist in the team).
type Mark struct {
	Pool    string // hash of the work pool's id
	Worker  string // hash of the name of the worker that starts its job runs
	Scope   Scope
	Cleanup bool // the job may be deleted when it is no longer used
}

const (
	markHash       = 10  // base32 characters: 50 bits
	checkHash      = 8   // 40 bits
	maxDescription = 200 // Northflank docs, api/jobs
)

// NewMark returns the mark of a job. Names and ids may be any text.
func NewMark(poolID, workerName string, scope Scope, cleanup bool) Mark {
	return Mark{
		Pool:   shortHash(markHash, "pool", poolID),
		Worker: shortHash(markHash, "worker", workerName),
		Scope:  scope, Cleanup: cleanup,
	}
}

// OfPool reports whether the job belongs to the work pool.
func (m Mark) OfPool(poolID string) bool {
	return m.Pool == shortHash(markHash, "pool", poolID)
}

// OfWorker reports whether the job belongs to the worker of that name.
func (m Mark) OfWorker(workerName string) bool {
	return m.Worker == shortHash(markHash, "worker", workerName)
}

// Describe returns the description of the named job: text, made valid and cut
// to length, and the mark. A check sum binds the mark to the name, so that a
// copy which somebody makes of the job is not taken for one of ours.
func (m Mark) Describe(jobName, text string) string {
	mark := m.text(jobName)
	text = cut(validDescription(text), maxDescription-len(mark)-1)
	if text == "" {
		return mark
	}
	return text + " " + mark
}

// text is the mark alone, as it stands in the named job's description.
func (m Mark) text(jobName string) string {
	cleanup := "no"
	if m.Cleanup {
		cleanup = "yes"
	}
	fields := fmt.Sprintf("pool:%s worker:%s scope:%s cleanup:%s", m.Pool, m.Worker, m.Scope, cleanup)
	return fmt.Sprintf("[prefect-northflank %s check:%s]", fields, shortHash(checkHash, jobName, fields))
}

var markPattern = regexp.MustCompile(`\[prefect-northflank pool:([a-z2-7]{10}) worker:([a-z2-7]{10}) scope:(pool|deployment|flow-run) cleanup:(yes|no) check:[a-z2-7]{8}\]$`)

// ParseJobMark reads the mark of a job as Northflank lists it. It is false for
// every job that no worker of this kind made under that name.
func ParseJobMark(name, description string) (Mark, bool) {
	m := markPattern.FindStringSubmatch(description)
	if m == nil || !strings.HasPrefix(name, namePrefix) {
		return Mark{}, false
	}
	mark := Mark{Pool: m[1], Worker: m[2], Scope: Scope(m[3]), Cleanup: m[4] == "yes"}
	return mark, mark.text(name) == m[0]
}

// descriptionRefused is every character that Northflank does not take in a
// description. Northflank docs, api/jobs.
var descriptionRefused = regexp.MustCompile(`[^a-zA-Z0-9.,? \\/'"()\[\];` + "`" + `%^&*\-_:!]+`)

func validDescription(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.TrimSpace(descriptionRefused.ReplaceAllString(text, "-"))
}

// cut shortens ASCII text to n characters and shows that it did.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.TrimSpace(text[:n-3]) + "..."
}
