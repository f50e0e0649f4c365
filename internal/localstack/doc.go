// Package localstack answers: how are a real Prefect server, the local
// Northflank and our worker started and stopped together on this machine. The
// demo, the end-to-end tests and the benchmark use it.
//
// A [Stack] is a folder and the processes that were started for it. Everything
// they write is inside that folder, the user's own Prefect profile is neither
// read nor written, and every process is written down before it does anything,
// so that the next stack in the same folder can end what an interrupted one
// left behind.
//
// It knows the programs only by their command lines and imports nothing of
// ours, so that what it runs is what a user would run. It needs a Unix.
package localstack
