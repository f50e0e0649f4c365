package cli

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v3"
	"golang.org/x/term"
)

// version is that of the program and of the Python package, which reads this
// line when it is built: the release being worked on, in a form that both PEP
// 440 and Semantic Versioning know. A release's tag is "v" and this.
const version = "1.1.0"

// Version returns the program's version.
func Version() string { return version }

// commit returns the start of the commit that the program was built from, "" if
// it is not known, as in a program installed by go install.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return ""
}

func versionCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version",
		Action: func(context.Context, *cli.Command) error {
			from := runtime.Version()
			if c := commit(); c != "" {
				from = "commit " + c + ", " + from
			}
			_, err := fmt.Fprintf(io.Out, "prefect-northflank %s (%s, %s/%s)\n", Version(), from, runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

func isTerminalFile(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
