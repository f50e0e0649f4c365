package webhook_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/northflank/prefect-northflank/internal/hostile"
	"github.com/northflank/prefect-northflank/internal/webhook"
)

// maxBody is the largest notification that is read, in bytes.
const maxBody = 1 << 20

// FuzzBody: whatever is JSON is answered 200, whatever is not 400, whatever is too
// large 413; and only a known event is told, with ids that the body has.
func FuzzBody(f *testing.F) { fuzzBody(f) }

func fuzzBody(f hostile.F) {
	for _, seed := range []string{
		`{"event":"job-run:failure","data":{"project":{"id":"data"},"job":{"id":"pf-x"},"run":{"id":"r-1"}}}`,
		`{"event":"trigger:job-run:abort","data":{"jobRun":{"id":"r-1"}}}`,
		`{"event":"build:start","data":{"build":{"id":"b"}}}`,
		`{"event":null,"data":[]}`, `[]`, `{`, `{"event":"job-run:failure","event":"x"}`, "\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		rc := newReceiver()
		want := 400
		switch {
		case len(body) > maxBody:
			want = 413
		case json.Valid([]byte(body)):
			want = 200
		}
		if status := rc.post(request(body)); status != want {
			t.Fatalf("status %d, want %d", status, want)
		}
		if len(rc.all) > 1 || want != 200 && len(rc.all) > 0 {
			t.Fatalf("%d notifications", len(rc.all))
		}
		for _, n := range rc.all {
			if !webhook.Events()["trigger:"+n.Event] {
				t.Errorf("event %q was not asked for", n.Event)
			}
			if strings.Contains(body, `\`) || !utf8.ValidString(body) {
				continue // what it says is written otherwise
			}
			for _, id := range []string{n.ProjectID, n.JobID, n.RunID} {
				if !strings.Contains(body, id) {
					t.Errorf("id %q is not in the body", id)
				}
			}
		}
	})
}
