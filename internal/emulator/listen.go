package emulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// ErrNotLoopback is the refusal to serve other machines, which could run
// commands on this one; Config.AllowRemote lifts it.
var ErrNotLoopback = errors.New("other machines could run commands on this one")

// Listen serves the API and the web page on an address until Close and returns
// the base URL; port 0 takes a free one.
func (s *Server) Listen(address string) (string, error) { return s.listen(address, s.Handler()) }

// ListenAdmin does the same for the admin endpoints.
func (s *Server) ListenAdmin(address string) (string, error) { return s.listen(address, s.Admin()) }

func (s *Server) listen(address string, h http.Handler) (string, error) {
	if !s.config.AllowRemote && !isLoopback(address) {
		return "", fmt.Errorf("listen on %s: %w", address, ErrNotLoopback)
	}
	l, err := new(net.ListenConfig).Listen(s.ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	if !s.config.AllowRemote {
		h = sameHost(h)
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:    slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return s.ctx },
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		l.Close()
		return "", errClosed
	}
	s.served = append(s.served, server)
	s.work.Go(func() { _ = server.Serve(l) }) // ends with http.ErrServerClosed
	return "http://" + l.Addr().String(), nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	return loopbackHost(host)
}

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// sameHost refuses requests for other names than this machine's: a web page
// elsewhere that lets its name point here must not read logs or steer job runs.
func sameHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if !loopbackHost(host) {
			http.Error(w, "this emulator answers to localhost only", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
