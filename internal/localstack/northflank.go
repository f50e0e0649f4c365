package localstack

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// NorthflankOptions say what local Northflank to start.
type NorthflankOptions struct {
	Name    string   // "northflank" unless there are several
	Project string   // the project that it holds
	Args    []string // more options of the command
}

// Northflank is a running local Northflank. Its API is seen through Admin, which
// costs none of the requests that it counts.
type Northflank struct {
	*Process
	URL   string // of the API and of its web page
	Token string // an API token that it accepts
	Admin API    // counters, recorded bodies, faults and switches
}

// StartNorthflank starts a local Northflank on loopback ports and returns when it
// answers.
func (s *Stack) StartNorthflank(ctx context.Context, options NorthflankOptions) (*Northflank, error) {
	args := []string{"emulator", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--output", "json", "--project", options.Project}
	process, err := s.Start(ctx, ProcessSpec{
		Name: options.Name, Path: s.options.Binary, Args: append(args, options.Args...),
	})
	if err != nil {
		return nil, err
	}
	var said struct {
		URL      string `json:"url"`
		AdminURL string `json:"admin_url"`
		Token    string `json:"token"`
	}
	err = process.awaitReady(ctx, func() bool {
		line, _, whole := strings.Cut(process.Log(), "\n")
		return whole && json.Unmarshal([]byte(line), &said) == nil
	})
	return &Northflank{Process: process, URL: said.URL, Token: said.Token, Admin: API{URL: said.AdminURL}}, err
}

// Counters is what a local Northflank counted, in part.
type Counters struct {
	Total  int            `json:"total"`
	Routes map[string]int `json:"routes"`
}

// Counters returns how many requests have arrived.
func (n *Northflank) Counters(ctx context.Context) (Counters, error) {
	var c Counters
	return c, n.Admin.Call(ctx, http.MethodGet, "/counters", nil, &c)
}

// RecordedBody is a write to a job, or the start of a job run, as it arrived.
type RecordedBody struct {
	Time     time.Time `json:"time"`
	Route    string    `json:"route"`
	Body     string    `json:"body"` // JSON, byte for byte
	Status   int       `json:"status"`
	JobID    string    `json:"jobId"`
	JobRunID string    `json:"jobRunId"`
}

// Bodies returns the writes that a local Northflank received, oldest first.
func (n *Northflank) Bodies(ctx context.Context) ([]RecordedBody, error) {
	var bodies []RecordedBody
	return bodies, n.Admin.Call(ctx, http.MethodGet, "/bodies", nil, &bodies)
}
