package status

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/secret"
	"github.com/northflank/prefect-northflank/internal/worker"
)

//go:embed web
var webFiles embed.FS

var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{"iso": iso}).ParseFS(webFiles, "web/page.html"))
})

const (
	pageEvery   = time.Second      // between two looks at the worker, while somebody watches
	pageAlive   = 15 * time.Second // longest silence towards a browser
	pageStreams = 32               // browsers that may watch at a time
	pageTimeout = 10 * time.Second // for a browser to take what it is sent
)

// PageOptions say what the status page shows, and to whom.
type PageOptions struct {
	Source  Source
	Stats   *worker.Stats
	Version string
	UI      string // address of Prefect's web pages; "" makes no links
	// Token is asked for as a password, or taken as a bearer token. Without one the
	// page is shown to whoever asks for it by an address of this machine.
	Token secret.Value
}

type page struct {
	PageOptions
	streams chan struct{} // one token for each browser that watches
}

// Page serves the status page: it shows and changes nothing.
func Page(o PageOptions) http.Handler {
	files, err := fs.Sub(webFiles, "web")
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	o.UI = strings.TrimRight(o.UI, "/")
	p := &page{PageOptions: o, streams: make(chan struct{}, pageStreams)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.serve)
	mux.HandleFunc("GET /events", p.serveEvents)
	mux.Handle("GET /page.css", http.FileServerFS(files))
	mux.Handle("GET /page.js", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if p.admits(w, r) {
			mux.ServeHTTP(w, r)
		}
	})
}

// admits reports whether the request may see the page; it answers it otherwise.
func (p *page) admits(w http.ResponseWriter, r *http.Request) bool {
	if p.Token.IsZero() {
		// A website may have a name of its own point to this machine, and read the
		// page with the browser of whoever visits it.
		if isLocal(r.Host) {
			return true
		}
		http.Error(w, "Ask for this page by an address of this machine, such as 127.0.0.1.", http.StatusForbidden)
		return false
	}
	_, given, _ := r.BasicAuth()
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		given = bearer
	}
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(p.Token.Reveal()))
	if subtle.ConstantTimeCompare(a[:], b[:]) == 1 {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="prefect-northflank: any name, the token as password", charset="UTF-8"`)
	http.Error(w, "The token is needed: as password under any name, or as bearer token.", http.StatusUnauthorized)
	return false
}

// isLocal reports whether a Host header names this machine itself.
func isLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

// render writes a part of the template.
func (p *page) render(part string) (string, error) {
	var out bytes.Buffer
	err := pageTemplate().ExecuteTemplate(&out, part, p.view())
	return out.String(), err
}

func (p *page) serve(w http.ResponseWriter, _ *http.Request) {
	text, err := p.render("page.html")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(text)) // the browser may be gone
}

// serveEvents sends what the page shows whenever it looks different, as
// server-sent events, until the browser leaves or the server closes.
func (p *page) serveEvents(w http.ResponseWriter, r *http.Request) {
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		http.Error(w, "Too many browsers watch already.", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	connection := http.NewResponseController(w)
	send := func(text string) error {
		_ = connection.SetWriteDeadline(time.Now().Add(pageTimeout)) // where there is a connection
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		return connection.Flush()
	}
	last, sent := "", time.Time{}
	tick := time.NewTicker(pageEvery)
	defer tick.Stop()
	for {
		text, err := p.render("state")
		if err != nil {
			return
		}
		switch {
		case text != last:
			var data []byte
			if data, err = json.Marshal(text); err == nil {
				err = send(fmt.Sprintf("event: state\ndata: %s\n\n", data))
			}
			last, sent = text, time.Now()
		case time.Since(sent) > pageAlive:
			err = send(":\n\n")
			sent = time.Now()
		}
		if err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}
