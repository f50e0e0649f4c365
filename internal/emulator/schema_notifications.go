package emulator

import (
	"slices"
	"strings"
)

// notificationFields is the body of POST /integrations/notifications.
var notificationFields = slices.Concat(notificationCommon, []field{
	{name: "type", enum: []string{"RAW_WEBHOOK", "DISCORD", "TEAMS", "TEAMS_WORKFLOWS"}, required: true},
})

// notificationUpdateFields: the type stays, and nothing has to be given.
var notificationUpdateFields = optional(notificationCommon)

var notificationCommon = []field{
	{name: "name", pattern: patternName, min: 3, max: 39, required: true},
	{name: "webhook", required: true},
	{name: "secret"},
	{name: "restricted", kind: boolean},
	{name: "projects", kind: list, of: []field{{pattern: patternCred}}},
	{name: "events", kind: object, required: true, of: triggerFields()},
	{name: "restrictions", kind: object, of: []field{{name: "tags", kind: object, of: []field{
		{name: "enabled", kind: boolean},
		{name: "items", kind: list, of: []field{{pattern: patternSlug, min: 3, max: 100}}},
		{name: "matchCondition", enum: []string{"or", "and"}},
	}}}},
}

// triggerFields are the events that an integration can ask for.
func triggerFields() []field {
	var fields []field
	for _, group := range []struct{ prefix, events string }{
		{"", "service:autoscaling:event service:deployment:status-update project:tailscale-regen-failure log-sink:paused"},
		{"addon-backup:", "start success failure abort"},
		{"build:", "start success failure abort"},
		{"job-run:", "start success failure abort terminate"},
		{"release-flow-template-run:", "start update success failure aborted"},
		{"template-run:", "queued start update success failure"},
		{"resource:", "certificate-success certificate-final-failure"},
		{"cdn:", "action-success action-failure action-delay"},
		{"billing:", "billing-alert-exceeded invoice-payment-action-required invoice-payment-failed invoice-paid invoice-carried-over"},
		{"infrastructure:", "byoc:cluster:error byoc:node-pool:error byoc:scheduling:error"},
		{"infrastructure:service:container-", "crash eviction memorySpike90 memorySustained90 cpuSpike90 cpuSustained90"},
		{"infrastructure:addon:container-", "crash eviction cpuSpike90 cpuSustained90"},
		{"infrastructure:job:container-", "crash eviction memorySpike90 memorySustained90 cpuSpike90 cpuSustained90"},
		{"infrastructure:build:container-", "eviction memorySpike90 memorySustained90 cpuSpike90 cpuSustained90"},
		{"infrastructure:addon-volume:usage-", "75-exceeded 90-exceeded"},
		{"infrastructure:platform-volume:usage-", "75-exceeded 90-exceeded"},
	} {
		for event := range strings.FieldsSeq(group.events) {
			fields = append(fields, field{name: triggerPrefix + group.prefix + event, kind: boolean})
		}
	}
	return fields
}
