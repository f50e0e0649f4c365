package packaging

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// release is what .goreleaser.yaml may say. Whatever else stands there is an
// error; that the tool takes it is for `make release-check`, since the tool is
// too large to be built for each test.
type release struct {
	Version     int
	ProjectName string `yaml:"project_name"`
	Dist        string
	Before      struct{ Hooks []string }
	Snapshot    struct {
		VersionTemplate string `yaml:"version_template"`
	}
	Builds []struct {
		Main, Binary                      string
		Goos, Goarch, Env, Flags, Ldflags []string
		ModTimestamp                      string `yaml:"mod_timestamp"`
	}
	Archives []struct {
		NameTemplate    string `yaml:"name_template"`
		Formats         []string
		FormatOverrides []struct {
			Goos    string
			Formats []string
		} `yaml:"format_overrides"`
		Files []archived
	}
	SBOMs []struct {
		Artifacts, Cmd  string
		Documents, Args []string
	} `yaml:"sboms"`
	Checksum struct {
		NameTemplate string `yaml:"name_template"`
		ExtraFiles   []glob `yaml:"extra_files"`
	}
	Release struct {
		ExtraFiles []glob `yaml:"extra_files"`
	}
	Changelog struct{ Disable bool }
}

type glob struct{ Glob string }

// archived are files of an archive, and where in it they are; a text alone is
// their place in both.
type archived struct {
	Src, Dst    string
	StripParent bool `yaml:"strip_parent"`
}

func (a *archived) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		return node.Decode(&a.Src)
	}
	type plain archived
	return node.Decode((*plain)(a))
}

func readRelease(t *testing.T) release {
	t.Helper()
	var r release
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(read(t, ".goreleaser.yaml"))))
	decoder.KnownFields(true)
	if err := decoder.Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReleaseBuildsWhatTheWheelsHold(t *testing.T) {
	t.Parallel()
	r := readRelease(t)
	if len(r.Builds) != 1 {
		t.Fatalf("%d builds, want 1", len(r.Builds))
	}
	b := r.Builds[0]
	var platforms []string
	for _, goos := range b.Goos {
		for _, goarch := range b.Goarch {
			platforms = append(platforms, goos+"/"+goarch)
		}
	}
	slices.Sort(platforms)
	wheels := strings.Fields(find(t, "Makefile", `(?m)^PLATFORMS\s*:=\s*(.+)$`))
	slices.Sort(wheels)
	if diff := cmp.Diff(wheels, platforms); diff != "" {
		t.Errorf("platforms (-of the wheels +of the release):\n%s", diff)
	}
	flags := strings.Join(b.Env, " ") + " go build " + strings.Join(b.Flags, " ") + " -ldflags='" + strings.Join(b.Ldflags, " ") + "'"
	if want := find(t, "Makefile", `(?m)^GOBUILD\s*:=\s*(.+)$`); flags != want {
		t.Errorf("the release is built by %s, wheels by %s", flags, want)
	}
	if info, err := os.Stat(filepath.Join(root, b.Main, "main.go")); err != nil || info.IsDir() {
		t.Errorf("main %s: %v", b.Main, err)
	}
}

// The version is in the source; nothing stamps another one, and a tag that
// differs ends the release.
func TestReleaseHasTheVersionOfTheSource(t *testing.T) {
	t.Parallel()
	r := readRelease(t)
	if flags := strings.Join(r.Builds[0].Ldflags, " "); strings.Contains(flags, "-X") {
		t.Errorf("ldflags %q stamp a value", flags)
	}
	const same = "test v{{ .Env.VERSION }} = {{ .Tag }}"
	if !strings.Contains(r.Before.Hooks[0], same) {
		t.Errorf("the first hook is %q, want %q", r.Before.Hooks[0], same)
	}
	pattern := find(t, "Makefile", `(?m)^VERSION\s*:=\s*\$\(shell sed -n '(.+)' internal/cli/version.go\)$`)
	if want := `s/^const version = "\(.*\)"$$/\1/p`; pattern != want {
		t.Errorf("the Makefile reads the version by %s, want %s", pattern, want)
	}
}

func TestReleaseHoldsWhatThereIs(t *testing.T) {
	t.Parallel()
	r := readRelease(t)
	for _, file := range r.Archives[0].Files {
		if made, ok := strings.CutSuffix(file.Src, "/*"); ok { // by a hook
			find(t, "Makefile", `(?m)^(`+path.Base(made)+`): .*, into `+made+`$`)
		} else if _, err := os.Stat(filepath.Join(root, file.Src)); err != nil {
			t.Errorf("archives are to hold %s: %v", file.Src, err)
		}
	}
	for _, hook := range r.Before.Hooks {
		if target, ok := strings.CutPrefix(hook, "make "); ok {
			find(t, "Makefile", `(?m)^(`+target+`): `)
		}
	}
	const wheels = "dist/prefect_northflank-{{ .Version }}-*.whl"
	want := []glob{{wheels}}
	if diff := cmp.Diff([][]glob{want, want}, [][]glob{r.Checksum.ExtraFiles, r.Release.ExtraFiles}); diff != "" {
		t.Errorf("wheels among the check sums and in the release (-want +got):\n%s", diff)
	}
	if r.Dist == "dist" {
		t.Error("the release's folder is that of the wheels, which is emptied at its start")
	}
	if len(r.SBOMs) != 1 || r.SBOMs[0].Artifacts != "binary" {
		t.Errorf("bills of materials %+v, want one of each binary", r.SBOMs)
	}
}

// The changelog speaks of the version that is released, or of what comes.
func TestChangelogHasTheVersionOnTop(t *testing.T) {
	t.Parallel()
	if top := find(t, "CHANGELOG.md", `(?m)^## (.+)$`); top != "Unreleased" && !strings.HasPrefix(top, version(t)+" ") {
		t.Errorf("the changelog begins with %q, want Unreleased or %s", top, version(t))
	}
}
