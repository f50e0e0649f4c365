package jobspec

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

// source is what a job and a job run say about the image. A job run may name
// another image or build, yet not another kind of source, so the kind is the
// job's; the job's own image is a neutral one that no job run uses.
type source struct {
	jobExternal, runExternal *northflank.ExternalImage
	jobInternal, runInternal *northflank.InternalBuild
}

// source reads the image: external or internal, but not both.
func (b *builder) source() source {
	image := northflank.ExternalImage{
		ImagePath:   b.image(),
		Credentials: b.text("deployment_external_credentials"),
	}
	build := northflank.InternalBuild{
		ID:       b.internalID(),
		Branch:   b.text("deployment_internal_branch"),
		BuildSHA: b.commit(),
		BuildID:  b.text("deployment_internal_build_id"),
	}
	if b.isSet("deployment_internal_id") {
		b.checkBuild(build)
		return source{
			jobInternal: &northflank.InternalBuild{ID: build.ID, Branch: build.Branch},
			runInternal: &build,
		}
	}
	for _, name := range []string{"deployment_internal_branch", "deployment_internal_build_sha", "deployment_internal_build_id"} {
		if b.isSet(name) {
			b.add(KindMissing, name, "names a build, but no build service is set", "set deployment_internal_id, or remove it (null overrides the work pool)")
		}
	}
	return source{
		jobExternal: &northflank.ExternalImage{ImagePath: defaultImage},
		runExternal: &image,
	}
}

// checkBuild checks what a build service needs besides its id.
func (b *builder) checkBuild(build northflank.InternalBuild) {
	for _, name := range []string{"deployment_external_image_path", "deployment_external_credentials"} {
		if b.isSet(name) {
			b.add(KindContradiction, name, "an image and a build service (deployment_internal_id) exclude each other", "remove one of them (null overrides the work pool)")
		}
	}
	switch {
	case b.isSet("deployment_internal_build_sha") && build.BuildID != "":
		b.add(KindContradiction, "deployment_internal_build_id", "a build and a commit (deployment_internal_build_sha) exclude each other", "remove one of them (null overrides the work pool)")
	case build.BuildSHA == "latest" && build.Branch == "":
		b.warn(KindAnyBuild, "deployment_internal_build_sha", "latest of which branch is for Northflank to decide; set deployment_internal_branch")
	case build == northflank.InternalBuild{ID: build.ID} && !b.isSet("deployment_internal_build_sha"):
		b.warn(KindAnyBuild, "deployment_internal_id", "which build is run is for Northflank to decide; set deployment_internal_branch, deployment_internal_build_sha or deployment_internal_build_id")
	}
}

// image reads the image path. A missing tag gets a message of its own, being
// what people forget.
func (b *builder) image() string {
	const name = "deployment_external_image_path"
	if !b.isSet(name) {
		return defaultImage
	}
	path, ok := toText(b.in.Values[name])
	path = strings.TrimSpace(path)
	last := path[strings.LastIndex(path, "/")+1:] // a colon before it belongs to the registry's port
	if ok && path != "" && !strings.ContainsAny(last, ":@") {
		b.add(KindValue, name, "has no tag or digest, and Northflank requires one", fmt.Sprintf("add a tag, for example %q", path+":"+suggestedTag(path)))
		return ""
	}
	return b.text(name)
}

func suggestedTag(path string) string {
	repository, tag, _ := strings.Cut(defaultImage, ":")
	if strings.HasSuffix(path, repository) {
		return tag
	}
	return "latest"
}

func (b *builder) internalID() string {
	id := b.text("deployment_internal_id")
	if id != "" && len(id) < 3 {
		b.add(KindValue, "deployment_internal_id", "must have at least 3 characters", "use the ID of the build service, for example \"my-build-service\"")
	}
	return id
}

var (
	fullSHA  = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)
	shortSHA = regexp.MustCompile(`^[0-9a-fA-F]{4,39}$`)
)

// commit reads deployment_internal_build_sha: Northflank takes exactly 40
// characters or "latest".
func (b *builder) commit() string {
	const name = "deployment_internal_build_sha"
	sha := b.text(name)
	switch {
	case sha == "" || fullSHA.MatchString(sha):
		return sha
	case strings.EqualFold(sha, "latest"):
		return "latest"
	case shortSHA.MatchString(sha):
		b.add(KindValue, name, fmt.Sprintf("is a shortened commit SHA of %d characters, and Northflank requires all 40", len(sha)), "get them with: git rev-parse "+sha)
	default:
		b.add(KindValue, name, "must be a commit SHA of 40 characters or latest", "get it with: git rev-parse HEAD")
	}
	return ""
}

type compute struct {
	infrastructure *northflank.Infrastructure
	plan           string
	jobBilling     northflank.Billing
}

// compute reads architecture, deployment plan and GPU. A job run may override
// the plan, so shared jobs hold a neutral one; with a GPU the job holds the
// run's, since Northflank's GPU and plan belong together.
func (b *builder) compute() compute {
	c := compute{
		infrastructure: b.architecture(),
		plan:           b.text("billing_deployment_plan"),
		jobBilling:     northflank.Billing{DeploymentPlan: defaultPlan},
	}
	enabled, _ := b.boolean("billing_gpu_enabled")
	gpuType := b.text("billing_gpu_type")
	count, set := b.integer("billing_gpu_count")
	if !set {
		count = 1
	}
	timesliced, hasTimesliced := b.boolean("billing_gpu_timesliced")
	b.checkPlan(c.plan, enabled, gpuType, count)
	if !enabled {
		return c
	}
	if gpuType == "" && !b.isSet("billing_gpu_type") {
		b.add(KindMissing, "billing_gpu_type", "is not set, although billing_gpu_enabled is true", "set it to the GPU of the deployment plan, for example \"h100-80\"")
	}
	gpu := &northflank.GPU{Enabled: true, Configuration: &northflank.GPUConfiguration{GPUType: gpuType, GPUCount: count}}
	if hasTimesliced {
		gpu.Configuration.Timesliced = &timesliced
	}
	c.jobBilling = northflank.Billing{DeploymentPlan: c.plan, GPU: gpu}
	return c
}

// architecture reads infrastructure_architecture, also under the names that
// Docker and uname have for it. The original worker took all but x86 for arm,
// amd64 included; here an unknown word is an error.
func (b *builder) architecture() *northflank.Infrastructure {
	const name = "infrastructure_architecture"
	text, _ := toText(b.in.Values[name])
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "amd64", "x86_64", "x86-64":
		return &northflank.Infrastructure{Architecture: "x86"}
	case "arm64", "aarch64":
		return &northflank.Infrastructure{Architecture: "arm"}
	}
	if word := b.text(name); word != "" {
		return &northflank.Infrastructure{Architecture: word}
	}
	return nil
}

// gpuPlan is the form of GPU plans: nf-gpu-<type>-<count>g.
var gpuPlan = regexp.MustCompile(`^nf-gpu-(.+)-(\d+)g$`)

// smallPlans have 512 MB of memory or less; importing Prefect takes about 200.
var smallPlans = map[string]int{"nf-compute-10": 256, "nf-compute-20": 512}

// checkPlan warns of plans that do not fit; Northflank knows best, and clusters
// in a user's own cloud have plans of their own.
func (b *builder) checkPlan(plan string, gpu bool, gpuType string, count int) {
	const name = "billing_deployment_plan"
	if megabytes, small := smallPlans[plan]; small {
		b.warnOnce(KindMemory, name, fmt.Sprintf("%s has %d MB of memory, which is tight for Prefect; if flow runs run out of memory use nf-compute-50", plan, megabytes))
	}
	m := gpuPlan.FindStringSubmatch(plan)
	fits := fmt.Sprintf("nf-gpu-%s-%dg", gpuType, count)
	switch {
	case gpu && gpuType != "" && m == nil:
		b.warn(KindGPU, name, fmt.Sprintf("%q is not a GPU plan, although billing_gpu_enabled is true; the plan of this GPU is called %s", plan, fits))
	case gpu && gpuType != "" && plan != fits:
		b.warn(KindGPU, name, fmt.Sprintf("%q does not fit billing_gpu_type %q and billing_gpu_count %d; the plan of this GPU is called %s", plan, gpuType, count, fits))
	case !gpu && m != nil:
		b.warn(KindGPU, name, fmt.Sprintf("%q is a GPU plan, but without billing_gpu_enabled: true the container gets no GPU; set it and billing_gpu_type", plan))
	case !gpu && gpuType != "":
		b.warn(KindGPU, "billing_gpu_type", "has no effect without billing_gpu_enabled: true; set it, or remove the type")
	}
}

func (b *builder) storage() *northflank.Storage {
	var s northflank.Storage
	if size, set := b.integer("deployment_storage_ephemeral_size_mb"); set {
		s.EphemeralStorage = &northflank.EphemeralStorage{StorageSize: size}
	}
	s.ShmSize, _ = b.integer("deployment_storage_shm_size_mb")
	if s == (northflank.Storage{}) {
		return nil
	}
	return &s
}
