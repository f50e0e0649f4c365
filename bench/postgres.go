package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// A Prefect server on SQLite stands still for up to a minute now and then when
// several flow runs start at once: its garbage collector waits for a statement
// that waits for the database's lock, whose holder waits for the collector. The
// benchmark would measure that, so the server gets a PostgreSQL of its own where
// one is installed.

// database is what the Prefect server keeps its data in.
type database struct {
	name   string            // for the report
	env    map[string]string // settings of the Prefect server
	folder string            // to remove at the end; "" for none
}

// errNoPostgres: the machine has no PostgreSQL that can be used here.
var errNoPostgres = errors.New("no PostgreSQL is installed")

// startPostgres makes a PostgreSQL server the database.
func (l *lab) startPostgres(ctx context.Context) error {
	programs, err := postgresPrograms()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "bench-postgres-")
	if err != nil {
		return err
	}
	l.database.folder = folder
	prefix, err := unprivileged(folder)
	if err != nil {
		return err
	}
	command := func(program string, args ...string) localstack.ProcessSpec {
		all := slices.Concat(prefix, []string{filepath.Join(programs, program)}, args)
		return localstack.ProcessSpec{Name: "postgres", Path: all[0], Args: all[1:], Dir: folder}
	}
	data := filepath.Join(folder, "data")
	if _, err := l.stack.Run(ctx, command("initdb", "-D", data, "-U", "prefect", "--auth=trust", "--encoding=UTF8", "--locale=C"), ""); err != nil {
		return err
	}
	version, err := l.stack.Run(ctx, command("postgres", "--version"), "")
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	server, err := l.stack.Start(ctx, command("postgres", "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="))
	if err != nil {
		return err
	}
	if err := awaitLine(ctx, server, "database system is ready to accept connections"); err != nil {
		return err
	}
	l.database.name = postgresName(version) + " with its default settings, on the same machine"
	l.database.env = map[string]string{
		"PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://prefect@127.0.0.1:" + port + "/postgres",
	}
	return nil
}

// postgresName makes "PostgreSQL 15.18" of what postgres --version prints.
func postgresName(version string) string {
	fields := strings.Fields(strings.NewReplacer("(", "", ")", "").Replace(version))
	return strings.Join(fields[min(1, len(fields)):min(3, len(fields))], " ")
}

// postgresPrograms returns the folder of initdb and postgres. Debian keeps them
// off the path.
func postgresPrograms() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errNoPostgres
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// unprivileged returns the beginning of a command line that lets PostgreSQL,
// which refuses to run as root, own the folder.
func unprivileged(folder string) ([]string, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres") // Debian's package makes it
	if err != nil {
		return nil, fmt.Errorf("%w for root to run: %w", errNoPostgres, err)
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		return nil, fmt.Errorf("%w for root to run: %w", errNoPostgres, err)
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return nil, err
	}
	return []string{setpriv, "--reuid=postgres", "--regid=postgres", "--clear-groups"}, os.Chown(folder, uid, -1)
}

// freePort returns a loopback port that nothing listens on at the moment.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// awaitLine waits until a process has written a line.
func awaitLine(ctx context.Context, process *localstack.Process, line string) error {
	const within = time.Minute
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not ready within %s", within))
	defer cancel()
	for !strings.Contains(process.Log(), line) {
		select {
		case <-process.Done():
			return fmt.Errorf("%s ended with status %d; it wrote:\n%s", process.Name, process.ExitCode(), lastLines(process.Log(), 15))
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; it wrote:\n%s", process.Name, context.Cause(ctx), lastLines(process.Log(), 15))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
