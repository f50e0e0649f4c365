package packaging

import (
	"strings"
	"testing"
)

// instruction is one of the Dockerfile's.
type instruction struct {
	name  string
	flags map[string]string // of --flag=value
	args  string
}

// words splits the arguments, or the JSON form of an instruction's.
func (i instruction) words() []string {
	return strings.Fields(strings.NewReplacer(`["`, "", `"]`, "", `", "`, " ").Replace(i.args))
}

// stage is what a FROM begins.
type stage []instruction

func (s stage) all(name string) []instruction {
	var found []instruction
	for _, i := range s {
		if i.name == name {
			found = append(found, i)
		}
	}
	return found
}

// readDockerfile returns the stages of the Dockerfile: the one that builds, and
// the one that becomes the image.
func readDockerfile(t *testing.T) (build, image stage) {
	t.Helper()
	var text strings.Builder
	for line := range strings.Lines(read(t, "Dockerfile")) {
		if !strings.HasPrefix(line, "#") {
			text.WriteString(line)
		}
	}
	var stages []stage
	for line := range strings.Lines(strings.ReplaceAll(text.String(), "\\\n", " ")) {
		name, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			continue
		}
		i := instruction{name: name, flags: map[string]string{}, args: strings.TrimSpace(args)}
		for strings.HasPrefix(i.args, "--") {
			flag, rest, _ := strings.Cut(i.args, " ")
			key, value, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
			i.flags[key], i.args = value, strings.TrimSpace(rest)
		}
		if name == "FROM" {
			stages = append(stages, nil)
		}
		if len(stages) == 0 {
			t.Fatalf("Dockerfile: %s stands before FROM", line)
		}
		stages[len(stages)-1] = append(stages[len(stages)-1], i)
	}
	if len(stages) != 2 {
		t.Fatalf("the Dockerfile has %d stages, want 2", len(stages))
	}
	return stages[0], stages[1]
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	build, image := readDockerfile(t)
	goVersion := find(t, "go.mod", `(?m)^go (\d+\.\d+)`)
	if got, want := build[0].args, "golang:"+goVersion+" AS build"; got != want {
		t.Errorf("it is built FROM %s, want %s, the version of go.mod", got, want)
	}
	if image[0].args != "scratch" {
		t.Errorf("the image is FROM %s, want scratch", image[0].args)
	}
	if user := image.all("USER"); len(user) != 1 || user[0].args != "65532:65532" {
		t.Errorf("USER %+v, want one that is not root, by number", user)
	}
	if entry := image.all("ENTRYPOINT"); len(entry) != 1 || !strings.HasPrefix(entry[0].args, "[") {
		t.Errorf("ENTRYPOINT %+v, want one in JSON form: there is no shell", entry)
	}
	// The program in the image is the one of the wheels and archives.
	const flags = `go build -trimpath -ldflags='-s -w'`
	for _, path := range []string{"Dockerfile", "Makefile"} {
		if !strings.Contains(read(t, path), flags) {
			t.Errorf("%s does not build by %s", path, flags)
		}
	}
}

// What is copied into a stage from here is not kept from the builder.
func TestDockerignoreLetsThrough(t *testing.T) {
	t.Parallel()
	allowed := map[string]bool{}
	lines := strings.Split(strings.TrimSpace(read(t, ".dockerignore")), "\n")
	for _, line := range lines {
		if name, ok := strings.CutPrefix(line, "!"); ok {
			allowed[name] = true
		}
	}
	build, image := readDockerfile(t)
	for _, copied := range append(build.all("COPY"), image.all("COPY")...) {
		if copied.flags["from"] != "" {
			continue
		}
		words := copied.words()
		for _, source := range words[:len(words)-1] {
			if !allowed[source] {
				t.Errorf(".dockerignore keeps %s from COPY %s", source, copied.args)
			}
			delete(allowed, source)
		}
	}
	if len(allowed) > 0 {
		t.Errorf(".dockerignore lets through what nobody copies: %v", allowed)
	}
	if lines[1] != "*" {
		t.Errorf(".dockerignore begins with %q, want *", lines[1])
	}
}
