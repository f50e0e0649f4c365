package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
)

func TestGitOrigin(t *testing.T) {
	t.Parallel()
	const onMain = "ref: refs/heads/main\n"
	origin := func(url string) string {
		return "[core]\n\tbare = false\n[remote \"upstream\"]\n\turl = https://example.com/other.git\n[remote \"origin\"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\turl = " + url + "\n[branch \"main\"]\n\tremote = origin\n"
	}
	tests := []struct{ name, config, head, repository, branch string }{
		{"https", origin("https://github.com/me/flows.git"), onMain, "https://github.com/me/flows.git", "main"},
		{"with a token", origin("https://me:planted-token@github.com/me/flows.git"), onMain, "https://github.com/me/flows.git", "main"},
		{"short form of ssh", origin("git@github.com:me/flows.git"), onMain, "https://github.com/me/flows.git", "main"},
		{"ssh", origin("ssh://git@github.com:22/me/flows.git"), onMain, "https://github.com/me/flows.git", "main"},
		{"branch with a slash", origin("https://github.com/me/flows"), "ref: refs/heads/feature/x\n", "https://github.com/me/flows", "feature/x"},
		{"a commit is checked out", origin("https://github.com/me/flows"), strings.Repeat("0", 40) + "\n", "https://github.com/me/flows", ""},
		{"a folder", origin("/srv/git/flows.git"), onMain, "", ""},
		{"another remote", "[remote \"upstream\"]\n\turl = https://example.com/other.git\n", onMain, "", ""},
		{"no url", "[remote \"origin\"]\n[branch \"main\"]\n\turl = https://example.com/other.git\n", onMain, "", ""},
		{"empty", "", "", "", ""},
	}
	for _, tt := range tests {
		repository, branch := gitOrigin(fstest.MapFS{".git/config": {Data: []byte(tt.config)}, ".git/HEAD": {Data: []byte(tt.head)}})
		if repository != tt.repository || branch != tt.branch {
			t.Errorf("%s: gitOrigin() = %q, %q, want %q, %q", tt.name, repository, branch, tt.repository, tt.branch)
		}
	}
	if repository, _ := gitOrigin(fstest.MapFS{}); repository != "" {
		t.Errorf("without git: %q", repository)
	}
}

// Of several who write at once one succeeds, and nothing but the file is left.
func TestWriteNewFile(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(string, []byte) error{"by a link": writeNewFile, "without links": writeExclusively} {
		folder := t.TempDir()
		path := filepath.Join(folder, projectFile)
		var written atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if write(path, []byte("whole")) == nil {
					written.Add(1)
				}
			})
		}
		all.Wait()
		text, err := os.ReadFile(path)
		if written.Load() != 1 || err != nil || string(text) != "whole" {
			t.Errorf("%s: %d succeeded, file %q, %v; want one and the whole text", name, written.Load(), text, err)
		}
		if err := write(path, []byte("other")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: second writing: %v, want that the file exists", name, err)
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) != 1 {
			t.Errorf("%s: %d files in the folder, %v; want one", name, len(left), err)
		}
	}
}
