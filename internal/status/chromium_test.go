package status_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// browser is one page in a Chromium without a window, driven by the DevTools
// protocol (https://chromedevtools.github.io/devtools-protocol/).
type browser struct {
	*testing.T
	conn    *websocket.Conn
	session string

	mu       sync.Mutex
	last     int                       // id of the newest command
	waiting  map[int]chan devtoolsText // by id of the command
	problems []string                  // errors and warnings that the page caused
}

// devtoolsText is a message of the protocol, either way.
type devtoolsText struct {
	ID        int                       `json:"id,omitempty"`
	SessionID string                    `json:"sessionId,omitempty"`
	Method    string                    `json:"method,omitempty"`
	Params    json.RawMessage           `json:"params,omitempty"`
	Result    json.RawMessage           `json:"result,omitempty"`
	Error     *struct{ Message string } `json:"error,omitempty"`
}

// browserTimeout bounds a whole test in a browser; it starts in a second or two.
const browserTimeout = time.Minute

// newBrowser opens an empty page. Without a Chromium the test is passed over.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Skip("no Chromium is installed (Debian: apt install chromium): the status page is not tested in a browser")
	}
	ctx, cancel := context.WithTimeout(t.Context(), browserTimeout)
	address := startChromium(ctx, t, program)
	conn, _, err := websocket.Dial(ctx, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(64 << 20) // a screenshot is one message
	b := &browser{T: t, conn: conn, waiting: map[int]chan devtoolsText{}}
	var reading sync.WaitGroup
	reading.Go(func() { b.read(ctx) })
	t.Cleanup(func() {
		cancel()
		_ = conn.CloseNow()
		reading.Wait()
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// startChromium returns the address of the browser's DevTools socket.
func startChromium(ctx context.Context, t *testing.T, program string) string {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "profile")
	args := []string{"--headless=new", "--remote-debugging-port=0", "--user-data-dir=" + profile, "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // it does not start as root otherwise
	}
	cmd := exec.CommandContext(ctx, program, append(args, "about:blank")...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		var said strings.Builder
		listens := false
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if address, ok := strings.CutPrefix(lines.Text(), "DevTools listening on "); ok && !listens {
				listens = true
				found <- address
			}
			fmt.Fprintln(&said, lines.Text())
		}
		if !listens {
			t.Log(said.String())
			found <- ""
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		reading.Wait()
		_ = cmd.Wait()
	})
	address := <-found
	if address == "" {
		t.Fatal("Chromium did not start")
	}
	return address
}

// read hands answers to those who wait, and notes what goes wrong in the page.
func (b *browser) read(ctx context.Context) {
	for {
		_, data, err := b.conn.Read(ctx)
		var m devtoolsText
		if err == nil {
			err = json.Unmarshal(data, &m)
		}
		b.mu.Lock()
		if err != nil {
			for _, answer := range b.waiting {
				close(answer)
			}
			b.waiting = nil
			b.mu.Unlock()
			return
		}
		if answer := b.waiting[m.ID]; answer != nil {
			delete(b.waiting, m.ID)
			answer <- m
		}
		var p struct {
			Type  string
			Entry struct{ Level string }
		}
		_ = json.Unmarshal(m.Params, &p) // other messages have other fields
		if m.Method == "Runtime.exceptionThrown" || m.Method == "Runtime.consoleAPICalled" && (p.Type == "error" || p.Type == "warning") ||
			m.Method == "Log.entryAdded" && (p.Entry.Level == "error" || p.Entry.Level == "warning") {
			b.problems = append(b.problems, string(m.Params))
		}
		b.mu.Unlock()
	}
}

// call sends a command and reads its result into out.
func (b *browser) call(method string, params, out any) {
	b.Helper()
	if err := b.try(method, params, out); err != nil {
		b.Fatalf("%s: %v", method, err)
	}
}

func (b *browser) try(method string, params, out any) error {
	b.mu.Lock()
	b.last++
	m := devtoolsText{ID: b.last, SessionID: b.session, Method: method}
	answer := make(chan devtoolsText, 1)
	open := b.waiting != nil
	if open {
		b.waiting[m.ID] = answer
	}
	b.mu.Unlock()
	if !open {
		return errors.New("the browser has ended")
	}
	var err error
	if m.Params, err = json.Marshal(params); err != nil {
		return err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := b.conn.Write(b.Context(), websocket.MessageText, data); err != nil {
		return err
	}
	got, ok := <-answer
	switch {
	case !ok:
		return errors.New("the browser has ended, or took too long")
	case got.Error != nil:
		return errors.New(got.Error.Message)
	case out == nil:
		return nil
	}
	return json.Unmarshal(got.Result, out)
}

// eval evaluates JavaScript in the page, a promise to its end.
func eval[T any](b *browser, script string) T {
	b.Helper()
	var got struct {
		Result           struct{ Value T }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true}, &got)
	if got.ExceptionDetails != nil {
		b.Fatalf("%s: %s", script, got.ExceptionDetails)
	}
	return got.Result.Value
}

// await waits until a condition in JavaScript holds in the page.
func (b *browser) await(what, condition string) {
	b.Helper()
	const patience = 20_000 // milliseconds
	script := fmt.Sprintf(`new Promise((resolve) => {
		const end = Date.now() + %d;
		const look = () => (%s) ? resolve(true) : Date.now() > end ? resolve(false) : setTimeout(look, 20);
		look();
	})`, patience, condition)
	if !eval[bool](b, script) {
		b.Fatalf("waiting for %s: the page shows\n%s", what, eval[string](b, "document.body.innerText"))
	}
}

// bearer sends a token with each request from now on.
func (b *browser) bearer(token string) {
	b.Helper()
	b.call("Network.setExtraHTTPHeaders", map[string]any{"headers": map[string]string{"Authorization": "Bearer " + token}}, nil)
}

// open serves a page and loads it.
func (b *browser) open(page http.Handler) {
	b.Helper()
	server := httptest.NewServer(page)
	b.Cleanup(func() {
		server.CloseClientConnections() // events go on for ever
		server.Close()
	})
	address := server.URL + "/"
	b.call("Page.navigate", map[string]any{"url": address}, nil)
	b.await("the page to load", fmt.Sprintf(`document.readyState === "complete" && location.href === %q`, address))
	b.await("the page to be live", `document.getElementById("link").textContent === "live"`)
}

// look sets how the page is looked at.
func (b *browser) look(width, height int, scheme string) {
	b.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// screenshot writes the whole page to a file; go test -artifacts keeps it.
func (b *browser) screenshot(name string) {
	b.Helper()
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(b.ArtifactDir(), name+".png"), data, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// wantNoProblems checks that the page caused neither error nor warning so far.
func (b *browser) wantNoProblems() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.Errorf("the page causes: %s", p)
	}
}
