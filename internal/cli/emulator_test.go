package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// startEmulator runs the command until stop is called, which returns its exit
// status and what it said.
func startEmulator(t *testing.T, args ...string) (line string, stop func() (int, string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	var talk bytes.Buffer
	status := make(chan int, 1)
	go func() {
		status <- MainContext(ctx, append([]string{"prefect-northflank", "emulator"}, args...), Streams{In: strings.NewReader(""), Out: w, Err: &talk})
		w.Close()
	}()
	buffer := make([]byte, 4096)
	n, err := r.Read(buffer)
	go func() { _, _ = io.Copy(io.Discard, r) }()
	stop = func() (int, string) {
		cancel()
		return <-status, talk.String()
	}
	if err != nil {
		code, said := stop()
		t.Fatalf("emulator ended with %d: %s", code, said)
	}
	return string(buffer[:n]), stop
}

func TestEmulatorServes(t *testing.T) {
	line, stop := startEmulator(t, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--project", "data", "--token", "mine", "--output", "json", "--switch", "list-order=oldest")
	var ready emulatorReady
	if err := json.Unmarshal([]byte(line), &ready); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if ready.Token != "mine" || len(ready.Projects) != 1 || ready.Projects[0] != "data" {
		t.Errorf("ready: %+v", ready)
	}
	for url, want := range map[string]string{
		ready.URL + "/v1/projects/data": `"id":"data"`, ready.URL + "/": "Local Northflank", ready.AdminURL + "/switches": `"list-order": "oldest"`,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer mine")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(body), want) {
			t.Errorf("%s answers %s, want %s in it", url, body, want)
		}
	}
	taken := strings.TrimPrefix(ready.URL, "http://")
	var talk bytes.Buffer
	if code := Main([]string{"prefect-northflank", "emulator", "--listen", taken}, Streams{Out: io.Discard, Err: &talk}); code != ExitFailed {
		t.Errorf("port in use: exit status %d", code)
	}
	for _, want := range []string{taken, "address already in use", "127.0.0.1:0"} {
		if !strings.Contains(talk.String(), want) {
			t.Errorf("port in use: %q lacks %q", talk.String(), want)
		}
	}
	if code, said := stop(); code != ExitDone {
		t.Errorf("exit status %d: %s", code, said)
	}
}

func TestEmulatorText(t *testing.T) {
	text, stop := startEmulator(t, "--listen", "127.0.0.1:0")
	for _, want := range []string{"export NORTHFLANK_API_BASE_URL=http://127.0.0.1:", "export NORTHFLANK_API_TOKEN=local-northflank-token", "Project:  local", "Web page: http://127.0.0.1:"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if code, said := stop(); code != ExitDone {
		t.Errorf("exit status %d: %s", code, said)
	}
}

func TestEmulatorWrongUse(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--listen 0.0.0.0:0", "--allow-remote"},
		{"--listen 0.0.0.0:0 --allow-remote", "--token"},
		{"--switch list-order=random", "newest, oldest"},
		{"--switch nothing", "emulator switches"},
		{"--time-scale 0", "above 0"},
		{"--output yaml", "text or json"},
		{"swiches", "switches"},
	} {
		var talk bytes.Buffer
		code := Main(append([]string{"prefect-northflank", "emulator"}, strings.Fields(tt.args)...), Streams{Out: io.Discard, Err: &talk})
		if code != ExitUsage || !strings.Contains(talk.String(), tt.want) {
			t.Errorf("emulator %s: exit status %d, %q, want 2 and %q", tt.args, code, talk.String(), tt.want)
		}
	}
}

func TestEmulatorSwitches(t *testing.T) {
	var text, data bytes.Buffer
	for out, args := range map[*bytes.Buffer][]string{&text: nil, &data: {"--output", "json"}} {
		if code := Main(append([]string{"prefect-northflank", "emulator", "switches"}, args...), Streams{Out: out, Err: io.Discard}); code != ExitDone {
			t.Errorf("exit status %d", code)
		}
	}
	if !strings.Contains(text.String(), "aborted-run") || !json.Valid(data.Bytes()) {
		t.Errorf("text %q, JSON %q", text.String(), data.String())
	}
}
