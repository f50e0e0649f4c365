package emulator

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"
)

// What the emulator remembers. All of it is guarded by Server.mu, but for a
// job run's log, which has its own lock.

type project struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Region      string    `json:"region"`
	CreatedAt   time.Time `json:"createdAt"`

	jobs    map[string]*job
	secrets map[string]*secretGroup
	builds  map[string][]Build // by build service
}

func newProject(id, name string, now time.Time) *project {
	return &project{
		ID: id, Name: name, Region: "europe-west", CreatedAt: now,
		jobs: map[string]*job{}, secrets: map[string]*secretGroup{}, builds: map[string][]Build{},
	}
}

func (p *project) path() string { return path.Join("projects", p.ID+".json") }

type job struct {
	ID         string         `json:"id"`
	UID        string         `json:"uid"`
	Project    string         `json:"project"`
	Name       string         `json:"name"`
	Type       string         `json:"type"` // manual or cron
	CreatedAt  time.Time      `json:"createdAt"`
	UpdatedAt  time.Time      `json:"updatedAt"`
	DisabledCI bool           `json:"disabledCI"`
	DisabledCD bool           `json:"disabledCD"`
	Suspended  bool           `json:"suspended"`
	Body       map[string]any `json:"body"` // as sent, in the shape of POST /jobs; replaced whole, never changed

	spec jobSpec
	runs []*run // oldest first
}

func (j *job) path() string { return path.Join("jobs", j.Project, j.ID+".json") }

// appID is the path under which Northflank shows an object.
func (j *job) appID() string { return "/local/" + j.Project + "/" + j.ID }

// setBody takes a body that has been validated.
func (j *job) setBody(body map[string]any) error {
	j.Body = body
	j.spec = jobSpec{}
	if err := convert(body, &j.spec); err != nil {
		return fmt.Errorf("read job %q: %w", j.ID, err)
	}
	j.Type = "manual"
	if j.spec.Settings.Cron != nil {
		j.Type = "cron"
	}
	return nil
}

func (j *job) active() bool {
	for _, r := range j.runs {
		if !r.Concluded {
			return true
		}
	}
	return false
}

// jobSpec is what the emulator itself uses of a job's body.
type jobSpec struct {
	Description        string                 `json:"description"`
	Tags               []string               `json:"tags"`
	Billing            billingSpec            `json:"billing"`
	Deployment         deploymentSpec         `json:"deployment"`
	RuntimeEnvironment map[string]string      `json:"runtimeEnvironment"`
	RuntimeFiles       map[string]mountedFile `json:"runtimeFiles"`
	Settings           struct {
		BackoffLimit          int   `json:"backoffLimit"`
		ActiveDeadlineSeconds *int  `json:"activeDeadlineSeconds"`
		Cron                  *cron `json:"cron"`
	} `json:"settings"`
}

type cron struct {
	Schedule          string `json:"schedule"`
	Suspended         bool   `json:"suspended"`
	ConcurrencyPolicy string `json:"concurrencyPolicy"`
}

type billingSpec struct {
	DeploymentPlan string `json:"deploymentPlan"`
}

type deploymentSpec struct {
	External           *externalSpec  `json:"external"`
	Internal           *internalSpec  `json:"internal"`
	VCS                map[string]any `json:"vcs"`
	Docker             *commandSpec   `json:"docker"`
	Buildpack          *commandSpec   `json:"buildpack"`
	GracePeriodSeconds *int           `json:"gracePeriodSeconds"`
}

type externalSpec struct {
	ImagePath string `json:"imagePath"`
}

type internalSpec struct {
	ID       string `json:"id"`
	Branch   string `json:"branch"`
	BuildSHA string `json:"buildSHA"`
	BuildID  string `json:"buildId"`
}

type commandSpec struct {
	ConfigType       string `json:"configType"`
	CustomEntrypoint string `json:"customEntrypoint"`
	CustomCommand    string `json:"customCommand"`
}

type mountedFile struct {
	Data     string `json:"data"`
	Encoding string `json:"encoding"`
}

// content is what the container sees. Northflank docs: with encoding utf-8 the
// decoded text, with base64 the base64 text itself.
func (f mountedFile) content() []byte {
	if f.Encoding == "base64" {
		return []byte(f.Data)
	}
	data, err := base64.StdEncoding.DecodeString(f.Data)
	if err != nil { // refused by validation
		return nil
	}
	return data
}

// runSpec is the body of POST /jobs/{job}/runs.
type runSpec struct {
	Billing            billingSpec            `json:"billing"`
	Deployment         deploymentSpec         `json:"deployment"`
	RuntimeEnvironment map[string]string      `json:"runtimeEnvironment"`
	RuntimeFiles       map[string]mountedFile `json:"runtimeFiles"`
}

// convert reads a validated body into a struct.
func convert(from map[string]any, to any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, to)
}

// slug derives an id from a name: lower case, spaces to hyphens.
func slug(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), " ", "-")
}

// newUUID and hexID draw ids; s.mu must be held.
func (s *Server) newUUID() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], s.rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], s.rand.Uint64())
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func (s *Server) hexID(digits int) string {
	h := ""
	for len(h) < digits {
		h += fmt.Sprintf("%016x", s.rand.Uint64())
	}
	return h[:digits]
}

// stamp is a time as job runs carry it: ISO 8601 with second precision.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// stampMillis is a time as objects and log lines carry it.
func stampMillis(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
