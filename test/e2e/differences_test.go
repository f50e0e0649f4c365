//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// difference is one that is meant. Fact, stock and ours are patterns of the whole
// text; a fact that is missing is "". Why is a line of the page about them.
type difference struct {
	fact, stock, ours string
	why               string
	// In these scenes it may show, but need not: it depends on who is faster. "" is
	// for all that must show.
	perhaps string
}

func (d difference) covers(scene, name, stock, ours string) bool {
	return (d.perhaps == "" || whole(d.perhaps, scene)) && whole(d.fact, name) && whole(d.stock, stock) && whole(d.ours, ours)
}

func whole(pattern, text string) bool {
	return regexp.MustCompile("^(?s:" + pattern + ")$").MatchString(text)
}

const (
	anything = ".*"
	some     = ".+"

	// What is short may be over before the worker's channel has said anything.
	shortScenes = "crash|prefetch|queue|limit|paused pool|paused queue|pool of another type|pool without a template|given template"
	noPool      = "no pool"
)

// Reasons, as the page has them.
const (
	whyRunner    = "The process worker runs the flow in a process of its own, and reports what that does as well: the flow's steps, its output, a second Crashed, its events. A Northflank job run reports to Prefect itself."
	whyLimit     = "Polls ask for no more flow runs than the worker can start soon: the answer is shorter when very many wait. Prefect gives 200 at most in either case."
	whyNulls     = "Fields that are null, or have their default, are left out. Prefect takes them alike."
	whyMessage   = "The states Pending and Submitting carry a message: who claims the flow run, and where it is started. A successor reads it after a crash."
	whyLabels    = "More labels on a flow run: where its job run is to be found, for a successor."
	whyPID       = "The infrastructure pid is the job's and the job run's id."
	whyExit      = "Northflank tells no exit status, so that of a failed job run is -1."
	whyCrash     = "The message of a crash tells what happened, the container's last output, and what to do. No general advice follows it in the log."
	whyCleanup   = "The process worker cannot stop what another one started, so it wants no cleanups; ours can, four at once."
	whyMetadata  = "The worker's metadata names our integration. The process worker belongs to Prefect and has none to name."
	whyHeartbeat = "With heartbeats less than 30 s apart they go by REST as well as by the channel: a dead connection would go unnoticed for longer than Prefect waits. Whether one by the channel shows depends on how long the worker lives."
	whyPeers     = "Ours lists the pool's workers and its flow runs under way: it adopts those of dead workers."
	whyPool      = "The pool is read, and made or given its template, by REST before the first poll; the channel, where the process worker does that, opens beside. So what is wrong is told at once, and works without websockets."
	whyQueues    = "Queues are not read at the start: the process worker does so only to warn of paused ones."
	whyEvents    = "Events are sent by POST /events, in batches that are repeated until Prefect has them. The process worker sends them by a websocket."
	whyAccept    = "Accept and Accept-Encoding are those of another HTTP client. Prefect answers alike."
	whyVersion   = "One header more tells the version of this program."
	whyUpgrade   = "Upgrades to websockets carry the same headers as requests; compression is not asked for."
	whyNoChannel = "The channel is opened beside the first poll: with --run-once and nothing to do the worker may have ended before."
	whyFeed      = "Ours follows the pool's events on GET /events/out. The process worker follows cancellations there."
	whyWarnings  = "Warnings about the flow run's own job variables go to its log."
	whyDoc       = "Deployments that hold a token in clear are looked for, to warn of them."
)

const jobRunPID = `pf-[a-z0-9-]+:ID`

var differences = []difference{
	{fact: `event prefect\.flow-run\..*`, stock: some, why: whyRunner},
	{fact: `state 4 .*`, stock: some, why: whyRunner},
	{fact: `log line (Running|All deployment|Opening|Starting|Process|Completed|Check|Crash|Executing|Command|.*steps?|.*exit).*`, stock: some, why: whyRunner},

	{fact: `poll limit`, ours: `[0-9 |]+`, why: whyLimit},
	{fact: `state [1-3] state (data|state_details .*)`, stock: `<nil>|false`, why: whyNulls},
	{fact: `log line .* task_run_id`, stock: `<nil>`, why: whyNulls},
	{fact: `state [12] state message`, stock: `<nil>`, ours: `(Claimed by|Starting) Northflank .*`, why: whyMessage},
	{fact: `PATCH /flow_runs/\{id\}/labels northflank\..*`, ours: some, why: whyLabels},
	{fact: `PATCH /flow_runs/\{id\} infrastructure_pid`, stock: `[0-9]+`, ours: jobRunPID, why: whyPID},
	{fact: `event prefect\.worker\.executed-flow-run related 2 prefect\.infrastructure\.identifier`, stock: `[0-9]+`, ours: jobRunPID, why: whyPID},
	{fact: `event prefect\.worker\.executed-flow-run related 2 prefect\.infrastructure\.status-code`, stock: `3`, ours: `-1`, why: whyExit},
	{fact: `state 3 state message`, stock: `Process exited with status code: 3.*`, ours: `The container ended with an error before the flow began.*`, why: whyCrash},
	{fact: `log line Reported flow run .*`, stock: anything, ours: anything, why: whyCrash},
	{fact: `log line (The last 1 lines|emulator:).*`, ours: some, why: whyCrash},
	{fact: `log line deployment_docker_custom_command: .*`, ours: some, why: whyWarnings},

	{fact: `frame worker\.hello\.v1 payload handled_cleanup_kinds( 0)?`, stock: `\[\]|`, ours: `cancelling_timeout_teardown\.v1|`, why: whyCleanup},
	{fact: `frame worker\.hello\.v1 payload max_cleanup_concurrency`, stock: `0`, ours: `4`, why: whyCleanup},
	{fact: `frame worker\.hello\.v1 payload requested_capabilities 2`, ours: `cleanup_delivery\.v1`, why: whyCleanup},
	{fact: `frame worker\.hello\.v1 payload worker_metadata.*`, stock: `<nil>|`, ours: anything, why: whyMetadata},

	{fact: `(sends )?POST /work_pools/\{name\}/workers/heartbeat.*`, ours: some, why: whyHeartbeat},
	{fact: `(sends WS /work_pools/\{name\}/workers/connect|frame) worker\.heartbeat\.v1.*`, stock: anything, ours: anything, why: whyHeartbeat, perhaps: shortScenes},
	{fact: `sends POST /work_pools/\{name\}/workers/filter`, ours: `yes`, why: whyPeers},
	{fact: `sends POST /flow_runs/filter`, ours: `yes`, why: whyPeers},
	{fact: `sends POST /deployments/filter`, ours: `yes`, why: whyDoc},
	{fact: `sends POST /work_pools/`, ours: `yes`, why: whyPool},
	{fact: `(sends )?PATCH /work_pools/\{name\}( base_job_template)?`, ours: `yes|TEMPLATE`, why: whyPool},
	{fact: `sends POST /work_pools/\{name\}/queues/filter`, stock: `yes`, why: whyQueues},

	{fact: `sends (GET|WS) /events/in`, stock: `yes`, why: whyEvents},
	{fact: `sends (GET|WS) /events/out`, stock: anything, ours: anything, why: whyFeed, perhaps: shortScenes + "|" + noPool},
	{fact: `header of a poll: Accept(-Encoding)?`, stock: some, ours: some, why: whyAccept},
	{fact: `header of (a poll|the channel): X-Prefect-Northflank-Version`, ours: some, why: whyVersion},
	{fact: `header of the channel: (Accept-Encoding|X-Prefect-Api-Version|X-Prefect-Worker-Name)`, ours: some, why: whyUpgrade},
	{fact: `header of the channel: Sec-Websocket-Extensions`, stock: some, why: whyUpgrade},
	{fact: `(frame auth|frame worker\.hello\.v1|header of the channel:|sends (GET|WS) /work_pools/\{name\}/workers/connect).*`, stock: some, why: whyNoChannel, perhaps: shortScenes + "|" + noPool},
}

const behavioursPage = "../../docs/reference/stock-worker.md"

// Each reason stands on the page about the differences.
func TestDifferencesAreDocumented(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.FromSlash(behavioursPage))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, d := range differences {
		if !told[d.why] && !strings.Contains(string(raw), "- "+d.why+"\n") {
			t.Errorf("%s does not have the line\n- %s", behavioursPage, d.why)
		}
		told[d.why] = true
	}
	if lines := strings.Count(string(raw), "\n- "); lines != len(told) {
		t.Errorf("%s lists %d differences, the test knows of %d", behavioursPage, lines, len(told))
	}
}
