//go:build e2e

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// workerConfig tells a worker process what to do.
type workerConfig struct {
	Name, Pool, NorthflankURL, Token string
	Timing                           worker.Timing
}

const configVariable = "CHAOS_WORKER"

// runWorker is the worker process: the product's worker with shorter waits.
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
	var c workerConfig
	if err := json.Unmarshal([]byte(os.Getenv(configVariable)), &c); err != nil {
		return err
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
		Prefect: client, Settings: settings, Accounts: northflank.NewAccounts(northflank.Options{Logger: log, UserAgent: c.Name}),
		Account: jobspec.Account{BaseURL: c.NorthflankURL, Token: secret.New(c.Token)},
		Name:    c.Name, Pool: c.Pool, CreatePool: true, Prefetch: time.Second, Heartbeat: 3 * time.Second, Query: time.Second / 2,
		Timing: c.Timing, Logger: log, Out: os.Stderr,
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// runFlow stands in for `prefect flow-run execute`. It keeps to what Prefect's
// engine says to the API, retries what Prefect's client retries, and ends itself
// when the flow run is being cancelled.
func runFlow() int {
	f := flow{api: os.Getenv("PREFECT_API_URL"), id: os.Getenv("PREFECT__FLOW_RUN_ID")}
	var run struct {
		Parameters struct {
			Seconds float64 `json:"seconds"`
			Hang    bool    `json:"hang"`
		} `json:"parameters"`
	}
	if err := f.call(http.MethodGet, "/flow_runs/"+f.id, nil, &run); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if state, ok := f.propose("RUNNING", "Running"); !ok {
		if state == "CANCELLING" {
			f.propose("CANCELLED", "Cancelled")
		}
		return 1
	}
	if err := f.sign(os.Getenv("CHAOS_LEDGER")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for end := time.Now().Add(time.Duration(run.Parameters.Seconds * float64(time.Second))); run.Parameters.Hang || time.Now().Before(end); {
		time.Sleep(time.Second) // not to keep SQLite from its work
		if run.Parameters.Hang {
			continue
		}
		var now struct {
			StateType string `json:"state_type"`
		}
		if f.call(http.MethodGet, "/flow_runs/"+f.id, nil, &now) == nil && now.StateType == "CANCELLING" {
			f.propose("CANCELLED", "Cancelled")
			return 1
		}
	}
	f.propose("COMPLETED", "Completed")
	return 0
}

type flow struct{ api, id string }

// propose returns the state afterwards and whether it is the proposed one.
func (f flow) propose(typ, name string) (state string, ok bool) {
	body := map[string]any{"state": map[string]any{
		"type": typ, "name": name, "state_details": map[string]any{"flow_run_id": f.id, "transition_id": uuid.NewString()},
	}}
	var answer struct {
		Status string `json:"status"`
		State  struct {
			Type string `json:"type"`
		} `json:"state"`
	}
	if err := f.call(http.MethodPost, "/flow_runs/"+f.id+"/set_state", body, &answer); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return "", false
	}
	fmt.Println(typ, answer.Status, answer.State.Type)
	return answer.State.Type, answer.State.Type == typ
}

// sign appends the flow run's line to the ledger.
func (f flow) sign(path string) error {
	ledger, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = ledger.WriteString(f.id + "\n")
	return errors.Join(err, ledger.Close())
}

// call retries what Prefect's client retries: no answer, 503 and their like.
func (f flow) call(method, path string, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	var last error
	for attempt := range 8 {
		time.Sleep(time.Duration(attempt) * 300 * time.Millisecond)
		r, err := http.NewRequestWithContext(context.Background(), method, f.api+path, bytes.NewReader(raw))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			last = err
			continue
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			last = err
		case resp.StatusCode >= 500:
			last = fmt.Errorf("%s %s: %d", method, path, resp.StatusCode)
		case resp.StatusCode >= 400:
			return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, text)
		default:
			return json.Unmarshal(text, answer)
		}
	}
	return last
}
