package standin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// LedgerVariable names the file in which every execution of a flow run leaves a
// line; see [ReadLedger].
const LedgerVariable = "STANDIN_LEDGER"

// Flow says what a flow run does. It is the flow run's parameters.
type Flow struct {
	Seconds float64 `json:"seconds,omitempty"` // how long it runs
	Fails   bool    `json:"fails,omitempty"`   // it ends Failed
	Deaf    bool    `json:"deaf,omitempty"`    // it does not look whether it is being cancelled
	Hangs   bool    `json:"hangs,omitempty"`   // it is deaf, ignores SIGTERM, and never ends
	Lines   int     `json:"lines,omitempty"`   // numbered lines that it prints, five a second
	Lingers float64 `json:"lingers,omitempty"` // seconds that its process lives on after its end
}

// Line is what a flow run prints as its n-th line.
func Line(flowRunID string, n int) string { return fmt.Sprintf("line %d of %s", n, flowRunID) }

// pollEvery is how often a flow looks whether it is being cancelled. A Prefect
// server on SQLite does not take more of many flows at once.
const pollEvery = time.Second

// executeFlowRun keeps to what Prefect's engine says to the API, retries what
// Prefect's client retries, and ends itself when the flow run is being cancelled.
func executeFlowRun() int {
	f := flow{api: os.Getenv("PREFECT_API_URL"), id: os.Getenv("PREFECT__FLOW_RUN_ID"), out: os.Stdout}
	var run struct {
		Parameters Flow `json:"parameters"`
	}
	if err := f.call(http.MethodGet, "/flow_runs/"+f.id, nil, &run); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if run.Parameters.Hangs {
		signal.Ignore(syscall.SIGTERM)
	}
	if state, ok := f.propose("RUNNING", "Running", ""); !ok {
		if state == "CANCELLING" {
			f.propose("CANCELLED", "Cancelled", "Flow run was cancelled before execution started.")
		}
		return 1
	}
	if err := f.sign(os.Getenv(LedgerVariable)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if !f.work(run.Parameters) {
		f.propose("CANCELLED", "Cancelled", "The flow ended itself.")
		return 1
	}
	status := 0
	if run.Parameters.Fails {
		f.propose("FAILED", "Failed", "The flow failed on purpose.")
		status = 1
	} else {
		f.propose("COMPLETED", "Completed", "")
	}
	time.Sleep(seconds(run.Parameters.Lingers))
	return status
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

type flow struct {
	api, id string
	out     io.Writer
}

// work passes the time that the flow takes. It returns false when the flow run
// is being cancelled.
func (f flow) work(p Flow) bool {
	began, polled, printed := time.Now(), time.Now(), 0
	for p.Hangs || printed < p.Lines || time.Since(began) < seconds(p.Seconds) {
		time.Sleep(200 * time.Millisecond)
		if printed < p.Lines {
			printed++
			fmt.Fprintln(f.out, Line(f.id, printed))
		}
		if p.Hangs || p.Deaf || time.Since(polled) < pollEvery {
			continue
		}
		polled = time.Now()
		var now struct {
			StateType string `json:"state_type"`
		}
		if f.call(http.MethodGet, "/flow_runs/"+f.id, nil, &now) == nil && now.StateType == "CANCELLING" {
			return false
		}
	}
	return true
}

// maxWaits bounds how often a proposal is made again because Prefect said WAIT.
const maxWaits = 10

// propose returns the state afterwards and whether it is the proposed one. When
// Prefect says so it waits, as for the time that the flow run is scheduled for.
func (f flow) propose(typ, name, message string) (state string, ok bool) {
	body := map[string]any{"state": map[string]any{
		"type": typ, "name": name, "message": message,
		"state_details": map[string]any{"flow_run_id": f.id, "transition_id": uuid.NewString()},
	}}
	var answer struct {
		Status string `json:"status"`
		State  struct {
			Type string `json:"type"`
		} `json:"state"`
		Details struct {
			DelaySeconds float64 `json:"delay_seconds"`
		} `json:"details"`
	}
	for waits := 0; ; waits++ {
		if err := f.call(http.MethodPost, "/flow_runs/"+f.id+"/set_state", body, &answer); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return "", false
		}
		fmt.Fprintln(f.out, typ, answer.Status, answer.State.Type)
		if answer.Status != "WAIT" || waits == maxWaits {
			break
		}
		time.Sleep(seconds(answer.Details.DelaySeconds))
	}
	return answer.State.Type, answer.State.Type == typ
}

// sign appends the flow run and this process to the ledger.
func (f flow) sign(path string) error {
	ledger, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(ledger, "%s %d\n", f.id, os.Getpid())
	return errors.Join(err, ledger.Close())
}

// ReadLedger returns the ids of the processes that executed each flow run. It
// is empty while there is no ledger.
func ReadLedger(path string) (map[string][]int, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	executed := map[string][]int{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		id, process, _ := strings.Cut(lines.Text(), " ")
		pid, err := strconv.Atoi(process)
		if err != nil {
			return nil, fmt.Errorf("ledger %s: %w", path, err)
		}
		executed[id] = append(executed[id], pid)
	}
	return executed, lines.Err()
}

// patience is how long a request is repeated: about as long as Prefect's client
// does it (Prefect 3.8: five retries that double from two seconds).
const patience = time.Minute

// call retries what Prefect's client retries: no answer, 503 and their like.
func (f flow) call(method, path string, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for attempt := 1; ; attempt++ {
		status, text, err := f.send(ctx, method, path, raw)
		switch {
		case err == nil && status < 400:
			return json.Unmarshal(text, answer)
		case err == nil && status < 500:
			return fmt.Errorf("%s %s: %d %s", method, path, status, text)
		case err == nil:
			err = fmt.Errorf("%s %s: %d", method, path, status)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(min(time.Duration(attempt)*300*time.Millisecond, 2*time.Second)):
		}
	}
}

func (f flow) send(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, f.api+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}
