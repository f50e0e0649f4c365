//go:build e2e && linux

package packaging

import (
	"bytes"
	"debug/elf"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/northflank/prefect-northflank/internal/emulator"
	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/testkit"
)

// image is a folder that holds what the container image would.
type image struct {
	dir        string
	entrypoint []string
}

// authorities is what golang's image has there, and the only file that is taken
// from it.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// buildImage does what the Dockerfile says, without a container engine: the
// commands run in a folder of their own, with this machine's Go. Nothing is
// downloaded. The certificates are replaced by the given ones.
func buildImage(t *testing.T, certificates []byte) image {
	t.Helper()
	built, img := t.TempDir(), image{dir: t.TempDir()}
	buildStage, imageStage := readDockerfile(t)
	writeFile(t, filepath.Join(built, authorities), certificates)
	workdir := built
	for _, i := range buildStage {
		switch i.name {
		case "FROM", "ARG":
		case "WORKDIR":
			workdir = filepath.Join(built, i.args)
			makeDir(t, workdir)
		case "COPY":
			copyInto(t, root, workdir, i)
		case "RUN":
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", i.args)
			cmd.Dir = workdir
			cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH, "GOPROXY=off", "GOFLAGS=-buildvcs=false")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("RUN %s: %v\n%s", i.args, err, out)
			}
		default:
			t.Fatalf("this test cannot do %s", i.name)
		}
	}
	for _, i := range imageStage {
		switch {
		case i.name == "COPY" && i.flags["from"] == "build":
			copyInto(t, built, img.dir, i)
		case i.name == "COPY":
			copyInto(t, root, img.dir, i)
		case i.name == "ENTRYPOINT":
			img.entrypoint = i.words()
		}
	}
	// The test's folder is open to the image's user, as the image is.
	for dir := img.dir; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o755)
		if dir == os.TempDir() {
			break
		}
	}
	return img
}

// copyInto does a COPY from one folder into another.
func copyInto(t *testing.T, from, to string, i instruction) {
	t.Helper()
	words := i.words()
	target := words[len(words)-1]
	for _, source := range words[:len(words)-1] {
		path := filepath.Join(to, target)
		if info, err := os.Stat(filepath.Join(from, source)); err != nil {
			t.Fatalf("COPY %s: %v", i.args, err)
		} else if info.IsDir() {
			if err := os.CopyFS(path, os.DirFS(filepath.Join(from, source))); err != nil {
				t.Fatal(err)
			}
			continue
		} else if strings.HasSuffix(target, "/") {
			path = filepath.Join(path, filepath.Base(source))
		}
		raw, err := os.ReadFile(filepath.Join(from, source))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, raw)
		if info, err := os.Stat(filepath.Join(from, source)); err == nil {
			if err := os.Chmod(path, info.Mode().Perm()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func makeDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path string, raw []byte) {
	t.Helper()
	makeDir(t, filepath.Dir(path))
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

// command runs the image's program with nothing but the image's files and the
// given environment, as the image's user. Without root this takes a user
// namespace of its own.
func (img image) command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	const user = 65532
	argv := append(img.entrypoint[1:], args...)
	cmd := exec.CommandContext(t.Context(), img.entrypoint[0], argv...)
	cmd.Dir, cmd.Env = "/", append([]string{}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: img.dir, Credential: &syscall.Credential{Uid: user, Gid: user}}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Chroot: img.dir, Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: user, HostID: uid, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getgid(), Size: 1}},
		}
	}
	return cmd
}

// skipWithoutChroot skips where neither root nor a user namespace is to be had.
func skipWithoutChroot(t *testing.T, err error) {
	t.Helper()
	if os.Getuid() != 0 && (os.IsPermission(err) || strings.Contains(fmt.Sprint(err), "operation not permitted")) {
		t.Skipf("cannot change the root folder here: %v", err)
	}
}

// The image holds one program, which needs nothing else, and runs with the
// image's files alone.
func TestImage(t *testing.T) {
	t.Parallel()
	prefect, northflank := testkit.NewPrefect(), startNorthflank(t)
	prefect.AddPool(testkit.PoolSpec{Name: "my-northflank-pool", Template: jobspec.BaseJobTemplate()})
	server := httptest.NewUnstartedServer(prefect)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that the worker's end breaks off
	server.StartTLS()
	t.Cleanup(server.Close)
	img := buildImage(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))

	checkStatic(t, filepath.Join(img.dir, img.entrypoint[0]))
	out, err := img.command(t, nil, "version").CombinedOutput()
	skipWithoutChroot(t, err)
	if want := "prefect-northflank " + version(t) + " "; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("version: %v, %q, want %s...", err, out, want)
	}
	if out, err := img.command(t, nil, "worker", "start", "--help").CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--pool")) {
		t.Errorf("worker start --help: %v, %q", err, out)
	}

	// The worker as the Northflank template starts it. It trusts the Prefect API's
	// certificate by the image's file alone.
	tpl := readTemplate(t)
	service := tpl.step(t, "DeploymentService").Spec
	health := service.HealthChecks[0]
	port := freePort(t)
	env := []string{"NORTHFLANK_API_BASE_URL=" + northflank, "PREFECT_WORKER_WEBSERVER_PORT=" + port}
	for name, value := range tpl.step(t, "SecretGroup").Spec.Secrets.Variables {
		env = append(env, name+"="+tpl.filledIn(value, map[string]string{
			"PREFECT_API_URL": server.URL + "/api", "NORTHFLANK_API_TOKEN": emulator.DefaultToken,
		}))
	}
	worker := img.command(t, env, strings.Fields(tpl.filledIn(service.Deployment.Docker.CustomCommand, nil))...)
	talk, err := os.Create(filepath.Join(t.TempDir(), "talk"))
	if err != nil {
		t.Fatal(err)
	}
	defer talk.Close()
	said := func(text string) bool {
		all, err := os.ReadFile(talk.Name())
		return err == nil && bytes.Contains(all, []byte(text))
	}
	worker.Stdout, worker.Stderr = talk, talk
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	awaitHealth(t, "http://127.0.0.1:"+port+health.Path)
	await(t, "the worker to start", func() bool { return said(" started!") })
	await(t, "a request to the Prefect API", func() bool { return len(prefect.Requests()) > 0 })
	if health.Port != 8080 {
		t.Errorf("health checks of port %d, want 8080, which Prefect's workers have", health.Port)
	}
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil || !said(" stopped!") {
		all, _ := os.ReadFile(talk.Name())
		t.Errorf("after SIGTERM: %v; it wrote:\n%s", err, all)
	}
}

// checkStatic checks that a program needs neither an interpreter nor a library.
func checkStatic(t *testing.T, path string) {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the program has a segment of type %s, so it is not static", p.Type)
		}
	}
	if file.Section(".symtab") != nil || file.Section(".debug_info") != nil {
		t.Error("the program holds symbols, which nobody needs there")
	}
}

func startNorthflank(t *testing.T) string {
	t.Helper()
	server, err := emulator.New(emulator.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	url, err := server.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return url
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

// patience bounds each wait for the worker.
const patience = 30 * time.Second

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); !done(); <-look.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for %s", patience, what)
		}
	}
}

func awaitHealth(t *testing.T, url string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	await(t, url, func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode == http.StatusOK
	})
}
