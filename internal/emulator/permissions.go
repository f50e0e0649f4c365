package emulator

import "slices"

// permission names a right of the API. Northflank renamed the tree in 2026, so
// each has two names; the switch permissions says which one counts.
type permission string

const (
	rightProjectRead      permission = "project read"
	rightProjectCreate    permission = "project create"
	rightJobRead          permission = "job read"
	rightJobCreate        permission = "job create"
	rightJobUpdate        permission = "job update"
	rightJobDelete        permission = "job delete"
	rightDeploymentUpdate permission = "job deployment update"
	rightRunStart         permission = "run start"
	rightRunAbort         permission = "run abort"
	rightContainers       permission = "containers"
	rightLogs             permission = "logs"
	rightMetrics          permission = "metrics"
	rightEnvRead          permission = "environment read"
	rightEnvUpdate        permission = "environment update"
	rightSecretsCreate    permission = "secrets create"
	rightSecretsList      permission = "secrets list"
	rightRegistries       permission = "registries"
	rightHooksRead        permission = "notifications read"
	rightHooksCreate      permission = "notifications create"
	rightHooksUpdate      permission = "notifications update"
	rightHooksDelete      permission = "notifications delete"
	rightTagsRead         permission = "tags read"
	rightTagsCreate       permission = "tags create"
)

// names returns a right's old and new name. Rights for which one tree states
// nothing carry the other's name (logs and tags in the new tree) or none.
func (p permission) names() (before, since string) {
	switch p {
	case rightProjectRead:
		return same("Project > Projects > Manage > Read")
	case rightProjectCreate:
		return same("Account > Projects > General > Create")
	case rightJobRead:
		return same("Project > Jobs > General > Read")
	case rightJobCreate:
		return same("Project > Jobs > General > Create")
	case rightJobUpdate:
		return same("Project > Jobs > General > Update")
	case rightJobDelete:
		return same("Project > Jobs > General > Delete")
	case rightDeploymentUpdate:
		return "Project > Services > Deployment > Update Deployment", "Project > Jobs > General > Update"
	case rightRunStart:
		return "Project > Jobs > General > Read", "Project > Jobs > General > Run Job"
	case rightRunAbort:
		return "Project > Jobs > Deployment > Deploy Build", "Project > Jobs > General > Update"
	case rightContainers, rightLogs:
		return "Project > Jobs > Deployment > View Instance Logs", "Project > Jobs > Deployment > View Observability"
	case rightMetrics:
		return "Project > Jobs > Deployment > View Instance Metrics", "Project > Jobs > Deployment > View Observability"
	case rightEnvRead:
		return same("Project > Secrets > Jobs > Read")
	case rightEnvUpdate:
		return same("Project > Secrets > Jobs > Update")
	case rightSecretsCreate:
		return "", "Project > Secrets > SecretGroups > Create"
	case rightSecretsList:
		return "", "Project > Secrets > SecretGroups > List"
	case rightRegistries:
		return "Account > Credentials > General > Read", "Account > Cloud > Registries > Read"
	case rightHooksRead:
		return "Account > Team > Notifications > Read", "Account > Observability > Notifications > Read"
	case rightHooksCreate:
		return "Account > Team > Notifications > Manage", "Account > Observability > Notifications > Create"
	case rightHooksUpdate:
		return "Account > Team > Notifications > Manage", "Account > Observability > Notifications > Update"
	case rightHooksDelete:
		return "Account > Team > Notifications > Manage", "Account > Observability > Notifications > Delete"
	case rightTagsRead:
		return same("Account > Tags > General > Read")
	case rightTagsCreate:
		return same("Account > Tags > General > Create")
	}
	return "", ""
}

func same(name string) (string, string) { return name, name }

// missing returns the name of the right that t lacks, "" when it has it.
func (p permission) missing(t *Token, tree string) string {
	before, since := p.names()
	name := since
	if tree == "old" {
		name = before
	}
	if name == "" || t.Permissions == nil || slices.Contains(t.Permissions, name) {
		return ""
	}
	return name
}
