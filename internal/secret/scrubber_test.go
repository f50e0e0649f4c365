package secret_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/northflank/prefect-northflank/internal/hostile"

	"github.com/northflank/prefect-northflank/internal/secret"
)

func TestScrubberText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		secrets []string
		text    string
		want    string
	}{
		{"no secret", nil, "hello", "hello"},
		{"empty secret hides nothing", []string{""}, "hello", "hello"},
		{"inside a line", []string{"s3cr3t"}, "token=s3cr3t;", "token=***;"},
		{"each time", []string{"s3cr3t"}, "s3cr3t s3cr3t", "*** ***"},
		{"longer secret that holds a shorter one", []string{"abcde", "abcdefgh"}, "x abcdefgh y", "x *** y"},
		{"overlapping secrets leave no rest", []string{"abcdef", "defghi"}, "abcdefghi", "***"},
		{"secret that overlaps itself", []string{"ababab"}, "abababab.", "***."},
		{"neighbours merge", []string{"abcdef", "ghijkl"}, "abcdefghijkl", "***"},
		{"short secret alone", []string{"dev"}, "dev", "***"},
		{"short secret inside text stays", []string{"dev"}, "developer", "developer"},
		{"line of a secret of several lines", []string{"-----BEGIN\nMIIEow\n-----END"}, "got MIIEow", "got ***"},
		{"text outside ASCII", []string{"pässwörd"}, "é pässwörd é", "é *** é"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := secret.NewScrubber(tt.secrets...).Text(tt.text); got != tt.want {
				t.Errorf("Text(%q) = %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

func TestScrubberNilKnowsNoSecret(t *testing.T) {
	t.Parallel()
	var s *secret.Scrubber
	if got := s.Text("hello"); got != "hello" {
		t.Errorf("Text = %q, want it unchanged", got)
	}
}

func TestScrubberAny(t *testing.T) {
	t.Parallel()
	in := map[string]any{"a": []any{"x s3cr3t", 1.0, nil}, "s3cr3t": true}
	want := map[string]any{"a": []any{"x ***", 1.0, nil}, "s3cr3t": true}
	if diff := cmp.Diff(want, secret.NewScrubber("s3cr3t").Any(in)); diff != "" {
		t.Errorf("Any() mismatch (-want +got):\n%s", diff)
	}
	if in["a"].([]any)[0] != "x s3cr3t" {
		t.Error("Any() changed its argument")
	}
}

// FuzzScrubber: no secret that is long enough to be looked for is left in a text.
func FuzzScrubber(f *testing.F) { fuzzScrubber(f) }

func fuzzScrubber(f hostile.F) {
	f.Add("token-1", "token-12", "x token-12token-1 y")
	f.Add("line one\nline two", "", "line two\n")
	f.Add("aaaaaa", "aaaaa", "aaaaaaaaaaaaa")
	f.Fuzz(func(t *testing.T, a, b, text string) {
		got := secret.NewScrubber(a, b).Text(text)
		for _, s := range []string{a, b} {
			// A text may become a secret by a mask that was put into it.
			if len(s) >= 5 && !strings.Contains(s, "*") && strings.Contains(got, s) {
				t.Errorf("Text(%q) = %q holds %q", text, got, s)
			}
		}
	})
}
