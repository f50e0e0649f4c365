package cli

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestWantsColours(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, true},
		{map[string]string{"TERM": "xterm-256color", "NO_COLOR": ""}, true},
		{map[string]string{"NO_COLOR": "1"}, false},
		{map[string]string{"TERM": "dumb"}, false},
	} {
		if got := wantsColours(func(name string) string { return tt.env[name] }); got != tt.want {
			t.Errorf("wantsColours(%v) = %t, want %t", tt.env, got, tt.want)
		}
	}
}

// Whatever is no terminal is left alone.
func TestNoTerminal(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if got := coloured(&b, red, "error:"); got != "error:" {
		t.Errorf("coloured() = %q, want the text alone", got)
	}
	streams, watch := watched(Streams{Out: io.Discard, Err: &b})
	waitingFor(streams.Err, "waiting")
	watch.end()
	if streams.Err != io.Writer(&b) || watch != nil {
		t.Errorf("watched() = %v, %v, want the streams as they were", streams, watch)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(out, err io.Writer)
		want string
	}{
		{"nothing is said within a second", func(_, err io.Writer) {
			waitingFor(err, "waiting")
			time.Sleep(patience - 1)
			io.WriteString(err, "done\n")
			time.Sleep(time.Hour)
		}, "done\n"},
		{"what is printed takes the line's place", func(out, err io.Writer) {
			waitingFor(err, "waiting")
			time.Sleep(patience + 1)
			io.WriteString(out, "one\n")
			io.WriteString(err, "two\n")
		}, clearLine + "waiting ..." + clearLine + "one\ntwo\n"},
		{"it says how far it is", func(_, err io.Writer) {
			waitingFor(err, "reading")
			waitingFor(err, "reading 100")
			time.Sleep(patience + 1)
			waitingFor(err, "reading 200")
		}, clearLine + "reading 100 ..." + clearLine + "reading 200 ..." + clearLine},
		{"waits follow one another", func(_, err io.Writer) {
			waitingFor(err, "first")
			io.WriteString(err, "question? ")
			time.Sleep(time.Hour) // an answer is not waited for by us
			waitingFor(err, "second")
			time.Sleep(patience + 1)
		}, "question? " + clearLine + "second ..." + clearLine},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var screen bytes.Buffer
				w := &watch{terminal: &screen}
				tt.do(watchedWriter{&screen, w}, watchedWriter{&screen, w})
				synctest.Wait()
				w.end()
				if got := screen.String(); got != tt.want {
					t.Errorf("on the screen is %q, want %q", got, tt.want)
				}
			})
		})
	}
}
