package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/northflank/prefect-northflank/internal/testkit"
)

// wrongUse is a call that cannot do what it asks for.
type wrongUse struct {
	name  string
	args  string // split at spaces
	stdin string
	env   map[string]string
	files map[string]string
}

// aFlow is a folder that init can work on.
var aFlow = map[string]string{"flows.py": "from prefect import flow\n\n\n@flow\ndef hello():\n    pass\n"}

var wrongUses = []wrongUse{
	{name: "unknown command", args: "redner"},
	{name: "unknown subcommand", args: "pool craete my-pool"},
	{name: "unknown flag", args: "pool create my-pool --credential northflank-creds"},
	{name: "flag without its value", args: "render --deployment"},
	{name: "unknown output format", args: "credentials ls --output yaml"},
	{name: "argument where none is taken", args: "pool template my-pool"},

	{name: "no name for the pool", args: "pool create"},
	{name: "two names for the pool", args: "pool create my pool"},
	{name: "pool that exists", args: "pool create my-pool"},
	{name: "pool of another type that exists", args: "pool create process-pool --if-not-exists"},
	{name: "reserved name of a pool", args: "pool create prefect-pool"},
	{name: "project that is none", args: "pool create new-pool --project my_project"},
	{name: "unknown credentials block for a pool", args: "pool create new-pool --credentials northflank-cred"},
	{name: "template file that is not there", args: "pool create new-pool --base-job-template template.json"},
	{name: "template file that is no JSON object", args: "pool create new-pool --base-job-template template.json", files: map[string]string{"template.json": "[]"}},
	{name: "template without the variable", args: "pool create new-pool --project p1 --base-job-template template.json", files: map[string]string{"template.json": "{}"}},
	{name: "upgrade of an unknown pool", args: "pool upgrade my-pol"},
	{name: "upgrade of a pool of another type", args: "pool upgrade process-pool"},
	{name: "upgrade of a broken template", args: "pool upgrade broken-pool"},

	{name: "token as an argument", args: "credentials save northflank-creds " + plantedToken},
	{name: "token as a flag", args: "credentials save northflank-creds --token " + plantedPassword},
	{name: "token as the name", args: "credentials save nf-planted0123456789abcdef"},
	{name: "name of a block in capitals", args: "credentials save Northflank_Creds"},
	{name: "block that exists", args: "credentials save northflank-creds", stdin: plantedToken},
	{name: "empty token", args: "credentials save new-creds", stdin: "\n"},
	{name: "two lines for a token", args: "credentials save new-creds", stdin: plantedToken + "\n" + plantedToken + "\n"},
	{name: "asterisks for a token", args: "credentials save new-creds", stdin: "********\n"},
	{name: "address without https", args: "credentials save new-creds --base-url api.northflank.com"},
	{name: "address with a password", args: "credentials save new-creds --base-url https://me:" + plantedPassword + "@api.northflank.com"},
	{name: "team that is none", args: "credentials save new-creds --team-id my_team"},

	{name: "nothing to render", args: "render"},
	{name: "two things to render", args: "render --deployment my-flow/of-my-pool --flow-run 00000000-0000-7000-8000-0000000000ff"},
	{name: "deployment without its flow", args: "render --deployment of-my-pool"},
	{name: "unknown deployment", args: "render --deployment my-flow/of-my-pol"},
	{name: "unknown deployment like no other", args: "render --deployment other/thing"},
	{name: "name in place of the flow run's id", args: "render --flow-run crazy-otter"},
	{name: "unknown flow run", args: "render --flow-run 00000000-0000-7000-8000-0000000000ff"},
	{name: "deployment without a pool", args: "render --deployment my-flow/of-gone-pool"},
	{name: "deployment of another pool's type", args: "render --deployment my-flow/of-process-pool"},
	{name: "deployment of a pool with a broken template", args: "render --deployment my-flow/of-broken-pool"},
	{name: "name that no worker has", args: "render --deployment my-flow/of-my-pool --name a/b"},

	{name: "no file to validate", args: "validate"},
	{name: "two files to validate", args: "validate a.yaml b.yaml"},
	{name: "folder to validate", args: "validate .", files: map[string]string{"prefect.yaml": "deployments: []"}},
	{name: "unknown form of findings", args: "validate --output xml"},
	{name: "schema of an unknown pool", args: "pool schema my-pol"},
	{name: "schema of a pool of another type", args: "pool schema process-pool"},
	{name: "schema of a pool with a broken template", args: "pool schema broken-pool"},

	{name: "pools among which to choose", args: "runs"},
	{name: "mistyped subcommand of runs", args: "runs log crazy-otter"},
	{name: "unknown pool to list", args: "runs --pool my-pol"},
	{name: "pool of another type to list", args: "runs --pool process-pool"},
	{name: "list of no flow runs", args: "runs --limit 0"},
	{name: "list from the future", args: "runs --since -1h"},
	{name: "list from no time", args: "runs --since yesterday"},
	{name: "output of no flow run", args: "runs logs"},
	{name: "output of two flow runs", args: "runs logs crazy-otter lazy-lynx"},
	{name: "output of an unknown flow run", args: "runs logs crazy-otter"},
	{name: "output of an unknown id", args: "runs logs 00000000-0000-7000-8000-0000000000ff"},
	{name: "too much output", args: "runs logs crazy-otter --tail 100000"},
	{name: "nothing to cancel", args: "runs cancel"},
	{name: "cancelling an unknown flow run", args: "runs cancel crazy-otter"},

	{name: "flows that are not there", args: "init --pool my-pool"},
	{name: "init where a prefect.yaml is", args: "init", files: map[string]string{"prefect.yaml": "deployments: []\n"}},
	{name: "init with an argument", args: "init my-pool", files: aFlow},
	{name: "flow without its function", args: "init --flow flows.py", files: aFlow},
	{name: "flow of a file that is not there", args: "init --flow flow.py:hello", files: aFlow},
	{name: "code from nowhere", args: "init --code ftp", files: aFlow},
	{name: "code from a repository that is none", args: "init --pool my-pool --credentials northflank-creds --project p1 --code git", files: aFlow},
	{name: "image without a tag", args: "init --image ghcr.io/me/flows", files: aFlow},
	{name: "code in an image that is not named", args: "init --pool my-pool --credentials northflank-creds --project p1 --code image", files: aFlow},
	{name: "deployment plan that is none", args: "init --pool my-pool --credentials northflank-creds --project p1 --code local --plan nf_", files: aFlow},
	{name: "project that init cannot take", args: "init --project my_project", files: aFlow},
	{name: "block that init cannot save", args: "init --credentials Northflank_Creds", files: aFlow},
	{name: "block that init has no token for", args: "init --pool new-pool --credentials new-creds", files: aFlow},
	{name: "init with a block without a token", args: "init --pool new-pool --credentials no-token", files: aFlow},
	{name: "init for a pool of another type", args: "init --pool process-pool", files: aFlow},
	{name: "estimate of an unknown pool", args: "estimate --pool my-pol"},
	{name: "estimate of no days", args: "estimate --pool my-pool --days 0"},
	{name: "estimate of no flow runs", args: "estimate --pool my-pool --limit 0"},
	{name: "estimate of an argument", args: "estimate my-pool"},
	{name: "manual page of a command", args: "man worker"},
	{name: "completion for an unknown shell", args: "completion tcsh"},
	{name: "completion with an argument", args: "completion bash pool"},
	{name: "plans with an argument", args: "plans nf-compute-20"},
	{name: "plans as a spreadsheet", args: "plans --output csv"},
	{name: "regions of an unknown credentials block", args: "regions --credentials northflank-cred"},
	{name: "GPUs at no address", args: "gpus", env: map[string]string{"NORTHFLANK_API_BASE_URL": "api.northflank.com"}},
	{name: "projects without an account", args: "projects"},
	{name: "projects that the token may not list", args: "projects", env: northflankAs("no-right")},

	{name: "worker without a pool", args: "worker start"},
	{name: "worker of another type", args: "worker start --pool my-pool --type process"},
	{name: "webhook without a place to listen", args: "worker start --pool my-pool --webhook-url https://worker.example/nf"},
	{name: "webhook without its address", args: "worker start --pool my-pool --webhook-listen 127.0.0.1:8080"},
	{name: "webhook that listens nowhere", args: "worker start --pool my-pool --webhook-listen 8080 --webhook-url https://worker.example/nf"},
	{name: "webhook whose secret is not set", args: "worker start --pool my-pool --webhook-listen 127.0.0.1:8080 --webhook-url https://worker.example/nf"},
	{name: "webhook whose secret is too short", args: "worker start --pool my-pool --webhook-listen 127.0.0.1:8080 --webhook-url https://worker.example/nf", env: map[string]string{"NORTHFLANK_WEBHOOK_SECRET": "hunter2"}},
	{name: "status page that listens nowhere", args: "worker start --pool my-pool --status-listen 8081"},
	{name: "status page for all without a token", args: "worker start --pool my-pool --status-listen 0.0.0.0:8081"},
	{name: "status page by a name without a token", args: "worker start --pool my-pool --status-listen worker.example:8081"},
	{name: "status page whose token is too short", args: "worker start --pool my-pool --status-listen 0.0.0.0:8081", env: map[string]string{"PREFECT_NORTHFLANK_STATUS_TOKEN": "hunter2"}},
	{name: "worker that looks too often", args: "worker start --pool my-pool --sweep-min-seconds 0.1"},
	{name: "worker whose longest wait is shorter than its shortest", args: "worker start --pool my-pool --sweep-max-seconds 10"},
	{name: "worker with a limit of zero", args: "worker start --pool my-pool --limit 0"},
	{name: "worker with a slash in its name", args: "worker start --pool my-pool --name a/b"},
	{name: "worker that looks back in time", args: "worker start --pool my-pool --prefetch-seconds -1"},

	{name: "webhook without an address", args: "webhook create"},
	{name: "webhook at no address", args: "webhook create --url worker.example/northflank"},
	{name: "webhook at an address without https", args: "webhook create --url http://worker.example/northflank"},
	{name: "webhook at an address with a password", args: "webhook create --url https://me:" + plantedPassword + "@worker.example/northflank"},
	{name: "name that no webhook has", args: "webhook create --url https://worker.example --name prefect_worker"},
	{name: "name that is too long for a webhook", args: "webhook create --url https://worker.example --name " + strings.Repeat("a", 40)},
	{name: "webhook for a project that is none", args: "webhook create --url https://worker.example --project my_project"},
	{name: "secret of a webhook as a flag", args: "webhook create --url https://worker.example --secret " + plantedPassword},
	{name: "secret that is too short", args: "webhook create --url https://worker.example --secret-file secret.txt", files: map[string]string{"secret.txt": "short\n"}},
	{name: "secret of two lines", args: "webhook create --url https://worker.example", env: map[string]string{"NORTHFLANK_WEBHOOK_SECRET": plantedToken + "\n" + plantedToken}},
	{name: "secret file that is not there", args: "webhook create --url https://worker.example --secret-file secret.txt"},
	{name: "webhook without an account", args: "webhook create --url https://worker.example"},
	{name: "webhook with an unknown credentials block", args: "webhook ls --credentials northflank-cred"},
	{name: "webhook with a block without a token", args: "webhook ls --credentials no-token"},
	{name: "webhook with a block without an address", args: "webhook ls --credentials no-address"},
	{name: "webhooks that the token may not list", args: "webhook create --url https://worker.example", env: northflankAs("no-right")},
	{name: "webhook that the token may not create", args: "webhook create --url https://worker.example", env: northflankAs("reader")},
	{name: "webhook that the token may not delete", args: "webhook delete alerts", env: northflankAs("reader")},
	{name: "name of somebody else's webhook", args: "webhook create --url https://worker.example --name alerts", env: northflankAs("owner")},
	{name: "name of somebody else's chat", args: "webhook create --url https://worker.example --name chat", env: northflankAs("owner")},
	{name: "no name for the webhook", args: "webhook delete"},
	{name: "unknown webhook", args: "webhook delete alert", env: northflankAs("owner")},
	{name: "chat in place of a webhook", args: "webhook delete chat", env: northflankAs("owner")},
	{name: "token with a line break", args: "webhook ls", env: map[string]string{"NORTHFLANK_API_TOKEN": plantedToken + "\n" + plantedToken}},
	{name: "token that Northflank refuses", args: "webhook ls", env: northflankAs("nobody")},

	{name: "no API set", args: "credentials ls", env: map[string]string{"PREFECT_API_URL": ""}},
	{name: "API that is down", args: "credentials ls", env: map[string]string{"PREFECT_API_URL": "http://127.0.0.1:1/api"}},
	{name: "API URL without a scheme", args: "credentials ls", env: map[string]string{"PREFECT_API_URL": "prefect.example/api"}},
	{name: "web page in place of the API", args: "credentials ls", env: map[string]string{"PREFECT_API_URL": "PAGE"}},
	{name: "key that is refused", args: "credentials ls", env: map[string]string{"PREFECT_API_URL": "GUARDED", "PREFECT_API_KEY": plantedKey}},
	{name: "auth string that is refused", args: "credentials ls", env: map[string]string{"PREFECT_API_URL": "GUARDED", "PREFECT_API_AUTH_STRING": "admin:" + plantedPassword}},
	{name: "unknown profile", args: "credentials ls --profile staging"},
	{name: "profiles file that is broken", args: "credentials ls --profile staging", env: map[string]string{"PREFECT_PROFILES_PATH": "profiles.toml"}, files: map[string]string{"profiles.toml": "[profiles.staging\n"}},
	{name: "prefect.toml that is broken", args: "credentials ls", files: map[string]string{"prefect.toml": "[api\n"}},
	{name: "setting that is no number", args: "credentials ls", env: map[string]string{"PREFECT_API_REQUEST_TIMEOUT": "soon"}},
	{name: "certificate file that is not there", args: "credentials ls", env: map[string]string{"PREFECT_API_SSL_CERT_FILE": "/nowhere/ca.pem"}},
}

// The golden file is a catalogue of every wrong input with all that the program
// says to it, as one would see it in a terminal.
func TestWrongInputs(t *testing.T) {
	catalogue, err := filepath.Abs("testdata/wrong-inputs.txt")
	if err != nil {
		t.Fatal(err)
	}
	hermetic(t, nil)
	home := os.Getenv("HOME")
	_, api := newServer(t)
	guarded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"exception_message":"Unauthorized"}`)
	}))
	t.Cleanup(guarded.Close)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html>")
	}))
	t.Cleanup(page.Close)
	addresses := map[string]string{"GUARDED": guarded.URL + "/api", "PAGE": page.URL + "/api", "NORTHFLANK": newNorthflank(t)}

	var b bytes.Buffer
	b.WriteString("Every wrong input that the tests know, with all that the program says to it.\n")
	for _, w := range wrongUses {
		t.Run(w.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			t.Setenv("PREFECT_API_URL", api)
			t.Setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
			for name, value := range w.env {
				if address, ok := addresses[value]; ok {
					value = address
				}
				t.Setenv(name, value)
			}
			writeFiles(t, w.files)
			fmt.Fprintf(&b, "\n-- %s --\n", w.name)
			b.WriteString(transcript(t, w.stdin, strings.Fields(w.args), home, api, guarded.URL, page.URL))
		})
	}
	for _, w := range wrongConfigurations {
		t.Run(w.name, func(t *testing.T) {
			p, api := newServer(t)
			t.Setenv("PREFECT_API_URL", api)
			id := p.AddDeployment(testkit.DeploymentSpec{Flow: "my-flow", Name: "my-deployment", Pool: "my-pool", JobVariables: w.variables()})
			args := []string{"render", "--deployment", "my-flow/my-deployment"}
			if w.flowRun != nil {
				args = []string{"render", "--flow-run", p.Schedule(testkit.FlowRunSpec{Deployment: id, Name: "crazy-otter", JobVariables: w.flowRun})}
			}
			fmt.Fprintf(&b, "\n-- %s --\njob variables: %s\n", w.name, show(t, w.deployment, w.flowRun))
			b.WriteString(transcript(t, "", args, home, api))
		})
	}
	if cases := len(wrongUses) + len(wrongConfigurations); cases < 40 {
		t.Errorf("%d wrong inputs, want 40 at least", cases)
	}
	golden(t, catalogue, b.String())
}

// transcript runs a command that is to fail, checks what holds for every
// failure, and returns what a terminal would show; hosts become names.
func transcript(t *testing.T, stdin string, args []string, home string, hosts ...string) string {
	t.Helper()
	status, stdout, stderr := run(t, stdin, args...)
	if stdout != "" {
		t.Errorf("stdout is %q, want nothing: it is for answers", stdout)
	}
	if status != 1 && status != 2 {
		t.Errorf("exit status %d, want 1 or 2", status)
	}
	if !strings.HasPrefix(stderr, "error: ") || strings.Count(stderr, "error: ") != 1 || strings.Count(stderr, "\nhint:  ") != 1 {
		t.Errorf("want one error with one hint, got:\n%s", stderr)
	}
	text := "$ prefect-northflank " + strings.Join(args, " ") + "\n" + stderr
	for _, secret := range []string{plantedToken, plantedKey, plantedPassword} {
		if strings.Contains(stderr, secret) {
			t.Errorf("a secret is shown:\n%s", stderr)
		}
		text = strings.ReplaceAll(text, secret, "(SECRET)")
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range hosts {
		address := strings.TrimPrefix(strings.TrimSuffix(host, "/api"), "http://")
		text = strings.ReplaceAll(text, address, "prefect.test")
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, home, "~"), wd, ".")
	return fmt.Sprintf("%sexit status %d\n", text, status)
}

// show writes job variables for the catalogue.
func show(t *testing.T, deployment, flowRun vars) string {
	t.Helper()
	var parts []string
	for _, v := range []vars{deployment, flowRun} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if v != nil {
			parts = append(parts, string(text))
		}
	}
	return strings.ReplaceAll(strings.Join(parts, ", of the flow run: "), plantedToken, "(SECRET)")
}

// golden compares text with a file, or writes the file with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is stale, renew it with -update (-want +got):\n%s", path, diff)
	}
}
