package northflank

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPages(t *testing.T) {
	t.Parallel()
	const base = "GET /v1/projects/data/jobs/j/runs?"
	runs := func(ids string) string {
		var list []string
		for id := range strings.FieldsSeq(ids) {
			if id == "null" {
				list = append(list, id)
				continue
			}
			list = append(list, fmt.Sprintf(`{"id":%q}`, id))
		}
		return `{"data":{"runs":[` + strings.Join(list, ",") + `]}`
	}
	tests := []struct {
		name    string
		steps   []step
		want    string // ids
		wantErr string
	}{
		{
			name:  "one page",
			steps: []step{{want: base + "page=1&per_page=100", body: runs("a b") + `,"pagination":{"hasNextPage":false,"count":2.0}}`}},
			want:  "a b",
		}, {
			name:  "no pagination at all",
			steps: []step{{want: base + "page=1&per_page=100", body: runs("a") + `}`}},
			want:  "a",
		}, {
			name:  "empty",
			steps: []step{{want: base + "page=1&per_page=100", body: runs("") + `}`}},
		}, {
			name:  "null list",
			steps: []step{{want: base + "page=1&per_page=100", body: `{"data":{"runs":null},"pagination":null}`}},
		}, {
			name: "page numbers",
			steps: []step{
				{want: base + "page=1&per_page=100", body: runs("a null b") + `,"pagination":{"hasNextPage":true,"cursor":null}}`},
				{want: base + "page=2&per_page=100", body: runs("c") + `,"pagination":{"hasNextPage":false}}`},
			},
			want: "a b c",
		}, {
			name: "cursors",
			steps: []step{
				{want: base + "page=1&per_page=100", body: runs("a") + `,"pagination":{"hasNextPage":true,"cursor":"x y"}}`},
				{want: base + "cursor=x+y&per_page=100", body: runs("b") + `,"pagination":{"hasNextPage":true,"cursor":"z"}}`},
				{want: base + "cursor=z&per_page=100", body: runs("c") + `,"pagination":{"hasNextPage":false}}`},
			},
			want: "a b c",
		}, {
			name: "a cursor alone leads on",
			steps: []step{
				{want: base + "page=1&per_page=100", body: runs("a") + `,"pagination":{"cursor":"x"}}`},
				{want: base + "cursor=x&per_page=100", body: runs("") + `,"pagination":{"cursor":"x"}}`},
			},
			want: "a",
		}, {
			name: "the cursor does not move",
			steps: []step{
				{want: base + "page=1&per_page=100", body: runs("a") + `,"pagination":{"cursor":"x"}}`},
				{want: base + "cursor=x&per_page=100", body: runs("b") + `,"pagination":{"cursor":"x"}}`},
			},
			want: "a b", wantErr: `list job runs of job "j": unusable answer to GET /v1/projects/data/jobs/j/runs: the cursor does not move`,
		}, {
			name: "page numbers are ignored",
			steps: []step{
				{want: base + "page=1&per_page=100", body: runs("a b") + `,"pagination":{"hasNextPage":true}}`},
				{want: base + "page=2&per_page=100", body: runs("a b") + `,"pagination":{"hasNextPage":true}}`},
			},
			want: "a b", wantErr: "the same page",
		}, {
			name:    "empty but more",
			steps:   []step{{want: base + "page=1&per_page=100", body: runs("") + `,"pagination":{"hasNextPage":true}}`}},
			wantErr: "an empty page says that more follow",
		}, {
			name: "error on the second page",
			steps: []step{
				{want: base + "page=1&per_page=100", body: runs("a") + `,"pagination":{"hasNextPage":true}}`},
				{want: base + "page=2&per_page=100", status: 404, body: `{}`},
			},
			want: "a", wantErr: `list job runs of job "j": 404 not found for project "data" (northflank)`,
		}, {
			name:    "a list of another shape",
			steps:   []step{{want: base + "page=1&per_page=100", body: `{"data":{"runs":{"a":1}}}`}},
			wantErr: "unusable answer",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := collect(scripted(t, tt.steps...).ListRuns(t.Context(), "data", "j"))
			var ids []string
			for _, r := range got {
				ids = append(ids, r.ID)
			}
			if diff := cmp.Diff(tt.want, strings.Join(ids, " ")); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("err = %v, want %q", err, tt.wantErr)
			}
		})
	}
}

// Reading stops where the caller stops, and costs no request beyond.
func TestPagesStopEarly(t *testing.T) {
	t.Parallel()
	c := scripted(t, step{
		want: "GET /v1/projects/data/jobs?page=1&per_page=100",
		body: `{"data":{"jobs":[{"id":"a"},{"id":"b"}]},"pagination":{"hasNextPage":true}}`,
	})
	for job, err := range c.ListJobs(t.Context(), "data") {
		if err != nil {
			t.Fatal(err)
		}
		if job.ID == "b" {
			break
		}
	}
}

func TestPagesAreBounded(t *testing.T) {
	t.Parallel()
	n := 0
	c := newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) {
		n++
		return reply(200, fmt.Sprintf(`{"data":{"jobs":[{"id":"j%d"}]},"pagination":{"hasNextPage":true,"cursor":"c%d"}}`, n, n)), nil
	}))
	jobs, err := collect(c.ListJobs(t.Context(), "data"))
	if err == nil || n != maxPages || len(jobs) != maxPages {
		t.Errorf("%d requests, %d jobs, err %v; want %d, %d and an error", n, len(jobs), err, maxPages, maxPages)
	}
	if errors.Is(err, ErrNotFound) {
		t.Error("too many pages is ErrNotFound")
	}
}
