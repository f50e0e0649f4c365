//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// examined is what doctor --output json prints.
type examined struct {
	Results []struct{ Check, Status, Message string }
}

func (f *fixture) examine(t *testing.T) (status, message map[string]string) {
	t.Helper()
	out, err := f.tryProgram("", "doctor", "--pool", f.pool, "--output", "json")
	if strings.Contains(out, guardedAuth) || err != nil && strings.Contains(err.Error(), guardedAuth) {
		t.Errorf("the report shows a password: %s", out)
	}
	var report examined
	if json.Unmarshal([]byte(out), &report) != nil || len(report.Results) == 0 {
		t.Fatalf("doctor printed %q, %v; want a report", out, err)
	}
	status, message = map[string]string{}, map[string]string{}
	for _, r := range report.Results {
		status[r.Check], message[r.Check] = r.Status, r.Message
	}
	return status, message
}

// The doctor finds nothing wrong with a real server that wants a password and
// CSRF tokens, and finds what is, when something is.
func TestDoctor(t *testing.T) {
	t.Parallel()
	f := newGuardedFixture(t)
	status, message := f.examine(t)
	for check, s := range status {
		wanted := s == "ok" || s == "skipped" || check == "workers" && s == "warning" // none was started
		if !wanted {
			t.Errorf("%s: %s %s", check, s, message[check])
		}
	}
	for _, check := range []string{"prefect-login", "prefect-csrf", "prefect-events", "prefect-channel", "pool", "northflank-token", "budget"} {
		if status[check] != "ok" {
			t.Errorf("%s: %q, want ok", check, status[check])
		}
	}

	for _, tt := range []struct{ setting, value, check string }{
		{"PREFECT_API_AUTH_STRING", "admin:wrong", "prefect-login"},
		{"PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "false", "prefect-csrf"},
		{"PREFECT_API_URL", strings.TrimSuffix(f.settings["PREFECT_API_URL"], "/api"), "prefect-api"},
		{"NORTHFLANK_API_TOKEN", "wrong", "northflank-token"},
	} {
		before, given := f.settings[tt.setting]
		f.settings[tt.setting] = tt.value
		if status, _ := f.examine(t); status[tt.check] != "failure" {
			t.Errorf("%s=%s: %s is %q, want failure", tt.setting, tt.value, tt.check, status[tt.check])
		}
		if f.settings[tt.setting] = before; !given {
			delete(f.settings, tt.setting)
		}
	}
}
