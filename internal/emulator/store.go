package emulator

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// store keeps the state in a directory: one JSON file an object, each replaced
// by a rename, and one file of JSON lines a job run for its log. A nil store
// keeps nothing.
//
// Changes are queued where the state changes, under Server.mu, and written by
// flush without it, in the same order.
type store struct {
	dir    string
	logger *slog.Logger
	lock   *os.File

	queueMu sync.Mutex
	queue   []change

	writeMu sync.Mutex
}

// change is a file to write, or to remove when data is nil.
type change struct {
	path string
	data []byte
}

func openStore(dir string, logger *slog.Logger) (*store, error) {
	// The files hold environments with secrets: nobody else may read them.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return &store{dir: dir, logger: logger, lock: lock}, nil
}

func (st *store) close() {
	if st == nil {
		return
	}
	st.flush()
	st.lock.Close()
}

func (st *store) put(path string, v any) {
	if st == nil {
		return
	}
	data, err := json.Marshal(v)
	if err != nil {
		st.logger.Error("state not kept", slog.String("path", path), slog.Any("err", err))
		return
	}
	st.enqueue(change{path, data})
}

func (st *store) remove(path string) {
	if st != nil {
		st.enqueue(change{path, nil})
	}
}

func (st *store) enqueue(c change) {
	st.queueMu.Lock()
	defer st.queueMu.Unlock()
	st.queue = append(st.queue, c)
}

// flush writes what is queued.
func (st *store) flush() {
	if st == nil {
		return
	}
	st.writeMu.Lock()
	defer st.writeMu.Unlock()
	st.queueMu.Lock()
	queue := st.queue
	st.queue = nil
	st.queueMu.Unlock()
	for _, c := range queue {
		if err := st.apply(c); err != nil {
			st.logger.Error("state not kept", slog.String("path", c.path), slog.Any("err", err))
		}
	}
}

func (st *store) apply(c change) error {
	target := filepath.Join(st.dir, filepath.FromSlash(c.path))
	if c.data == nil {
		if err := os.Remove(target); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(target+".new", c.data, 0o600); err != nil {
		return err
	}
	return os.Rename(target+".new", target)
}

// appendFile is a log file; nil takes nothing.
type appendFile struct {
	file   *os.File
	logger *slog.Logger
}

func (st *store) appendTo(path string) *appendFile {
	target := filepath.Join(st.dir, filepath.FromSlash(path))
	err := os.MkdirAll(filepath.Dir(target), 0o700)
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(target, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	}
	if err != nil {
		st.logger.Error("log not kept", slog.String("path", path), slog.Any("err", err))
		return nil
	}
	return &appendFile{file: f, logger: st.logger}
}

func (a *appendFile) write(line logLine) {
	if a == nil {
		return
	}
	data, err := json.Marshal(line)
	if err == nil {
		_, err = a.file.Write(append(data, '\n'))
	}
	if err != nil {
		a.logger.Error("log line not kept", slog.Any("err", err))
	}
}

func (a *appendFile) close() {
	if a != nil {
		a.file.Close()
	}
}

// readLines reads the log of an earlier life; a half-written last line is left out.
func readLines(st *store, path string) []logLine {
	f, err := os.Open(filepath.Join(st.dir, filepath.FromSlash(path)))
	if err != nil { // a job run without a line has no file
		return nil
	}
	defer f.Close()
	var lines []logLine
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 8*maxLine) // JSON escapes make a line up to six times as long
	for scanner.Scan() {
		var line logLine
		if json.Unmarshal(scanner.Bytes(), &line) == nil {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-maxLogLines):]
}

// load reads all objects under a folder.
func load[T any](st *store, folder string, each func(*T)) error {
	root := filepath.Join(st.dir, folder)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".json") {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		v := new(T)
		if err := json.Unmarshal(data, v); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		each(v)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// restore reads the data directory. Job runs that an earlier life left RUNNING
// are concluded FAILED: their processes are gone, or are killed now.
func (s *Server) restore() error {
	err := load(s.store, "projects", func(p *project) {
		fresh := newProject(p.ID, p.Name, p.CreatedAt)
		fresh.Description, fresh.Region = p.Description, p.Region
		s.projects[p.ID] = fresh
	})
	if err != nil {
		return err
	}
	var broken error
	err = load(s.store, "jobs", func(j *job) {
		if p := s.projects[j.Project]; p != nil {
			broken = errors.Join(broken, j.setBody(j.Body))
			p.jobs[j.ID] = j
		}
	})
	if err = errors.Join(err, broken); err != nil {
		return err
	}
	var left []string
	err = load(s.store, "runs", func(r *run) {
		p := s.projects[r.Project]
		if p == nil || p.jobs[r.Job] == nil {
			return
		}
		j := p.jobs[r.Job]
		j.runs = append(j.runs, r)
		r.log = restoredRunLog(s.store, r.logPath())
		s.runCount = max(s.runCount, r.Order)
		if !r.Concluded {
			left = append(left, r.ID)
			s.abandon(r)
		}
	})
	if err != nil {
		return err
	}
	for _, p := range s.projects {
		for _, j := range p.jobs {
			slices.SortFunc(j.runs, func(a, b *run) int { return int(a.Order) - int(b.Order) })
		}
	}
	if cleaner, ok := s.runner.(interface{ killLeftOver(runIDs []string) int }); ok && len(left) > 0 {
		n := cleaner.killLeftOver(left)
		s.logger.Info("job runs of an earlier life concluded", slog.Int("job_runs", len(left)), slog.Int("processes_killed", n))
	}
	return s.restoreAccount()
}

// abandon concludes a job run whose emulator died.
func (s *Server) abandon(r *run) {
	r.Concluded, r.ConcludedAt, r.Active = true, time.Now(), 0
	r.Status, r.Failed, r.Reason = StatusFailed, 1, "emulator restarted"
	r.Completions++
	for i := range r.Containers {
		switch r.Containers[i].Status {
		case taskFinished, taskFailed, taskKilled:
		default:
			r.Containers[i].Status, r.Containers[i].UpdatedAt = taskKilled, r.ConcludedAt
		}
	}
	s.keep(r)
}
