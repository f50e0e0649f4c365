//go:build e2e

package docs

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/localstack"
)

// TestCommands types the commands of each page, from top to bottom, in front of a
// real Prefect server and the local Northflank. The flow runs that they start
// must end Completed.
func TestCommands(t *testing.T) {
	l := openLibrary(t)
	for _, s := range stories {
		t.Run(strings.TrimSuffix(filepath.Base(s.page), ".md"), func(t *testing.T) { l.read(t, s) })
	}
}

// library is where pages are read: one Prefect server for all.
type library struct {
	stack  *localstack.Stack
	server *localstack.Prefect
	api    localstack.API
}

func openLibrary(t *testing.T) *library {
	t.Helper()
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "make", "-C", top, "wheel").CombinedOutput(); err != nil {
		t.Fatalf("make wheel: %v\n%s", err, out)
	}
	local := filepath.Join(top, ".local")
	// Prefect with our package beside it: what the pages' readers have installed.
	python, err := localstack.EnsurePython(t.Context(), localstack.PythonOptions{
		Dir: filepath.Join(local, "docs", "python"), Requirements: filepath.Join(top, "test", "requirements.txt"), Log: os.Stderr,
	})
	if err != nil {
		t.Fatal(err)
	}
	install := exec.CommandContext(t.Context(), python.Program("pip"), "install", "--quiet", "--disable-pip-version-check",
		"--force-reinstall", "--no-deps", "--no-index", "--find-links", filepath.Join(top, "dist"), "prefect-northflank")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install the wheel: %v\n%s", err, out)
	}
	stack, err := localstack.Open(t.Context(), localstack.Options{
		Dir: filepath.Join(local, "docs", "stack"), Binary: python.Program("prefect-northflank"), Python: python,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	interrupted := context.AfterFunc(ctx, func() { // nothing of ours is left behind
		_ = stack.Close()
		os.Exit(130)
	})
	t.Cleanup(func() {
		interrupted()
		stop()
		if err := stack.Close(); err != nil {
			t.Error(err)
		}
	})
	server, err := stack.StartPrefect(t.Context(), localstack.PrefectOptions{Name: "prefect"})
	if err != nil {
		t.Fatal(err)
	}
	return &library{stack: stack, server: server, api: localstack.API{URL: server.APIURL}}
}

// read types the commands of one page.
func (l *library) read(t *testing.T, s story) {
	l.forget(t)
	northflank, err := l.stack.StartNorthflank(t.Context(), localstack.NorthflankOptions{
		Name: "northflank-of-" + filepath.Base(t.Name()), Project: s.northflankProject(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(northflank.Kill)
	p := newPlace(t, l.server, northflank, s)
	r := newReader(t, l.stack, p.environment())
	r.settle = func() { l.awaitRuns(r, s.flowRuns) }
	p.layOut(t, r.first.dir)
	began := time.Now()
	for _, c := range splitCommands(s.before) {
		r.types(p.here(c), northflank.Token)
	}
	for _, c := range commands(t, s.page) {
		if why, excepted := s.excepted(c); excepted {
			t.Logf("not typed, %s: %s", why, c.text)
			continue
		}
		text, input := p.here(c.text), northflank.Token+"\n"
		for _, i := range s.inputs {
			if strings.Contains(c.text, i.command) {
				input = i.text
			}
		}
		t.Logf("after %s\n$ %s\n%s", time.Since(began).Round(time.Second), text, r.types(text, input))
	}
	r.settle()
	for _, c := range splitCommands(s.after) {
		r.types(p.here(c), "")
	}
}

// place is what is elsewhere in a test than for a reader.
type place struct {
	story
	top, temp  string // the repository, and a folder of this page
	server     *localstack.Prefect
	northflank *localstack.Northflank
	words      *strings.Replacer
}

func newPlace(t *testing.T, server *localstack.Prefect, northflank *localstack.Northflank, s story) *place {
	t.Helper()
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	p := &place{story: s, top: top, temp: t.TempDir(), server: server, northflank: northflank}
	var words []string
	for _, e := range s.edits {
		words = append(words, e.from, e.to)
	}
	if !s.fromNothing {
		words = append(words, "http://127.0.0.1:4200/api", server.APIURL)
	} else if !withIndex() {
		words = append(words, "python3 -m venv .venv", "python3 -m venv .venv\n"+seeInstalled)
	}
	ports := map[string]string{}
	for _, port := range []string{"4200", "4280", "4281", "8080", "8081"} {
		ports[port] = freePort(t)
		words = append(words, "127.0.0.1:"+port, "127.0.0.1:"+ports[port])
	}
	words = append(words,
		"prefect-northflank emulator --", "prefect-northflank emulator --listen 127.0.0.1:"+ports["4280"]+" --",
		"prefect server start", "prefect server start --port "+ports["4200"],
		// The address of the real Northflank is the default of a block.
		"credentials save ", "credentials save --base-url "+northflank.URL+" ",
	)
	for i := 1; i < len(words); i += 2 {
		words[i] = strings.NewReplacer("{temp}", p.temp, "{northflank}", northflank.URL, "{4200}", ports["4200"], "{8080}", ports["8080"]).Replace(words[i])
	}
	p.words = strings.NewReplacer(append(words, "{temp}", p.temp)...)
	return p
}

// withIndex reports whether pages that begin from nothing shall install all from
// pip's index, as their readers do (make tutorial). Otherwise no network is needed.
func withIndex() bool { return os.Getenv("TUTORIAL") != "" }

// seeInstalled lets a new virtual environment see what is installed in that of
// the tests.
const seeInstalled = `python3 -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$(echo .venv/lib/python3*/site-packages)/prefect.pth"`

// here returns a command with what is elsewhere here.
func (p *place) here(command string) string { return p.words.Replace(command) }

// environment is that of each terminal.
func (p *place) environment() map[string]string {
	env := map[string]string{
		"PREFECT_WORKER_QUERY_SECONDS": "1", // 10 s is the default; nothing else would come of the waiting
		"PIP_FIND_LINKS":               filepath.Join(p.top, "dist"),
		"PIP_QUIET":                    "1",
		"PREFECT_HOME":                 filepath.Join(p.temp, "prefect"),
		"PREFECT_PROFILES_PATH":        filepath.Join(p.temp, "prefect", "profiles.toml"),
		"GIT_AUTHOR_NAME":              "Reader", "GIT_AUTHOR_EMAIL": "reader@example.com",
		"GIT_COMMITTER_NAME": "Reader", "GIT_COMMITTER_EMAIL": "reader@example.com",
	}
	if !p.fromNothing || !withIndex() {
		env["PIP_NO_INDEX"] = "1" // all is installed
	}
	if !p.fromNothing {
		maps.Copy(env, map[string]string{
			"PREFECT_API_URL":         p.server.APIURL,
			"NORTHFLANK_API_BASE_URL": p.northflank.URL,
			"NORTHFLANK_API_TOKEN":    p.northflank.Token,
		})
	}
	return env
}

// layOut puts the files of the reader into the folder.
func (p *place) layOut(t *testing.T, folder string) {
	t.Helper()
	if p.folder != "" {
		if err := os.CopyFS(filepath.Join(folder, p.into), os.DirFS(filepath.Join(p.top, p.folder))); err != nil {
			t.Fatal(err)
		}
	}
	if p.itsPrefectYAML {
		text, err := os.ReadFile(filepath.Join(p.top, p.page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range yamlPattern.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "deployments:") {
				if err := os.WriteFile(filepath.Join(folder, "prefect.yaml"), []byte(m[1]), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
		t.Fatalf("%s has no deployments", p.page)
	}
}

var yamlPattern = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

type flowRun struct {
	Name  string
	State struct{ Type, Name, Message string }
}

// awaitRuns waits until the page's flow runs have ended, all of them Completed.
func (l *library) awaitRuns(r *reader, want int) {
	r.Helper()
	var runs []flowRun
	r.await(fmt.Sprintf("%d flow runs to end", want), func() bool {
		l.call(r.T, http.MethodPost, "/flow_runs/filter", struct{}{}, &runs)
		return len(runs) >= want && !slices.ContainsFunc(runs, func(f flowRun) bool {
			return !slices.Contains([]string{"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}, f.State.Type)
		})
	})
	if len(runs) != want {
		r.Errorf("the page starts %d flow runs, want %d", len(runs), want)
	}
	for _, f := range runs {
		if f.State.Type != "COMPLETED" {
			r.Errorf("flow run %s ended %s: %s", f.Name, f.State.Name, f.State.Message)
		}
	}
}

// forget deletes what the reader of another page left in Prefect.
func (l *library) forget(t *testing.T) {
	t.Helper()
	for _, kind := range []struct{ filter, path, key string }{
		{"/flows/filter", "/flows/", "id"}, // with their deployments and flow runs
		{"/work_pools/filter", "/work_pools/", "name"},
		{"/block_documents/filter", "/block_documents/", "id"},
	} {
		var found []map[string]any
		l.call(t, http.MethodPost, kind.filter, struct{}{}, &found)
		for _, f := range found {
			l.call(t, http.MethodDelete, kind.path+f[kind.key].(string), nil, nil)
		}
	}
}

func (l *library) call(t *testing.T, method, path string, body, answer any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.api.Call(ctx, method, path, body, answer); err != nil {
		t.Fatal(err)
	}
}
