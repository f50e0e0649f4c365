package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// maxTokenBytes bounds what is read of standard input; a token has below 2 kB.
const maxTokenBytes = 64 << 10

// readToken asks for a token on a terminal, and reads it from standard input
// elsewhere.
func readToken(ctx context.Context, streams Streams) (secret.Value, error) {
	var text []byte
	var err error
	if f, ok := streams.In.(*os.File); ok && isTerminalFile(f) {
		text, err = askHidden(ctx, f, streams.Err, "Northflank API token (not shown): ")
	} else {
		text, err = io.ReadAll(io.LimitReader(streams.In, maxTokenBytes))
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("read the API token: %w", err)
	}
	token := string(bytes.TrimSpace(text))
	return secret.New(token), checkToken(token)
}

// askHidden reads a line from a terminal without echo. A signal gives the
// terminal its echo back before the program ends.
func askHidden(ctx context.Context, f *os.File, w io.Writer, prompt string) ([]byte, error) {
	fd := int(f.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Fprint(w, prompt)
	defer fmt.Fprintln(w) // the user's Enter was not echoed
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() { // nothing ends a read of a terminal, but the end of the program
		text, err := term.ReadPassword(fd)
		typed <- line{text, err}
	}()
	select {
	case l := <-typed:
		if errors.Is(l.err, io.EOF) {
			l.err = nil // Ctrl-D: an empty token, which is refused as such
		}
		return l.text, l.err
	case <-ctx.Done():
		return nil, errors.Join(context.Canceled, term.Restore(fd, before))
	}
}
