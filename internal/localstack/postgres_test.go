package localstack

import (
	"errors"
	"net"
	"net/url"
	"testing"
)

func TestPostgresGoesWithItsStack(t *testing.T) {
	t.Parallel()
	stack := openStack(t, t.TempDir())
	server, err := stack.StartPostgres(t.Context(), PostgresOptions{Name: "postgres"})
	if errors.Is(err, ErrNoPostgres) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	database, err := url.Parse(server.Env["PREFECT_SERVER_DATABASE_CONNECTION_URL"])
	if err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", database.Host)
	if err != nil {
		t.Fatalf("connect to the database that is said to be ready: %v", err)
	}
	conn.Close()
	folders := stack.folders
	if err := stack.Close(); err != nil {
		t.Error(err)
	}
	if len(folders) != 1 || exists(folders[0]) {
		t.Errorf("the data folder is still there: %v", folders)
	}
	if conn, err := dialer.DialContext(t.Context(), "tcp", database.Host); err == nil {
		conn.Close()
		t.Error("the database still answers after Close")
	}
}
