package hostile

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// input is a call of a target.
type input struct {
	Text   string
	Data   []byte
	Number int
	Flag   bool
}

// feed returns what a target is fed.
func feed(t *testing.T) []input {
	t.Helper()
	var all []input
	Test(t, Parser{Name: "nothing", Target: func(f F) {
		f.Add(`{"a":"b","c":[1,2]}`, []byte("A=1\n"), 200, true)
		f.Add("", []byte{}, 404, false)
		f.Fuzz(func(_ *testing.T, text string, data []byte, number int, flag bool) {
			all = append(all, input{text, data, number, flag})
		})
	}})
	return all
}

func TestInputsFollowFromTheSeed(t *testing.T) {
	t.Setenv("HOSTILE", "")
	t.Setenv("HOSTILE_SEED", "1")
	first, again := feed(t), feed(t)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the second time (-first +again):\n%s", diff)
	}
	t.Setenv("HOSTILE_SEED", "2")
	if cmp.Equal(first, feed(t)) {
		t.Error("another seed gives the same inputs")
	}
}

func TestInputsDiffer(t *testing.T) {
	t.Setenv("HOSTILE", "")
	t.Setenv("HOSTILE_SEED", "1")
	total, least, most := 0, shortBytes, 0
	numbers, flags := map[int]bool{}, map[bool]bool{}
	for _, in := range feed(t) {
		size := len(in.Text) + len(in.Data)
		total, least, most = total+size, min(least, size), max(most, size)
		numbers[in.Number], flags[in.Flag] = true, true
	}
	if total < shortBytes || least > 8 || most <= small {
		t.Errorf("%d bytes in inputs of %d to %d bytes", total, least, most)
	}
	if len(numbers) < 5 || len(flags) != 2 {
		t.Errorf("numbers %v, flags %v", numbers, flags)
	}
}

func TestOneInputIsAboveTheLimit(t *testing.T) {
	t.Setenv("HOSTILE", "full")
	const limit = 3 << 20
	largest := 0
	Test(t, Parser{Name: "nothing", Limit: limit, Target: func(f F) {
		f.Add("[1]")
		f.Fuzz(func(_ *testing.T, text string) { largest = max(largest, len(text)) })
	}})
	if largest <= limit {
		t.Errorf("the largest input has %d bytes, want more than %d", largest, limit)
	}
}

func TestBytesPassedOverDoNotCount(t *testing.T) {
	t.Setenv("HOSTILE", "")
	taken := 0
	Test(t, Parser{Name: "a parser of few", Target: func(f F) {
		f.Add("a")
		f.Fuzz(func(t *testing.T, text string) {
			if len(text)%2 == 0 {
				t.SkipNow()
			}
			taken += len(text)
		})
	}})
	if taken < shortBytes {
		t.Errorf("%d bytes were taken, want %d", taken, shortBytes)
	}
}

var (
	fuzzTarget = regexp.MustCompile(`(?m)^func Fuzz(\w+)\(`)
	// fedOtherwise are fuzz targets of what is no parser of foreign bytes.
	fedOtherwise = map[string]string{"cli.RenderIsWhatIsSent": "compares two ways through the whole program"}
)

// A fuzz target that is added is fed hostile input, too.
func TestEveryFuzzTargetIsFed(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../*/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	fed, targets := map[string]string{}, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) == "hostile_test.go" {
			fed[filepath.Dir(file)] = string(text)
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(file)
		for _, match := range fuzzTarget.FindAllSubmatch(text, -1) {
			targets++
			name := string(match[1])
			if fedOtherwise[filepath.Base(dir)+"."+name] == "" && !strings.Contains(fed[dir], "Target: fuzz"+name) {
				t.Errorf("%s: Fuzz%s is not in TestHostileInput of its package", file, name)
			}
		}
	}
	if targets < 15 {
		t.Errorf("%d fuzz targets found", targets)
	}
}
