package worker

import (
	"time"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

// recentLines is how many lines are remembered to drop what a reconnect repeats.
const recentLines = 5000

// lineMemory tells lines of a log that were seen before from new ones. It is not
// safe for concurrent use.
type lineMemory struct {
	seen  map[lineKey]bool
	order []lineKey // of seen, oldest first
	last  time.Time // of the newest line
}

type lineKey struct {
	container string
	at        time.Time
	text      string
}

// isNew reports whether a line was not seen yet, and remembers it.
func (m *lineMemory) isNew(l northflank.LogLine) bool {
	key := lineKey{l.ContainerID, l.Time, l.Text}
	if m.seen[key] {
		return false
	}
	if m.seen == nil {
		m.seen = map[lineKey]bool{}
	}
	m.seen[key] = true
	m.order = append(m.order, key)
	if len(m.order) > recentLines {
		delete(m.seen, m.order[0])
		m.order = m.order[1:]
	}
	m.last = latest(m.last, l.Time)
	return true
}
