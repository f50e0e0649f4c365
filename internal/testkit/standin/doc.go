// Package standin answers how a test with real processes stays cheap: it holds
// the two programs that a test binary can be beside the tests. One is the
// product's worker with shorter waits. The other takes the place of `prefect
// flow-run execute` in job runs: it says to the Prefect API what Prefect's
// engine says, in milliseconds instead of the seconds that Python takes to
// start, so that hundreds of flow runs are executed in minutes.
//
// TestMain calls [Main] first, and [Install] to put the second program, under
// its name prefect, into a folder that comes first on the job runs' PATH.
package standin

import (
	"fmt"
	"os"
	"path/filepath"
)

// program is the name under which the test binary is Prefect's program.
const program = "prefect"

// Main makes this process one of the programs, if it was started as one, and
// does not return then.
func Main() {
	switch {
	case filepath.Base(os.Args[0]) == program:
		os.Exit(executeFlowRun())
	case os.Getenv(workerVariable) != "":
		os.Exit(runWorker())
	}
}

// Install puts the stand-in for Prefect's program into the folder.
func Install(folder string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the test binary: %w", err)
	}
	return os.Symlink(self, filepath.Join(folder, program))
}
