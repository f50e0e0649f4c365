package cli_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/cli"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

// Whoever interrupts init while it works finds no half of a file, and only has to
// call it again.
func TestInterruptedInit(t *testing.T) {
	for _, at := range []string{"POST /api/block_documents/", "POST /api/work_pools/"} {
		t.Run(at, func(t *testing.T) {
			hermetic(t, map[string]string{"NORTHFLANK_API_TOKEN": plantedToken, "PREFECT_CLIENT_MAX_RETRIES": "0"})
			writeFiles(t, aFlow)
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			reached := false
			prefect := testkit.NewPrefect()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				prefect.ServeHTTP(w, r)
				if r.Method+" "+r.URL.Path == at { // it took effect, and nobody hears of it
					reached = true
					interrupt()
				}
			}))
			t.Cleanup(server.Close)
			t.Setenv("PREFECT_API_URL", server.URL+"/api")

			args := []string{"prefect-northflank", "init", "--pool", "my-pool", "--project", "p1", "--credentials", "my-creds", "--code", "local"}
			var out, talk bytes.Buffer
			status := cli.MainContext(ctx, args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &talk})
			if !reached || status != cli.ExitInterrupted || strings.Contains(talk.String(), "error") {
				t.Errorf("exit status %d, said %q, want %d and no error", status, &talk, cli.ExitInterrupted)
			}
			if files, err := os.ReadDir("."); err != nil || len(files) != 1 {
				t.Errorf("the folder holds %v, %v, want the flows alone", files, err)
			}
			if status, out, talk := run(t, "", args[1:]...); status != 0 || !strings.Contains(out, "Wrote prefect.yaml.") {
				t.Errorf("again: exit status %d, %q, %q, want that it is done", status, out, talk)
			}
		})
	}
}

// A shell that completes a word is not kept waiting by a server that says nothing.
func TestCompletionDoesNotWait(t *testing.T) {
	hermetic(t, nil)
	left := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done() // the program gave up
		close(left)
	}))
	t.Cleanup(server.Close)
	t.Setenv("PREFECT_API_URL", server.URL+"/api")
	if status, out, talk := run(t, "", "runs", "--pool", "--generate-shell-completion"); status != 0 || out != "" || talk != "" {
		t.Errorf("exit status %d, %q, %q, want silence", status, out, talk)
	}
	<-left
}
