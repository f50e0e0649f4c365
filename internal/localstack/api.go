package localstack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// API speaks JSON over HTTP with one of the stack's servers, to look at what it
// holds. It is not our Prefect client: what the demo and the tests say of a
// server shall not depend on the code that they show and test.
type API struct {
	URL    string
	Header map[string]string // sent with every request
}

// busyFor bounds how long a request is repeated while the server answers 503,
// as a Prefect server on SQLite does when its database is locked.
const busyFor = 2 * time.Minute

// maxAnswer bounds how much of an answer is read, in bytes.
const maxAnswer = 32 << 20

// direct sends everything straight to this machine, whatever proxy is set, and
// keeps no connection. A Prefect server on SQLite lets a request wait for its
// database for a minute.
var direct = &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}, Timeout: 2 * time.Minute}

// Call sends a request with body as JSON, nil for none, and decodes the answer
// into answer, nil if it does not matter.
func (a API) Call(ctx context.Context, method, path string, body, answer any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(busyFor); ; {
		status, got, err := a.send(ctx, method, path, text)
		switch {
		case err != nil:
			return fmt.Errorf("%s %s: %w", method, path, err)
		case status == http.StatusServiceUnavailable && time.Now().Before(deadline):
			if err := pause(ctx, 200*time.Millisecond); err != nil {
				return err
			}
			continue
		case status >= 300:
			return &StatusError{Method: method, Path: path, Status: status, Body: string(got)}
		case answer == nil || len(got) == 0:
			return nil
		}
		if err := json.Unmarshal(got, answer); err != nil {
			return fmt.Errorf("%s %s: %w in %s", method, path, err, got)
		}
		return nil
	}
}

func (a API) send(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, a.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	for name, value := range a.Header {
		request.Header.Set(name, value)
	}
	response, err := direct.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, got, err
}

// StatusError is an answer of 300 or above.
type StatusError struct {
	Method, Path string
	Status       int
	Body         string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Status, e.Body)
}
