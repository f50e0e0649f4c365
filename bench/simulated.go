package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// simulation is a test of the engine that lets an hour or more pass in virtual
// time, in front of a Prefect server and a Northflank in memory.
type simulation struct {
	passed   bool
	requests int // to Northflank; 0 is not told
	crashes  []time.Duration
}

// simulate runs the tests that the pattern names and returns what they told, by
// their name. That one fails is no error.
func simulate(ctx context.Context, pattern string) (map[string]simulation, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-json", "-count=1", "-timeout", "10m", "-run", pattern, "./internal/worker")
	cmd.Env = append(os.Environ(), "SIMULATE=full")
	out, err := cmd.Output()
	if exit, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		return nil, err
	} else if failed && len(out) == 0 {
		return nil, fmt.Errorf("simulate: %w: %s", err, exit.Stderr)
	}
	return parseSimulations(out)
}

// What the tests tell, see internal/worker/load_test.go.
var (
	toldRequests = regexp.MustCompile(`: (\d+) requests: map\[`)
	toldCrashes  = regexp.MustCompile(`: crashes noticed after \[([^\]]*)\]`)
)

// parseSimulations reads what go test -json prints.
func parseSimulations(out []byte) (map[string]simulation, error) {
	found := map[string]simulation{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, len(out)+1)
	for lines.Scan() {
		var event struct{ Action, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, fmt.Errorf("go test printed %q: %w", lines.Text(), err)
		}
		s := found[event.Test]
		if event.Action == "pass" {
			s.passed = true
		}
		if told := toldRequests.FindStringSubmatch(event.Output); told != nil {
			s.requests, _ = strconv.Atoi(told[1])
		}
		if told := toldCrashes.FindStringSubmatch(event.Output); told != nil {
			for text := range strings.FieldsSeq(told[1]) {
				delay, err := time.ParseDuration(text)
				if err != nil {
					return nil, fmt.Errorf("test %s: %w", event.Test, err)
				}
				s.crashes = append(s.crashes, delay)
			}
		}
		found[event.Test] = s
	}
	return found, lines.Err()
}
