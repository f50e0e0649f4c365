package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/testkit"
	"github.com/northflank/prefect-northflank/internal/webhook"
)

// A simulation is one random history in virtual time: real workers with real
// clients in front of a Prefect server and a Northflank in memory, flow runs of
// every temper, and faults on both sides, all drawn from one seed. At its end
// every flow run must have been executed as often as it should, its state must
// be true, and nothing may be left in Northflank.
type simulation struct {
	*testing.T
	seed    uint64
	rng     *rand.Rand
	prefect *testkit.Prefect
	nf      *emulator.Server
	log     *slog.Logger

	plan     plan
	workers  []*simWorker
	killAt   int // the n-th request of worker 0 kills it; 0: never
	killHow  int // before the effect, after it, or only the answer is lost
	deployID string
	shape    func(*simRun) // changes what was drawn for a flow run; nil: nothing
	also     func()        // called when the flow runs are made; nil: nothing
	began    time.Time     // then
	timing   Timing
	query    time.Duration
	// Coarser for the large histories: a container's look at its flow run, and
	// the looks whether all is over.
	tick, lookEvery, horizon time.Duration

	mu    sync.Mutex
	runs  map[string]*simRun // by flow run id
	calls int                // requests of worker 0 so far
	live  map[string]int     // containers of a flow run that run now
}

// plan is what is drawn before a history begins.
type plan struct {
	flowRuns, workers int
	scope             string
	faultsUntil       time.Duration
	prefectFaults     float64 // of requests, while faults last
	northflankFaults  float64
	sameName          bool // a killed worker's successor has its name
	successor         bool
	switches          map[string]string
	startRetries      int
	rateLimit         int // requests an hour; -1: none
	linger            time.Duration
	concurrency       int           // of the deployment; 0: no limit
	grace             time.Duration // of its slots
	sources
}

// sources are the ways in which a worker learns what happens, beside polling
// Prefect, and how well they work.
type sources struct {
	noEvents   bool    // a proxy forbids websockets
	noChannel  bool    // the server has no worker channel
	loseEvents float64 // share
	cutEvents  int     // times that the event stream breaks
	eventDelay time.Duration
	heartbeats bool // flows tell that they live
	webhooks   bool // Northflank tells of the ends of job runs
}

// temper is how a flow run's container behaves.
type temper int

const (
	wellBehaved  temper = iota
	failsItself         // reports Failed
	diesSilently        // ends with an error while Running
	diesEarly           // ends with an error before it begins
	hangs               // ignores its cancellation; is cancelled sooner or later
)

// fate is what happens to a flow run from outside.
type fate int

const (
	leftAlone fate = iota
	cancelled
	cancelledDirectly
	deleted
)

type simRun struct {
	id     string
	at     time.Duration // when it is due
	temper temper
	fate   fate
	when   time.Duration // of the fate
	length time.Duration // of the flow
	boot   time.Duration // of the container, before the flow begins

	ended    bool      // the flow reported its end
	diedAt   time.Time // of a silent death
	silent   int       // containers that ended without a report, and should have
	reported prefect.StateType
}

// simWorker is a worker process: when it dies, nothing more leaves it.
type simWorker struct {
	name string
	dead bool // guarded by simulation.mu
	stop context.CancelFunc
	done chan struct{}
	sim  *simulation

	engine *Worker
	main   bool
}

// errDead is what a request of a dead process meets.
var errDead = errors.New("the process is dead")

// mortal is a worker's way to one of the servers.
type mortal struct {
	w    *simWorker
	next http.RoundTripper
}

func (m mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	before, after := m.w.sim.boundary(m.w)
	if before {
		m.w.die()
	}
	if m.w.isDead() {
		return nil, errDead
	}
	resp, err := m.next.RoundTrip(r)
	switch {
	case after == killAfterEffect:
		m.w.die()
	case after == dropAfterEffect:
		return nil, errors.New("connection reset by peer")
	}
	if m.w.isDead() {
		return nil, errDead
	}
	return resp, err
}

const (
	killBeforeEffect = iota
	killAfterEffect
	dropAfterEffect
)

// boundary counts the main worker's requests and says whether this is the one.
func (s *simulation) boundary(w *simWorker) (before bool, after int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !w.main {
		return false, -1
	}
	s.calls++
	if s.calls != s.killAt {
		return false, -1
	}
	return s.killHow == killBeforeEffect, s.killHow
}

func (w *simWorker) die() {
	w.sim.mu.Lock()
	w.dead = true
	w.sim.mu.Unlock()
	w.stop()
}

func (w *simWorker) isDead() bool {
	w.sim.mu.Lock()
	defer w.sim.mu.Unlock()
	return w.dead
}

const simPool = "sim"

func (s *simulation) start(name string, main bool) *simWorker {
	ctx, cancel := context.WithCancel(s.Context())
	w := &simWorker{name: name, stop: cancel, done: make(chan struct{}), sim: s, main: main}
	settings := prefect.DefaultSettings()
	settings.APIURL = testkit.BaseURL
	client, err := prefect.NewClient(prefect.ClientOptions{
		Settings: settings, WorkerName: name, Logger: s.log, HTTPClient: &http.Client{Transport: mortal{w, s.prefect.Transport()}},
	})
	if err != nil {
		s.Fatal(err)
	}
	engine, err := New(Options{
		Prefect: client, Settings: settings, Logger: s.log.With("worker", name),
		Accounts: northflank.NewAccounts(northflank.Options{Logger: s.log, HTTPClient: &http.Client{Transport: mortal{w, s.nf.Transport()}}}),
		Account:  jobspec.Account{BaseURL: "http://localhost", Token: secret.New(emulator.DefaultToken)},
		Name:     name, Pool: simPool, CreatePool: true, Prefetch: 10 * time.Second, Heartbeat: 30 * time.Second, Query: s.query,
		Timing: s.timing, Template: json.RawMessage(simTemplate),
	})
	if err != nil {
		s.Fatal(err)
	}
	w.engine = engine
	s.mu.Lock()
	s.workers = append(s.workers, w)
	s.mu.Unlock()
	go func() {
		defer close(w.done)
		if err := engine.Run(ctx); err != nil && !w.isDead() {
			s.Errorf("seed %d: worker %s ended: %v", s.seed, name, err)
		}
	}()
	return w
}

// draw decides what the history will be.
func (s *simulation) draw() {
	r := s.rng
	p := &s.plan
	p.flowRuns, p.workers = 1+r.IntN(4), 1+r.IntN(2)
	p.scope = []string{"pool", "pool", "deployment", "flow-run"}[r.IntN(4)]
	s.query = []time.Duration{10 * time.Second, 30 * time.Second}[r.IntN(2)]
	p.startRetries, p.rateLimit, p.linger = r.IntN(3), -1, 2*time.Minute
	p.sources = sources{
		noEvents: r.IntN(4) == 0, noChannel: r.IntN(3) == 0, loseEvents: []float64{0, 0, 0.3}[r.IntN(3)], cutEvents: r.IntN(3),
		eventDelay: []time.Duration{0, 100 * time.Millisecond, 4 * time.Second}[r.IntN(3)],
		heartbeats: r.IntN(2) == 0, webhooks: r.IntN(4) == 0,
	}
	if r.IntN(2) == 0 {
		p.faultsUntil = time.Duration(30+r.IntN(240)) * time.Second
		p.prefectFaults, p.northflankFaults = 0.3*r.Float64(), 0.4*r.Float64()
	}
	if r.IntN(3) > 0 {
		s.killAt, s.killHow = 1+r.IntN(14*p.flowRuns+10), r.IntN(3)
		p.successor, p.sameName = r.IntN(4) > 0 || p.workers == 1, r.IntN(2) == 0
	}
	p.switches = map[string]string{
		emulator.SwitchListLag: []string{"0s", "0s", "8s", "20s"}[r.IntN(4)],
	}
	for _, sw := range emulator.SwitchTable() {
		switch sw.Name {
		case emulator.SwitchAbortedRun, emulator.SwitchConcludedAt, emulator.SwitchListOrder, emulator.SwitchAbortFinished,
			emulator.SwitchDeleteActive, emulator.SwitchSucceeded, emulator.SwitchErrorBody, emulator.SwitchRetryAfter, emulator.SwitchPagination:
			p.switches[sw.Name] = sw.Values[r.IntN(len(sw.Values))]
		}
	}
}

func (s *simulation) drawRun() *simRun {
	r := s.rng
	run := &simRun{
		at: time.Duration(r.IntN(60)) * time.Second, temper: []temper{wellBehaved, wellBehaved, wellBehaved, failsItself, diesSilently, diesEarly, hangs}[r.IntN(7)],
		length: time.Duration(1+r.IntN(60)) * time.Second, boot: time.Duration(r.IntN(40)) * time.Second,
	}
	if r.IntN(10) == 0 {
		run.length = time.Duration(2+r.IntN(8)) * time.Minute
	}
	if r.IntN(4) == 0 || run.temper == hangs {
		run.fate = []fate{cancelled, cancelled, cancelledDirectly, deleted}[r.IntN(4)]
		run.when = time.Duration(r.IntN(90)) * time.Second
	}
	return run
}

// container is what the flow's process does.
func (s *simulation) container(ctx context.Context, task emulator.Task) int {
	id := task.Env["PREFECT__FLOW_RUN_ID"]
	s.mu.Lock()
	run := s.runs[id]
	s.live[id]++
	alone := s.live[id] == 1
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.live[id]--
		s.mu.Unlock()
	}()
	if !alone {
		s.Errorf("seed %d: two containers of flow run %s at once", s.seed, id)
	}
	if !sleep(ctx, run.boot) {
		return 143
	}
	if run.temper == diesEarly {
		fmt.Fprintln(task.Stderr, "ModuleNotFoundError: No module named 'pandas'")
		return 1
	}
	for {
		begun := s.prefect.BeginRun(id, task.RunID)
		if begun.Runs {
			break
		}
		if begun.Wait == 0 || !sleep(ctx, begun.Wait) {
			return 1
		}
	}
	beat := time.Now()
	for end := time.Now().Add(run.length); run.temper == hangs || time.Now().Before(end); {
		if s.plan.heartbeats && !time.Now().Before(beat) {
			s.prefect.Heartbeat(id)
			beat = beat.Add(jobspec.HeartbeatSeconds * time.Second)
		}
		if !sleep(ctx, s.tick) {
			if run.temper == hangs {
				<-task.Killed
			}
			return 137
		}
		if fr, ok := s.prefect.FlowRun(id); ok && fr.State.Type == prefect.StateCancelling && run.temper != hangs {
			s.prefect.FinishCancelled(id)
			return 1
		}
	}
	return s.finish(run)
}

// finish ends the flow as its temper says.
func (s *simulation) finish(run *simRun) int {
	final := prefect.StateCompleted
	switch run.temper {
	case diesSilently:
		s.mu.Lock()
		run.silent++
		run.diedAt = time.Now()
		s.mu.Unlock()
		return 1
	case failsItself:
		final = prefect.StateFailed
	}
	result, ok := s.prefect.Finish(run.id, testkit.State{Type: final})
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok && result.Status == prefect.Accept {
		run.ended, run.reported = true, final
	}
	return 0
}

// faulty decides about Prefect's answers.
func (s *simulation) faulty(began time.Time, rng *rand.Rand) func(int, *http.Request) testkit.FaultAction {
	var mu sync.Mutex
	return func(int, *http.Request) testkit.FaultAction {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(began) > s.plan.faultsUntil || rng.Float64() >= s.plan.prefectFaults {
			return testkit.FaultNone
		}
		return []testkit.FaultAction{
			testkit.FaultDropBefore, testkit.FaultDropAfter, testkit.FaultDropAfter, testkit.FaultHang, testkit.FaultHangAfter,
			testkit.Fault500, testkit.Fault503, testkit.Fault503, testkit.Fault429, testkit.FaultRefuse,
		}[rng.IntN(10)]
	}
}

func (s *simulation) addNorthflankFaults() {
	for _, f := range []emulator.Fault{
		{Action: emulator.ActionStatus, Status: 503},
		{Action: emulator.ActionStatus, Status: 500},
		{Action: emulator.ActionHang},
		{Action: emulator.ActionHangAfter},
		{Action: emulator.ActionResetBefore},
		{Action: emulator.ActionResetAfter},
		{Action: emulator.ActionCutBody},
		{Action: emulator.ActionStatus, Status: 502, Body: "<html>"},
	} {
		f.For, f.Probability = s.plan.faultsUntil, s.plan.northflankFaults/9
		if f.Probability == 0 {
			continue
		}
		if _, err := s.nf.Faults().Add(f); err != nil {
			s.Fatal(err)
		}
	}
}

// simulate runs one history.
func simulate(t *testing.T, seed uint64, log *slog.Logger, changes ...func(*simulation)) *simulation {
	s := &simulation{
		T: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), log: log,
		prefect: testkit.NewPrefect(), runs: map[string]*simRun{}, live: map[string]int{},
		timing: Timing{JobIdle: time.Minute, Janitor: 3 * time.Minute}, // not to wait for idle jobs in every history
		tick:   time.Second, lookEvery: 10 * time.Second, horizon: 3 * time.Hour,
	}
	s.draw()
	for _, change := range changes {
		change(s)
	}
	var err error
	s.nf, err = emulator.New(emulator.Config{
		RateLimit: s.plan.rateLimit, Seed: seed + 1, Switches: s.plan.switches, Runner: emulator.RunnerFunc(s.container),
		Deliveries: s.receiver(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.plan.webhooks {
		s.subscribe()
	}
	s.prefect.EventDelay, s.prefect.LoseEvents = s.plan.eventDelay, s.plan.loseEvents
	if s.plan.noEvents {
		s.prefect.RefuseEventStreams(http.StatusForbidden)
	}
	if s.plan.noChannel {
		s.prefect.RefuseChannels(http.StatusForbidden)
	}
	s.prefect.Fault = s.faulty(time.Now(), rand.New(rand.NewPCG(seed, 2)))
	s.addNorthflankFaults()
	s.prefect.AddPool(testkit.PoolSpec{Name: simPool, Template: json.RawMessage(simTemplate)})
	s.began = time.Now()
	s.schedule()
	if s.also != nil {
		s.also()
	}
	s.act()
	s.check()
	for _, w := range s.workers {
		w.stop()
	}
	for _, w := range s.workers {
		<-w.done
	}
	s.nf.Close()
	s.prefect.Close() // a lost answer to an upgrade leaves a stream that nobody closes
	return s
}

// schedule makes the flow runs.
func (s *simulation) schedule() {
	s.deployID = s.prefect.AddDeployment(testkit.DeploymentSpec{Name: "d", Pool: simPool, ConcurrencyLimit: s.plan.concurrency, GracePeriod: s.plan.grace, JobVariables: map[string]any{
		"project_id": emulator.DefaultProject, "job_scope": s.plan.scope, "start_retries": s.plan.startRetries, "linger_timeout_seconds": s.plan.linger.Seconds(),
		"settings_active_deadline_seconds": 4 * 60 * 60, // no history is that long
	}})
	for range s.plan.flowRuns {
		run := s.drawRun()
		if s.shape != nil {
			s.shape(run)
		}
		run.id = s.prefect.Schedule(testkit.FlowRunSpec{Deployment: s.deployID, At: time.Now().Add(run.at)})
		s.mu.Lock()
		s.runs[run.id] = run
		s.mu.Unlock()
	}
}

// simSecret is what Northflank proves itself with.
var simSecret = secret.New("0123456789abcdef0123456789abcdef")

// subscribe makes Northflank tell of the ends of job runs.
func (s *simulation) subscribe() {
	client, err := northflank.New(northflank.Options{
		BaseURL: "http://localhost", Token: secret.New(emulator.DefaultToken), HTTPClient: &http.Client{Transport: s.nf.Transport()}, Logger: s.log,
	})
	if err != nil {
		s.Fatal(err)
	}
	_, err = client.CreateNotification(s.Context(), northflank.NotificationRequest{
		Name: "workers", Webhook: "https://worker.test/hook", Secret: simSecret, Events: webhook.Events(),
	})
	if err != nil {
		s.Fatal(err)
	}
}

// receiver hands Northflank's notifications to the workers that live.
func (s *simulation) receiver() http.RoundTripper {
	handler := webhook.NewHandler(webhook.Options{Secret: simSecret, Path: "/hook", Logger: s.log, Receive: func(n webhook.Notification) {
		s.mu.Lock()
		workers := slices.Clone(s.workers)
		s.mu.Unlock()
		for _, w := range workers {
			if !w.isDead() {
				w.engine.Hint(n.Event, n.ProjectID, n.JobID, n.RunID)
			}
		}
	}})
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Result(), nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// act starts the workers, kills and replaces one, and lets the fates happen.
func (s *simulation) act() {
	victim := s.start("w0", true)
	for i := 1; i < s.plan.workers; i++ {
		s.start(fmt.Sprint("w", i), false)
	}
	for _, run := range s.runs {
		if run.fate != leftAlone {
			go s.meet(run)
		}
	}
	for range s.plan.cutEvents {
		time.AfterFunc(time.Duration(s.rng.IntN(180))*time.Second, s.prefect.CutEventStreams)
		time.AfterFunc(time.Duration(s.rng.IntN(180))*time.Second, s.prefect.CutChannels)
	}
	if s.killAt > 0 && s.killHow != dropAfterEffect {
		select {
		case <-victim.done:
		case <-time.After(10 * time.Minute):
			victim.die() // it never made that many requests
			<-victim.done
		}
		if s.plan.successor {
			sleep(s.Context(), time.Duration(s.rng.IntN(30))*time.Second)
			name := "w0"
			if !s.plan.sameName {
				name = "w9"
			}
			s.start(name, false)
		}
	}
}

// meet lets a flow run's fate happen.
func (s *simulation) meet(run *simRun) {
	if !sleep(s.Context(), run.when) {
		return
	}
	switch run.fate {
	case cancelled:
		s.prefect.Cancel(run.id)
	case cancelledDirectly:
		s.prefect.SetState(run.id, testkit.State{Type: prefect.StateCancelled}, false)
	case deleted:
		s.prefect.DeleteFlowRun(run.id)
	}
}

// simTemplate has only the variables that a history sets: the whole template
// would take most of the time to decode.
const simTemplate = `{
	"job_configuration": {"env": "{{ env }}", "project_id": "{{ project_id }}", "job_scope": "{{ job_scope }}",
		"settings_active_deadline_seconds": "{{ settings_active_deadline_seconds }}", "start_retries": "{{ start_retries }}", "linger_timeout_seconds": "{{ linger_timeout_seconds }}",
		"credentials": "{{ credentials }}"},
	"variables": {"type": "object", "properties": {"env": {"type": "object"}, "project_id": {"type": "string"}, "job_scope": {"type": "string"},
		"settings_active_deadline_seconds": {"type": "integer"},
		"credentials": {"type": "object"}, "start_retries": {"type": "integer"}, "linger_timeout_seconds": {"type": "integer"}}}}`

// check waits until nothing is open, and compares with what should be.
func (s *simulation) check() {
	began := time.Now()
	open := s.open()
	for open != "" && time.Since(began) < s.horizon {
		sleep(s.Context(), s.lookEvery)
		open = s.open()
	}
	if open != "" {
		s.Errorf("seed %d: after %s: %s (%+v)", s.seed, s.horizon, open, s.plan)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, run := range s.runs {
		s.checkRun(run)
	}
}

// open says what is not settled yet.
func (s *simulation) open() string {
	for _, fr := range s.prefect.FlowRuns() {
		if !fr.State.Type.Terminal() {
			return fmt.Sprintf("flow run %s is %s %q: %s", fr.ID, fr.State.Type, fr.State.Name, fr.State.Message)
		}
	}
	for _, run := range s.nf.JobRuns() {
		if !run.Concluded {
			return fmt.Sprintf("job run %s of %s is active", run.ID, run.Job)
		}
	}
	for _, job := range s.nf.Jobs() {
		return fmt.Sprintf("job %s is left", job.ID)
	}
	return ""
}

func (s *simulation) checkRun(run *simRun) {
	n := len(s.prefect.Executions(run.id))
	fail := func(format string, args ...any) {
		s.Helper()
		var history []string
		for _, st := range s.prefect.StateHistory(run.id) {
			history = append(history, fmt.Sprintf("%s %s %q", st.Timestamp.Format("15:04:05"), st.Name, st.Message))
		}
		s.Errorf("seed %d: flow run %s (%+v): %s\nplan %+v\n%s", s.seed, run.id, *run, fmt.Sprintf(format, args...), s.plan, strings.Join(history, "\n"))
	}
	if n > 1 {
		fail("executed %d times", n)
	}
	fr, ok := s.prefect.FlowRun(run.id)
	if !ok {
		return
	}
	state := fr.State.Type
	switch {
	case run.ended && state != run.reported && run.fate == leftAlone:
		fail("ended %s, but is %s", run.reported, state)
	case run.fate == leftAlone && run.temper == wellBehaved && (state != prefect.StateCompleted || n != 1):
		fail("is %s after %d executions, want Completed after one", state, n)
	case run.fate == leftAlone && run.temper == failsItself && state != prefect.StateFailed:
		fail("is %s, want Failed", state)
	case run.fate == leftAlone && (run.temper == diesSilently || run.temper == diesEarly) && state != prefect.StateCrashed:
		fail("is %s, want Crashed", state)
	case state == prefect.StateCrashed && run.silent == 0 && run.temper != diesEarly && run.fate == leftAlone:
		fail("is Crashed without a reason: %s", fr.State.Message)
	case (run.fate == cancelled || run.fate == cancelledDirectly) && state != prefect.StateCancelled && !run.ended && run.silent == 0 && run.temper != diesEarly:
		fail("is %s, want Cancelled", state)
	}
}

// histories is how many histories `go test` runs, the same ones each time;
// SIMULATE=full draws 10,000 others, SIM_HISTORIES any number of others, and
// SIM_SEED replays one with the workers' logs.
const histories = 300

func TestRandomHistories(t *testing.T) {
	t.Parallel()
	if text := os.Getenv("SIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		synctest.Test(t, func(t *testing.T) { simulate(t, seed, log) })
		return
	}
	n, first := histories, uint64(1)
	if full() {
		n, first = 10_000, rand.Uint64N(1<<40)
	}
	if text := os.Getenv("SIM_HISTORIES"); text != "" {
		n, _ = strconv.Atoi(text)
		first = rand.Uint64N(1 << 40)
	}
	// Each history is small and short-lived: collect less often.
	usual := debug.SetGCPercent(1600)
	t.Cleanup(func() { debug.SetGCPercent(usual) }) // the lanes run after this function has returned
	t.Logf("seeds %d to %d", first, first+uint64(n)-1)
	lanes := runtime.GOMAXPROCS(0)
	for lane := range lanes {
		t.Run(fmt.Sprint("lane-", lane), func(t *testing.T) {
			t.Parallel()
			for i := lane; i < n && !t.Failed(); i += lanes {
				synctest.Test(t, func(t *testing.T) { simulate(t, first+uint64(i), slog.New(slog.DiscardHandler)) })
			}
		})
	}
}
