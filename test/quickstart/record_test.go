//go:build e2e

package quickstart

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
)

// recordVariable makes the test binary the program that a worker class hands
// over to: it prints how it was called and ends with the status that the
// variable holds.
const recordVariable = "QUICKSTART_RECORD"

// called is how the program was called.
type called struct {
	Args     []string
	Environ  []string
	Template json.RawMessage // what --base-job-template names
}

// record prints how this process was called, on a line of its own.
func record() {
	c := called{Args: os.Args[1:], Environ: os.Environ()}
	if i := slices.Index(c.Args, "--base-job-template"); i >= 0 {
		var err error
		if c.Template, err = os.ReadFile(c.Args[i+1]); err != nil {
			fmt.Println(err)
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%s\n", text)
	status, _ := strconv.Atoi(os.Getenv(recordVariable))
	os.Exit(status)
}
