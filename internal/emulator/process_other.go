//go:build !unix

package emulator

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// processRunner needs process groups and signals, which this system lacks.
type processRunner struct{}

func newProcessRunner(string) *processRunner { return &processRunner{} }

// Run refuses.
func (*processRunner) Run(_ context.Context, task Task) int {
	fmt.Fprintln(task.Stderr, "emulator: job runs as local processes need Linux or macOS")
	return 128
}

func lockDir(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
}
