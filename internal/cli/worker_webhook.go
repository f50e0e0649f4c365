package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/webhook"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// webhookOptions say where notifications are received; listen is "" for nowhere.
type webhookOptions struct {
	listen, path string
	secret       secret.Value
}

// workerWebhook reads the flags of worker start, before anything is sent.
func workerWebhook(cmd *cli.Command) (webhookOptions, error) {
	listen, address := cmd.String("webhook-listen"), cmd.String("webhook-url")
	if listen == "" && address == "" {
		return webhookOptions{}, nil
	}
	if listen == "" {
		return webhookOptions{}, usagef("add --webhook-listen, for example 127.0.0.1:8080", "--webhook-url alone: where shall the worker listen?")
	}
	u, err := webhookAddress("--webhook-url", address)
	if err != nil {
		return webhookOptions{}, err
	}
	if _, _, err := net.SplitHostPort(listen); err != nil {
		return webhookOptions{}, usagef("for example --webhook-listen 127.0.0.1:8080", "--webhook-listen %q is not of the form host:port", listen)
	}
	o := webhookOptions{listen: listen, path: u.Path, secret: secret.New(os.Getenv(secretVariable))}
	if o.secret.IsZero() {
		return o, withHint(errors.New(secretVariable+" is not set: without the webhook's secret every notification is refused"),
			"set it to the secret that prefect-northflank webhook create printed")
	}
	if err := webhook.CheckSecret(o.secret); err != nil {
		return o, withHint(fmt.Errorf("%s: %w", secretVariable, err), "make another with: openssl rand -hex 32, and give it to prefect-northflank webhook create")
	}
	return o, nil
}

// receiveWebhooks serves the receiver for as long as the worker runs.
func receiveWebhooks(o webhookOptions, w *worker.Worker, log *slog.Logger) (io.Closer, error) {
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return nil, withHint(fmt.Errorf("receive notifications on %s: %w", o.listen, err), "choose another address with --webhook-listen")
	}
	server := &http.Server{
		Handler: webhook.NewHandler(webhook.Options{
			Secret: o.secret, Path: o.path, Logger: log,
			Receive: func(n webhook.Notification) { w.Hint(n.Event, n.ProjectID, n.JobID, n.RunID) },
		}),
		ReadTimeout: 10 * time.Second, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() { _ = server.Serve(listener) }()
	return server, nil
}
