//go:build unix

package emulator

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func logTexts(s *Server, id string) []string {
	var list []string
	for _, l := range s.Log(id) {
		if !strings.HasPrefix(l.Text, "emulator: running as a local process") {
			list = append(list, l.Stream+" "+l.Text)
		}
	}
	return list
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	command := func(c string) string {
		body, _ := json.Marshal(c)
		return fmt.Sprintf(`{"name":"one","billing":{"deploymentPlan":"nf-compute-20"},"deployment":{"external":{"imagePath":"a/b:1"},"docker":{"configType":"customCommand","customCommand":%s}}}`, body)
	}
	tests := []struct {
		name, job, run string
		want           string // status, exit code, container
		log            []string
	}{
		{"success", shellJob("echo out; echo err >&2"), "{}", "SUCCESS 0 TASK_FINISHED", []string{"stdout out", "stderr err"}},
		{"failure", shellJob("exit 7"), "{}", "FAILED 7 TASK_FAILED", nil},
		{"killed by itself", shellJob("kill -9 $$"), "{}", "FAILED 137 TASK_FAILED", nil},
		{"environment", shellJob("echo $A $NF_OBJECT_ID $NF_PROJECT_ID"), `{"runtimeEnvironment":{"A":"a b"}}`, "SUCCESS 0 TASK_FINISHED", []string{"stdout a b one local"}},
		{"own home", shellJob("test $HOME = $(pwd) && test -w . && ls -A"), `{"runtimeEnvironment":{"HOME":"/root"}}`, "SUCCESS 0 TASK_FINISHED", nil},
		{"files", shellJob("cat $NF_EMULATOR_FILES/etc/app/c.txt; test ! -e /etc/app/c.txt"), `{"runtimeFiles":{"/etc/app/c.txt":{"data":"aGkK","encoding":"utf-8"}}}`, "SUCCESS 0 TASK_FINISHED", []string{"stdout hi"}},
		{"files stay inside", shellJob("cat $NF_EMULATOR_FILES/x"), `{"runtimeFiles":{"/../../x":{"data":"aGkK","encoding":"utf-8"}}}`, "SUCCESS 0 TASK_FINISHED", []string{"stdout hi"}},
		{"words", command(`printf %s\n "a b" c\ d 'e "f"'`), "{}", "SUCCESS 0 TASK_FINISHED", []string{"stdout a bnc dne \"f\"n"}},
		{"no shell", command(`echo $HOME; ls`), "{}", "SUCCESS 0 TASK_FINISHED", []string{"stdout $HOME; ls"}},
		{"unknown command", command("no-such-command x"), "{}", "FAILED 127 TASK_FAILED", []string{`stderr emulator: exec: "no-such-command": executable file not found in $PATH`}},
		{"path of the job run", command("sh"), `{"runtimeEnvironment":{"PATH":"/nowhere"}}`, "FAILED 127 TASK_FAILED", []string{`stderr emulator: exec: "sh": executable file not found in $PATH`}},
		{"command of the image", shellJob("exit 7"), `{"deployment":{"docker":{"configType":"default"}}}`, "FAILED 128 TASK_FAILED", []string{"stderr emulator: the image's entrypoint and command are unknown locally: set a custom command"}},
		{"open quote", command(`echo 'a`), "{}", "FAILED 128 TASK_FAILED", []string{"stderr emulator: custom command: unclosed quote or trailing backslash"}},
		{"no newline last", command("printf end"), "{}", "SUCCESS 0 TASK_FINISHED", []string{"stdout end"}},
		{"child left behind", shellJob("sleep 600 & echo $!"), "{}", "SUCCESS 0 TASK_FINISHED", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{})
			id := startRun(t, s, tt.job, tt.run)
			r := await(t, s, id)
			if got := fmt.Sprint(r.Status, " ", r.ExitCode, " ", r.Containers[0].Status); got != tt.want {
				t.Errorf("got %s, want %s\n%q", got, tt.want, logTexts(s, id))
			}
			log := logTexts(s, id)
			if tt.name == "child left behind" {
				awaitGone(t, strings.TrimPrefix(log[0], "stdout "))
				return
			}
			if tt.name == "success" && len(log) == 2 && strings.HasPrefix(log[0], "stderr") {
				log[0], log[1] = log[1], log[0] // two pipes have no order
			}
			if diff := cmp.Diff(tt.log, log); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

// awaitGone waits until a process has ended; a zombie that nobody reaps counts.
func awaitGone(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		state, err := exec.CommandContext(t.Context(), "ps", "-o", "stat=", "-p", pid).Output()
		if syscall.Kill(n, 0) != nil || err != nil || strings.HasPrefix(string(state), "Z") {
			return
		}
	}
	t.Errorf("process %s lives on", pid)
}

// An abort sends SIGTERM to the whole group, then SIGKILL after the grace period.
func TestAbortOfProcess(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ script, log, want string }{
		"obedient": {`trap "echo bye; exit 5" TERM; echo up; while :; do sleep 0.05; done`, "stdout bye", "FAILED aborted 5 TASK_KILLED"},
		"stubborn": {`trap "" TERM; echo up; while :; do sleep 0.05; done`, "stdout up", "FAILED aborted 137 TASK_KILLED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{TimeScale: 10})
			id := startRun(t, s, overlay(t, shellJob(tt.script), `{"deployment":{"gracePeriodSeconds":3}}`), "{}")
			for !strings.Contains(fmt.Sprint(logTexts(s, id)), "up") {
				<-s.Changed()
			}
			call(t, s, "DELETE", jobsPath+"/one/runs/"+id, "").want(t, 200)
			r := await(t, s, id)
			if got := fmt.Sprint(r.Status, " ", r.Reason, " ", r.ExitCode, " ", r.Containers[0].Status); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if log := logTexts(s, id); !slices.Contains(log, tt.log) {
				t.Errorf("log %q, want %q in it", log, tt.log)
			}
		})
	}
}

// A retry is a fresh container, and nothing of a job run's folder stays.
func TestRetryIsFresh(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, Config{TimeScale: 1000, DataDir: dir})
	id := startRun(t, s, overlay(t, shellJob("ls; touch left; exit 1"), `{"settings":{"backoffLimit":2}}`), "{}")
	r := await(t, s, id)
	if len(r.Containers) != 3 || len(logTexts(s, id)) != 0 {
		t.Errorf("containers %v, log %q", r.Containers, logTexts(s, id))
	}
	s.Close()
	if left, _ := os.ReadDir(filepath.Join(dir, "work")); len(left) != 0 {
		t.Errorf("left in the work folder: %v", left)
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, Config{DataDir: dir})
	if _, err := New(Config{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "another emulator") {
		t.Errorf("second emulator: %v", err)
	}
	first.AddTag("kept")
	call(t, first, "PUT", "/v1/projects/local/secrets", `{"name":"group","secretType":"environment","priority":1,"secrets":{"variables":{"A":"1"}}}`).want(t, 200)
	call(t, first, "POST", "/v1/projects", `{"name":"second"}`).want(t, 200)
	job := overlay(t, shellJob("echo $A"), `{"tags":["kept"]}`)
	ended := startRun(t, first, job, "{}")
	await(t, first, ended)
	call(t, first, "PUT", jobsPath, strings.Replace(simple, `"one"`, `"gone"`, 1)).want(t, 200)
	call(t, first, "DELETE", jobsPath+"/gone", "").want(t, 200)
	running := startRun(t, first, overlay(t, shellJob("sleep 600"), `{"name":"two"}`), "{}")
	views := func(s *Server) []string {
		var list []string
		for _, path := range []string{jobsPath, jobsPath + "/one", jobsPath + "/one/runs", jobsPath + "/one/logs?queryType=range", "/v1/tags", "/v1/projects/second", "/v1/projects/local/secrets/group"} {
			list = append(list, call(t, s, "GET", path, "").want(t, 200).text)
		}
		return list
	}
	before := views(first)
	first.Close()
	second := start(t, Config{DataDir: dir})
	if diff := cmp.Diff(before, views(second)); diff != "" {
		t.Errorf("after the restart (-want +got):\n%s", diff)
	}
	if r := await(t, second, running); r.Status != StatusFailed || r.Reason != errClosed.Error() {
		t.Errorf("job run of the first life: %+v", r)
	}
	again := call(t, second, "POST", jobsPath+"/one/runs", "{}").want(t, 200).get("id")
	await(t, second, again.(string))
	if log := logTexts(second, again.(string)); len(log) != 1 || log[0] != "stdout 1" {
		t.Errorf("log in the second life: %q", log)
	}
	second.Close()
	if info, err := os.Stat(filepath.Join(dir, "jobs", "local", "one.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("job file: %v %v", info.Mode(), err)
	}
}

// After a SIGKILL of the emulator, its job runs are concluded and their
// processes ended by the next one.
func TestKilledEmulator(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	base, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	base = strings.TrimSpace(base)
	rt := newSocketTransport(t)
	do := func(method, path, body string) result {
		t.Helper()
		res, err := send(t, rt, DefaultToken, method, base+path, body)
		if err != nil {
			t.Fatal(err)
		}
		return res.want(t, 200)
	}
	do("PUT", jobsPath, shellJob("sleep 600 & echo $!; wait"))
	id, _ := do("POST", jobsPath+"/one/runs", "{}").get("id").(string)
	pid := ""
	for pid == "" { // the shell's first line
		for line := range strings.SplitSeq(do("GET", jobsPath+"/one/logs?queryType=range", "").text, `"`) {
			if _, text, found := strings.Cut(line, "stdout F "); found {
				pid = text
			}
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	s := start(t, Config{DataDir: dir})
	r := await(t, s, id)
	if r.Status != StatusFailed || r.Reason != "emulator restarted" || r.Containers[0].Status != taskKilled {
		t.Errorf("job run after the restart: %+v", r)
	}
	awaitGone(t, pid)
	if log := logTexts(s, id); len(log) != 1 || log[0] != "stdout "+pid {
		t.Errorf("log after the restart: %q", log)
	}
}

func TestSplitWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		command string
		want    []string
	}{
		{"", nil},
		{"  ", nil},
		{"prefect flow-run execute", []string{"prefect", "flow-run", "execute"}},
		{"a  b\tc\nd", []string{"a", "b", "c", "d"}},
		{`'a b' "c d"`, []string{"a b", "c d"}},
		{`a'b'"c"d`, []string{"abcd"}},
		{`'' ""`, []string{"", ""}},
		{`a\ b \'c\' \\`, []string{"a b", "'c'", `\`}},
		{`"a\"b\$c\d"`, []string{`a"b$c\d`}},
		{`'a\b'`, []string{`a\b`}},
		{"a\\\nb", []string{"ab"}},
		{"größe 'ü'", []string{"größe", "ü"}},
	} {
		got, err := splitWords(tt.command)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("splitWords(%q): %v (-want +got):\n%s", tt.command, err, diff)
		}
	}
	for _, wrong := range []string{"'a", `"a`, `a\`} {
		if got, err := splitWords(wrong); err == nil {
			t.Errorf("splitWords(%q) = %q, want an error", wrong, got)
		}
	}
}
