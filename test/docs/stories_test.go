package docs

import "strings"

// story says how a test reads a page: what is there before, what is elsewhere for
// a test, and which commands it leaves out.
type story struct {
	page           string
	fromNothing    bool   // the page sets up all that it needs: no settings are made, and pip may ask its index
	project        string // Northflank's project; my-project if empty
	folder, into   string // whose files the reader has, and where; itself if empty
	itsPrefectYAML bool   // prefect.yaml is that of the page
	before         string // commands that were typed before; they get the token as input
	edits          []edit // what a test types otherwise
	inputs         []input
	except         []exception
	flowRuns       int    // how many the commands start
	after          string // commands that check what came of it
}

// edit replaces a part of commands by what a test has in its place. In it {temp}
// is a folder of the page, {northflank} the address of the local Northflank that
// stands for the real one, {4200} and {8080} are the ports that stand for these.
type edit struct{ from, to string }

// input is what is typed when a command asks; otherwise it is the token.
type input struct{ command, text string }

// exception is a command that no test of this package executes, by a part of it,
// and why.
type exception struct{ command, why string }

// excepted reports whether a command is left out, and why.
func (s story) excepted(c command) (string, bool) {
	for _, e := range s.except {
		if strings.Contains(c.text, e.command) {
			return e.why, true
		}
	}
	return "", false
}

func (s story) northflankProject() string {
	if s.project == "" {
		return "my-project"
	}
	return s.project
}

const (
	readersFiles = "test/docs/testdata/reader" // a flow, and a deployment of it in my-pool

	poolAndDeployment = "prefect-northflank pool create my-pool --project my-project\nprefect --no-prompt deploy --all\n"
	saveCredentials   = "prefect-northflank credentials save northflank-creds\n"
)

// Why commands are left out.
const (
	ownTest      = "a test of its own executes it: "
	needsRelease = "needs a release, or publishes one"
	needsRoot    = "changes the machine: test/packaging looks at the unit"
	needsDocker  = "needs a container engine and a registry"
)

var stories = []story{
	{
		page: "README.md", project: "your-northflank-project-id", folder: "examples", into: "examples", flowRuns: 1,
		except: []exception{
			{"make demo", ownTest + "TestDemo in test/e2e"},
			{"make test", "this test is part of it"},
		},
	},
	{
		page: "CONTRIBUTING.md",
		except: []exception{
			{"git clone", "the repository is here"},
			{"make unit", "it would run this package within itself"},
			{"make demo", ownTest + "TestDemo in test/e2e"},
			{"cd prefect-northflank", "the repository is here"},
			{"git switch", "changes the repository"},
			{"go test", "it is how this test runs"},
			{"make lint", "make check does"},
			{"make release", needsRelease},
			{"twine upload", needsRelease},
			{"docker buildx", needsRelease},
		},
	},
	{
		page: "examples/README.md", project: "your-northflank-project-id", folder: "examples/basic", flowRuns: 1,
		before: saveCredentials + "prefect-northflank pool create my-northflank-pool\nprefect-northflank worker start --pool my-northflank-pool\n",
	},
	{
		page: "docs/tutorials/first-flow.md", fromNothing: true,
		before: "git init --quiet --bare {temp}/first-flow.git",
		edits: []edit{
			{"prefect cloud login", "prefect config set PREFECT_API_URL=http://127.0.0.1:{4200}/api"},
			{"https://github.com/you/first-flow.git", "{temp}/first-flow.git"},
			{"prefect-northflank doctor", "NORTHFLANK_API_BASE_URL={northflank} prefect-northflank doctor"}, // it is on this machine, as Prefect is
		},
		after: "prefect-northflank runs --pool northflank | grep -q Completed",
	},
	{
		page: "docs/how-to/install.md",
		except: []exception{
			{"sha256sum", needsRelease},
			{"tar -xzf", needsRelease},
			{"go install", needsRelease},
			{"docker run", ownTest + "test/packaging"},
			{"sudo ", needsRoot},
			{"journalctl", needsRoot},
		},
	},
	{
		page: "docs/how-to/migrate-from-1.0.1.md", folder: readersFiles,
		before: poolAndDeployment,
	},
	{page: "docs/how-to/run-the-worker-on-northflank.md"},
	{
		page: "docs/how-to/use-a-private-image.md", folder: readersFiles, itsPrefectYAML: true,
		before: "prefect-northflank pool create my-pool --project my-project",
		except: []exception{{"docker build", needsDocker}, {"docker push", needsDocker}},
	},
	{
		page: "docs/how-to/use-a-build-service.md", folder: readersFiles, itsPrefectYAML: true,
		before: "prefect-northflank pool create my-pool --project my-project",
	},
	{
		page: "docs/how-to/use-gpus.md", project: "proj-123456", folder: "examples/gpu",
		before: "prefect-northflank credentials save my-creds\nprefect-northflank pool create northflank-gpu-pool",
	},
	{
		page: "docs/how-to/keep-secrets.md", folder: readersFiles,
		edits: []edit{{"prefect-northflank render", "prefect --no-prompt deploy --all\nprefect-northflank render"}},
	},
	{
		page: "docs/how-to/deploy-from-ci.md", folder: readersFiles, flowRuns: 1,
		before: "prefect-northflank pool create my-pool --project my-project",
	},
	{
		page: "docs/how-to/work-behind-a-proxy.md", folder: readersFiles,
		before: poolAndDeployment,
	},
	{page: "docs/how-to/try-locally.md", folder: readersFiles, flowRuns: 1},
	{
		page: "docs/how-to/check-a-prefect-yaml.md", folder: readersFiles,
		before: "prefect-northflank pool create my-pool --project my-project\nmkdir flows\ncp prefect.yaml flows.py flows\n",
	},
	{
		page: "docs/how-to/start-a-project.md", folder: readersFiles, flowRuns: 1,
		before: "rm prefect.yaml",
		edits: []edit{
			// The folder is no repository, and nobody answers questions.
			{"prefect-northflank init --pool", "rm prefect.yaml; prefect-northflank init --pool"},
			{"--code git", "--code local"},
			{"prefect-northflank init", "prefect-northflank init --yes --project my-project --code local"},
		},
	},
	{
		page: "docs/how-to/say-what-it-will-cost.md", folder: readersFiles, flowRuns: 1,
		before: poolAndDeployment + "prefect-northflank worker start --pool my-pool\n" +
			"prefect deployment run my-flow/my-deployment --watch",
	},
	{
		page:   "docs/how-to/run-several-workers.md",
		before: "prefect-northflank pool create my-pool --project my-project",
	},
	{
		page:   "docs/how-to/use-webhooks.md",
		before: saveCredentials + "prefect-northflank pool create my-pool --project my-project",
		edits: []edit{
			{"NORTHFLANK_WEBHOOK_SECRET=...", "NORTHFLANK_WEBHOOK_SECRET=$(cat secret.txt)"},
			{"http://127.0.0.1:4280", "{northflank}"},
		},
	},
	{
		page: "docs/how-to/look-at-flow-runs.md", folder: readersFiles, flowRuns: 2,
		before: poolAndDeployment + "prefect-northflank worker start --pool my-pool\n" +
			"prefect deployment run my-flow/my-deployment --flow-run-name crazy-otter --watch\n" +
			"prefect deployment run my-flow/my-deployment --flow-run-name lazy-lynx --watch\n",
		except: []exception{{"runs cancel", ownTest + "internal/cli and test/e2e; these flow runs have ended"}},
	},
	{
		page: "docs/how-to/monitor.md",
		edits: []edit{{
			"prefect-northflank worker start --pool my-northflank-pool --with-healthcheck",
			"env PREFECT_WORKER_WEBSERVER_HOST=127.0.0.1 PREFECT_WORKER_WEBSERVER_PORT={8080} " +
				"prefect-northflank worker start --pool my-northflank-pool --with-healthcheck",
		}},
		after: "curl --silent --fail http://127.0.0.1:8080/health",
	},
	{
		page: "docs/how-to/find-out-what-is-wrong.md", folder: readersFiles,
		before: saveCredentials + poolAndDeployment + "prefect-northflank webhook create --url https://worker.example/northflank",
		except: []exception{{"--probe", ownTest + "doctor_probe.txtar in internal/cli; it takes minutes"}},
	},
}
