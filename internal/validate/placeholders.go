package validate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// outputs of the steps that come with Prefect 3.8 and its collections. Prefect:
// deployments/steps; prefect-docker, prefect-aws, prefect-gcp, prefect-azure:
// deployments/steps.py. What other steps return is not known.
var outputs = map[string][]string{
	"prefect.deployments.steps.run_shell_script":         {"stdout", "stderr"},
	"prefect.deployments.steps.pip_install_requirements": {"stdout", "stderr"},
	"prefect.deployments.steps.git_clone":                {"directory"},
	"prefect.deployments.steps.set_working_directory":    {"directory"},
	"prefect.deployments.steps.pull_from_remote_storage": {"directory"},
	"prefect.deployments.steps.pull_with_block":          {"directory"},
	"prefect_docker.deployments.steps.build_docker_image": {
		"image_name", "tag", "image", "image_id", "additional_tags",
	},
	"prefect_docker.deployments.steps.push_docker_image": {"image_name", "tag", "image", "additional_tags"},
	"prefect_aws.deployments.steps.push_to_s3":           {"bucket", "folder"},
	"prefect_gcp.deployments.steps.push_to_gcs":          {"bucket", "folder"},
	"prefect_azure.deployments.steps.push_to_azure_blob_storage": {
		"container", "folder",
	},
}

// scope is what {{ name }} may mean: outputs of the build and push steps so far.
type scope struct {
	ids  map[string][]string // outputs by a step's id; nil: any
	free map[string]bool     // outputs of all steps, which need no id
	any  bool                // a step may have returned anything
}

func newScope() *scope { return &scope{ids: map[string][]string{}, free: map[string]bool{}} }

// add takes in what a step returns.
func (s *scope) add(st step) {
	returned, known := outputs[st.function]
	if id, ok := st.inputs.object.get("id"); ok {
		if text, isText := id.value.text(); isText {
			s.ids[text] = returned
		}
	}
	s.any = s.any || !known
	for _, name := range returned {
		s.free[name] = true
	}
}

// defines reports whether a name means something, and if not, what may have
// been meant.
func (s *scope) defines(name string) (ok bool, next string) {
	first, path, _ := strings.Cut(name, ".")
	first, _, _ = strings.Cut(first, "[")
	if returned, isStep := s.ids[first]; isStep {
		output, _, _ := strings.Cut(path, ".")
		if returned == nil || output == "" || slices.Contains(returned, output) {
			return true, ""
		}
		if near, ok := jobspec.NearestName(output, returned); ok {
			return false, fmt.Sprintf("did you mean {{ %s.%s }}?", first, near)
		}
		return false, fmt.Sprintf("step %s returns %s", first, strings.Join(returned, ", "))
	}
	if s.any || s.free[first] {
		return true, ""
	}
	if near, ok := jobspec.NearestName(first, slices.Concat(sortedKeys(s.ids), sortedKeys(s.free))); ok {
		return false, fmt.Sprintf("did you mean {{ %s%s }}?", near, strings.TrimPrefix(name, first))
	}
	return false, "name an output of a build or push step (its id, a dot and the output), {{ $NAME }} for an environment variable, or {{ prefect.variables.NAME }}"
}

// fate is what becomes of a value at prefect deploy.
type fate int

const (
	known   fate = iota
	unknown      // it gets a value, which is not known here
	dropped      // it gets none and vanishes
)

// resolver does to a value what prefect deploy does.
type resolver struct {
	world    *world
	source   *source
	findings *findings
	scope    *scope
	secrets  *[]string // gets what must not be shown
}

// text resolves the placeholders of one text; variable is the job variable that
// it stands in, "" elsewhere. Blocks stay, for [prefect.BuildConfiguration] to
// put in.
func (r *resolver) text(ctx context.Context, v *value, variable string) (any, fate) {
	text, _ := v.text()
	found := prefect.FindPlaceholders(text)
	r.checkBraces(v, variable, found)
	result, uncertain := text, false
	for _, p := range found {
		with, fate := r.placeholder(ctx, v, variable, p)
		whole := p.Text == text
		switch {
		case whole && fate != known:
			return nil, fate
		case whole && p.Kind != prefect.EnvPlaceholder:
			return with, known
		case fate != known: // what is dropped was objected to
			uncertain = true
		default:
			if s, isText := with.(string); isText {
				result = strings.ReplaceAll(result, p.Text, s)
			} else {
				uncertain = true
			}
		}
	}
	if uncertain {
		return nil, unknown
	}
	return result, known
}

// placeholder is what one placeholder becomes.
func (r *resolver) placeholder(ctx context.Context, v *value, variable string, p prefect.Placeholder) (any, fate) {
	at := r.source.find(v, p.Text)
	switch p.Kind {
	case prefect.BlockPlaceholder:
		if r.block(ctx, p, at) {
			return p.Text, known
		}
		return nil, unknown
	case prefect.VariablePlaceholder:
		return r.variable(ctx, p, at)
	case prefect.EnvPlaceholder:
		return r.environment(p, at)
	}
	if strings.HasPrefix(p.Name, "ctx.") {
		if variable != "" && variable != "name" {
			r.findings.add(Warning, CodePlaceholder, at, fmt.Sprintf("{{ %s }} is replaced in the job variable name only, and stays as it is here", p.Name), "remove it; PREFECT__FLOW_RUN_ID and the like are in the container's environment")
		}
		return p.Text, known
	}
	if text, set := r.world.env(p.Name); set { // prefect deploy takes these without the dollar too
		r.hide(p.Name, text)
		return text, known
	}
	ok, next := r.scope.defines(p.Name)
	if ok {
		return nil, unknown
	}
	r.findings.add(Error, CodePlaceholder, at, fmt.Sprintf("nothing defines {{ %s }}, so that prefect deploy puts nothing in its place", p.Name), next)
	return nil, dropped
}

func (r *resolver) environment(p prefect.Placeholder, at Span) (any, fate) {
	name := strings.TrimLeft(p.Name, "$")
	if text, set := r.world.env(name); set {
		r.hide(name, text)
		return text, known
	}
	r.findings.add(Warning, CodeEnvironment, at, fmt.Sprintf("the environment variable %s is not set here; where it is not set, prefect deploy puts nothing in its place", name), "set it where prefect deploy runs")
	return nil, unknown
}

func (r *resolver) hide(name, text string) {
	if jobspec.LooksSecret(name, text) {
		*r.secrets = append(*r.secrets, text)
	}
}

// block reports whether Prefect has the block that a placeholder names.
func (r *resolver) block(ctx context.Context, p prefect.Placeholder, at Span) bool {
	slug, name, _ := strings.Cut(strings.TrimPrefix(p.Name, "prefect.blocks."), ".")
	name, _, _ = strings.Cut(name, ".")
	if slug == "" || name == "" {
		r.findings.add(Error, Code(jobspec.KindBlock), at, p.Text+" names no block", "write {{ prefect.blocks.TYPE.NAME }}")
		return false
	}
	if exists, asked := r.world.hasBlock(ctx, slug, name); exists || !asked {
		return exists
	}
	next := "create it, or correct its name; prefect block ls shows all"
	if slug == jobspec.BlockTypeSlug {
		next = "create it with: prefect-northflank credentials save " + name
	}
	if near, ok := jobspec.NearestName(name, r.world.blockNames(ctx, slug)); ok {
		next = fmt.Sprintf("did you mean %q? Otherwise %s", near, next)
	}
	r.findings.add(Error, Code(jobspec.KindBlock), at, fmt.Sprintf("there is no block %q of type %s", name, slug), next)
	return false
}

func (r *resolver) variable(ctx context.Context, p prefect.Placeholder, at Span) (any, fate) {
	name := strings.TrimPrefix(p.Name, "prefect.variables.")
	content, exists, asked := r.world.variable(ctx, name)
	switch {
	case !asked:
		return nil, unknown
	case exists:
		return content, known
	}
	r.findings.add(Error, CodeVariable, at, fmt.Sprintf("there is no Prefect variable %q, so that an empty text takes its place", name), "create it with: prefect variable set "+name+" VALUE")
	return nil, unknown
}

// checkBraces notes what looks like a placeholder and is none.
func (r *resolver) checkBraces(v *value, variable string, found []prefect.Placeholder) {
	text, _ := v.text()
	if variable == "runtime_files" { // other templates' braces
		return
	}
	begins := map[int]bool{}
	for _, p := range found {
		begins[p.At] = true
	}
	for from := 0; ; {
		i := strings.Index(text[from:], "{{")
		if i < 0 {
			return
		}
		if i += from; begins[i] {
			from = i + 2
			continue
		}
		shown, _, closed := strings.Cut(text[i:], "}}")
		if closed {
			shown += "}}"
		}
		next := "a placeholder is {{, one name of letters, digits and . _ - [ ] $, and }}"
		r.findings.add(Warning, CodeNoValue, r.source.find(v, shown), fmt.Sprintf("%q is no placeholder for Prefect, and stays as it is", shorten(shown)), next)
		return
	}
}

func shorten(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}

// refer checks what texts outside the job variables name.
func (r *resolver) refer(ctx context.Context, v *value) {
	v.texts(func(in *value, _ string) { _, _ = r.text(ctx, in, "") })
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
