package jobspec

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"regexp"
	"strings"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

// Northflank docs, api/jobs: names have 3 to 52 characters, begin with a letter
// and are letters, digits, single hyphens and spaces. Ours are lower case
// without spaces, so that a job's id is its name.
const (
	maxName    = 52
	namePrefix = "pf-" // as prefect-northflank 1.0.1 named its jobs
	hashLength = 12    // base32 characters: 60 bits
	laneLength = 3     // "-2" to "-99"
	maxSlug    = maxName - len(namePrefix) - 1 - hashLength - laneLength
)

// Kubernetes docs, labels: an optional DNS prefix and a name of 63 characters.
var (
	labelKeyPattern   = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	labelValuePattern = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$`)
)

// name gives the job its name and its description.
func (b *builder) name(spec *Spec) {
	readable := b.text("name")
	owner := b.owner(spec.Scope)
	if readable == "" {
		readable = owner.Name
	}
	text := b.text("description")
	spec.Job.Name = JobName(readable, b.identity(spec, owner, slug(readable), text))
	spec.mark = NewMark(b.in.PoolID, b.in.WorkerName, spec.Scope, spec.Cleanup)
	spec.markText = text
	if text == "" {
		spec.markText = fmt.Sprintf("Prefect %s %s, worker %s", owner.kind, owner.Name, b.in.WorkerName)
	}
	spec.Job.Description = spec.mark.Describe(spec.Job.Name, spec.markText)
}

// identity hashes what flow runs must have in common to share a job. All that
// PUT /jobs sends is in it, hence one name always stands for one body; and the
// worker is, since only one worker starts job runs of a job.
//
// The hash of a flow run's own job leaves out what may differ between two
// starts of it.
func (b *builder) identity(spec *Spec, owner owner, slug, description string) string {
	common := []string{string(spec.Scope), spec.ProjectID, b.in.PoolID, owner.ID, slug}
	if spec.Scope == ScopeFlowRun {
		return shortHash(hashLength, append(common, b.in.WorkerName)...)
	}
	return shortHash(hashLength, append(common,
		spec.Account.BaseURL, spec.Account.TeamID,
		b.in.PoolName, b.in.WorkerName, owner.Name, description, fmt.Sprint(spec.Cleanup),
		string(mustEncode(spec.Job)), // still without name and description
	)...)
}

// owner is the Prefect object that a job belongs to.
type owner struct {
	Named
	kind string
}

func (b *builder) owner(scope Scope) owner {
	switch {
	case scope == ScopeFlowRun:
		return owner{b.in.FlowRun, "flow run"}
	case scope == ScopeDeployment && b.in.Deployment.ID != "":
		return owner{b.in.Deployment, "deployment"}
	case scope == ScopeDeployment: // a flow run without a deployment
		return owner{b.in.Flow, "flow"}
	}
	return owner{Named{Name: b.in.PoolName}, "work pool"}
}

// JobNamed returns the job of the given lane, 0 to 98: jobs that are alike but
// for the name, for a worker that needs several side by side. Lane 0 is Job.
func (s Spec) JobNamed(lane int) northflank.JobRequest {
	job := s.Job
	if lane > 0 {
		job.Name = fmt.Sprintf("%s-%d", job.Name, lane+1)
		job.Description = s.mark.Describe(job.Name, s.markText)
	}
	return job
}

// JobName makes a valid job name of any text and a hash that tells the job from
// others: pf-<text>-<hash>.
func JobName(readable, hash string) string {
	if s := slug(readable); s != "" {
		return namePrefix + s + "-" + hash
	}
	return namePrefix + hash
}

// slug makes lower-case letters, digits and single hyphens of any text.
func slug(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() == maxSlug {
			break
		}
	}
	return strings.Trim(b.String(), "-")
}

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// shortHash hashes texts to n base32 characters of 5 bits each. The length of
// each text is hashed too, so that ("ab", "c") and ("a", "bc") differ.
func shortHash(n int, texts ...string) string {
	h := sha256.New()
	for _, text := range texts {
		fmt.Fprintf(h, "%d:%s", len(text), text)
	}
	return base32Lower.EncodeToString(h.Sum(nil))[:n]
}

// NearestName returns the known name most like the given one, if any is near
// enough to be meant: at most a third of its length, and 3 at the most, are
// other letters; or else it is part of the known name ("gpu_type" of
// "billing_gpu_type"). Of equally near ones the first counts.
func NearestName(name string, known []string) (string, bool) {
	best, distance := "", min(3, max(1, len(name)/3))+1
	for _, k := range known {
		if d := editDistance(strings.ToLower(name), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	for _, k := range known {
		if best == "" && name != "" && strings.Contains("_"+k+"_", "_"+strings.ToLower(name)+"_") {
			best = k
		}
	}
	return best, best != ""
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that make b of a (optimal string alignment).
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
