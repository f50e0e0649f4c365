package status_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/status"
	"github.com/northflank/prefect-northflank/internal/testkit"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// TestPageFollowsAWorkerInABrowser: while a real worker works, what is shown
// changes with it, without a reload and without a secret.
func TestPageFollowsAWorkerInABrowser(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	goOn := make(chan struct{})
	s := &scene{T: t, prefect: testkit.NewPrefect()}
	var err error
	s.nf, err = emulator.New(emulator.Config{RateLimit: 1000, Runner: emulator.RunnerFunc(func(ctx context.Context, task emulator.Task) int {
		id := task.Env["PREFECT__FLOW_RUN_ID"]
		s.prefect.BeginRun(id, task.RunID)
		select {
		case <-goOn:
		case <-ctx.Done():
			return 143
		}
		fmt.Fprintln(task.Stdout, "out of memory, and the password is "+plantedSecret)
		if fr, _ := s.prefect.FlowRun(id); fr.Name == "dies" {
			return 1
		}
		s.prefect.Finish(id, testkit.State{Type: prefect.StateCompleted})
		return 0
	})})
	if err != nil {
		t.Fatal(err)
	}
	s.prefect.AddPool(ourPool())
	s.deploy = s.prefect.AddDeployment(testkit.DeploymentSpec{
		Name: "my-deployment", Pool: scenePool,
		JobVariables: map[string]any{"project_id": emulator.DefaultProject, "runtime_environment": map[string]any{"DB_PASSWORD": plantedSecret}},
	})
	s.start()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.worker.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the worker ended: %v", err)
		}
		s.nf.Close()
		s.prefect.Close()
	})

	b.bearer(statusToken)
	b.open(status.Page(status.PageOptions{
		Source: s.worker, Stats: s.worker.Stats, Version: "1.2.3", UI: "http://prefect.test", Token: secret.New(statusToken),
	}))
	b.await("the worker to be ready", `document.querySelector(".badge").textContent === "ready"`)
	eval[any](b, `document.body.dataset.loaded = "once"`) // lost by a reload
	s.schedule("lives")
	s.schedule("dies")
	b.await("both flow runs to run", `document.querySelectorAll("td.phase.running").length === 2`)
	wantNoSecrets(b)
	close(goOn)
	b.await("the end of the one", `document.querySelector("td.phase.completed")`)
	if got := eval[string](b, `document.body.dataset.loaded`); got != "once" {
		t.Error("the page was loaded again, where an event would have done")
	}
	wantNoSecrets(b)
	b.wantNoProblems()
}

const plantedSecret = "planted-password"

// wantNoSecrets checks all that the page holds, shown or not.
func wantNoSecrets(b *browser) {
	b.Helper()
	text := eval[string](b, `document.documentElement.outerHTML + JSON.stringify(localStorage) + document.cookie`)
	for _, s := range []string{plantedSecret, statusToken, emulator.DefaultToken} {
		if strings.Contains(text, s) {
			b.Errorf("%q is in the page", s)
		}
	}
}

// crowdedStatus has everything that the page can show, with long names.
func crowdedStatus() worker.Status {
	s := busyStatusAt(time.Now())
	long := strings.Repeat("a-very-long-name-", 6)
	for i, phase := range worker.Phases() {
		s.FlowRuns = append(s.FlowRuns, worker.LiveFlowRun{
			ID: fmt.Sprint("live-", i), Name: fmt.Sprintf("brave-otter-%d", i), Phase: phase, Since: s.Now.Add(-time.Duration(i*i) * time.Minute), Adopted: i%2 == 0, Failures: i % 3,
			API: "https://api.northflank.com", Team: "acme", Project: "data", Job: fmt.Sprint("pf-my-pool-", i), JobRun: "3b3ee3a9-85c4-49de-88e5-42311a28c71f",
		})
	}
	s.FlowRuns[1].Name, s.FlowRuns[1].Job, s.FlowRuns[1].Project = long, long, long
	for i, state := range []string{"completed", "failed", "cancelled", "deleted"} {
		s.Outcomes = append(s.Outcomes, worker.Outcome{At: s.Now.Add(-time.Duration(i) * time.Hour), ID: fmt.Sprint("ended-", i), Name: fmt.Sprint("lazy-lynx-", i), State: state, Reason: "reported", Project: "data", Job: "pf-my-pool-1"})
	}
	s.Outcomes[0].Text = "No container of the job run came up: its image ghcr.io/" + long + ":v7 could not be pulled, or there was no capacity for its deployment plan (nf-compute-20)."
	s.Accounts = append(s.Accounts, worker.Account{API: "https://api.northflank.com", Team: "other", Budget: northflank.Budget{Limit: 1000, Remaining: 0, ResetAt: s.Now.Add(5 * time.Minute)}})
	return s
}

// contrasts measures how well each text of the page is told from its ground, as
// WCAG 2 counts it, and returns those that are told worse than 4.5 to 1.
const contrasts = `(() => {
	const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
	const rgba = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data; };
	const light = (c) => { const [r, g, b] = [...c].map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
	const ground = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return rgba("white"); };
	return [...document.querySelectorAll("body *")].filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())).map((e) => {
		const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))];
		return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.outerHTML.slice(0, 120)];
	}).filter(([ratio]) => ratio < 4.5).map(([ratio, text]) => ratio.toFixed(1) + ": " + text);
})()`

// TestPageInABrowser: on a desk and on a phone, light and dark, everything can be
// read and nothing has to be scrolled sideways.
func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	for name, shown := range map[string]worker.Status{"crowded": crowdedStatus(), "quiet": readyStatusAt(time.Now())} {
		stats := worker.NewStats()
		stats.NorthflankCalls.Add(40, "start", "POST", "/jobs", "200")
		b.open(status.Page(status.PageOptions{Source: scripted{status: shown}, Stats: stats, Version: "1.2.3", UI: "http://prefect.test"}))
		grounds := map[string]float64{}
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int{1280, 900, 768, 360, 320} {
				b.look(width, 900, scheme)
				where := fmt.Sprintf("%s, %s, %d pixels wide", name, scheme, width)
				if got := eval[float64](b, `document.documentElement.scrollWidth`); got > float64(width) {
					t.Errorf("%s: the page is %v pixels wide", where, got)
				}
				if wide := eval[[]string](b, fmt.Sprintf(`[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > %d.5).map((e) => e.outerHTML.slice(0, 120))`, width)); len(wide) > 0 {
					t.Errorf("%s: past the edge are %q", where, wide)
				}
				for _, bad := range eval[[]string](b, contrasts) {
					t.Errorf("%s: hard to read: %s", where, bad)
				}
				b.screenshot(fmt.Sprintf("%s-%s-%d", name, scheme, width))
			}
			grounds[scheme] = eval[float64](b, `+getComputedStyle(document.body).backgroundColor.match(/[\d.]+/)[0]`)
		}
		if grounds["light"] < 200 || grounds["dark"] > 60 {
			t.Errorf("%s: the ground is %v", name, grounds)
		}
	}
	b.wantNoProblems()
}
