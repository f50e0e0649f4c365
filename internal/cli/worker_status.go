package cli

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

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
