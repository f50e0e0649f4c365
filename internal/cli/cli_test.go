package cli_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/northflank/prefect-northflank/internal/cli"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// TestMain makes two programs for scripts of this test binary: ours, and a
// stand-in for prefect in the container of a flow run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"prefect-northflank": func() {
			os.Exit(cli.Main(os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
		},
		"prefect": func() {
			if err := executeFlowRun(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		},
	})
}

// flowWaits is set for a flow that goes on until its container is ended.
const flowWaits = "FLOW_WAITS"

// executeFlowRun does what "prefect flow-run execute" does to a flow run whose
// flow prints a line and returns.
func executeFlowRun() error {
	settings, err := prefect.LoadSettings(prefect.LoadOptions{Environ: os.Environ()})
	if err != nil {
		return err
	}
	client, err := prefect.NewClient(prefect.ClientOptions{Settings: settings, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id := os.Getenv("PREFECT__FLOW_RUN_ID")
	if _, err := client.SetState(ctx, id, prefect.StateProposal{Type: prefect.StateRunning, Name: "Running"}); err != nil {
		return err
	}
	fmt.Println("Hello from Northflank!")
	if os.Getenv(flowWaits) != "" {
		select {} // SIGTERM ends it
	}
	_, err = client.SetState(ctx, id, prefect.StateProposal{Type: prefect.StateCompleted, Name: "Completed"})
	return err
}
