package validate

import (
	"slices"
	"strings"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// checkSecrets notes secrets that stand in the file, or that prefect deploy
// will put into the deployment.
func (v *variables) checkSecrets(m member, top string) {
	switch top {
	case varCredentials:
		v.checkCredentials(m)
	case "env", "runtime_environment":
		if m.key != top {
			v.checkSecret(m, strings.TrimPrefix(m.key, top+"."), m.key)
		} else if m.value.object != nil {
			for _, item := range m.value.object.members {
				v.checkSecret(item, item.key, top+"."+item.key)
			}
		}
	}
}

// aboutSecrets are ends of names of variables that say where a secret is, or
// what it is called.
var aboutSecrets = []string{"_file", "_path", "_name", "_id", "_url", "_arn"}

func (v *variables) checkSecret(m member, name, variable string) {
	if !jobspec.LooksSecret(name, m.value.written) || len(prefect.FindPlaceholders(m.value.written)) > 0 {
		return
	}
	v.secrets = append(v.secrets, m.value.written)
	isAbout := func(end string) bool { return strings.HasSuffix(strings.ToLower(name), end) }
	if slices.ContainsFunc(aboutSecrets, isAbout) && !jobspec.LooksSecret("", m.value.written) {
		return
	}
	v.findings.about(variable, Warning, Code(jobspec.KindSecret), m.keyAt,
		"holds what looks like a secret in clear, for everybody who may read this file or the deployment",
		`keep it in a block and write "{{ prefect.blocks.secret.NAME }}", or let a Northflank secret group set it`)
}

// blockName is the name in prefect.blocks.<type>.<name>[.<path>].
func blockName(placeholder string) string {
	parts := strings.Split(placeholder, ".")
	return parts[min(3, len(parts)-1)]
}

func (v *variables) checkCredentials(m member) {
	if token, ok := m.value.object.get("api_token"); ok {
		if text, _ := token.value.text(); strings.Trim(text, "*") != "" && len(prefect.FindPlaceholders(text)) == 0 {
			v.secrets = append(v.secrets, text)
			v.findings.about(varCredentials, Warning, Code(jobspec.KindSecret), token.keyAt,
				"the API token stands here in clear, for everybody who may read this file or the deployment",
				"revoke the token in Northflank, save a new one with prefect-northflank credentials save NAME, and write credentials_block: NAME in the place of credentials")
		}
		return
	}
	text, _ := m.value.text()
	found := prefect.FindPlaceholders(text)
	if len(found) == 0 {
		v.secrets = append(v.secrets, text) // a token, most likely
		return
	}
	if found[0].Kind == prefect.BlockPlaceholder {
		v.findings.about(varCredentials, Warning, Code(jobspec.KindSecret), m.value.at,
			"prefect deploy stores the block's content in the deployment, the API token in clear",
			strings.ReplaceAll(worker.WithoutToken(v.pool), ": NAME ", ": "+blockName(found[0].Name)+" "))
	}
}
