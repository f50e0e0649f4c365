package localstack

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strconv"
)

// PrefectOptions say what Prefect server to start.
type PrefectOptions struct {
	Name string            // "prefect" unless there are several; each keeps its own database
	Env  map[string]string // settings of the server
	Port int               // 0 is any free one; the old one restarts a server under its URL
}

// Prefect is a running Prefect server.
type Prefect struct {
	*Process
	URL    string // of the web interface
	APIURL string // what PREFECT_API_URL is set to

	home string
}

// portTries is how often another free port is tried: between finding one and
// the server's listening on it, which takes seconds, anybody may take it.
const portTries = 3

// StartPrefect starts a Prefect server on a loopback port and returns when it
// answers.
func (s *Stack) StartPrefect(ctx context.Context, options PrefectOptions) (*Prefect, error) {
	home := s.path(options.Name)
	if seed := s.options.Python.seed(); !exists(home) && exists(seed) {
		if err := os.CopyFS(home, os.DirFS(seed)); err != nil {
			return nil, fmt.Errorf("lay out the database of %s: %w", options.Name, err)
		}
	}
	if options.Port != 0 {
		return s.startPrefect(ctx, options, home)
	}
	for try := 1; ; try++ {
		var err error
		if options.Port, err = freePort(); err != nil {
			return nil, err
		}
		server, err := s.startPrefect(ctx, options, home)
		if err == nil || ctx.Err() != nil || try == portTries {
			return server, err
		}
	}
}

func (s *Stack) startPrefect(ctx context.Context, options PrefectOptions, home string) (*Prefect, error) {
	env := map[string]string{"PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false"}
	maps.Copy(env, options.Env)
	env["PREFECT_HOME"] = home
	port := strconv.Itoa(options.Port)
	process, err := s.Start(ctx, ProcessSpec{
		Name: options.Name, Path: s.options.Python.Program("prefect"), Env: env,
		Args: []string{"server", "start", "--host", "127.0.0.1", "--port", port},
	})
	if err != nil {
		return nil, err
	}
	url := "http://127.0.0.1:" + port
	server := &Prefect{Process: process, URL: url, APIURL: url + "/api", home: home}
	return server, process.awaitReady(ctx, func() bool {
		status, _, err := API{URL: server.APIURL}.send(ctx, http.MethodGet, "/health", nil)
		return err == nil && status == http.StatusOK
	})
}

// Prefect runs the prefect command line against a server, in the folder dir, and
// returns what it printed.
func (s *Stack) Prefect(ctx context.Context, server *Prefect, dir string, args ...string) (string, error) {
	return s.Run(ctx, ProcessSpec{
		Path: s.options.Python.Program("prefect"), Args: args, Dir: dir, Env: map[string]string{"PREFECT_API_URL": server.APIURL},
	}, "")
}

// ProgramOptions say how to run our program.
type ProgramOptions struct {
	Args  []string
	Input string            // its standard input
	Env   map[string]string // settings
	Dir   string            // working folder; "" is the stack's
}

// Program runs our program to its end and returns what it printed.
func (s *Stack) Program(ctx context.Context, options ProgramOptions) (string, error) {
	return s.Run(ctx, ProcessSpec{Path: s.options.Binary, Args: options.Args, Env: options.Env, Dir: options.Dir}, options.Input)
}
