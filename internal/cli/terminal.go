package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// isTerminal reports whether w is a terminal that a person looks at.
func isTerminal(w io.Writer) bool {
	if watched, ok := w.(watchedWriter); ok {
		w = watched.Writer
	}
	f, ok := w.(*os.File)
	return ok && isTerminalFile(f)
}

// Colours, as terminals know them.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	faint  = "\x1b[2m"
	bold   = "\x1b[1m"
	usual  = "\x1b[0m"
)

// hasColours reports whether w shows colours and its user wants them; see
// https://no-color.org.
func hasColours(w io.Writer) bool { return isTerminal(w) && wantsColours(os.Getenv) }

func wantsColours(getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// coloured is text in a colour where w shows any.
func coloured(w io.Writer, colour, text string) string {
	if !hasColours(w) {
		return text
	}
	return colour + text + usual
}

const clearLine = "\r\x1b[K"

// patience is how long somebody looks at nothing before being told what is
// waited for.
const patience = time.Second

// watch tells the user of a terminal what is waited for, when nothing was
// printed for a while. Whatever is printed takes the line's place.
type watch struct {
	terminal io.Writer

	mu    sync.Mutex
	text  string
	timer *time.Timer // nil: nothing is waited for
	shown bool
}

// watched returns the streams with a watch over what is printed to a terminal;
// elsewhere they stay as they are.
func watched(s Streams) (Streams, *watch) {
	if !isTerminal(s.Err) {
		return s, nil
	}
	w := &watch{terminal: s.Err}
	s.Err = watchedWriter{s.Err, w}
	s.Out = watchedWriter{s.Out, w}
	return s, w
}

// watchedWriter ends the wait before anything is printed.
type watchedWriter struct {
	io.Writer
	watch *watch
}

func (w watchedWriter) Write(p []byte) (int, error) {
	w.watch.end()
	return w.Writer.Write(p)
}

// waitingFor says what is waited for from now on. It is shown on a terminal, if
// it takes longer than a second.
func waitingFor(w io.Writer, text string) {
	if watched, ok := w.(watchedWriter); ok {
		watched.watch.begin(text)
	}
}

func (w *watch) begin(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = text
	switch {
	case w.shown:
		w.show()
	case w.timer == nil:
		w.timer = time.AfterFunc(patience, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.timer != nil { // not ended meanwhile
				w.show()
			}
		})
	}
}

func (w *watch) show() {
	w.shown = true
	fmt.Fprintf(w.terminal, clearLine+"%s ...", w.text)
}

// end takes the line away. A nil watch has none.
func (w *watch) end() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if w.shown {
		w.shown = false
		fmt.Fprint(w.terminal, clearLine)
	}
}
