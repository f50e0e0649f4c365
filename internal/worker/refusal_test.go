package worker

import (
	"errors"
	"fmt"
	"testing"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

func TestRefusedVariables(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	complaint := []any{"is not allowed"}
	tests := []struct {
		name    string
		details any
		want    string
	}{
		{"dotted", object{"billing.deploymentPlan": complaint}, "The field is set by job variable billing_deployment_plan."},
		{"nested", object{"billing": object{"deploymentPlan": complaint}}, "The field is set by job variable billing_deployment_plan."},
		{
			"two",
			object{"deployment": object{"storage.shmSize": complaint}, "tags": complaint},
			"The fields are set by job variables tags, deployment_storage_shm_size_mb.",
		},
		{"nobody's", object{"billing.unheardOf": complaint}, ""},
		{"a text", "no such plan", ""},
		{"nothing", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := fmt.Errorf("start job run: %w", &northflank.Error{Status: 400, Details: tt.details})
			if got := refusedVariables(err); got != tt.want {
				t.Errorf("refusedVariables = %q, want %q", got, tt.want)
			}
		})
	}
	if got := refusedVariables(errors.New("no route to host")); got != "" {
		t.Errorf("refusedVariables of another error = %q, want none", got)
	}
}
