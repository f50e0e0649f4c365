package emulator

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

//go:embed web
var webFiles embed.FS

var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.ParseFS(webFiles, "web/page.html"))
})

const (
	pageEvery = time.Second // between two looks at the state
	pageRuns  = 200         // newest job runs that are shown
	pageLines = 1000        // lines of a log that the page starts with
)

// page serves the web page: it shows and changes nothing.
func (s *Server) page() http.Handler {
	files, err := fs.Sub(webFiles, "web")
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.servePage)
	mux.HandleFunc("GET /events", s.serveEvents)
	mux.HandleFunc("GET /log", s.serveLog)
	mux.Handle("GET /page.css", http.FileServerFS(files))
	mux.Handle("GET /page.js", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// pageState is what the template shows.
type pageState struct {
	Budget              Budget
	Reset               string
	Counters            Counters
	Jobs                []JobInfo
	Runs                []pageRun
	ActiveRuns, AllRuns int
	Log                 *pageLog
}

type pageRun struct {
	JobRunInfo
	Task, Age, Took string
	Chosen          bool
}

type pageLog struct {
	ID, Name string
	Lines    []LogLine
	Next     int // number of the line after Lines
}

func (s *Server) pageState(chosen string) pageState {
	now := time.Now()
	state := pageState{Budget: s.Budget(), Counters: s.Counters(), Jobs: s.Jobs()}
	state.Reset = roughly(state.Budget.Reset)
	runs := s.JobRuns()
	slices.Reverse(runs)
	state.AllRuns = len(runs)
	for i, r := range runs {
		if !r.Concluded {
			state.ActiveRuns++
		}
		if i >= pageRuns {
			continue
		}
		row := pageRun{JobRunInfo: r, Age: roughly(now.Sub(r.StartedAt)), Took: roughly(now.Sub(r.StartedAt)), Chosen: r.ID == chosen}
		if r.Concluded {
			row.Took = roughly(r.ConcludedAt.Sub(r.StartedAt))
		}
		if n := len(r.Containers); n > 0 {
			row.Task = r.Containers[n-1].Status
		}
		state.Runs = append(state.Runs, row)
	}
	return state
}

// roughly is a duration as people say it.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	chosen := r.URL.Query().Get("run")
	state := s.pageState(chosen)
	if run := s.anyRun(chosen); run != nil {
		lines, next := run.linesFrom(0)
		state.Log = &pageLog{ID: run.ID, Name: run.Name, Lines: lines[max(0, len(lines)-pageLines):], Next: next}
	}
	var out bytes.Buffer
	if err := pageTemplate().ExecuteTemplate(&out, "page.html", state); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = out.WriteTo(w) // the client may be gone
}

// serveEvents sends the rendered state whenever it looks different.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	last := ""
	s.stream(w, r, func(send func(event, id string, data any) error) error {
		var out bytes.Buffer
		if err := pageTemplate().ExecuteTemplate(&out, "state", s.pageState(r.URL.Query().Get("run"))); err != nil {
			return err
		}
		if out.String() == last {
			return nil
		}
		last = out.String()
		return send("state", "", last)
	})
}

// serveLog sends new lines of a job run's log; a browser that reconnects says
// where it was.
func (s *Server) serveLog(w http.ResponseWriter, r *http.Request) {
	run := s.anyRun(r.URL.Query().Get("run"))
	if run == nil {
		http.NotFound(w, r)
		return
	}
	next, err := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	if err != nil {
		next, _ = strconv.Atoi(r.URL.Query().Get("from")) // 0 is the start
	}
	s.stream(w, r, func(send func(event, id string, data any) error) error {
		lines, after := run.linesFrom(next)
		next = after
		if len(lines) == 0 {
			return nil
		}
		return send("lines", strconv.Itoa(next), lines)
	})
}

// stream calls step every second, and sends what it wants to be sent as
// server-sent events, until the browser leaves or the server closes.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, step func(send func(event, id string, data any) error) error) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	send := func(event, id string, data any) error {
		text, err := json.Marshal(data)
		if err != nil {
			return err
		}
		if id != "" {
			fmt.Fprintf(w, "id: %s\n", id)
		}
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, text); err != nil {
			return err
		}
		return flush()
	}
	if flush() != nil {
		return
	}
	for {
		if step(send) != nil || s.pause(r.Context(), pageEvery) != nil {
			return
		}
	}
}
