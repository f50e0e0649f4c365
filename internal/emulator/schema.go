package emulator

import (
	"slices"
	"strings"
)

// The bodies of the API as tables. Source: Northflank docs, API reference of
// each endpoint. No bounds are published for numbers; negative ones are
// refused here.

var gpuFields = []field{
	{name: "enabled", kind: boolean},
	{name: "configuration", kind: object, of: []field{
		{name: "gpuType", required: true},
		{name: "gpuCount", kind: integer, min: 1},
		{name: "timesliced", kind: boolean},
	}},
}

var dockerFields = []field{
	{name: "configType", enum: []string{"default", "customEntrypoint", "customCommand", "customEntrypointCustomCommand"}, required: true},
	{name: "customEntrypoint"},
	{name: "customCommand"},
}

var buildpackFields = []field{
	{name: "configType", enum: []string{"default", "customProcess", "customCommand", "customEntrypointCustomCommand", "originalEntrypointCustomCommand"}, required: true},
	{name: "customProcess"},
	{name: "customEntrypoint"},
	{name: "customCommand"},
}

var storageFields = []field{
	{name: "ephemeralStorage", kind: object, of: []field{{name: "storageSize", kind: integer}}},
	{name: "shmSize", kind: integer},
	{name: "useHdbStorage", kind: boolean},
	{name: "usePdSsdStorage", kind: boolean},
}

// sourceFields are what a container is made of, on a job, a job run and POST
// /jobs/{job}/deployment.
var sourceFields = []field{
	{name: "external", kind: object, of: []field{
		{name: "imagePath", pattern: patternImage, required: true},
		{name: "credentials", pattern: patternCred},
	}},
	{name: "internal", kind: object, of: []field{
		{name: "id", pattern: patternRef, min: 3, max: 54, required: true},
		{name: "branch"},
		{name: "buildSHA"},
		{name: "buildId"},
	}, also: shaOrLatest},
	{name: "docker", kind: object, of: dockerFields, also: commandGiven},
	{name: "buildpack", kind: object, of: buildpackFields, also: commandGiven},
}

var jobDeployment = field{name: "deployment", kind: object, also: oneSource, of: slices.Concat(sourceFields, []field{
	{name: "vcs", kind: open},
	{name: "storage", kind: object, of: storageFields},
	{name: "gpu", kind: object, of: gpuFields},
	{name: "gracePeriodSeconds", kind: integer},
	{name: "metadata", kind: object, of: []field{{name: "labels", kind: textMap}, {name: "annotations", kind: textMap}}},
})}

var cronFields = []field{
	{name: "schedule", required: true},
	{name: "suspended", kind: boolean},
	{name: "concurrencyPolicy", enum: []string{"allow", "forbid", "replace"}},
}

var runOnSourceChange = field{name: "runOnSourceChange", enum: []string{"never", "cd-promote", "always"}}

var settingsFields = []field{
	{name: "backoffLimit", kind: integer, required: true},
	runOnSourceChange,
	{name: "activeDeadlineSeconds", kind: integer, nullable: true},
	{name: "cron", kind: object, of: cronFields},
}

var jobName = field{name: "name", pattern: patternName, min: 3, max: 52, required: true}

// jobFields is the body of POST and PUT /jobs.
var jobFields = slices.Concat(jobCommon, []field{
	jobName,
	{name: "infrastructure", kind: object, of: []field{{name: "architecture", enum: []string{"x86", "arm"}}}},
	billing(true),
	jobDeployment,
	{name: "settings", kind: object, of: settingsFields},
})

// typedJobFields is the body of POST and PUT /jobs/manual and /jobs/cron, which
// hold at the top what /jobs holds in settings.
func typedJobFields(cron bool) []field {
	fields := slices.Concat(jobCommon, []field{
		jobName,
		{name: "infrastructure", kind: object, of: []field{{name: "architecture", enum: []string{"x86", "arm"}}}},
		billing(true),
		jobDeployment,
		{name: "backoffLimit", kind: integer, required: true},
		runOnSourceChange,
		{name: "activeDeadlineSeconds", kind: integer, nullable: true},
	})
	if cron {
		fields = slices.Concat(fields, cronFields)
	}
	return fields
}

// jobPatchFields is the body of PATCH /jobs/{job}: no name, no infrastructure,
// no deployment.
var jobPatchFields = slices.Concat(jobCommon, []field{
	billing(false),
	{name: "settings", kind: object, of: optional(settingsFields)},
})

var jobCommon = []field{
	{name: "description", pattern: patternDesc, max: 200},
	{name: "stageId", pattern: patternSlug, min: 3, max: 100},
	{name: "tags", kind: list, of: []field{{pattern: patternSlug, min: 3, max: 100}}},
	{name: "runtimeEnvironment", kind: textMap, pattern: patternEnvKey},
	{name: "runtimeFiles", kind: fileMap},
	{name: "healthChecks", kind: list, of: []field{{kind: object, of: healthCheckFields}}},
	{name: "dockerSecretMounts", kind: open},
	{name: "buildArguments", kind: open},
	{name: "buildFiles", kind: open},
	{name: "buildConfiguration", kind: open},
	{name: "buildSettings", kind: open},
	{name: "disabledCI", kind: boolean},
}

var healthCheckFields = []field{
	{name: "protocol", enum: []string{"HTTP", "CMD", "TCP"}, required: true},
	{name: "type", enum: []string{"livenessProbe", "readinessProbe", "startupProbe"}, required: true},
	{name: "path"},
	{name: "port", kind: integer, min: 1, max: 65535},
	{name: "cmd"},
	{name: "initialDelaySeconds", kind: integer, required: true},
	{name: "periodSeconds", kind: integer, required: true},
	{name: "timeoutSeconds", kind: integer, required: true},
	{name: "failureThreshold", kind: integer, required: true},
	{name: "successThreshold", kind: integer},
}

// runFields is the body of POST /jobs/{job}/runs. gpu is known to the Python
// SDK alone.
var runFields = []field{
	{name: "runtimeEnvironment", kind: textMap, pattern: patternEnvKey},
	{name: "runtimeFiles", kind: fileMap},
	{name: "dockerSecretMounts", kind: open},
	{name: "billing", kind: object, of: []field{{name: "deploymentPlan", kind: text}}},
	{name: "deployment", kind: object, also: oneSource, of: slices.Concat(sourceFields, []field{
		{name: "storage", kind: object, of: storageFields},
		{name: "gpu", kind: object, of: gpuFields},
	})},
}

// deploymentFields is the body of POST /jobs/{job}/deployment.
var deploymentFields = sourceFields

var environmentFields = []field{
	{name: "runtimeEnvironment", kind: textMap, pattern: patternEnvKey},
	{name: "runtimeFiles", kind: fileMap},
}

var resumeFields = []field{
	{name: "suspended", kind: boolean},
	{name: "disabledCI", kind: boolean},
	{name: "disabledCD", kind: boolean},
}

var projectFields = []field{
	{name: "name", pattern: patternName, min: 3, max: 39, required: true},
	{name: "description", pattern: patternDesc, max: 200},
	{name: "color"},
	{name: "region"},
	{name: "clusterId"},
}

var tagFields = []field{
	{name: "name", pattern: patternName2, min: 3, max: 100, required: true},
	{name: "color"},
	{name: "description", pattern: patternDesc, max: 200},
}

var secretFields = []field{
	{name: "name", pattern: patternName2, min: 3, max: 100, required: true},
	{name: "description", pattern: patternDesc, max: 200},
	{name: "secretType", enum: []string{"environment", "arguments", "environment-arguments"}, required: true},
	{name: "priority", kind: integer, max: 100, required: true},
	{name: "type", enum: []string{"secret", "config"}},
	{name: "stageId", pattern: patternSlug, min: 3, max: 100},
	{name: "tags", kind: list, of: []field{{pattern: patternSlug, min: 3, max: 100}}},
	{name: "restrictions", kind: object, of: []field{
		{name: "restricted", kind: boolean},
		{name: "nfObjects", kind: list, of: []field{{kind: object, of: []field{
			{name: "id", required: true},
			{name: "type", enum: []string{"service", "job"}, required: true},
		}}}},
		{name: "tags", kind: list, of: []field{{kind: text}}},
		{name: "tagMatchCondition", enum: []string{"or", "and"}},
		{name: "stageIds", kind: list, of: []field{{kind: text}}},
	}},
	{name: "secrets", kind: object, of: []field{
		{name: "variables", kind: textMap, pattern: patternEnvKey},
		{name: "files", kind: fileMap},
		{name: "dockerSecretMounts", kind: open},
	}},
}

var secretPatchFields = optional(without(secretFields, "name"))

func billing(whole bool) field {
	return field{name: "billing", kind: object, required: whole, of: []field{
		// The pattern of the docs (SLUG) refuses nf-gpu-rtx_pro_6000-96-8g, which
		// is a plan; plans are checked against the catalogue instead.
		{name: "deploymentPlan", required: whole},
		{name: "buildPlan", pattern: patternSlug},
		{name: "gpu", kind: object, of: gpuFields},
	}}
}

func oneSource(members map[string]any) (string, string) {
	_, external := members["external"]
	_, internal := members["internal"]
	_, vcs := members["vcs"]
	if external && (internal || vcs) || internal && vcs {
		return "external", "conflicts with another source: only one of [external, internal, vcs] is allowed"
	}
	return "", ""
}

func shaOrLatest(members map[string]any) (string, string) {
	if sha, ok := members["buildSHA"].(string); ok && sha != "latest" && len(sha) != 40 {
		return "buildSHA", `must be "latest" or 40 characters long`
	}
	return "", ""
}

// commandGiven holds for docker and buildpack: what configType announces must be there.
func commandGiven(members map[string]any) (string, string) {
	configType, _ := members["configType"].(string)
	for _, word := range []string{"Entrypoint", "Command", "Process"} {
		name := "custom" + word
		announced := strings.HasPrefix(configType, name) || strings.HasSuffix(configType, "Custom"+word)
		if _, given := members[name]; announced && !given {
			return name, "is required"
		}
	}
	return "", ""
}

func optional(fields []field) []field {
	all := slices.Clone(fields)
	for i := range all {
		all[i].required = false
	}
	return all
}

func without(fields []field, name string) []field {
	return slices.DeleteFunc(slices.Clone(fields), func(f field) bool { return f.name == name })
}
