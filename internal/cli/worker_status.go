package cli

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/status"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// serveHealth serves health checks and metrics where Prefect's own workers serve
// their health check, from before the first request to Prefect on.
func serveHealth(w *worker.Worker, o *worker.Options) (io.Closer, error) {
	address := net.JoinHostPort(o.Settings.WebserverHost, strconv.Itoa(o.Settings.WebserverPort))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, withHint(fmt.Errorf("serve health checks on %s: %w", address, err), "choose another port with PREFECT_WORKER_WEBSERVER_PORT")
	}
	mux := http.NewServeMux()
	mux.Handle("/", status.Health(w))
	mux.Handle("GET /metrics", status.ServeMetrics(w, o.Stats, Version()))
	return serveOn(listener, mux, o.Logger), nil
}

// statusTokenVariable holds what the status page asks for.
const statusTokenVariable = "PREFECT_NORTHFLANK_STATUS_TOKEN" //nolint:gosec // a name

// minStatusToken is the shortest token that is worth asking for, in characters.
const minStatusToken = 16

// pageOptions say where the status page is served; listen is "" for nowhere.
type pageOptions struct {
	listen string
	token  secret.Value // zero: none is asked for
}

// workerPage reads the flags of worker start, before anything is sent.
func workerPage(cmd *cli.Command) (pageOptions, error) {
	o := pageOptions{listen: cmd.String("status-listen"), token: secret.New(os.Getenv(statusTokenVariable))}
	if o.listen == "" {
		return pageOptions{}, nil
	}
	host, _, err := net.SplitHostPort(o.listen)
	switch addr, parseErr := netip.ParseAddr(host); {
	case err != nil:
		return o, usagef("for example --status-listen 127.0.0.1:8081", "--status-listen %q is not of the form host:port", o.listen)
	case !o.token.IsZero() && len(o.token.Reveal()) < minStatusToken:
		return o, withHint(fmt.Errorf("%s has less than %d characters", statusTokenVariable, minStatusToken), "make one with: openssl rand -hex 16")
	case o.token.IsZero() && host != "localhost" && (parseErr != nil || !addr.IsLoopback()):
		return o, usagef("listen on 127.0.0.1, or set "+statusTokenVariable+" to what the page shall ask for (openssl rand -hex 16)",
			"--status-listen %s: others could see the status page without a token", o.listen)
	}
	return o, nil
}

// servePage serves the status page for as long as the worker runs.
func servePage(p pageOptions, w *worker.Worker, o *worker.Options) (io.Closer, error) {
	listener, err := net.Listen("tcp", p.listen)
	if err != nil {
		return nil, withHint(fmt.Errorf("serve the status page on %s: %w", p.listen, err), "choose another address with --status-listen")
	}
	o.Logger.Info("status page", "address", "http://"+listener.Addr().String())
	page := status.Page(status.PageOptions{Source: w, Stats: o.Stats, Version: Version(), UI: o.Settings.UIURL, Token: p.token})
	return serveOn(listener, page, o.Logger), nil
}

// serveOn serves until it is closed. There is no limit for answers: some go on
// for as long as the client likes.
func serveOn(listener net.Listener, handler http.Handler, log *slog.Logger) io.Closer {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() { _ = server.Serve(listener) }()
	return server
}
