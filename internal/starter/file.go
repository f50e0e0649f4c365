package starter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Code says where the containers of flow runs get the flows' code from.
type Code string

// The places that code may come from.
const (
	CodeGit   Code = "git"   // a repository, cloned by each flow run
	CodeImage Code = "image" // the image has it
	CodeLocal Code = "local" // this folder, which only a Northflank on this machine sees
)

// Plan is what prefect.yaml is to say.
type Plan struct {
	Project    string // the folder's name
	Flows      []Flow
	Deployment string // name of each deployment; a number is added for a flow of a name that is taken
	Pool       string

	Code       Code
	Repository string // CodeGit
	Branch     string // CodeGit; "": the repository's own
	Directory  string // CodeImage

	Variables []Variable // job variables of each deployment
}

// Variable is a job variable, which stands on a line of its own.
type Variable struct{ Name, Value string }

// File is the prefect.yaml that deploys the plan's flows.
func (p Plan) File() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# What prefect deploy deploys. Every job variable there is:\n"+
		"# https://github.com/northflank/prefect-northflank/blob/main/docs/reference/job-variables.md\n\n")
	fmt.Fprintf(&b, "name: %s\n\n", scalar(p.Project))
	b.WriteString(p.pull())
	b.WriteString("deployments:\n")
	for i, flow := range p.Flows {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "- name: %s\n  entrypoint: %s\n", scalar(p.deployment(i)), scalar(flow.Entrypoint))
		fmt.Fprintf(&b, "  work_pool:\n    name: %s\n    job_variables:\n", scalar(p.Pool))
		for _, v := range p.Variables {
			fmt.Fprintf(&b, "      %s: %s\n", v.Name, scalar(v.Value))
		}
	}
	return []byte(b.String())
}

// deployment is the name of a flow's deployment. Prefect tells deployments apart
// by it and the flow's name, and the second of two would replace the first.
func (p Plan) deployment(flow int) string {
	number := 1
	for _, earlier := range p.Flows[:flow] {
		if earlier.Name == p.Flows[flow].Name {
			number++
		}
	}
	if number == 1 {
		return p.Deployment
	}
	return fmt.Sprintf("%s-%d", p.Deployment, number)
}

// pull is the section that says where the code comes from.
func (p Plan) pull() string {
	switch p.Code {
	case CodeGit:
		section := "# Each flow run clones the repository. A private one needs an access_token here: see\n" +
			"# https://docs.prefect.io/v3/how-to-guides/deployments/store-flow-code\n" +
			"pull:\n- prefect.deployments.steps.git_clone:\n    repository: " + scalar(p.Repository) + "\n"
		if p.Branch != "" {
			section += "    branch: " + scalar(p.Branch) + "\n"
		}
		return section + "\n"
	case CodeImage:
		return "# The image has the code of this folder there.\n" +
			"pull:\n- prefect.deployments.steps.set_working_directory:\n    directory: " + scalar(p.Directory) + "\n\n"
	}
	return "# Flow runs use the code in this folder, which only a Northflank on this machine sees. On\n" +
		"# the real one, say where the code comes from, for example:\n#\n" +
		"# pull:\n# - prefect.deployments.steps.git_clone:\n#     repository: https://github.com/your-organisation/your-repository.git\n\n"
}

// scalar writes a text in quotes. JSON's are YAML's too.
func scalar(text string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a string always has JSON
	return strings.TrimSpace(b.String())
}
