package worker

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// HoldsToken reports whether job variables hold the content of a Northflank
// block rather than a reference to one: the API token in clear, for everybody
// who may read them. prefect deploy writes them so, when prefect.yaml says
// credentials: "{{ prefect.blocks.northflank.NAME }}".
func HoldsToken(jobVariables map[string]any) bool {
	credentials, _ := jobVariables[varCredentials].(map[string]any)
	token, _ := credentials["api_token"].(string)
	return strings.Trim(token, "*") != "" && !strings.Contains(token, "{{")
}

// WithoutToken says how deployments of a pool get rid of the API token.
func WithoutToken(pool prefect.WorkPool) string {
	const remedy = "write credentials_block: NAME in the place of credentials and run prefect deploy again"
	if isEmptyObject(pool.BaseJobTemplate) || bytes.Contains(pool.BaseJobTemplate, []byte(`"`+varCredentialsBlock+`"`)) {
		return remedy
	}
	return "run prefect-northflank pool upgrade " + pool.Name + ", then " + remedy
}

// clearTokens warns of job variables that hold the API token in clear.
func clearTokens(pool prefect.WorkPool, fr prefect.FlowRun, p *Prepared) []jobspec.Warning {
	var warnings []jobspec.Warning
	warn := func(holder string) {
		warnings = append(warnings, jobspec.Warning{Kind: jobspec.KindSecret, Variable: varCredentials, Once: true, Of: holder, Text: fmt.Sprintf(
			"the API token is stored in clear in the job variables of %s; %s", holder, WithoutToken(pool),
		)})
	}
	if p.Deployment != nil && HoldsToken(p.Deployment.JobVariables) {
		warn(fmt.Sprintf("deployment %q", p.Flow.Name+"/"+p.Deployment.Name))
	}
	if HoldsToken(fr.JobVariables) {
		warn(fmt.Sprintf("flow run %q", fr.Name))
	}
	return warnings
}
