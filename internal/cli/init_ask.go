package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// asker asks on a terminal, and takes what it would suggest elsewhere.
type asker struct {
	in       *bufio.Reader
	out      io.Writer
	terminal bool
	yes      bool // take what is suggested
}

func newAsker(streams Streams, yes bool) *asker {
	f, ok := streams.In.(*os.File)
	return &asker{in: bufio.NewReader(streams.In), out: streams.Err, terminal: ok && isTerminalFile(f), yes: yes}
}

// asks reports whether a question without a suggestion is asked.
func (a *asker) asks() bool { return a.terminal }

// text asks for a text; an empty answer is what is suggested. flag answers the
// question where nobody is there to be asked.
func (a *asker) text(question, suggested, flag string) (string, error) {
	if suggested != "" && (a.yes || !a.terminal) {
		return suggested, nil
	}
	if !a.terminal {
		return "", usagef("say it with "+flag, "nobody is there to be asked: %s", strings.ToLower(question[:1])+question[1:])
	}
	for range 3 { // whoever presses Enter three times has no answer
		prompt := question + ": "
		if suggested != "" {
			prompt = fmt.Sprintf("%s [%s]: ", question, suggested)
		}
		answer, err := a.line(prompt)
		if err != nil {
			return "", err
		}
		if answer != "" {
			return answer, nil
		}
		if suggested != "" {
			return suggested, nil
		}
	}
	return "", usagef("say it with "+flag, "no answer: %s", strings.ToLower(question[:1])+question[1:])
}

func (a *asker) line(prompt string) (string, error) {
	fmt.Fprint(a.out, prompt)
	line, err := a.in.ReadString('\n')
	if err != nil {
		fmt.Fprintln(a.out)
		if errors.Is(err, io.EOF) { // Ctrl-D
			return "", context.Canceled
		}
		return "", err
	}
	return strings.TrimSpace(line), nil
}

// project asks for a project's id.
func (a *asker) project(suggested string) (string, error) {
	id, err := a.text("Northflank project", suggested, "--project")
	if err != nil {
		return "", err
	}
	return id, checkProject(id)
}

// goOn asks whether to go on. Where nobody is there, flags have said all.
func (a *asker) goOn() error {
	if a.yes || !a.terminal {
		return nil
	}
	answer, err := a.line("Go on? [Y/n] ")
	if err != nil {
		return err
	}
	switch strings.ToLower(answer) {
	case "", "y", "yes":
		return nil
	}
	return hinted{errors.New("nothing was done"), "answer y to go on"}
}

// originURL is the address in the section of a git configuration that is about
// the remote origin. Git docs: git-config.
var originURL = regexp.MustCompile(`(?m)^\[remote "origin"\]\n(?:[ \t].*\n)*?[ \t]+url\s*=\s*(\S+)\s*$`)

// scpForm is git's short form of an ssh address: git@github.com:me/flows.git.
var scpForm = regexp.MustCompile(`^(?:[\w.-]+@)?([\w.-]+):([^/].*)$`)

// gitOrigin returns the address of the repository that a folder is the top of, as
// containers can clone it, and the branch that is checked out. "" for none.
func gitOrigin(folder fs.FS) (repository, branch string) {
	config, err := fs.ReadFile(folder, ".git/config")
	if err != nil {
		return "", ""
	}
	m := originURL.FindSubmatch(append(config, '\n'))
	if m == nil {
		return "", ""
	}
	address := string(m[1])
	if scp := scpForm.FindStringSubmatch(address); scp != nil && !strings.Contains(address, "://") {
		address = "https://" + scp[1] + "/" + scp[2]
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", "" // a folder of this machine
	}
	if u.Scheme == "ssh" || u.Scheme == "git" { // containers have no key of the user's
		u.Scheme, u.Host = "https", u.Hostname()
	}
	u.User = nil // perhaps a token
	if head, err := fs.ReadFile(folder, ".git/HEAD"); err == nil {
		branch, _ = strings.CutPrefix(strings.TrimSpace(string(head)), "ref: refs/heads/")
		if branch == strings.TrimSpace(string(head)) {
			branch = "" // a commit is checked out
		}
	}
	return u.String(), branch
}

// writeNewFile writes a file that must not exist yet, whole or not at all.
func writeNewFile(path string, text []byte) error {
	draft, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return withHint(err, "this folder must be writable")
	}
	defer os.Remove(draft.Name())
	_, err = draft.Write(text)
	if err = errors.Join(err, draft.Chmod(0o644), draft.Close()); err != nil {
		return err
	}
	// A link, unlike a renaming, does not replace what is there.
	err = os.Link(draft.Name(), path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return withHint(err, "it was written meanwhile; see what is in it")
	}
	return writeExclusively(path, text) // the file system has no links
}

func writeExclusively(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
