// Package jobspec answers: which Northflank requests does a flow run's job
// configuration mean. It holds the one table of job variables, the base job
// template made from it, the checks, the names of jobs and the mark by which a
// worker knows a job as its own.
//
// It is pure: no request, no clock, no environment. Templates, blocks and
// Prefect variables are resolved before it sees a value (package prefect).
package jobspec
