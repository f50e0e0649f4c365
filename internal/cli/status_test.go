package cli_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/cli"
)

func TestInterruptedCommand(t *testing.T) {
	hermetic(t, nil)
	_, api := newServer(t)
	t.Setenv("PREFECT_API_URL", api)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, talk bytes.Buffer
	status := cli.MainContext(ctx, []string{"prefect-northflank", "credentials", "ls"}, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &talk})
	if status != cli.ExitInterrupted || out.Len() > 0 || talk.Len() > 0 {
		t.Errorf("exit status %d, stdout %q, stderr %q, want %d and silence", status, &out, &talk, cli.ExitInterrupted)
	}
}
