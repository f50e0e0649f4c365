package northflank

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/northflank/prefect-northflank/internal/hostile"
)

func TestLogShapes(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.Date(2026, 3, 21, 15, 1, 17, ms*1e6, time.UTC) }
	tests := []struct {
		name, data string
		want       []LogLine
	}{
		{
			name: "documented, with and without a time in the prefix",
			data: `[{"containerId":"c","log":"2026-03-21T15:01:17.123456789Z stdout F TEST","ts":"2026-03-21T15:01:17.123Z"},
				{"containerId":"c","log":"stderr F two words ","ts":"2026-03-21T15:01:17.124Z"}]`,
			want: []LogLine{
				{ContainerID: "c", Time: at(123), Stream: "stdout", Text: "TEST"},
				{ContainerID: "c", Time: at(124), Stream: "stderr", Text: "two words "},
			},
		}, {
			name: "no container, no time: the prefix has it",
			data: `[{"log":"2026-03-21T15:01:17.5Z stdout F a"}]`,
			want: []LogLine{{Time: at(500), Stream: "stdout", Text: "a"}},
		}, {
			name: "no prefix",
			data: `[{"log":"plain text\n","ts":"2026-03-21T15:01:17Z"},{"log":"stdout is not a prefix","ts":"2026-03-21T15:01:17Z"},{"log":"stdout X y","ts":"2026-03-21T15:01:17Z"},{"log":"grade F failed","ts":"2026-03-21T15:01:17Z"},{"log":"","ts":"2026-03-21T15:01:17Z"}]`,
			want: []LogLine{{Time: at(0), Text: "plain text"}, {Time: at(0), Text: "stdout is not a prefix"}, {Time: at(0), Text: "stdout X y"}, {Time: at(0), Text: "grade F failed"}, {Time: at(0)}},
		}, {
			name: "empty line, with and without the space at its end",
			data: `[{"log":"stdout F ","ts":"2026-03-21T15:01:17Z"},{"log":"stdout F","ts":"2026-03-21T15:01:17Z"}]`,
			want: []LogLine{{Time: at(0), Stream: "stdout"}, {Time: at(0), Stream: "stdout"}},
		}, {
			name: "leading space of the text stays",
			data: `[{"log":"stdout F   indented","ts":"2026-03-21T15:01:17Z"}]`,
			want: []LogLine{{Time: at(0), Stream: "stdout", Text: "  indented"}},
		}, {
			name: "objects and numbers as text",
			data: `[{"log":{"level":"info","msg":"hi"},"ts":"2026-03-21T15:01:17Z"},{"log":5,"ts":"2026-03-21T15:01:17Z"},{"log":null,"ts":"2026-03-21T15:01:17Z"}]`,
			want: []LogLine{{Time: at(0), Text: `{"level":"info","msg":"hi"}`}, {Time: at(0), Text: "5"}, {Time: at(0)}},
		}, {
			name: "names of the Python client",
			data: `{"logs":[{"message":"a","timestamp":"2026-03-21T15:01:17.001Z"}],"data":[{"line":"b","time":"2026-03-21T15:01:17.002Z"}]}`,
			want: []LogLine{{Time: at(1), Text: "a"}, {Time: at(2), Text: "b"}},
		}, {
			name: "newest first, equal times in true order",
			data: `[{"log":"c","ts":"2026-03-21T15:01:17.002Z"},{"log":"b","ts":"2026-03-21T15:01:17.001Z"},{"log":"a","ts":"2026-03-21T15:01:17.001Z"}]`,
			want: []LogLine{{Time: at(1), Text: "a"}, {Time: at(1), Text: "b"}, {Time: at(2), Text: "c"}},
		}, {
			name: "parts joined by container and stream, wherever others come between",
			data: `[{"containerId":"c","log":"stdout P one ","ts":"2026-03-21T15:01:17.001Z"},
				{"containerId":"c","log":"stderr F err","ts":"2026-03-21T15:01:17.002Z"},
				{"containerId":"d","log":"stdout F other","ts":"2026-03-21T15:01:17.003Z"},
				{"containerId":"c","log":"stdout P two ","ts":"2026-03-21T15:01:17.004Z"},
				{"containerId":"c","log":"stdout F three","ts":"2026-03-21T15:01:17.005Z"},
				{"containerId":"c","log":"stdout F next","ts":"2026-03-21T15:01:17.006Z"},
				{"containerId":"c","log":"stdout P cut off","ts":"2026-03-21T15:01:17.007Z"}]`,
			want: []LogLine{
				{ContainerID: "c", Time: at(2), Stream: "stderr", Text: "err"},
				{ContainerID: "d", Time: at(3), Stream: "stdout", Text: "other"},
				{ContainerID: "c", Time: at(1), Stream: "stdout", Text: "one two three"},
				{ContainerID: "c", Time: at(6), Stream: "stdout", Text: "next"},
				{ContainerID: "c", Time: at(7), Stream: "stdout", Text: "cut off"},
			},
		}, {
			name: "no lines",
			data: `[]`,
			want: []LogLine{},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := scripted(t, step{want: "GET /v1/projects/data/jobs/j/logs?queryType=range", body: `{"data":` + tt.data + `}`})
			got, err := c.Logs(t.Context(), "data", "j", LogQuery{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Logs() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLogsOfAnotherShape(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`"text"`, `5`, `[1]`} {
		c := scripted(t, step{want: "GET /v1/projects/data/jobs/j/logs?queryType=range", body: `{"data":` + data + `}`})
		if lines, err := c.Logs(t.Context(), "data", "j", LogQuery{}); err == nil {
			t.Errorf("Logs() of %s = %v, want an error", data, lines)
		}
	}
}

func TestJoinedLinesAreBounded(t *testing.T) {
	t.Parallel()
	j := newLineJoiner()
	part := rawLine{LogLine: LogLine{Text: strings.Repeat("x", 16<<10)}, partial: true}
	longest, total := 0, 0
	for range 200 {
		for _, l := range j.add([]rawLine{part}) {
			longest, total = max(longest, len(l.Text)), total+len(l.Text)
		}
	}
	for _, l := range j.rest() {
		total += len(l.Text)
	}
	if longest > maxLine+len(part.Text) || total != 200*len(part.Text) {
		t.Errorf("longest line %d bytes, %d in total; want at most %d and %d", longest, total, maxLine+len(part.Text), 200*len(part.Text))
	}
	if len(j.open) != 0 || len(j.order) != 0 {
		t.Error("lines left open after rest")
	}
}

func FuzzLogLines(f *testing.F) { fuzzLogLines(f) }

func fuzzLogLines(f hostile.F) {
	for _, s := range []string{
		"2026-03-21T15:01:17.5Z stdout F a", "stdout P ", "stderr F", "Z stdout F x", "FOOT-BARZ stdout F x", "stdout  F x", "\n", "stdout F a\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := parseLogData([]byte(`[{"containerId":"c","log":` + string(encoded) + `}]`))
		if err != nil || len(lines) != 1 {
			t.Fatalf("parseLogData = %d lines, %v", len(lines), err)
		}
		l := lines[0]
		// encoding/json replaces invalid UTF-8.
		clean := strings.TrimRight(strings.ToValidUTF8(s, "\uFFFD"), "\r\n")
		if l.Stream == "" && len(l.Text) > 0 && l.Text != clean && strings.ToValidUTF8(s, "") == s {
			t.Errorf("a line without a prefix changed: %q to %q", s, l.Text)
		}
		if !strings.HasSuffix(clean, l.Text) && strings.ToValidUTF8(s, "") == s {
			t.Errorf("%q is not the end of %q", l.Text, s)
		}
		if l.Stream != "" && l.Stream != "stdout" && l.Stream != "stderr" {
			t.Errorf("stream %q", l.Stream)
		}
		// Whatever is sent, nothing is lost between joiner and caller.
		j := newLineJoiner()
		if n := len(j.add(lines)) + len(j.rest()); n != 1 {
			t.Errorf("%d lines out of one", n)
		}
	})
}
