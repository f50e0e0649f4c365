package jobspec

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestReferencePage keeps docs/reference/job-variables.md as the table says;
// -update writes it.
func TestReferencePage(t *testing.T) {
	t.Parallel()
	golden(t, "../../docs/reference/job-variables.md", []byte(referencePage()))
}

const referenceHead = `<!-- Produced from internal/jobspec by: go test ./internal/jobspec -update -->

# Job variables

A job variable is set, from weakest to strongest, as a default of the work pool, in a deployment's ` + "`job_variables`" + `
(prefect.yaml), or for one flow run. ` + "`null`" + ` overrides a value set further down. See what comes out, and where each
value is from, with ` + "`prefect-northflank render`" + `.

Names follow Northflank's API, flattened: ` + "`billing.deploymentPlan`" + ` is ` + "`billing_deployment_plan`" + `. The 28 job variables of
prefect-northflank 1.0.1 are all here, with their types and defaults; those marked * are new.

**Level** says what a value decides about:

- **job run**: it travels with each flow run, and flow runs that differ in it still share a Northflank job.
- **job**: Northflank knows it only for a job as a whole, so flow runs that differ in it get jobs of their own.
- **worker**: Northflank never sees it.

Values are read leniently: ` + "`\"3\"`" + ` and ` + "`3.0`" + ` are 3, ` + "`\"yes\"`" + ` is true, and words such as ` + "`ARM`" + ` may be in any case. An unknown job variable
is ignored with a warning that names the nearest one. A known one with an impossible value ends the flow run as Crashed
before anything is sent to Northflank.
`

const referenceTail = `
## Which image runs

Either an image (` + "`deployment_external_image_path`" + `) or a build of a Northflank build service (` + "`deployment_internal_id`" + `), not both. With neither:
` + "`" + defaultImage + "`" + `. The image must hold Prefect and, unless the flow is fetched by a pull step, the flow's code.

## Which command runs

The first of these that is set: ` + "`deployment_docker_custom_command`, `command`, `" + defaultCommand + "`" + `. Northflank starts it without a shell. For shell
syntax:

` + "```yaml" + `
deployment_docker_custom_entrypoint: "sh -c"
deployment_docker_custom_command: "'pip install -r requirements.txt && prefect flow-run execute'"
` + "```" + `

## Environment

Later wins: the Prefect settings of the worker (` + "`PREFECT_API_URL`, `PREFECT_API_KEY`" + ` and the like), what identifies the flow run
(` + "`PREFECT__FLOW_RUN_ID`" + ` and the like), ` + "`env`, `runtime_environment`" + `. ` + "`null`" + ` removes a variable. All of it is sent with the job run and none is
stored in the job, where others could read it.

Northflank replaces ` + "`${NAME}`" + ` in values, and nothing can be escaped. A value with ` + "`${`" + ` is therefore refused, unless
` + "`runtime_environment_templates: true`" + ` says that this is wanted. A file given in ` + "`runtime_files`" + ` may hold any text.

## Retries

Three things retry, and they do not know of each other: Prefect runs the flow or a task again (` + "`retries`" + ` in Python, the place for
retries), the worker starts a container again that failed before the flow began (` + "`start_retries`" + `), and Northflank starts a failed
container again (` + "`settings_backoff_limit`" + `), which would run a finished flow a second time and is therefore off unless you set it.
`

func referencePage() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, section := range []Section{
		SectionAccount, SectionImage, SectionCommand, SectionEnvironment,
		SectionCompute, SectionJob, SectionLimits, SectionWorker,
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| Variable | Type | Default | Level | Meaning | Goes to |\n|---|---|---|---|---|---|\n", section)
		for _, v := range Variables() {
			if v.Section == section {
				b.WriteString(referenceRow(v))
			}
		}
	}
	b.WriteString(referenceTail)
	return b.String()
}

func referenceRow(v Variable) string {
	name := "`" + v.Name + "`"
	if !v.Original {
		name += " *"
	}
	fallback := ""
	if v.Default != nil {
		text, _ := json.Marshal(v.Default)
		fallback = "`" + string(text) + "`"
	}
	meaning := v.Description
	switch {
	case len(v.OneOf) > 0:
		meaning += " One of `" + strings.Join(v.OneOf, "`, `") + "`."
	case v.Max == maxInt32:
		meaning += fmt.Sprintf(" At least %d.", v.Min)
	case v.Max > 0:
		meaning += fmt.Sprintf(" %d to %d.", v.Min, v.Max)
	case v.Constraint != "" && v.Type != TypeCredentials:
		meaning += " Must be " + v.Constraint + "."
	}
	place := v.Place
	if !strings.Contains(place, " ") && place != "none" {
		place = "`" + place + "`"
	}
	row := []string{name, string(v.Type), fallback, string(v.Level), meaning, place}
	for i := range row {
		row[i] = strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(row[i])
	}
	return "| " + strings.Join(row, " | ") + " |\n"
}

// A section that the page does not list would lose its variables.
func TestReferencePageHasEveryVariable(t *testing.T) {
	t.Parallel()
	page := referencePage()
	for _, v := range Variables() {
		if !strings.Contains(page, "| `"+v.Name+"`") {
			t.Errorf("the reference page lacks %s", v.Name)
		}
	}
}
