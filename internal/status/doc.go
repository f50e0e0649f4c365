// Package status answers: how does the worker fare, for those who ask over HTTP:
// an orchestrator (health.go), Prometheus (metrics.go) and a person with a
// browser (page.go). It shows what package worker tells, and changes nothing.
package status
