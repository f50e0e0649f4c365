// Command prefect-northflank runs Prefect flow runs as Northflank job runs.
package main

import (
	"os"

	"github.com/northflank/prefect-northflank/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
