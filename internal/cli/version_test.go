package cli

import (
	"regexp"
	"runtime/debug"
	"testing"
)

func TestCommit(t *testing.T) {
	t.Parallel()
	const revision = "0123456789abcdef0123456789abcdef01234567"
	tests := []struct {
		name, version, revision, want string
	}{
		{"built in a clone", "(devel)", revision, "0123456789ab"},
		{"built in a clone, with a version of it", "v1.1.1-0.20261124101530-0123456789ab+dirty", revision, "0123456789ab"},
		{"installed by a release's tag", "v1.1.0", "", ""},
		{"installed from a commit after a release", "v1.1.1-0.20261124101530-abcdef012345", "", "abcdef012345"},
		{"installed from a commit before any release", "v0.0.0-20261124101530-abcdef012345", "", "abcdef012345"},
		{"built without a repository", "(devel)", "", ""},
		{"revision of another system", "(devel)", "17", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			info := &debug.BuildInfo{Main: debug.Module{Version: tt.version}}
			if tt.revision != "" {
				info.Settings = []debug.BuildSetting{{Key: "vcs.revision", Value: tt.revision}}
			}
			if got := commit(info); got != tt.want {
				t.Errorf("commit of %s = %q, want %q", tt.version, got, tt.want)
			}
		})
	}
}

// A release's version is one for Go modules and for Python packages alike, so
// that one tag serves both.
func TestVersionIsOneForGoAndPython(t *testing.T) {
	t.Parallel()
	if !regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$`).MatchString(version) {
		t.Errorf("version %q is not of the form 1.2.3", version)
	}
}
