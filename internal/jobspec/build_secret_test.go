package jobspec

import (
	"errors"
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/secret"
)

func TestBuildKeepsSecretsOutOfTheStoredJob(t *testing.T) {
	t.Parallel()
	const hidden = "block-secret-123"
	for name, value := range map[string]any{
		"name":                            "load " + hidden,
		"description":                     "uses " + hidden,
		"labels":                          map[string]any{"team": hidden},
		"deployment_metadata_annotations": map[string]any{"note": hidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := Build(Input{
				Values: map[string]any{"project_id": "p", name: value}, Secrets: []string{hidden},
				PoolName: "pool", PoolID: "id", WorkerName: "w", FlowRun: Named{"f", "run"}, Flow: Named{"g", "flow"},
				Account: Account{BaseURL: "https://api.northflank.com", Token: secret.New("token-123")},
			})
			var invalid *InvalidError
			if !errors.As(err, &invalid) || invalid.Problems[0].Variable != name || strings.Contains(err.Error(), hidden) {
				t.Errorf("Build() error = %v, want one about %s without the secret", err, name)
			}
		})
	}
}
