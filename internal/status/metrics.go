package status

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/northflank/prefect-northflank/internal/worker"
)

// namespace begins the name of every metric of ours.
const namespace = "prefect_northflank_"

// Metric is one of our metrics, as the reference page lists it.
type Metric struct {
	Name   string // without the namespace
	Help   string
	Kind   Kind
	Labels []string

	read      func(look, func(value float64, labels ...string)) // of gauges
	counter   func(*worker.Stats) *worker.Counter
	histogram func(*worker.Stats) *worker.Histogram
}

// Kind is a metric's type, in Prometheus' words.
type Kind string

// The kinds.
const (
	Gauge     Kind = "gauge"
	Count     Kind = "counter"
	Histogram Kind = "histogram"
)

// FullName is the metric's name in queries.
func (m Metric) FullName() string { return namespace + m.Name }

// look is what gauges are read from: the worker at one moment.
type look struct {
	worker.Status
	version string
}

// Metrics returns the table of all metrics: every one is declared here.
func Metrics() []Metric {
	gauge := func(name, help string, read func(look, func(float64, ...string)), labels ...string) Metric {
		return Metric{Name: name, Help: help, Kind: Gauge, Labels: labels, read: read}
	}
	count := func(name, help string, of func(*worker.Stats) *worker.Counter, labels ...string) Metric {
		return Metric{Name: name, Help: help, Kind: Count, Labels: labels, counter: of}
	}
	histogram := func(name, help string, of func(*worker.Stats) *worker.Histogram) Metric {
		return Metric{Name: name, Help: help, Kind: Histogram, histogram: of}
	}
	return []Metric{
		gauge("build_info", "1, with the program's version and Go's.", readBuild, "version", "go_version"),
		gauge("worker_info", "1, with the names of the worker and its work pool.", readWorker, "work_pool", "worker"),
		gauge("start_timestamp_seconds", "When the worker was started.", readStart),

		gauge("flow_runs", "Flow runs that the worker answers for.", readFlowRuns, "phase"),
		gauge("flow_runs_waiting", "Scheduled flow runs that the last poll told of and that were not taken.", readWaiting),
		gauge("flow_run_limit", "The worker's --limit; 0 without one.", readLimit),
		count("starts_total", "Job runs that Northflank was asked for.", func(s *worker.Stats) *worker.Counter { return &s.Starts }, "result"),
		histogram("dispatch_seconds", "From the time that a flow run is scheduled for to the request for its job run.", func(s *worker.Stats) *worker.Histogram { return s.Dispatch }),
		count("outcomes_total", "Ends of flow runs.", func(s *worker.Stats) *worker.Counter { return &s.Outcomes }, "state", "reason"),
		histogram("crash_detection_seconds", "From a container's end, as Northflank tells it, to the flow run's state Crashed.", func(s *worker.Stats) *worker.Histogram { return s.Detection }),
		count("adoptions_total", "Flow runs taken over from another worker, or from an earlier process.", func(s *worker.Stats) *worker.Counter { return &s.Adoptions }),
		count("hand_backs_total", "Flow runs given back to Scheduled, because nothing had been started.", func(s *worker.Stats) *worker.Counter { return &s.HandBacks }),
		count("start_retries_total", "Flow runs given back to be started again, because the platform had failed before the flow began.", func(s *worker.Stats) *worker.Counter { return &s.StartRetries }),
		count("aborts_total", "Job runs aborted.", func(s *worker.Stats) *worker.Counter { return &s.Aborts }, "reason"),
		count("action_failures_total", "Failed actions on flow runs; they are tried again.", func(s *worker.Stats) *worker.Counter { return &s.ActionFailures }, "action"),

		gauge("request_budget_limit", "Northflank requests an hour that the account allows.", readBudgetLimit, "api", "team"),
		gauge("request_budget_remaining", "Northflank requests left in this hour.", readBudgetLeft, "api", "team"),
		gauge("request_budget_reset_timestamp_seconds", "When the hour ends.", readBudgetReset, "api", "team"),
		count("northflank_requests_total", "Attempts of Northflank requests by what they are for; status held_back: not sent, to leave the budget to more urgent ones.", func(s *worker.Stats) *worker.Counter { return &s.NorthflankCalls }, "class", "method", "route", "status"),
		histogram("northflank_request_duration_seconds", "Time to the answer of a Northflank request.", func(s *worker.Stats) *worker.Histogram { return s.NorthflankTime }),
		count("sweeps_total", "Looks at jobs: asked for, after a flow fell silent, or in rounds.", func(s *worker.Stats) *worker.Counter { return &s.Sweeps }, "kind", "result"),
		count("hints_total", "Northflank's notifications, by whether they led to a look.", func(s *worker.Stats) *worker.Counter { return &s.Hints }, "effect"),
		gauge("refusing_projects", "Projects in which Northflank refuses to start job runs.", readRefusals),

		count("prefect_requests_total", "Calls of the Prefect API.", func(s *worker.Stats) *worker.Counter { return &s.PrefectCalls }, "method", "route", "status"),
		count("prefect_request_retries_total", "Attempts of Prefect calls beyond the first.", func(s *worker.Stats) *worker.Counter { return &s.PrefectRetries }),
		histogram("prefect_request_duration_seconds", "Time to the answer of a Prefect call, with its retries.", func(s *worker.Stats) *worker.Histogram { return s.PrefectTime }),
		gauge("event_stream_up", "1 while Prefect's event stream is followed; polling does otherwise.", readStream),
		count("event_stream_connections_total", "Connections to Prefect's event stream.", func(s *worker.Stats) *worker.Counter { return &s.Streams }),

		gauge("worker_channel_up", "1 while Prefect's worker channel is open; heartbeats go by it.", readChannel),
		count("worker_channel_connections_total", "Connections of Prefect's worker channel.", func(s *worker.Stats) *worker.Counter { return &s.Channels }),

		gauge("problems", "1 for what keeps the worker from living or starting, as /livez and /readyz tell; else 0.", readProblems, "problem"),
		gauge("troubles", "Things that did not work within the last ten minutes; the status page names them.", readTroubles),
		gauge("last_success_timestamp_seconds", "When the worker last polled, was heard by Prefect, read the pool's flow runs, looked at a job.", readSuccess, "of"),
		gauge("loop_timestamp_seconds", "When a loop of the worker came round last.", readLoops, "loop"),
	}
}

func readBuild(l look, emit func(float64, ...string)) { emit(1, l.version, runtime.Version()) }

func readWorker(l look, emit func(float64, ...string)) { emit(1, l.Pool.Name, l.Worker) }

func readStart(l look, emit func(float64, ...string)) { emitTime(emit, l.Since) }

func readFlowRuns(l look, emit func(float64, ...string)) {
	n := map[worker.Phase]int{}
	for _, fr := range l.FlowRuns {
		n[fr.Phase]++
	}
	for _, phase := range worker.Phases() {
		emit(float64(n[phase]), string(phase))
	}
}

func readWaiting(l look, emit func(float64, ...string)) { emit(float64(l.Waiting)) }

func readLimit(l look, emit func(float64, ...string)) { emit(float64(l.Limit)) }

func readBudgetLimit(l look, emit func(float64, ...string)) {
	eachBudget(l, func(a worker.Account) { emit(float64(a.Budget.Limit), a.API, a.Team) })
}

func readBudgetLeft(l look, emit func(float64, ...string)) {
	eachBudget(l, func(a worker.Account) { emit(float64(requestsLeft(a, l.Now)), a.API, a.Team) })
}

func readBudgetReset(l look, emit func(float64, ...string)) {
	eachBudget(l, func(a worker.Account) { emitTime(emit, a.Budget.ResetAt, a.API, a.Team) })
}

// eachBudget passes over accounts of which no answer told the budget yet.
func eachBudget(l look, show func(worker.Account)) {
	for _, a := range l.Accounts {
		if a.Budget.Limit > 0 {
			show(a)
		}
	}
}

// requestsLeft: when the hour of the last answer is over, a new one begins with
// the next request.
func requestsLeft(a worker.Account, now time.Time) int {
	if !now.Before(a.Budget.ResetAt) {
		return a.Budget.Limit
	}
	return a.Budget.Remaining
}

func readRefusals(l look, emit func(float64, ...string)) { emit(float64(len(l.Refusals))) }

func readStream(l look, emit func(float64, ...string)) { emit(oneIf(l.EventStreamUp)) }

func readChannel(l look, emit func(float64, ...string)) { emit(oneIf(l.ChannelUp)) }

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func readProblems(l look, emit func(float64, ...string)) {
	met := map[string]float64{}
	for _, p := range append(NotAlive(l.Loops), NotReady(l.Status)...) {
		met[p.Name] = 1
	}
	for _, name := range problemNames() {
		emit(met[name], name)
	}
}

func readTroubles(l look, emit func(float64, ...string)) { emit(float64(len(lateTroubles(l.Status)))) }

func readSuccess(l look, emit func(float64, ...string)) {
	emitTime(emit, l.Polled, "poll")
	emitTime(emit, l.Heartbeat, "heartbeat")
	emitTime(emit, l.Observed, "observation")
	emitTime(emit, l.Swept, "sweep")
}

func readLoops(l look, emit func(float64, ...string)) {
	for _, loop := range l.Loops {
		emitTime(emit, loop.Round, loop.Name)
	}
}

// emitTime leaves out what never was.
func emitTime(emit func(float64, ...string), t time.Time, labels ...string) {
	if !t.IsZero() {
		emit(float64(t.UnixMilli())/1000, labels...)
	}
}

// valueType is the kind in the library's words; histograms have none.
func (k Kind) valueType() prometheus.ValueType {
	if k == Count {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}
