package cli

import (
	"context"
	"fmt"
	"os"
	"regexp"
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

// commitLength is the number of digits that a commit is named by.
const commitLength = 12

// commit returns the start of the commit that a program was built from, "" if it
// is not known. It stands in what go build notes of the repository, and in the
// version of one that go install built from a commit without a tag:
// v1.1.1-0.20261124101530-abcdef012345.
func commit(info *debug.BuildInfo) string {
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= commitLength {
			return s.Value[:commitLength]
		}
	}
	if m := pseudoVersion.FindStringSubmatch(info.Main.Version); m != nil {
		return m[1]
	}
	return ""
}

var pseudoVersion = regexp.MustCompile(`[-.]\d{14}-([0-9a-f]{12})(\+|$)`)

func versionCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "print the version",
		Description: "Prints the version, the commit it was built from, and for which machines.\n\nExamples:\n  prefect-northflank version",
		Action: func(context.Context, *cli.Command) error {
			from := runtime.Version()
			if info, ok := debug.ReadBuildInfo(); ok {
				if c := commit(info); c != "" {
					from = "commit " + c + ", " + from
				}
			}
			_, err := fmt.Fprintf(io.Out, "prefect-northflank %s (%s, %s/%s)\n", Version(), from, runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

func isTerminalFile(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
