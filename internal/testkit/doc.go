// Package testkit answers: what do our tests speak to. It holds an in-process
// Prefect server that follows the real one's rules, fast enough for thousands of
// simulated histories and free of sockets, and of goroutines but for open event
// streams, so that it works in a testing/synctest bubble. Only _test files import
// it.
package testkit
