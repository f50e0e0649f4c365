package cli_test

import (
	"strings"
	"testing"

	"github.com/northflank/prefect-northflank/internal/testkit"
)

// Secrets of every source are planted; render shows where they go, masked.
func TestRenderShowsNoSecret(t *testing.T) {
	const planted = "planted-" // is in each of them
	hermetic(t, map[string]string{
		"PREFECT_API_AUTH_STRING":       "admin:planted-auth-string",
		"PREFECT_API_KEY":               "planted-key",
		"PREFECT_CLIENT_CUSTOM_HEADERS": `{"X-Proxy":"planted-header"}`,
		"NORTHFLANK_API_TOKEN":          "planted-environment-token",
	})
	p, api := newServer(t)
	t.Setenv("PREFECT_API_URL", strings.Replace(api, "http://", "http://me:planted-url-password@", 1))
	p.AddBlock("secret", "text", map[string]any{"value": "planted-block"}, "value")
	deployment := p.AddDeployment(testkit.DeploymentSpec{Flow: "my-flow", Name: "my-deployment", Pool: "my-pool", JobVariables: vars{
		"project_id":          "my-project",
		"credentials":         vars{"api_token": "planted-inline-token"},
		"env":                 vars{"DSN": "host=db password={{ prefect.blocks.secret.text }}", "MY_PASSWORD": "planted-by-name"},
		"runtime_environment": vars{"LINE": "a\nplanted-inline-token\nb"},
		"runtime_files":       vars{"/etc/app.conf": "password = {{ prefect.blocks.secret.text }}"},
		"command":             "run --password {{ prefect.blocks.secret.text }}",
	}})
	p.Schedule(testkit.FlowRunSpec{Deployment: deployment})
	for _, format := range []string{"text", "json"} {
		status, stdout, stderr := run(t, "", "render", "--deployment", "my-flow/my-deployment", "--output", format)
		if status != 0 {
			t.Fatalf("render: status %d, %s", status, stderr)
		}
		if strings.Contains(stdout, planted) || strings.Contains(stderr, planted) {
			t.Errorf("a secret is shown in\n%s%s", stdout, stderr)
		}
		for _, shown := range []string{"MY_PASSWORD", "host=db password=***", "PREFECT_API_AUTH_STRING", "run --password ***", "/etc/app.conf"} {
			if !strings.Contains(stdout, shown) {
				t.Errorf("%s is missing in\n%s", shown, stdout)
			}
		}
	}
}
