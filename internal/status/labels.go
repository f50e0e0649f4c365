package status

// LabelHelp says what the values of a metric's label are; "" for a label that no
// metric has.
func LabelHelp(name string) string { return labelHelp()[name] }

func labelHelp() map[string]string {
	return map[string]string{
		"action":     "what was to be done about a flow run, such as `save pid`, `abort`, `crash`",
		"api":        "address of Northflank's API",
		"class":      "what a request is for, the most urgent first: `abort`, `start`, `confirm` (what became of a start, or of a silent flow), `sweep`, `evidence` (why a job run failed), `cleanup`",
		"effect":     "`look`: the notification led to an earlier look; `nothing`: it told nothing new",
		"go_version": "of the compiler",
		"kind":       "`asked`: somebody waits for the answer; `silent`: a sign of trouble; `round`: one look for all flow runs of a job",
		"loop":       "`sync`, `poll`, `observe`, `sweep`, `reconcile`, `janitor`, `flow run logs`, `events`, `output`, `leases`",
		"method":     "of HTTP",
		"of":         "`poll`, `heartbeat`, `observation` (the pool's flow runs were read), `sweep` (a job was looked at)",
		"phase":      "`claimed`, `taking over`, `starting` (its job run is not known yet), `booting` (the flow has not begun), `running`, `cancelling`, `stopping` (its container was told to), `concluding` (its container ended without a word), `settling` (it ended, its container is waited for), `unknown`",
		"problem":    "what is wrong, as in the answers of `/livez` and `/readyz`",
		"reason":     "of an outcome: `reported` (the flow told itself), `configuration`, `invalid_request`, `deployment_deleted`, `before_start`, `container_ended`, `own_command`, `deleted`, or why its container ended: `error`, `out_of_memory`, `no_container`, `no_command`, `start_timeout`, `deadline`, `killed_from_outside`, `vanished`, `no_report`, `unknown`; of an abort: `cancelled`, `outlived`, `start_timeout`, `deleted`, `orphan`",
		"result":     "of a start: `started`, `unanswered` (looked for later), `refused` (it is tried again), `invalid` (the flow run is Crashed), `given_up`; of a look: `done`, `failed`",
		"route":      "template of the path, without ids",
		"state":      "`completed`, `failed`, `crashed`, `cancelled`, `deleted`",
		"status":     "of HTTP; `no_answer`, or `held_back` where nothing was sent",
		"team":       "id of Northflank's team; empty for the token's own",
		"version":    "of the program",
		"work_pool":  "name of the work pool",
		"worker":     "name of the worker",
	}
}
