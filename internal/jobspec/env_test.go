package jobspec

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

func TestEnvironmentPrecedence(t *testing.T) {
	t.Parallel()
	in := inputOf(valid(vars{
		"env": vars{
			"B": "env", "C": "env", "D": nil, "PREFECT_LOGGING_LEVEL": nil, "PREFECT__FLOW_NAME": "mine",
			"BOOL": true, "INT": json.Number("5"), "FLOAT": json.Number("1e16"), "EMPTY": "",
		},
		"runtime_environment": vars{"C": "runtime", "D": "back", "PREFECT_API_URL": "http://other/api"},
	}))
	in.SettingsEnv = map[string]string{
		"A": "settings", "B": "settings", "C": "settings", "D": "settings",
		"PREFECT_API_URL": "http://prefect/api", "PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT__WORKER_NAME": "spoofed",
	}
	in.WorkerID = "w-1"
	in.Deployment = Named{}
	in.Origins["env.B"] = Origin{Source: FromFlowRun, Via: "variable b"}
	spec := mustBuild(t, in)
	want := map[string]string{
		"A": "settings", "B": "env", "C": "runtime", "D": "back",
		"BOOL": "True", "INT": "5", "FLOAT": "1e+16", "EMPTY": "",
		"PREFECT_API_URL": "http://other/api", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
		"PREFECT__FLOW_RUN_ID": in.FlowRun.ID, "PREFECT__WORKER_NAME": "worker 1", "PREFECT__WORKER_ID": "w-1",
		"PREFECT__FLOW_ID": in.Flow.ID, "PREFECT__FLOW_NAME": "mine",
	}
	if diff := cmp.Diff(want, spec.Run.RuntimeEnvironment); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	wantOrigins := map[string]string{
		"A": FromSettings, "B": "flow run via variable b", "C": FromDeployment, "D": FromDeployment,
		"BOOL": FromDeployment, "INT": FromDeployment, "FLOAT": FromDeployment, "EMPTY": FromDeployment,
		"PREFECT_API_URL": FromDeployment, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": FromWorker, "PREFECT__FLOW_RUN_ID": FromWorker, "PREFECT__WORKER_NAME": FromWorker,
		"PREFECT__WORKER_ID": FromWorker, "PREFECT__FLOW_ID": FromWorker, "PREFECT__FLOW_NAME": FromDeployment,
	}
	got := map[string]string{}
	for name, from := range spec.EnvOrigins {
		got[name] = from.String()
	}
	if diff := cmp.Diff(wantOrigins, got); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
}

// A flow tells every 30 s that it lives, unless the user set its pace anywhere,
// under either name.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		settings, env vars
		want, wantOld string
	}{
		{"nothing set", nil, nil, "30", ""},
		{"in the profile", vars{HeartbeatVariable: "60"}, nil, "60", ""},
		{"in env", nil, vars{HeartbeatVariable: 120}, "120", ""},
		{"removed", nil, vars{HeartbeatVariable: nil}, "", ""},
		{"old name in the profile", vars{oldHeartbeatVariable: "90"}, nil, "", "90"},
		{"old name in env", nil, vars{oldHeartbeatVariable: "90"}, "", "90"},
		{"both", vars{HeartbeatVariable: "60"}, vars{oldHeartbeatVariable: "90"}, "60", "90"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := inputOf(valid(vars{"env": tt.env}))
			for name, value := range tt.settings {
				in.SettingsEnv[name] = value.(string)
			}
			got := mustBuild(t, in).Run.RuntimeEnvironment
			if got[HeartbeatVariable] != tt.want || got[oldHeartbeatVariable] != tt.wantOld {
				t.Errorf("%s=%q, %s=%q, want %q and %q", HeartbeatVariable, got[HeartbeatVariable], oldHeartbeatVariable, got[oldHeartbeatVariable], tt.want, tt.wantOld)
			}
		})
	}
}

func TestLeaveOutPrefectCredentials(t *testing.T) {
	t.Parallel()
	in := inputOf(valid(vars{"leave_out_prefect_credentials": true, "env": vars{"PREFECT_API_AUTH_STRING": "mine"}}))
	in.SettingsEnv["PREFECT_API_AUTH_STRING"] = "user:planted"
	env := mustBuild(t, in).Run.RuntimeEnvironment
	if _, ok := env["PREFECT_API_KEY"]; ok || env["PREFECT_API_AUTH_STRING"] != "mine" || env["PREFECT_API_URL"] == "" {
		t.Errorf("environment = %v", env)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	spec := mustBuild(t, inputOf(valid(vars{"runtime_files": vars{"/etc/app/a.json": "{\"a\": \"${B}\"}\n", "/b": nil, "/c": 5}})))
	want := map[string]northflank.RuntimeFile{
		"/etc/app/a.json": {Data: base64.StdEncoding.EncodeToString([]byte("{\"a\": \"${B}\"}\n")), Encoding: "utf-8"},
		"/c":              {Data: "NQ==", Encoding: "utf-8"},
	}
	if diff := cmp.Diff(want, spec.Run.RuntimeFiles); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// Nothing secret stands in the job, and nothing secret is shown of the run.
func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	in := inputOf(valid(vars{
		"description":                    "with nothing",
		"env":                            vars{"DB_PASSWORD": "planted-password", "DATABASE_URL": "postgres://me:planted-url@db/x", "PLAIN": "visible", "MAX_TOKENS": "32000", "SECRET_STORE": "true", "VERBOSE": "true"},
		"runtime_environment":            vars{"FROM_BLOCK": "prefix planted-block suffix"},
		"runtime_files":                  vars{"/secret": "a planted-block b", "/plain": "nothing here"},
		"deployment_external_image_path": "ghcr.io/a/b:1",
	}))
	in.Secrets = []string{"planted-block", "pnu_planted_key"}
	spec := mustBuild(t, in)
	stored := string(mustEncode(tree(t, spec.Job)))
	for _, s := range []string{"planted-block", "pnu_planted_key", "nf-planted-token", "planted-password", "planted-url"} {
		if strings.Contains(stored, s) {
			t.Errorf("the job holds %q: %s", s, stored)
		}
	}
	job, run, err := spec.Requests()
	if err != nil {
		t.Fatal(err)
	}
	shown := string(job) + string(run)
	if strings.Contains(shown, "planted") || strings.Contains(shown, spec.Run.RuntimeFiles["/secret"].Data) {
		t.Errorf("shown: %s", shown)
	}
	for _, s := range []string{"visible", "ghcr.io/a/b:1", spec.Run.RuntimeFiles["/plain"].Data, `"DB_PASSWORD":"***"`, `"MAX_TOKENS":"32000"`, `"VERBOSE":"true"`, `"FROM_BLOCK":"prefix *** suffix"`} {
		if !strings.Contains(shown, s) {
			t.Errorf("shown lacks %q: %s", s, shown)
		}
	}
}

// Without a secret, what is shown is what is sent, byte for byte.
func TestRequestsAreTheBodies(t *testing.T) {
	t.Parallel()
	in := inputOf(valid(vars{"runtime_environment": vars{"A": "<a&b>"}, "description": "x & y"}))
	in.SettingsEnv = nil
	spec := mustBuild(t, in)
	job, run, err := spec.Requests()
	if err != nil {
		t.Fatal(err)
	}
	for shown, request := range map[string]any{string(job): spec.Job, string(run): spec.Run} {
		sent, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(sent), shown); diff != "" {
			t.Errorf("(-sent +shown):\n%s", diff)
		}
	}
}
