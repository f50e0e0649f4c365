package main

import (
	"context"
	"errors"
	"strings"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// A Prefect server on SQLite stands still for up to a minute now and then when
// several flow runs start at once: its garbage collector waits for a statement
// that waits for the database's lock, whose holder waits for the collector. The
// benchmark would measure that, so the server gets a PostgreSQL of its own where
// one is installed.

// database is what the Prefect server keeps its data in.
type database struct {
	name string            // for the report
	env  map[string]string // settings of the Prefect server
}

// startPostgres makes a PostgreSQL server the database, if there can be one.
func (l *lab) startPostgres(ctx context.Context) error {
	server, err := l.stack.StartPostgres(ctx, localstack.PostgresOptions{Name: "postgres", Durable: true})
	if errors.Is(err, localstack.ErrNoPostgres) {
		return nil
	}
	if err != nil {
		return err
	}
	l.database = database{name: postgresName(server.Version) + " with its default settings, on the same machine", env: server.Env}
	return nil
}

// postgresName makes "PostgreSQL 15.18" of what postgres --version prints.
func postgresName(version string) string {
	fields := strings.Fields(strings.NewReplacer("(", "", ")", "").Replace(version))
	return strings.Join(fields[min(1, len(fields)):min(3, len(fields))], " ")
}
