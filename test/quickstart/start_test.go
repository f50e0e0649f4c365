//go:build e2e

package quickstart

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/prefect"
)

// recording returns a user whose worker class hands over to a program that
// tells how it was called, and ends with the status.
func recording(t *testing.T, status int) *user {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	u := newUser(t)
	u.env["PREFECT_NORTHFLANK_BIN"], u.env[recordVariable] = self, strconv.Itoa(status)
	return u
}

// recorded runs a command that hands over to the recording program.
func (u *user) recorded(command string) called {
	u.Helper()
	out := u.types(command)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var c called
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &c); err != nil {
		u.Fatalf("%s did not hand over: %v in\n%s", command, err, out)
	}
	return c
}

// option returns the values that a call has for an option, "set" for one
// without a value.
func (c called) option(name string) []string {
	var values []string
	for i, arg := range c.Args {
		if arg != name {
			continue
		}
		if i+1 == len(c.Args) || strings.HasPrefix(c.Args[i+1], "--") {
			values = append(values, "set")
		} else { // 10 and 10.0 are the same number of seconds
			values = append(values, strings.TrimSuffix(c.Args[i+1], ".0"))
		}
	}
	return values
}

const template = `{"job_configuration": {"command": "{{ command }}"}, "variables": {"properties": {"command": {"type": "string"}}}}`

// Every option of prefect worker start reaches the program, in its long and its
// short form, or has done its work before.
func TestOptions(t *testing.T) {
	t.Parallel()
	const pool = "pool-of-options"
	u := recording(t, 0)
	u.types("prefect work-pool create --type northflank " + pool)
	u.writes("template.json", template)
	calls := map[string]called{
		"none": u.recorded("prefect worker start --pool " + pool),
		"long": u.recorded("prefect worker start --pool another-pool --name 'my worker' --work-queue b --work-queue a --type northflank" +
			" --prefetch-seconds 20 --limit 3 --run-once --with-healthcheck --install-policy never --base-job-template template.json"),
		"short": u.recorded("prefect worker start -p another-pool -n 'my worker' -q b -q a -t northflank -l 3"),
	}
	tests := []struct {
		option string
		want   []string
		none   []string // without the option
		short  bool     // has a short form
	}{
		{"--pool", []string{"another-pool"}, []string{pool}, true},
		{"--name", []string{"my worker"}, nil, true}, // without it a name is made up
		{"--work-queue", []string{"a", "b"}, nil, true},
		{"--type", nil, nil, true}, // found the class
		{"--prefetch-seconds", []string{"20"}, []string{"10"}, false},
		{"--limit", []string{"3"}, nil, true},
		{"--run-once", []string{"set"}, nil, false},
		{"--with-healthcheck", []string{"set"}, nil, false},
		{"--install-policy", nil, nil, false}, // there is nothing to install
		{"--heartbeat-seconds", []string{"30"}, []string{"30"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.option, func(t *testing.T) {
			got := map[string][]string{"long": calls["long"].option(tt.option), "none": calls["none"].option(tt.option)}
			want := map[string][]string{"long": tt.want, "none": tt.none}
			if tt.short {
				got["short"], want["short"] = calls["short"].option(tt.option), tt.want
			}
			if tt.option == "--name" {
				if name := got["none"]; len(name) != 1 || !strings.HasPrefix(name[0], "NorthflankWorker ") {
					t.Errorf("without --name the program got %q, want a name that was made up", name)
				}
				delete(got, "none")
				delete(want, "none")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s as the program gets it (-want +got):\n%s", tt.option, diff)
			}
		})
	}
	t.Run("--base-job-template", func(t *testing.T) {
		var got, want any
		if err := json.Unmarshal(calls["long"].Template, &got); err != nil {
			t.Fatalf("the program read %q: %v", calls["long"].Template, err)
		}
		if err := json.Unmarshal([]byte(template), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the template as the program reads it (-want +got):\n%s", diff)
		}
	})
	t.Run("--no-create-pool-if-not-found", func(t *testing.T) {
		u := u.on(t)
		if !strings.Contains(u.types("prefect worker start --help"), "create-pool-if-not-found") {
			t.Skip("this Prefect does not have the option")
		}
		const option = "--no-create-pool-if-not-found"
		if got := u.recorded("prefect worker start --pool " + pool + " " + option).option(option); len(got) != 1 {
			t.Errorf("the program got %s %d times, want once", option, len(got))
		}
	})
}

// on returns the user for a subtest.
func (u *user) on(t *testing.T) *user {
	return &user{T: t, dir: u.dir, env: maps.Clone(u.env)}
}

// The program accepts all that it is handed over, and makes the pool with the
// template.
func TestProgramTakesAllOptions(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.env["PREFECT_WORKER_WEBSERVER_PORT"] = freePort(t)
	u.writes("template.json", template)
	out := u.types("prefect worker start --pool made-by-worker --name 'my worker' --work-queue default --type northflank" +
		" --prefetch-seconds 20 --limit 3 --run-once --with-healthcheck --install-policy never --base-job-template template.json 2>&1")
	if !strings.Contains(out, "Worker 'my worker' stopped!") {
		t.Errorf("the worker wrote this, want that it stopped:\n%s", out)
	}
	pool := call[struct {
		Type     string
		Template map[string]any `json:"base_job_template"`
	}](t, http.MethodGet, "/work_pools/made-by-worker", nil)
	var want map[string]any
	if err := json.Unmarshal([]byte(template), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, pool.Template); diff != "" || pool.Type != "northflank" {
		t.Errorf("pool of type %q, template (-want +got):\n%s", pool.Type, diff)
	}
}

// What Prefect's settings are, by whichever profile, the program's are too.
func TestProfiles(t *testing.T) {
	t.Parallel()
	u := recording(t, 0)
	home := filepath.Join(u.dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	u.writes("home/profiles.toml", fmt.Sprintf(`active = "usual"
[profiles.usual]
PREFECT_API_URL = %[1]q
PREFECT_API_KEY = "key-of-usual"
PREFECT_CLIENT_MAX_RETRIES = "3"
[profiles.other]
PREFECT_API_URL = %[1]q
PREFECT_LOGGING_LEVEL = "WARNING"
PREFECT_CLIENT_CSRF_SUPPORT_ENABLED = false
`, shared.server.APIURL))
	u.env["PREFECT_HOME"], u.env["PREFECT_PROFILES_PATH"] = home, filepath.Join(home, "profiles.toml")
	delete(u.env, "PREFECT_API_URL")
	tests := []struct {
		name, command string
		env           map[string]string
		want          map[string]string
	}{
		{"active", "prefect worker start", nil, map[string]string{"PREFECT_API_KEY": "key-of-usual", "PREFECT_CLIENT_MAX_RETRIES": "3"}},
		{"named", "prefect --profile other worker start", nil, map[string]string{
			"PREFECT_LOGGING_LEVEL": "WARNING", "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "False",
		}},
		{"named by the environment", "prefect worker start", map[string]string{"PREFECT_PROFILE": "other", "PREFECT_LOGGING_LEVEL": "ERROR"}, map[string]string{
			"PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "False",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := u.on(t)
			maps.Copy(u.env, tt.env)
			c := u.recorded(tt.command + " --pool no-pool --type northflank")
			settings, err := prefect.LoadSettings(prefect.LoadOptions{Environ: c.Environ, Dir: u.dir, HomeDir: u.dir})
			if err != nil {
				t.Fatal(err)
			}
			if len(settings.Warnings) > 0 {
				t.Errorf("the program would warn: %v", settings.Warnings)
			}
			got := settings.Environment()
			want := maps.Clone(tt.want)
			want["PREFECT_API_URL"] = shared.server.APIURL
			for _, ofTheStack := range []string{"PREFECT_SERVER_ANALYTICS_ENABLED"} {
				delete(got, ofTheStack)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("settings that the program reads and hands to flow runs (-want +got):\n%s", diff)
			}
		})
	}
}

// supervised are the two ways to run the program: in the place of Python, and
// as its child.
var supervised = map[string]map[string]string{"exec": nil, "supervised": {"PREFECT_NORTHFLANK_SUPERVISE": "1"}}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	for name, env := range supervised {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := recording(t, 7)
			maps.Copy(u.env, env)
			_, err := shared.stack.Run(t.Context(), u.spec("prefect worker start --pool no-pool --type northflank"), "")
			if err == nil || !strings.Contains(err.Error(), "exit status 7") {
				t.Errorf("the command ended so: %v; want the program's exit status 7", err)
			}
		})
	}
}

// A signal ends the worker, to the process alone as a service manager sends it,
// or to its group as Ctrl-C does. Meanwhile it answers health checks.
func TestSignalsAndHealth(t *testing.T) {
	t.Parallel()
	const pool = "pool-of-signals"
	newUser(t).types("prefect work-pool create --type northflank " + pool)
	for name, env := range supervised {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(name+" "+signal.String(), func(t *testing.T) {
				t.Parallel()
				u := newUser(t)
				maps.Copy(u.env, env)
				port := freePort(t)
				u.env["PREFECT_WORKER_WEBSERVER_PORT"] = port
				worker := u.starts("prefect worker start --with-healthcheck --pool "+pool, " started!")
				if name == "exec" {
					checkIsProgram(t, worker)
				}
				checkHealth(t, port)
				target := worker.PID()
				if signal == syscall.SIGINT {
					target = -target // the group
				}
				if err := syscall.Kill(target, signal); err != nil {
					t.Fatal(err)
				}
				if got := worker.ExitCode(); got != 0 || !strings.Contains(worker.Log(), " stopped!") {
					t.Errorf("the worker ended with status %d, want 0 and that it says so; it wrote:\n%s", got, worker.Log())
				}
			})
		}
	}
}

func checkHealth(t *testing.T, port string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: &http.Transport{}}).Do(request)
	if err != nil {
		t.Errorf("health check: %v", err)
		return
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || string(text) != `{"message":"OK"}` {
		t.Errorf("health check: %s %s (%v), want 200 and OK", response.Status, text, err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}
