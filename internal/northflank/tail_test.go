package northflank

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

const (
	authOK    = `{"type":"init","data":{"auth":"successful"}}`
	tailLines = `{"type":"log-lines","data":[{"containerId":"c","log":"stdout F %s","ts":"2026-03-21T15:01:17.310Z"}]}`
)

// tailServer upgrades, reads the first frame and goes on with talk.
func tailServer(t *testing.T, talk func(ctx context.Context, conn *websocket.Conn, hello string)) (*Client, *http.Request) {
	t.Helper()
	var seen http.Request
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = *r
		w.Header().Set("x-ratelimit-limit", "1000")
		w.Header().Set("x-ratelimit-remaining", "77")
		w.Header().Set("x-ratelimit-reset", "60")
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer conn.CloseNow()
		_, hello, err := conn.Read(r.Context())
		if err != nil {
			t.Errorf("first frame: %v", err)
			return
		}
		talk(r.Context(), conn, string(hello))
	}))
	t.Cleanup(s.Close)
	return newTestClient(t, newTransport(t), func(o *Options) { o.BaseURL = s.URL; o.TeamID = "team" }), &seen
}

func send(ctx context.Context, t *testing.T, conn *websocket.Conn, frames ...string) {
	for _, f := range frames {
		if err := conn.Write(ctx, websocket.MessageText, []byte(f)); err != nil {
			t.Errorf("write: %v", err)
			return
		}
	}
}

func TestTailLogs(t *testing.T) {
	t.Parallel()
	c, seen := tailServer(t, func(ctx context.Context, conn *websocket.Conn, hello string) {
		if want := `{"data":{"auth":{"apiToken":"` + testToken + `","type":"apiToken"}},"type":"init"}`; hello != want {
			t.Errorf("first frame = %s, want %s", hello, want)
		}
		send(ctx, t, conn,
			authOK,
			fmt.Sprintf(tailLines, "one"),
			authOK, // a stray one is ignored
			`{"type":"news","data":1}`,
			`not JSON`,
			`{"type":"log-lines","data":5}`,
			`{"type":"log-lines","data":[{"containerId":"c","log":"stdout P two, ","ts":"2026-03-21T15:01:18Z"}]}`,
			`{"type":"log-lines","data":[{"containerId":"c","log":"stdout F joined","ts":"2026-03-21T15:01:19Z"},{"containerId":"c","log":"stderr P open","ts":"2026-03-21T15:01:20Z"}]}`,
		)
		_ = conn.Close(websocket.StatusNormalClosure, "")
	})
	var got []string
	start := time.Date(2026, 3, 21, 15, 0, 0, 0, time.UTC)
	err := c.TailLogs(t.Context(), "data", "pf-x", TailQuery{RunID: "r-1", Start: start, LineLimit: 1000}, func(lines []LogLine) {
		for _, l := range lines {
			got = append(got, l.Time.Format("05 ")+l.Stream+" "+l.Text)
		}
	})
	if err != nil {
		t.Errorf("TailLogs() = %v, want nil after a normal close", err)
	}
	if diff := cmp.Diff([]string{"17 stdout one", "18 stdout two, joined", "20 stderr open"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	wantURI := "/v1/teams/team/projects/data/jobs/pf-x/logs?lineLimit=1000&queryType=tail&runId=r-1&startTime=2026-03-21T15%3A00%3A00.000Z"
	if got := seen.URL.RequestURI(); got != wantURI {
		t.Errorf("address = %s, want %s", got, wantURI)
	}
	if a := seen.Header.Get("Authorization"); a != "" {
		t.Errorf("Authorization = %q, want none: the token goes in the first frame", a)
	}
	if got := c.Budget().Remaining; got != 77 {
		t.Errorf("Remaining = %d, want the 77 of the upgrade's headers", got)
	}
}

// Northflank fills frames up to 32.7 kB, over the websocket library's own limit.
func TestTailLogsReadsLargeFrames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200_000)
	c, _ := tailServer(t, func(ctx context.Context, conn *websocket.Conn, _ string) {
		send(ctx, t, conn, authOK, fmt.Sprintf(tailLines, long))
		_ = conn.Close(websocket.StatusNormalClosure, "")
	})
	got := ""
	err := c.TailLogs(t.Context(), "data", "pf-x", TailQuery{}, func(lines []LogLine) { got += lines[0].Text })
	if err != nil || got != long {
		t.Errorf("TailLogs() = %v with %d bytes, want %d", err, len(got), len(long))
	}
}

func TestTailLogsEnds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		talk func(ctx context.Context, t *testing.T, conn *websocket.Conn)
		is   error
		want string // part of the error; "" is no error
	}{
		{
			name: "token refused",
			talk: func(ctx context.Context, t *testing.T, conn *websocket.Conn) {
				send(ctx, t, conn, `{"type":"init","data":{"auth":"failed","message":"bad `+testToken+`"}}`)
				_, _, _ = conn.Read(ctx)
			},
			is: ErrUnauthorized, want: `follow logs of job "pf-x": 401 unauthorized for project "data" (northflank): bad ***`,
		}, {
			name: "error instead of the verdict",
			talk: func(ctx context.Context, t *testing.T, conn *websocket.Conn) {
				send(ctx, t, conn, `{"type":"error","data":{"message":"no such job"}}`)
				_, _, _ = conn.Read(ctx)
			},
			want: "no such job",
		}, {
			name: "closed instead of the verdict",
			talk: func(_ context.Context, _ *testing.T, conn *websocket.Conn) {
				_ = conn.Close(websocket.StatusPolicyViolation, "go away")
			},
			want: "go away",
		}, {
			name: "error while following",
			talk: func(ctx context.Context, t *testing.T, conn *websocket.Conn) {
				send(ctx, t, conn, authOK, `{"type":"error","data":{"message":"log store\nis down"}}`)
				_, _, _ = conn.Read(ctx)
			},
			want: "northflank ended the log stream: log store is down",
		}, {
			name: "going away",
			talk: func(ctx context.Context, t *testing.T, conn *websocket.Conn) {
				send(ctx, t, conn, authOK)
				_ = conn.Close(websocket.StatusGoingAway, "")
			},
		}, {
			name: "cut",
			talk: func(ctx context.Context, t *testing.T, conn *websocket.Conn) {
				send(ctx, t, conn, authOK)
				_ = conn.CloseNow()
			},
			want: "reach http://127.0.0.1:",
		}, {
			name: "frame too large",
			talk: func(ctx context.Context, t *testing.T, conn *websocket.Conn) {
				send(ctx, t, conn, authOK)
				// The write may fail half-way, when the client has hung up.
				_ = conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, tailLines, strings.Repeat("x", maxFrame)))
				_, _, _ = conn.Read(ctx)
			},
			want: "limit",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _ := tailServer(t, func(ctx context.Context, conn *websocket.Conn, _ string) { tt.talk(ctx, t, conn) })
			err := c.TailLogs(t.Context(), "data", "pf-x", TailQuery{}, func([]LogLine) {})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("TailLogs() = %v, want %q", err, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("TailLogs() = %v, want %v", err, tt.is)
			}
			if err != nil && strings.Contains(err.Error(), testToken) {
				t.Errorf("token in %q", err)
			}
		})
	}
}

func TestTailLogsStopsWithTheContext(t *testing.T) {
	t.Parallel()
	c, _ := tailServer(t, func(ctx context.Context, conn *websocket.Conn, _ string) {
		send(ctx, t, conn, authOK, fmt.Sprintf(tailLines, "hi"))
		_, _, _ = conn.Read(ctx)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := c.TailLogs(ctx, "data", "pf-x", TailQuery{}, func([]LogLine) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("TailLogs() = %v, want context.Canceled", err)
	}
}

func TestTailLogsUpgradeRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		is     error
		want   string
	}{
		{403, ErrForbidden, `follow logs of job "pf-x": 403 forbidden for project "data" (northflank): no right`},
		{429, ErrRateLimited, "429"},
		{200, nil, "not an upgrade"},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(`{"error":{"message":"no right"}}`))
		}))
		c := newTestClient(t, newTransport(t), func(o *Options) { o.BaseURL = s.URL })
		err := c.TailLogs(t.Context(), "data", "pf-x", TailQuery{}, func([]LogLine) {})
		if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%d: TailLogs() = %v, want %q", tt.status, err, tt.want)
		}
		if tt.status == 429 {
			if err := c.TailLogs(t.Context(), "data", "pf-x", TailQuery{}, nil); !errors.Is(err, ErrBudgetSpent) {
				t.Errorf("TailLogs() after 429 = %v, want ErrBudgetSpent", err)
			}
		}
		s.Close()
	}
	// Nobody there.
	c := newTestClient(t, newTransport(t), func(o *Options) { o.BaseURL = "http://127.0.0.1:1" })
	if err := c.TailLogs(t.Context(), "data", "pf-x", TailQuery{}, nil); err == nil || hint(err) == "" {
		t.Errorf("TailLogs() to nobody = %v, hint %q", err, hint(err))
	}
}
