package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		childMain(dir)
	}
	goleak.VerifyTestMain(m)
}

// childVariable makes the test binary an emulator that is then killed.
const childVariable = "EMULATOR_TEST_CHILD"

func childMain(dir string) {
	s, err := New(Config{DataDir: dir})
	if err != nil {
		panic(err)
	}
	url, err := s.Listen("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(url)
	select {}
}

// start returns a server that ends with the test.
func start(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// result is a decoded answer.
type result struct {
	status int
	header http.Header
	data   any
	page   map[string]any
	err    map[string]any
	text   string
}

// get digs into data.
func (r result) get(path string) any {
	v := r.data
	for name := range strings.SplitSeq(path, ".") {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

func (r result) details() map[string]any {
	d, _ := r.err["details"].(map[string]any)
	return d
}

// call sends one request as the default token, without a socket.
func call(t *testing.T, s *Server, method, path, body string) result {
	t.Helper()
	res, err := send(t, s.Transport(), DefaultToken, method, "http://nf.test"+path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return res
}

func send(t *testing.T, rt http.RoundTripper, token, method, url, body string) (result, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return result{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	res := result{status: resp.StatusCode, header: resp.Header, text: string(text)}
	var envelope struct {
		Data       any
		Pagination map[string]any
		Error      any
	}
	if json.NewDecoder(bytes.NewReader(text)).Decode(&envelope) == nil {
		res.data, res.page = envelope.Data, envelope.Pagination
		res.err, _ = envelope.Error.(map[string]any)
	}
	return res, err
}

// want fails the test unless the status is the one expected.
func (r result) want(t *testing.T, status int) result {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.text)
	}
	return r
}

const (
	jobsPath = "/v1/projects/local/jobs"
	simple   = `{"name":"one","billing":{"deploymentPlan":"nf-compute-20"},"deployment":{"external":{"imagePath":"prefecthq/prefect:3"},"docker":{"configType":"customCommand","customCommand":"COMMAND"}},"settings":{"backoffLimit":0}}`
)

// job is a valid body whose container runs a shell script.
func shellJob(script string) string {
	body := map[string]any{}
	if err := json.Unmarshal([]byte(simple), &body); err != nil {
		panic(err)
	}
	body["deployment"].(map[string]any)["docker"] = map[string]any{
		"configType": "customEntrypointCustomCommand", "customEntrypoint": "sh -c", "customCommand": "'" + script + "'",
	}
	data, _ := json.Marshal(body)
	return string(data)
}

// startRun puts the job and starts a job run of it.
func startRun(t *testing.T, s *Server, job, overrides string) string {
	t.Helper()
	id, _ := call(t, s, "PUT", jobsPath, job).want(t, 200).get("id").(string)
	run, _ := call(t, s, "POST", jobsPath+"/"+id+"/runs", overrides).want(t, 200).get("id").(string)
	return run
}

// await waits until the job run has concluded.
func await(t *testing.T, s *Server, runID string) JobRunInfo {
	t.Helper()
	return awaitState(t, s, runID, func(r JobRunInfo) bool { return r.Concluded })
}

func awaitState(t *testing.T, s *Server, runID string, reached func(JobRunInfo) bool) JobRunInfo {
	t.Helper()
	for {
		changed := s.Changed()
		for _, r := range s.JobRuns() {
			if r.ID == runID && reached(r) {
				return r
			}
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("test ended while waiting for a job run")
		}
	}
}

// sleep is time.Sleep with words; only for bubbles, where it costs nothing.
func sleep(d string) {
	parsed, err := time.ParseDuration(d)
	if err != nil {
		panic(err)
	}
	time.Sleep(parsed)
}
