// Package worker answers: which flow runs run where, and what is to be done
// about each. It joins Prefect's side (package prefect) with Northflank's
// (northflank) through the rendering of jobspec, and keeps no state of its
// own: whatever a worker must know after a crash is written where Prefect or
// Northflank keep it (claim.go), so that starting and recovering are one.
//
// The life of a flow run, with the writes that a successor finds in brackets:
//
//	Scheduled --claim--> Pending [state message: who] --prepare, PUT job-->
//	   [labels: worker, project, job] --intent--> Submitting [state message: job]
//	   --POST run--> [infrastructure pid: job run] --> Running --> Completed, Failed
//	                        |                             |
//	                        +---- job run concluded ------+--> Crashed, Cancelled
//
// Three loops look, one decides:
//
//	poll       scheduled flow runs          -> submissions (submit.go)
//	observe    Prefect: states, who died    -> table
//	sweep      Northflank: job runs         -> table
//	reconcile  decide(view of each row)     -> actions (act.go)
//
// [decide] is the heart: pure, one table, no memory of what happened before.
// Only a positive word of Northflank ends a flow run: a failed, empty or stale
// read changes nothing.
package worker
