package worker

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/testkit"
)

// TestRefusedChannelIsTold: once, with what to do, when Prefect itself does not
// want the channel; and when it works again. The worker stays ready meanwhile.
func TestRefusedChannelIsTold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		refuse func(p *testkit.Prefect) // for the first half hour
		accept func(p *testkit.Prefect)
		hint   string // "" when nothing is to be told
	}{
		{
			name: "an unknown queue, say", hint: "one of the named work queues is missing",
			refuse: func(p *testkit.Prefect) { p.FailChannels(testkit.AuthorizationFailed) },
			accept: func(p *testkit.Prefect) { p.FailChannels("") },
		},
		{
			name: "a later version", hint: "their releases are far apart",
			refuse: func(p *testkit.Prefect) { p.FailChannels(testkit.UnsupportedVersion) },
			accept: func(p *testkit.Prefect) { p.FailChannels("") },
		},
		{
			name:   "an older server",
			refuse: func(p *testkit.Prefect) { p.RefuseChannels(http.StatusForbidden) },
			accept: func(p *testkit.Prefect) { p.RefuseChannels(0) },
		},
		{
			name:   "a server in trouble",
			refuse: func(p *testkit.Prefect) { p.FailChannels(testkit.TransientServerError) },
			accept: func(p *testkit.Prefect) { p.FailChannels("") },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log lockedBuffer
				simulate(t, 1, slog.New(slog.NewTextHandler(&log, nil)), quiet, func(s *simulation) {
					s.plan.flowRuns = 1
					s.shape = func(run *simRun) {
						run.at, run.temper, run.fate, run.length = 0, wellBehaved, leftAlone, time.Hour
					}
					tt.refuse(s.prefect)
					s.also = func() {
						time.AfterFunc(30*time.Minute, func() {
							for _, trouble := range s.workers[0].engine.Status().Troubles {
								if trouble.Cause != CauseOther {
									t.Errorf("trouble %+v would make the worker not ready", trouble)
								}
							}
							tt.accept(s.prefect)
						})
					}
				})
				told, over := 0, 0
				for line := range strings.Lines(log.String()) {
					switch {
					case strings.Contains(line, channelSubject+": works again"):
						over++
					case strings.Contains(line, channelSubject):
						told++
						if !strings.Contains(line, "level=WARN") || !strings.Contains(line, tt.hint) {
							t.Errorf("told without its hint: %s", line)
						}
					}
				}
				want := 0
				if tt.hint != "" {
					want = 1
				}
				if told != want || over != want {
					t.Errorf("told %d times, over %d times; want %d of each", told, over, want)
				}
			})
		})
	}
}

// lockedBuffer keeps what several goroutines write.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
