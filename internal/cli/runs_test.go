package cli

import (
	"testing"
	"time"
)

func TestAge(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 42 * time.Second: "42s", 190 * time.Second: "3m10s", time.Hour: "1h0m",
		26*time.Hour + time.Minute: "1d2h", 1000 * time.Hour: "41d16h",
	} {
		if got := age(now, now.Add(-d)); got != want {
			t.Errorf("age of %s = %q, want %q", d, got, want)
		}
	}
	if got := age(now, time.Time{}); got != "-" {
		t.Errorf("age of no time = %q", got)
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"nightly": "nightly", "a\x1b[2Jb\nc\u202ed\x07": "a [2Jb c d ", "é日本": "é日本"} {
		if got := plain(text); got != want {
			t.Errorf("plain(%q) = %q, want %q", text, got, want)
		}
	}
}
