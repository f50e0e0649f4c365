package standin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/worker"
)

const workerVariable = "STANDIN_WORKER"

// Worker says how the worker process works. Its Prefect settings come from its
// environment, as the product's do. To Northflank it calls itself by its name, so
// that a proxy can tell the requests of several workers apart.
type Worker struct {
	Name, Pool        string
	NorthflankURL     string
	Token             string        // of the local Northflank, hence no secret
	NorthflankTimeout time.Duration // of one request; 0 is the client's own of 30 s
	Limit             int           // flow runs at a time; 0 is no limit
	Query             time.Duration // between two looks at Prefect; 0 is half a second
	Heartbeat         time.Duration // full seconds; three of them without a word and others take over; 0 is three
	Timing            worker.Timing
}

// Quick returns waits short enough for a test, in the product's proportions.
func Quick() worker.Timing {
	return worker.Timing{
		StartLease: 4 * time.Second, StartSettle: 12 * time.Second, ListLag: 4 * time.Second,
		StartLooks: []time.Duration{time.Second, 3 * time.Second, 7 * time.Second},
		Relook:     time.Second, LateReport: 2 * time.Second, CancelGrace: 3 * time.Second, LingerNote: 2 * time.Second,
		UnownedAge: 5 * time.Second, JobIdle: 3 * time.Second, Janitor: 4 * time.Second, RetryDelay: time.Second,
		SweepMin: time.Second, SweepMax: 2 * time.Second, FirstLook: time.Second, Settle: time.Second,
	}
}

// Environ returns the variable that makes a test binary this worker.
func (w Worker) Environ() (map[string]string, error) {
	text, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	return map[string]string{workerVariable: string(text)}, nil
}

func runWorker() int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := serve(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serve(ctx context.Context) error {
	var c Worker
	if err := json.Unmarshal([]byte(os.Getenv(workerVariable)), &c); err != nil {
		return err
	}
	if c.Query == 0 {
		c.Query = time.Second / 2
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 3 * time.Second
	}
	settings, err := prefect.LoadSettings(prefect.LoadOptions{Environ: os.Environ()})
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	client, err := prefect.NewClient(prefect.ClientOptions{Settings: settings, WorkerName: c.Name, Logger: log})
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Options{
		Prefect: client, Settings: settings,
		Accounts: northflank.NewAccounts(northflank.Options{
			Logger: log, UserAgent: c.Name, HTTPClient: &http.Client{Timeout: c.NorthflankTimeout},
		}),
		Account: jobspec.Account{BaseURL: c.NorthflankURL, Token: secret.New(c.Token)},
		Name:    c.Name, Pool: c.Pool, CreatePool: true, Limit: c.Limit,
		Prefetch: time.Second, Heartbeat: c.Heartbeat, Query: c.Query,
		Timing: c.Timing, Logger: log, Out: os.Stderr,
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
