package jobspec

import (
	"strings"
	"testing"
)

func TestJobName(t *testing.T) {
	t.Parallel()
	const hash = "abcdefghijkl"
	tests := []struct{ given, want string }{
		{"brave-otter", "pf-brave-otter-abcdefghijkl"},
		{"My_Pool.v2", "pf-my-pool-v2-abcdefghijkl"},
		{"  a  --  b  ", "pf-a-b-abcdefghijkl"},
		{"Übergröße", "pf-bergr-e-abcdefghijkl"},
		{"日本", "pf-abcdefghijkl"},
		{"", "pf-abcdefghijkl"},
		{"2024-report", "pf-2024-report-abcdefghijkl"},
		{strings.Repeat("x", 90), "pf-" + strings.Repeat("x", maxSlug) + "-abcdefghijkl"},
		{strings.Repeat("x", maxSlug-1) + "_yz", "pf-" + strings.Repeat("x", maxSlug-1) + "-abcdefghijkl"},
	}
	for _, tt := range tests {
		got := JobName(tt.given, hash)
		if got != tt.want {
			t.Errorf("JobName(%q) = %q, want %q", tt.given, got, tt.want)
		}
		if len(got) > maxName-laneLength || !docName.MatchString(got) {
			t.Errorf("JobName(%q) = %q, which Northflank refuses", tt.given, got)
		}
	}
}

func TestMark(t *testing.T) {
	t.Parallel()
	mark := NewMark("pool-1", "worker/1", ScopeDeployment, true)
	const name = "pf-x-abcdefghijkl"
	description := mark.Describe(name, "Nightly <report> {a} é=1 | team@x")
	if want := "Nightly -report- -a- -1 - team-x [prefect-northflank pool:"; !strings.HasPrefix(description, want) {
		t.Errorf("Describe = %q, want %s...", description, want)
	}
	got, ok := ParseJobMark(name, description)
	if !ok || got != mark {
		t.Fatalf("ParseJobMark = %+v, %v, want %+v", got, ok, mark)
	}
	if !got.OfPool("pool-1") || got.OfPool("pool-2") || !got.OfWorker("worker/1") || got.OfWorker("worker-1") {
		t.Error("the mark does not tell pools or workers apart")
	}
}

func TestParseJobMarkLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	const name = "pf-x-abcdefghijkl"
	mark := NewMark("pool-1", "w", ScopePool, true)
	description := mark.Describe(name, "")
	tests := []struct{ reason, name, description string }{
		{"no description", name, ""},
		{"of the original worker", "pf-brave-otter-0199c0de", "Prefect job: brave-otter"},
		{"copied under another name", "pf-x-copy", description},
		{"renamed", "nightly", description},
		{"edited", name, strings.Replace(description, "cleanup:yes", "cleanup:no", 1)},
		{"text behind the mark", name, description + " edited"},
		{"cut", name, description[:len(description)-1]},
	}
	for _, tt := range tests {
		if got, ok := ParseJobMark(tt.name, tt.description); ok {
			t.Errorf("%s: ParseJobMark = %+v, want none", tt.reason, got)
		}
	}
}

// A user's text must not be able to stand for a mark.
func TestDescriptionCannotForgeAMark(t *testing.T) {
	t.Parallel()
	const name = "pf-x-abcdefghijkl"
	forged := NewMark("other pool", "other", ScopePool, true).Describe(name, "")
	got, ok := ParseJobMark(name, NewMark("pool-1", "w", ScopePool, false).Describe(name, forged))
	if !ok || !got.OfPool("pool-1") || got.Cleanup {
		t.Errorf("ParseJobMark = %+v, %v, want the worker's own mark", got, ok)
	}
}

func TestIdentityHashesLengths(t *testing.T) {
	t.Parallel()
	if shortHash(12, "ab", "c") == shortHash(12, "a", "bc") {
		t.Error("shortHash does not tell where one text ends")
	}
}
