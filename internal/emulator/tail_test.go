package emulator

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

type tailConn struct{ *websocket.Conn }

// dialTail opens a tail of the job "one", without a socket.
func dialTail(t *testing.T, s *Server, query string) tailConn {
	t.Helper()
	conn, err := tryTail(t, s.Transport(), "ws://nf.test", query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn
}

func tryTail(t *testing.T, rt http.RoundTripper, base, query string) (tailConn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, base+jobsPath+"/one/logs?queryType=tail&"+query, &websocket.DialOptions{HTTPClient: &http.Client{Transport: rt}})
	if err != nil && resp != nil {
		err = fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	return tailConn{conn}, err
}

// init sends the token and returns the first answer.
func (c tailConn) init(t *testing.T, token string) string {
	t.Helper()
	message := `{"type":"init","data":{"auth":{"type":"apiToken","apiToken":"` + token + `"}}}`
	if err := c.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
		t.Fatal(err)
	}
	return c.frame(t)
}

func (c tailConn) frame(t *testing.T) string {
	t.Helper()
	_, data, err := c.Read(t.Context())
	if err != nil {
		return "closed"
	}
	return string(data)
}

// texts are the log texts of a frame.
func texts(t *testing.T, frame string) []string {
	t.Helper()
	var f struct {
		Type string
		Data []wireLine
	}
	if err := json.Unmarshal([]byte(frame), &f); err != nil || f.Type != "log-lines" {
		t.Fatalf("frame %s: %v", frame, err)
	}
	var list []string
	for _, line := range f.Data {
		_, text, _ := strings.Cut(line.Log.(string), " F ")
		list = append(list, text)
	}
	return list
}

// counting writes "line 1" at once, "line 2" a second later, and so on.
func counting(ctx context.Context, task Task) int {
	for i := 1; i <= 10; i++ {
		fmt.Fprintf(task.Stdout, "line %d\n", i)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return 143
		}
	}
	return 0
}

func TestTail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{Runner: RunnerFunc(counting)})
		id := startRun(t, s, jobWith(`{"backoffLimit":0}`, 0), "{}")
		sleep("4500ms") // five lines
		before := s.Counters().Total
		one, all := dialTail(t, s, "runId="+id+"&lineLimit=2"), dialTail(t, s, "")
		if got := s.Counters().Total - before; got != 2 {
			t.Errorf("two upgrades counted as %d requests", got)
		}
		for _, conn := range []tailConn{one, all} {
			if got := conn.init(t, DefaultToken); got != `{"type":"init","data":{"auth":"successful"}}` {
				t.Fatalf("init: %s", got)
			}
		}
		if diff := cmp.Diff([]string{"line 4", "line 5"}, texts(t, one.frame(t))); diff != "" {
			t.Errorf("history (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"line 1", "line 2", "line 3", "line 4", "line 5"}, texts(t, all.frame(t))); diff != "" {
			t.Errorf("history of the job (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"line 6"}, texts(t, one.frame(t))); diff != "" {
			t.Errorf("live (-want +got):\n%s", diff)
		}
	})
}

func TestTailRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{RateLimit: 100, Tokens: []Token{{Value: DefaultToken}, {Value: "weak", Permissions: []string{}}}})
		call(t, s, "PUT", jobsPath, simple).want(t, 200)
		for _, tt := range []struct{ name, token, query, want string }{
			{"bad token", "nonsense", "", `{"type":"init","data":{"auth":"unauthorized","message":"Unauthorized"}}`},
			{"no right", "weak", "", `"auth":"unauthorized","message":"The API token's role lacks the permission`},
		} {
			conn := dialTail(t, s, tt.query)
			if got := conn.init(t, tt.token); !strings.Contains(got, tt.want) {
				t.Errorf("%s: %s", tt.name, got)
			}
			if got := conn.frame(t); got != "closed" {
				t.Errorf("%s: then %s", tt.name, got)
			}
		}
		conn := dialTail(t, s, "runId=none")
		conn.init(t, DefaultToken)
		if got := conn.frame(t); !strings.Contains(got, `"type":"error"`) {
			t.Errorf("unknown job run: %s", got)
		}
		silent := dialTail(t, s, "")
		begin := time.Now()
		if got := silent.frame(t); got != "closed" || time.Since(begin) != tailAuthTimeout {
			t.Errorf("a client without init got %s after %v", got, time.Since(begin))
		}
		s.SetRateLimit(1)
		if _, err := tryTail(t, s.Transport(), "ws://nf.test", ""); err == nil || !strings.Contains(err.Error(), "status 429") {
			t.Errorf("over the limit: %v", err)
		}
	})
}

func TestTailFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{Runner: RunnerFunc(counting)})
		add := func(f Fault) {
			t.Helper()
			s.Faults().Remove()
			if _, err := s.Faults().Add(f); err != nil {
				t.Fatal(err)
			}
		}
		startRun(t, s, jobWith(`{"backoffLimit":0}`, 0), "{}")
		add(Fault{Action: ActionTailRefuse})
		if got := dialTail(t, s, "").init(t, DefaultToken); !strings.Contains(got, "unauthorized") {
			t.Errorf("refused tail: %s", got)
		}
		add(Fault{Action: ActionTailDrop, Delay: 2500 * time.Millisecond})
		conn := dialTail(t, s, "")
		conn.init(t, DefaultToken)
		begin := time.Now()
		for conn.frame(t) != "closed" {
		}
		if took := time.Since(begin); took != 2500*time.Millisecond {
			t.Errorf("dropped after %v", took)
		}
		add(Fault{Action: ActionResetBefore, Route: RouteLogs})
		if _, err := tryTail(t, s.Transport(), "ws://nf.test", ""); err == nil {
			t.Error("broken upgrade succeeded")
		}
		add(Fault{Action: ActionStatus, Status: 502, Route: RouteLogs})
		if _, err := tryTail(t, s.Transport(), "ws://nf.test", ""); err == nil || !strings.Contains(err.Error(), "status 502") {
			t.Errorf("refused upgrade: %v", err)
		}
		add(Fault{Action: ActionLogLag, Delay: time.Hour})
		if got, _ := call(t, s, "GET", jobsPath+"/one/logs?queryType=range", "").want(t, 200).data.([]any); len(got) != 0 {
			t.Errorf("lagging log shows %d lines", len(got))
		}
	})
}

// Frames go out early when 32.7 kB have come together, and long lines are split.
func TestTailFrames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{Runner: RunnerFunc(func(ctx context.Context, task Task) int {
			time.Sleep(1500 * time.Millisecond) // after the first look
			fmt.Fprintln(task.Stdout, strings.Repeat("x", 2*maxLine+5))
			time.Sleep(time.Hour)
			return 0
		})})
		startRun(t, s, jobWith(`{"backoffLimit":0}`, 0), "{}")
		conn := dialTail(t, s, "")
		conn.SetReadLimit(1 << 20)
		begin := time.Now()
		conn.init(t, DefaultToken)
		var flags []string
		for len(flags) < 3 {
			var f struct{ Data []wireLine }
			if err := json.Unmarshal([]byte(conn.frame(t)), &f); err != nil {
				t.Fatal(err)
			}
			for _, line := range f.Data {
				flags = append(flags, strings.Fields(line.Log.(string))[2])
			}
		}
		if diff := cmp.Diff([]string{"P", "P", "F"}, flags); diff != "" {
			t.Errorf("flags (-want +got):\n%s", diff)
		}
		if took := time.Since(begin); took != 1500*time.Millisecond {
			t.Errorf("a full frame took %v", took)
		}
	})
}

func TestTailOverSocket(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Runner: RunnerFunc(func(_ context.Context, task Task) int { fmt.Fprintln(task.Stderr, "hi"); return 0 })})
	url, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	await(t, s, startRun(t, s, jobWith(`{"backoffLimit":0}`, 0), "{}"))
	conn, err := tryTail(t, &http.Transport{}, strings.Replace(url, "http", "ws", 1), "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.init(t, DefaultToken)
	if got := conn.frame(t); !strings.Contains(got, "stderr F hi") {
		t.Errorf("frame %s", got)
	}
	s.Close()
	if got := conn.frame(t); got != "closed" {
		t.Errorf("after close: %s", got)
	}
}

func TestRangeQueries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Config{Runner: RunnerFunc(counting)})
		id := startRun(t, s, jobWith(`{"backoffLimit":0}`, 0), "{}")
		other := startRun(t, s, jobWith(`{"backoffLimit":0}`, 0), "{}")
		await(t, s, id)
		await(t, s, other)
		container := s.JobRuns()[0].Containers[0].Name
		for _, tt := range []struct{ query, want string }{
			{"runId=" + id + "&lineLimit=2", "10 9"},
			{"runId=" + id + "&lineLimit=2&direction=forward", "1 2"},
			{"runId=" + id + "&startTime=2000-01-01T00:00:08Z&direction=forward", "9 10"},
			{"runId=" + id + "&endTime=946684801", "2 1"},
			{"runId=" + id + "&duration=2", "10 9"},
			{"runId=" + id + "&startTime=2000-01-01T00:00:03Z&duration=1", "5 4"},
			{"runId=" + id + "&textIncludes=1", "10 1"},
			{"runId=" + id + "&regexNotIncludes=[2-9]", "10 1"},
			{"runId=" + id + "&type=build", ""},
			{"containerName=" + container + "&lineLimit=1", "10"},
			{"runId=none", ""},
			{"lineLimit=3", "10 10 9"},
		} {
			lines, _ := call(t, s, "GET", jobsPath+"/one/logs?queryType=range&"+tt.query, "").want(t, 200).data.([]any)
			var got []string
			for _, line := range lines {
				text := line.(map[string]any)["log"].(string)
				got = append(got, text[strings.LastIndex(text, " ")+1:])
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("%s: %q, want %q", tt.query, got, tt.want)
			}
		}
	})
}
