package northflank

// JobRequest is the body of PUT /jobs: the reusable job definition. It never
// carries environment: what a stored job holds is readable by others, so the
// environment travels with each job run (see [RunRequest]).
//
// Northflank: api/jobs/put; pointer and omitempty fields are left out when unset.
type JobRequest struct {
	Name           string          `json:"name"` // 3..52 characters, pattern NAME
	Description    string          `json:"description,omitempty"`
	Infrastructure *Infrastructure `json:"infrastructure,omitempty"`
	Tags           []string        `json:"tags,omitempty"` // must exist on the team beforehand
	Billing        Billing         `json:"billing"`
	Deployment     Deployment      `json:"deployment"`
	HealthChecks   []any           `json:"healthChecks,omitempty"`
	Settings       JobSettings     `json:"settings"`
}

// Infrastructure selects the hardware of a job. Architecture is "x86" or "arm".
type Infrastructure struct {
	Architecture string `json:"architecture"`
}

// Billing names the compute size of a job or, in a [RunRequest], of one job run.
type Billing struct {
	DeploymentPlan string `json:"deploymentPlan"`
	GPU            *GPU   `json:"gpu,omitempty"` // job only: not overridable by a job run
}

// GPU asks for graphics processors.
type GPU struct {
	Enabled       bool              `json:"enabled"`
	Configuration *GPUConfiguration `json:"configuration,omitempty"`
}

// GPUConfiguration says which and how many.
type GPUConfiguration struct {
	GPUType    string `json:"gpuType"`
	GPUCount   int    `json:"gpuCount,omitempty"`
	Timesliced *bool  `json:"timesliced,omitempty"`
}

// Deployment says what runs. At most one of External and Internal is set.
type Deployment struct {
	External           *ExternalImage `json:"external,omitempty"`
	Internal           *InternalBuild `json:"internal,omitempty"`
	Docker             *Docker        `json:"docker,omitempty"`
	Buildpack          *Buildpack     `json:"buildpack,omitempty"`
	Storage            *Storage       `json:"storage,omitempty"`
	GPU                *GPU           `json:"gpu,omitempty"`                // job only
	GracePeriodSeconds *int           `json:"gracePeriodSeconds,omitempty"` // job only; SIGTERM to SIGKILL
	Metadata           *Metadata      `json:"metadata,omitempty"`           // job only
}

// ExternalImage is an image of any registry; ImagePath needs a tag or digest.
type ExternalImage struct {
	ImagePath   string `json:"imagePath"`
	Credentials string `json:"credentials,omitempty"` // id of registry credentials
}

// InternalBuild is the output of a Northflank build service.
type InternalBuild struct {
	ID       string `json:"id"`
	Branch   string `json:"branch,omitempty"`
	BuildSHA string `json:"buildSHA,omitempty"` // 40 characters, or "latest"
	BuildID  string `json:"buildId,omitempty"`
}

// Docker overrides entrypoint and command of the image.
type Docker struct {
	// ConfigType is default, customEntrypoint, customCommand or customEntrypointCustomCommand.
	ConfigType       string `json:"configType"`
	CustomEntrypoint string `json:"customEntrypoint,omitempty"`
	CustomCommand    string `json:"customCommand,omitempty"`
}

// Buildpack is Docker's counterpart for images built by buildpacks.
type Buildpack struct {
	ConfigType       string `json:"configType"`
	CustomProcess    string `json:"customProcess,omitempty"`
	CustomEntrypoint string `json:"customEntrypoint,omitempty"`
	CustomCommand    string `json:"customCommand,omitempty"`
}

// Storage sizes are in MB.
type Storage struct {
	EphemeralStorage *EphemeralStorage `json:"ephemeralStorage,omitempty"`
	ShmSize          int               `json:"shmSize,omitempty"`
}

// EphemeralStorage is the container's disk.
type EphemeralStorage struct {
	StorageSize int `json:"storageSize"` // MB
}

// Metadata sets Kubernetes labels and annotations of the job's containers.
type Metadata struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// JobSettings holds what a job run cannot override.
type JobSettings struct {
	BackoffLimit          int    `json:"backoffLimit"` // required by Northflank whenever settings is sent
	RunOnSourceChange     string `json:"runOnSourceChange,omitempty"`
	ActiveDeadlineSeconds *int   `json:"activeDeadlineSeconds"` // whole job run, retries included; nil is sent as null: no deadline
}

// RunRequest is the body of POST /jobs/{job}/runs: the overrides of one job run.
type RunRequest struct {
	RuntimeEnvironment map[string]string      `json:"runtimeEnvironment,omitempty"`
	RuntimeFiles       map[string]RuntimeFile `json:"runtimeFiles,omitempty"`
	Billing            *Billing               `json:"billing,omitempty"`
	Deployment         *Deployment            `json:"deployment,omitempty"`
}

// RuntimeFile is a file mounted at an absolute path. Data is base64; Encoding
// "utf-8" mounts the decoded text, "base64" mounts the base64 text as it is.
type RuntimeFile struct {
	Data     string `json:"data"`
	Encoding string `json:"encoding"`
}
