package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// On SQLite, its default, a Prefect server answers 503 to one request in some
// when several flow runs are under way, and stands still for up to a minute now
// and then: its garbage collector waits for a statement that waits for the
// database's lock, whose holder waits for the collector. Where that would spoil
// what is looked at, the server gets a PostgreSQL if the machine has one.

// ErrNoPostgres: the machine has no PostgreSQL that can be used here.
var ErrNoPostgres = errors.New("no PostgreSQL is installed")

// PostgresOptions say what PostgreSQL server to start.
type PostgresOptions struct {
	Name string // of the process in the stack
	// Durable leaves the server's settings as they are. Otherwise it never waits
	// for the disk: quicker, and not safe from a crash of the machine.
	Durable bool
}

// Postgres is a running PostgreSQL server.
type Postgres struct {
	Env     map[string]string // settings of a Prefect server that keeps its data there
	Version string            // as postgres --version prints it
}

// StartDatabase returns the settings of a Prefect server that is to take many
// writes at once: a PostgreSQL of its own, or none, for SQLite, where the machine
// has no PostgreSQL.
func (s *Stack) StartDatabase(ctx context.Context, name string) (map[string]string, error) {
	server, err := s.StartPostgres(ctx, PostgresOptions{Name: name})
	if errors.Is(err, ErrNoPostgres) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return server.Env, nil
}

// StartPostgres starts a PostgreSQL server on a loopback port. The data does not
// outlive the stack.
func (s *Stack) StartPostgres(ctx context.Context, options PostgresOptions) (*Postgres, error) {
	programs, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	// Not in the stack's folder, which is closed to the account that it needs.
	folder, err := os.MkdirTemp("", "localstack-postgres-")
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.folders = append(s.folders, folder)
	s.mu.Unlock()
	prefix, err := unprivileged(folder)
	if err != nil {
		return nil, err
	}
	command := func(program string, args ...string) ProcessSpec {
		all := slices.Concat(prefix, []string{filepath.Join(programs, program)}, args)
		return ProcessSpec{Name: options.Name, Path: all[0], Args: all[1:], Dir: folder}
	}
	data := filepath.Join(folder, "data")
	initdb := []string{"-D", data, "-U", "prefect", "--auth=trust", "--encoding=UTF8", "--locale=C"}
	serve := []string{"-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="}
	if !options.Durable {
		initdb, serve = append(initdb, "--no-sync"), append(serve, "-c", "fsync=off")
	}
	if _, err := s.Run(ctx, command("initdb", initdb...), ""); err != nil {
		return nil, err
	}
	version, err := s.Run(ctx, command("postgres", "--version"), "")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	process, err := s.Start(ctx, command("postgres", append(serve, "-p", strconv.Itoa(port))...))
	if err != nil {
		return nil, err
	}
	server := &Postgres{Version: version, Env: map[string]string{
		"PREFECT_SERVER_DATABASE_CONNECTION_URL": fmt.Sprintf("postgresql+asyncpg://prefect@127.0.0.1:%d/postgres", port),
	}}
	return server, process.awaitReady(ctx, func() bool {
		return strings.Contains(process.Log(), "database system is ready to accept connections")
	})
}

// postgresPrograms returns the folder of initdb and postgres. Debian keeps them
// off the path.
func postgresPrograms() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", ErrNoPostgres
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
		return nil, fmt.Errorf("%w for root to run: %w", ErrNoPostgres, err)
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		return nil, fmt.Errorf("%w for root to run: %w", ErrNoPostgres, err)
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return nil, err
	}
	return []string{setpriv, "--reuid=postgres", "--regid=postgres", "--clear-groups"}, os.Chown(folder, uid, -1)
}
