package northflank

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

// window answers like Northflank: a fixed window opens with the first request
// and is counted in the headers of each answer.
type window struct {
	mu      sync.Mutex
	limit   int
	latency time.Duration // before the answer; every third takes twice that
	opened  time.Time
	used    int
	sent    int // requests since the beginning
	refused int // answered with 429
	byPath  map[string]int
}

func (w *window) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	now := time.Now()
	if w.opened.IsZero() || now.Sub(w.opened) >= time.Hour {
		w.opened, w.used = now, 0
	}
	w.sent++
	w.used++
	status, body := 200, `{"data":{"id":"r"}}`
	if w.used > w.limit {
		w.refused++
		status, body = 429, `{"error":{"status":429,"message":"Too many requests"}}`
	}
	if w.byPath == nil {
		w.byPath = map[string]int{}
	}
	w.byPath[r.Method]++
	resp := reply(status, body,
		"x-ratelimit-limit", strconv.Itoa(w.limit),
		"x-ratelimit-remaining", strconv.Itoa(max(0, w.limit-w.used)),
		"x-ratelimit-reset", strconv.Itoa(int(time.Hour-now.Sub(w.opened))/int(time.Second)), // rounded down
	)
	wait := w.latency
	if w.sent%3 == 0 {
		wait *= 2 // answers overtake one another
	}
	w.mu.Unlock()
	if wait > 0 {
		time.Sleep(wait) // virtual time: the service takes this long
	}
	return resp, nil
}

func sweep(ctx context.Context, c *Client) error {
	_, err := c.GetRun(ctx, "data", "j", "r")
	return err
}

// An eager caller may use the whole window, never more, over many hours.
func TestBudgetOverHours(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &window{limit: 1000}
		c := newTestClient(t, w)
		const hours = 5
		end := time.Now().Add(hours * time.Hour)
		for time.Now().Before(end) {
			err := startOnce(t.Context(), c)
			if err == nil {
				continue
			}
			e, ok := errors.AsType[*BudgetError](err)
			if !ok || !errors.Is(err, ErrBudgetSpent) || MayHaveHappened(err) {
				t.Fatalf("start: %v, want a BudgetError", err)
			}
			if wait := time.Until(e.ResetAt); wait <= 0 || wait > time.Hour+2*time.Second {
				t.Fatalf("relief in %v, want within the hour", wait)
			}
			time.Sleep(time.Until(e.ResetAt))
		}
		if w.refused != 0 {
			t.Errorf("%d requests answered with 429, want none", w.refused)
		}
		// All but the reserve of 30 for aborts and adoption, each hour.
		if want := hours * 970; w.sent != want {
			t.Errorf("%d requests in %d hours, want %d", w.sent, hours, want)
		}
	})
}

// Many callers at once, with answers that overtake one another, stay below the
// limit too: what is in flight counts as spent.
func TestBudgetWithConcurrentCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &window{limit: 200, latency: 100 * time.Millisecond}
		c := newTestClient(t, w)
		var g errgroup.Group
		for range 50 {
			g.Go(func() error {
				for range 30 {
					if err := startOnce(t.Context(), c); err != nil && !errors.Is(err, ErrBudgetSpent) {
						return err
					}
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if w.refused != 0 || w.sent > 190 || w.sent < 185 {
			t.Errorf("%d requests, %d refused, want 185 to 190 and none", w.sent, w.refused)
		}
	})
}

// A request without an answer counts as spent in this window, since Northflank
// may have counted it, and is forgotten with the window.
func TestBudgetOfLostAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &window{limit: 1000}
		cut := false
		c := newTestClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			if cut {
				return nil, errReset
			}
			return w.RoundTrip(r)
		}))
		ctx := t.Context()
		start := func() error { return startOnce(ctx, c) }
		if err := start(); err != nil {
			t.Fatal(err)
		}
		cut = true
		for range 900 {
			_ = start()
		}
		cut = false
		count := func() (n int) {
			for start() == nil {
				n++
			}
			return n
		}
		if err := start(); err != nil { // its headers set the count right
			t.Fatal(err)
		}
		if got := c.Budget().Remaining; got != 998 {
			t.Errorf("Remaining = %d, want the 998 that Northflank tells", got)
		}
		cut = true
		for range 900 {
			_ = start()
		}
		if got := c.Budget().Remaining; got != 98 {
			t.Errorf("Remaining after 900 lost answers = %d, want 98", got)
		}
		cut = false
		time.Sleep(2 * time.Hour)
		if got := count(); got != 970 {
			t.Errorf("%d starts in a fresh window, want 970", got)
		}
	})
}

// Less urgent classes stop first, and an abort finds requests left.
func TestBudgetClasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &window{limit: 1000}
		c := newTestClient(t, w)
		ctx := t.Context()
		used := func(class Class) int {
			n := 0
			for sweep(WithClass(ctx, class), c) == nil {
				n++
			}
			return n
		}
		got := map[string]int{}
		for _, class := range []Class{ClassCleanup, ClassEvidence, ClassSweep, ClassStart, ClassConfirm, ClassAbort} {
			got[class.String()] = used(class)
		}
		want := map[string]int{"cleanup": 950, "evidence": 0, "sweep": 0, "start": 20, "confirm": 20, "abort": 10}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("requests let through by class, least urgent first (-want +got):\n%s", diff)
		}
		if w.refused != 0 {
			t.Errorf("%d requests answered with 429", w.refused)
		}
		err := startOnce(ctx, c)
		wantErr := `start job run of job "pf-x": not sent: 0 of 1000 northflank requests left until 2000-01-01T01:00:01Z, kept for more urgent ones than start`
		if err == nil || err.Error() != wantErr {
			t.Errorf("err = %v\nwant  %s", err, wantErr)
		}
		if h := hint(err); !strings.Contains(h, "2000-01-01T01:00:01Z") {
			t.Errorf("hint = %q, want the time of relief", h)
		}
	})
}

// What is held counts as spent, is there when it is used, and comes back.
func TestBudgetHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &window{limit: 100}
		c := newTestClient(t, w)
		if err := startOnce(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		var held []context.Context
		for {
			ctx, release, err := c.Hold(t.Context(), ClassStart, 2)
			defer release()
			if err != nil {
				if e, ok := errors.AsType[*BudgetError](err); !ok || time.Until(e.ResetAt) <= 0 {
					t.Fatalf("Hold: %v, want a BudgetError that tells the time of relief", err)
				}
				break
			}
			held = append(held, ctx)
		}
		if len(held) != 44 { // 99 left, 10 of them kept
			t.Errorf("%d holds of 2, want 44", len(held))
		}
		for range 3 {
			_ = startOnce(t.Context(), c) // one more fits, not two
		}
		for _, ctx := range held {
			for range 2 {
				if err := startOnce(ctx, c); err != nil {
					t.Fatalf("a request that was held for: %v", err)
				}
			}
		}
		if err := startOnce(held[0], c); !errors.Is(err, ErrBudgetSpent) {
			t.Errorf("a third request on a hold of 2: %v, want ErrBudgetSpent", err)
		}
		if w.refused != 0 || w.sent != 90 {
			t.Errorf("%d requests sent, %d refused, want 90 and none", w.sent, w.refused)
		}
		time.Sleep(2 * time.Hour)
		_, release, err := c.Hold(t.Context(), ClassStart, 90)
		if err != nil {
			t.Fatal(err)
		}
		release()
		release()
		if _, _, err := c.Hold(t.Context(), ClassStart, 90); err != nil {
			t.Errorf("after a release: %v", err)
		}
	})
}

// When nothing is known of the budget yet, one request asks for all.
func TestBudgetUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &window{limit: 100, latency: time.Second}
		for range 100 { // by another program
			if resp, err := w.RoundTrip(httptest.NewRequest(http.MethodGet, "/", nil)); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatal(resp, err)
			}
		}
		c := newTestClient(t, w)
		var g sync.WaitGroup
		for range 20 {
			g.Go(func() { _ = startOnce(t.Context(), c) })
		}
		g.Wait()
		if w.refused != 1 {
			t.Errorf("%d requests answered with 429, want 1", w.refused)
		}
	})
}

func TestBudgetNaturalClasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		c := newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) { return reply(200, `{"data":{"id":"r"}}`), nil }),
			func(o *Options) {
				o.Observe = func(call Call) {
					calls = append(calls, fmt.Sprintf("%s %s %s %d", call.Method, call.Route, call.Class, call.Status))
				}
			})
		ctx := t.Context()
		_, _ = c.PutJob(ctx, "data", minimalJob())
		_ = startOnce(ctx, c)
		_ = sweep(ctx, c)
		_ = c.AbortRun(ctx, "data", "j", "r")
		_, _ = c.ListContainers(ctx, "data", "j", "r")
		_ = c.DeleteJob(ctx, "data", "j")
		_ = c.DeleteJob(WithClass(ctx, ClassAbort), "data", "j")
		want := []string{
			"PUT /jobs start 200", "POST /jobs/{job}/runs start 200", "GET /jobs/{job}/runs/{run} sweep 200",
			"DELETE /jobs/{job}/runs/{run} abort 200", "GET /jobs/{job}/containers evidence 200",
			"DELETE /jobs/{job} cleanup 200", "DELETE /jobs/{job} abort 200",
		}
		if diff := cmp.Diff(want, calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// A tiny limit must not be all reserve.
func TestReserve(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ limit, start, sweep int }{{1000, 30, 50}, {100, 10, 20}, {10, 2, 2}, {3, 0, 0}, {100_000, 3000, 5000}} {
		if got := ClassStart.Reserve(tt.limit); got != tt.start {
			t.Errorf("start reserve of %d = %d, want %d", tt.limit, got, tt.start)
		}
		if got := ClassSweep.Reserve(tt.limit); got != tt.sweep {
			t.Errorf("sweep reserve of %d = %d, want %d", tt.limit, got, tt.sweep)
		}
		if got := ClassAbort.Reserve(tt.limit); got != 0 {
			t.Errorf("abort reserve of %d = %d, want 0", tt.limit, got)
		}
	}
}

func TestGovernorAfter429(t *testing.T) {
	t.Parallel()
	h := func(pairs ...string) http.Header { return reply(0, "", pairs...).Header }
	spent := []string{"x-ratelimit-limit", "1000", "x-ratelimit-remaining", "0", "x-ratelimit-reset", "1800"}
	left := []string{"x-ratelimit-limit", "1000", "x-ratelimit-remaining", "900", "x-ratelimit-reset", "1800"}
	tests := []struct {
		name       string
		headers    []http.Header // one for each 429 in a row
		min, max   time.Duration // of the pause after the last
		abortWaits bool
	}{
		{"retry-after", []http.Header{h("Retry-After", "90")}, 90 * time.Second, 99 * time.Second, true},
		{"retry-after before reset", []http.Header{h(append(spent, "Retry-After", "90")...)}, 90 * time.Second, 99 * time.Second, true},
		{"reset", []http.Header{h(spent...)}, 30 * time.Minute, 34 * time.Minute, true},
		{"requests left, so the reset means nothing", []http.Header{h(left...)}, time.Minute, 66 * time.Second, false},
		{"no word", []http.Header{h()}, time.Minute, 66 * time.Second, false},
		{"no word, three times", []http.Header{h(), h(), h()}, 4 * time.Minute, 264 * time.Second, false},
		{"no word, many times", []http.Header{h(), h(), h(), h(), h(), h(), h(), h()}, 15 * time.Minute, 990 * time.Second, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGovernor()
				for _, header := range tt.headers {
					time.Sleep(g.pauseLeft())
					seq, err := g.admit(ClassStart, nil)
					if err != nil {
						t.Fatal(err)
					}
					g.record(seq, http.StatusTooManyRequests, header)
				}
				_, err := g.admit(ClassStart, nil)
				e, ok := errors.AsType[*BudgetError](err)
				if !ok || !e.Paused {
					t.Fatalf("admit after 429 = %v, want a pause", err)
				}
				if pause := time.Until(e.ResetAt); pause < tt.min || pause > tt.max {
					t.Errorf("pause of %v, want %v to %v", pause, tt.min, tt.max)
				}
				if _, err := g.admit(ClassAbort, nil); (err != nil) != tt.abortWaits {
					t.Errorf("admit(abort) = %v, want refused %v", err, tt.abortWaits)
				}
			})
		})
	}
}

// A success ends the doubling of pauses.
func TestGovernorForgetsPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGovernor()
		for _, status := range []int{429, 429, 200, 429} {
			time.Sleep(g.pauseLeft())
			seq, err := g.admit(ClassStart, nil)
			if err != nil {
				t.Fatal(err)
			}
			g.record(seq, status, http.Header{})
		}
		if got := g.pauseLeft(); got < time.Minute || got > 66*time.Second {
			t.Errorf("pause = %v, want a minute again", got)
		}
	})
}

func TestRateHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		tests := []struct {
			name                    string
			limit, remaining, reset string
			ok                      bool
			want                    time.Duration // of the window's rest
		}{
			{"seconds", "1000", "999", "3599", true, 3600 * time.Second},
			{"fraction", "1000", "1", "0.5", true, 1500 * time.Millisecond},
			{"epoch", "1000", "1", strconv.FormatInt(now.Add(10*time.Minute).Unix(), 10), true, 601 * time.Second},
			{"past epoch", "1000", "1", strconv.FormatInt(now.Add(-time.Minute).Unix(), 10), true, -59 * time.Second},
			{"neither", "1000", "1", "3999999999", true, 3601 * time.Second},
			{"absent", "", "", "", false, 0},
			{"no reset", "1000", "5", "", false, 0},
			{"not numbers", "many", "5", "60", false, 0},
			{"negative", "1000", "-5", "60", false, 0},
			{"no limit", "0", "0", "60", false, 0},
			{"not a number", "1000", "NaN", "60", false, 0},
		}
		for _, tt := range tests {
			got, ok := parseRateHeaders(reply(0, "", "x-ratelimit-limit", tt.limit, "x-ratelimit-remaining", tt.remaining, "x-ratelimit-reset", tt.reset).Header, now)
			if ok != tt.ok {
				t.Errorf("%s: ok = %v, want %v", tt.name, ok, tt.ok)
			}
			if ok && got.ResetAt.Sub(now) != tt.want {
				t.Errorf("%s: resets in %v, want %v", tt.name, got.ResetAt.Sub(now), tt.want)
			}
		}
		for v, want := range map[string]time.Duration{
			"": 0, "5": 5 * time.Second, "999999": time.Hour, "soon": 0, "-1": 0,
			now.Add(20 * time.Second).UTC().Format(http.TimeFormat): 20 * time.Second,
			now.Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
		} {
			if got := retryAfter(http.Header{"Retry-After": {v}}); got != want {
				t.Errorf("retryAfter(%q) = %v, want %v", v, got, want)
			}
		}
	})
}

func TestBudgetIsRecorded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newTestClient(t, roundTripper(func(*http.Request) (*http.Response, error) {
			return reply(404, `{}`, "x-ratelimit-limit", "1000", "x-ratelimit-remaining", "400", "x-ratelimit-reset", "60"), nil
		}))
		if got := c.Budget(); got != (Budget{}) {
			t.Errorf("Budget() before a request = %+v, want zero", got)
		}
		_ = startOnce(t.Context(), c)
		want := Budget{Limit: 1000, Remaining: 400, ResetAt: time.Now().Add(61 * time.Second), SeenAt: time.Now()}
		if diff := cmp.Diff(want, c.Budget()); diff != "" {
			t.Errorf("Budget() (-want +got):\n%s", diff)
		}
	})
}

// An answer that another overtook must not bring an old count back.
func TestGovernorIgnoresOvertakenAnswers(t *testing.T) {
	t.Parallel()
	g := newGovernor()
	first, _ := g.admit(ClassStart, nil)
	second, _ := g.admit(ClassStart, nil)
	h := func(remaining string) http.Header {
		return reply(0, "", "x-ratelimit-limit", "1000", "x-ratelimit-remaining", remaining, "x-ratelimit-reset", "60").Header
	}
	g.record(second, 200, h("998"))
	g.record(first, 200, h("999"))
	if got := g.snapshot().Remaining; got != 998 {
		t.Errorf("Remaining = %d, want 998", got)
	}
}
