package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// serveHealth serves GET /health as Prefect's own workers do, from before the
// first request to Prefect on.
func serveHealth(w interface{ Healthy() bool }, s *prefect.Settings) (io.Closer, error) {
	address := net.JoinHostPort(s.WebserverHost, strconv.Itoa(s.WebserverPort))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, withHint(fmt.Errorf("serve health checks on %s: %w", address, err), "choose another port with PREFECT_WORKER_WEBSERVER_PORT")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		if w.Healthy() {
			_, _ = io.WriteString(rw, `{"message":"OK"}`)
			return
		}
		rw.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(rw, `{"message":"Worker may be unresponsive at this time"}`)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return server, nil
}
