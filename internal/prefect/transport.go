package prefect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

const (
	// maxConnections is meant for some fifty flow runs being submitted at once.
	maxConnections = 64
	// A server closes idle connections after 5 s (uvicorn's default), Cloud's load
	// balancer after 30 s. Ours go a little earlier, so that a request never meets
	// a connection that is just being closed.
	idleTimeoutServer = 4 * time.Second
	idleTimeoutCloud  = 25 * time.Second
)

// newHTTPClient builds a client from the settings: TLS, proxies by HTTP_PROXY,
// HTTPS_PROXY and NO_PROXY, HTTP/2 only when asked for, transparent gzip.
func newHTTPClient(s *Settings) (*http.Client, error) {
	tlsConfig, err := tlsConfig(s)
	if err != nil {
		return nil, err
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(s.HTTP2)
	idle := idleTimeoutServer
	if s.IsCloud() {
		idle = idleTimeoutCloud
	}
	dialer := &net.Dialer{Timeout: s.RequestTimeout, KeepAlive: 30 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         dialAgain(dialer.DialContext),
			TLSClientConfig:     tlsConfig,
			TLSHandshakeTimeout: s.RequestTimeout,
			Protocols:           &protocols,
			MaxIdleConns:        maxConnections,
			MaxIdleConnsPerHost: maxConnections,
			MaxConnsPerHost:     maxConnections,
			IdleConnTimeout:     idle,
		},
		CheckRedirect: stayOnServer,
	}, nil
}

// tlsConfig: PREFECT_API_SSL_CERT_FILE replaces the system's authorities.
func tlsConfig(s *Settings) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.TLSInsecure}
	if s.SSLCertFile == "" || s.TLSInsecure {
		return config, nil
	}
	pem, err := os.ReadFile(s.SSLCertFile)
	if err == nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			err = errors.New("no PEM certificate in it")
		}
	}
	if err != nil {
		return nil, &SettingError{
			Name: "PREFECT_API_SSL_CERT_FILE", Source: s.Source("PREFECT_API_SSL_CERT_FILE"),
			Cause:    fmt.Sprintf("cannot use %s: %v", s.SSLCertFile, err),
			NextStep: "name a readable file with certificates in PEM form, or remove the setting to use the system's",
		}
	}
	return config, nil
}

// stayOnServer follows a redirect only within the server and with the method
// kept. Anything else becomes an error that names the target: custom headers may
// hold credentials, and net/http takes only its own list of them off when it
// leaves a host.
func stayOnServer(req *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > 3 || req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host || req.Method != first.Method {
		return http.ErrUseLastResponse
	}
	return nil
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dialAgain repeats a refused connection three times within 1.5 s, as Prefect's
// client does, to get over the moment in which a server restarts.
func dialAgain(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var err error
		for _, wait := range [...]time.Duration{0, 0, 500 * time.Millisecond, time.Second} {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil, &net.OpError{Op: "dial", Net: network, Err: context.Cause(ctx)}
			}
			var conn net.Conn
			if conn, err = dial(ctx, network, address); err == nil || !errors.Is(err, syscall.ECONNREFUSED) {
				return conn, err
			}
		}
		return nil, err
	}
}
