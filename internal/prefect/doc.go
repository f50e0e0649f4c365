// Package prefect answers: how is a Prefect server or Prefect Cloud spoken to.
// It holds the settings in Prefect's precedence, the REST client, the
// event stream, the worker channel, and Prefect's templating. It knows nothing of
// Northflank.
package prefect
