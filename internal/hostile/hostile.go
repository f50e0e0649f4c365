// Package hostile asks whether a parser keeps its head: it feeds the parser's
// fuzz target a counted number of bytes of input that is made to break it, and
// checks that nothing panics, takes for ever or fills the memory. Fuzzing looks
// for new paths by small inputs; this goes for size and depth. It is for tests.
package hostile

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// Bytes fed to each parser: in each run of the unit tests, and with HOSTILE=full.
	shortBytes, fullBytes = 100_000, 10_000_000
	// The largest inputs of the two, but for the one above a parser's own limit.
	shortLargest, fullLargest = 16 << 10, 1 << 20
	// small is the size that most inputs stay below, and the least one whose
	// memory is told: below it, what a call costs anyhow hides what the input does.
	small = 4 << 10

	// A parser may take a second for 50 kB of input, beside ten for a busy machine:
	// work that grows by the square of the input takes minutes for the largest.
	patience, patiencePerByte = 10 * time.Second, 20 * time.Microsecond
	// Bytes that a parser may allocate, unless it says otherwise.
	atAll, perByte = 4 << 20, 100
	// maxStack is the stack in bytes that the deepest input may take; Go's own bound is 1 GB.
	maxStack = 64 << 20
)

// F is what a fuzz target needs of *testing.F, so that Test can run it too.
type F interface {
	testing.TB
	Add(args ...any)
	Fuzz(ff any)
}

// Parser is a parser of foreign bytes.
type Parser struct {
	Name   string
	Target func(F) // its fuzz target
	// Limit is the size in bytes above which input is refused, by the parser or by
	// who reads for it; 0 if nobody does. With HOSTILE=full one input is larger.
	Limit int
	// Bytes that its target may allocate: for an input of any size (0 is 4 MiB) and
	// for each byte of it (0 is 100). What the target does to check the parser
	// counts, too.
	AtAll, PerByte int
}

// Test feeds each parser hostile input, in one subtest each with one below it
// for each input: 100,000 bytes, or ten million with HOSTILE=full. The inputs
// follow from the seed, which is logged; HOSTILE_SEED chooses another one.
// Tests that run beside it would be counted: the caller must not be parallel.
func Test(t *testing.T, parsers ...Parser) {
	t.Helper()
	seed := uint64(1)
	if text := os.Getenv("HOSTILE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("HOSTILE_SEED: %v", err)
		}
	}
	stack := debug.SetMaxStack(maxStack)
	defer debug.SetMaxStack(stack)
	debug.SetTraceback("all") // where a parser is that is not done
	for _, p := range parsers {
		t.Run(p.Name, func(t *testing.T) {
			t.Logf("HOSTILE_SEED=%d", seed)
			f := &feeder{T: t, parser: p, seed: seed, bytes: shortBytes, largest: shortLargest}
			if os.Getenv("HOSTILE") == "full" {
				f.bytes, f.largest, f.aboveLimit = fullBytes, fullLargest, p.Limit > 0
			}
			f.parser.AtAll, f.parser.PerByte = cmp.Or(p.AtAll, atAll), cmp.Or(p.PerByte, perByte)
			p.Target(f)
			if !t.Failed() && f.fed < f.bytes {
				t.Errorf("%d bytes were fed, want %d", f.fed, f.bytes)
			}
		})
	}
}

// feeder runs a fuzz target with hostile inputs.
type feeder struct {
	*testing.T
	parser         Parser
	seed           uint64
	bytes, largest int
	aboveLimit     bool
	seeds          [][]any

	// fed is the bytes of all inputs but those that the target skipped.
	fed, skipped, inputs, longest int

	ratio float64 // the most bytes allocated for a byte of input
	pace  float64 // the most seconds for a byte of input
}

// Add adds the arguments of one call as a seed.
func (f *feeder) Add(args ...any) { f.seeds = append(f.seeds, args) }

// Fuzz feeds ff.
func (f *feeder) Fuzz(ff any) {
	f.Helper()
	for f.fed < f.bytes && f.skipped < 100*f.bytes && !f.Failed() {
		f.feed(ff, f.inputs, f.size)
	}
	if f.aboveLimit && !f.Failed() {
		f.feed(ff, f.inputs, func(rng *rand.Rand) int { return f.parser.Limit + 1 + rng.IntN(1+f.parser.Limit/4) })
	}
	f.Logf("%s: %d bytes in %d inputs (%d bytes more were passed over), the longest of %d; at most %.1f bytes of memory and %.2f µs for a byte of input",
		f.Name(), f.fed, f.inputs, f.skipped, f.longest, f.ratio, f.pace*1e6)
}

// size draws the size of an input, evenly over its logarithm: one in 64 is large.
func (f *feeder) size(rng *rand.Rand) int {
	least, most := 1.0, float64(small)
	if rng.IntN(64) == 0 {
		least, most = small, float64(f.largest)
	}
	return int(least * math.Pow(most/least, rng.Float64()))
}

// feed runs ff with one input. It follows from the seed and the number alone,
// so that -run finds it again.
func (f *feeder) feed(ff any, number int, size func(*rand.Rand) int) {
	rng := rand.New(rand.NewPCG(f.seed, uint64(number)))
	args, length := (&maker{rng: rng, seeds: f.seeds}).args(size(rng))
	skipped := false
	f.Run(strconv.Itoa(number), func(t *testing.T) {
		ended := false
		defer func() {
			skipped = t.Skipped()
			if t.Failed() || !ended && !t.Skipped() {
				t.Logf("input of %d bytes: %s", length, excerpt(args))
			}
		}()
		in := []reflect.Value{reflect.ValueOf(t)}
		for _, arg := range args {
			in = append(in, reflect.ValueOf(arg))
		}
		allowed := patience + time.Duration(length)*patiencePerByte
		watchdog := time.AfterFunc(allowed, func() {
			panic(fmt.Sprintf("%s with HOSTILE_SEED=%d: not done after %s with %d bytes: %s", t.Name(), f.seed, allowed, length, excerpt(args)))
		})
		defer watchdog.Stop()
		before, began := allocated(), time.Now()
		defer func() { // deferred, since a target may leave by t.Skip
			f.judge(t, length, allocated()-before, time.Since(began))
		}()
		reflect.ValueOf(ff).Call(in)
		ended = true
	})
	f.inputs++
	if skipped {
		f.skipped += length
		return
	}
	f.fed, f.longest = f.fed+length, max(f.longest, length)
}

// judge notes and checks what an input cost.
func (f *feeder) judge(t *testing.T, length int, used uint64, took time.Duration) {
	if length >= small {
		f.ratio = max(f.ratio, float64(used)/float64(length))
		f.pace = max(f.pace, took.Seconds()/float64(length))
	}
	if allowed := uint64(f.parser.AtAll + f.parser.PerByte*length); used > allowed {
		t.Errorf("%d bytes of memory for %d bytes of input, want at most %d", used, length, allowed)
	}
}

// allocated is how many bytes were allocated on the heap since the program began.
func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

// excerpt shows the beginning of each argument.
func excerpt(args []any) string {
	shown := make([]string, len(args))
	for i, arg := range args {
		if data, ok := arg.([]byte); ok {
			arg = string(data)
		}
		shown[i] = fmt.Sprintf("\n\t%.500q", fmt.Sprint(arg))
	}
	return strings.Join(shown, "")
}
