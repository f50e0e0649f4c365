package jobspec

// The default image of a flow run that names none, and the image that stands in
// every shared job, where each job run overrides it.
const defaultImage = "prefecthq/prefect:3-python3.12"

// The deployment plan that stands in every shared job without GPU, and the
// default of billing_deployment_plan.
const defaultPlan = "nf-compute-20"

// defaultCommand runs the flow run that PREFECT__FLOW_RUN_ID names.
const defaultCommand = "prefect flow-run execute"

// The variables that every Prefect worker has.
var baseVariables = []Variable{
	{
		Name: "name", Type: TypeText, Title: "Name",
		Description: "Readable part of the job's name. The worker makes it valid (letters, digits, hyphens) and adds a prefix and a suffix that keep it unique. Flow runs that share a job must have the same name here.",
		Place:       "name", Section: SectionJob, Level: LevelJob, Original: true,
	},
	{
		Name: "env", Type: TypeEnvironment, NotNull: true, Title: "Environment Variables",
		Description: "Environment variables of the flow run. null removes a variable that the worker would set.",
		Place:       "runtimeEnvironment", Section: SectionEnvironment, Level: LevelRun, Original: true,
	},
	{
		Name: "labels", Type: TypeTextMap, NotNull: true, Title: "Labels",
		Description: "Kubernetes labels of the job's containers.",
		Place:       "deployment.metadata.labels", Section: SectionJob, Level: LevelJob, Original: true,
	},
	{
		Name: "command", Type: TypeText, Title: "Command",
		Description: "Command that runs the flow run. Best left blank: the worker then uses \"prefect flow-run execute\". deployment_docker_custom_command wins over it.",
		Place:       "deployment.docker.customCommand", Section: SectionCommand, Level: LevelRun, Original: true,
	},
}

var accountVariables = []Variable{
	{
		Name: "credentials", Type: TypeCredentials, NotNull: true, Title: "Northflank Credentials",
		Description: "The Northflank block with the API token. Without it and without credentials_block, the worker's own environment (NORTHFLANK_API_TOKEN) is used.",
		Place:       "Authorization header", Section: SectionAccount, Level: LevelWorker, Original: true,
		Constraint: "a Northflank block",
	},
	{
		Name: "credentials_block", Type: TypeText, Title: "Credentials Block",
		Description: "Name of a Northflank block that the worker reads when the flow run starts, so that neither token nor block content is stored in a deployment. Wins over credentials.",
		Place:       "Authorization header", Section: SectionAccount, Level: LevelWorker,
		Example: "northflank-creds",
	},
	{
		Name: "team_id", Type: TypeText, Title: "Team ID",
		Description: "Northflank team ID. Needed only with an organisation's API token. Wins over the team of the credentials.",
		Place:       "path of every request", Section: SectionAccount, Level: LevelWorker,
		Constraint: "letters, digits and single hyphens", Pattern: slugPattern, Example: "my-team",
	},
	{
		Name: "project_id", Type: TypeText, Title: "Project ID",
		Description: "Northflank project in which the flow run's job is created. Required.",
		Place:       "path of every request", Section: SectionAccount, Level: LevelJob, Original: true,
		Constraint: "letters, digits and single hyphens, beginning with a letter", Pattern: refPattern, Example: "my-project",
	},
	{
		Name: "job_scope", Type: TypeText, Default: string(ScopePool), Title: "Job Scope",
		Description: "Which flow runs share a Northflank job: pool = all of the work pool with the same job settings, deployment = those of one Prefect deployment, flow-run = none.",
		Place:       "name", Section: SectionJob, Level: LevelJob,
		OneOf: []string{string(ScopePool), string(ScopeDeployment), string(ScopeFlowRun)},
	},
	{
		Name: "cleanup_job", Type: TypeBoolean, Default: true, Title: "Cleanup Job",
		Description: "Delete the job when it is no longer used: after its flow run with job_scope flow-run, else when it has been idle for a while. Deleting a job deletes the history of its runs on Northflank.",
		Place:       "DELETE of the job", Section: SectionJob, Level: LevelJob, Original: true,
	},
	{
		Name: "description", Type: TypeText, Title: "Description",
		Description: "Description of the job. Characters that Northflank refuses are replaced; the worker adds the mark by which it knows the job.",
		Place:       "description", Section: SectionJob, Level: LevelJob, Original: true,
	},
	{
		Name: "tags", Type: TypeTextList, Title: "Tags",
		Description: "Northflank tags of the job. They must exist in the team.",
		Place:       "tags", Section: SectionJob, Level: LevelJob, Original: true,
		Constraint: "letters, digits and single hyphens each", Pattern: slugPattern, MaxLength: 100, Example: "prefect",
	},
}

var computeVariables = []Variable{
	{
		Name: "infrastructure_architecture", Type: TypeText, Title: "Infrastructure Architecture",
		Description: "CPU architecture: x86 or arm.",
		Place:       "infrastructure.architecture", Section: SectionCompute, Level: LevelJob, Original: true,
		OneOf: []string{"x86", "arm"},
	},
	{
		Name: "billing_deployment_plan", Type: TypeText, Default: defaultPlan, Title: "Deployment Plan",
		Description: "Northflank deployment plan: CPU and memory of the container. nf-compute-20 has 512 MB, which is tight for Prefect; nf-compute-50 has 1 GB. A GPU has a plan of its own, nf-gpu-<type>-<count>g.",
		Place:       "billing.deploymentPlan", Section: SectionCompute, Level: LevelRun, Original: true,
		Constraint: "letters, digits, hyphens and underscores", Pattern: planPattern, MaxLength: 100, Example: "nf-compute-50",
	},
	{
		Name: "billing_gpu_enabled", Type: TypeBoolean, Default: false, Title: "GPU",
		Description: "Run on a GPU. Needs billing_gpu_type, the GPU's deployment plan, and a project in a region with GPUs.",
		Place:       "billing.gpu.enabled", Section: SectionCompute, Level: LevelJob, Original: true,
	},
	{
		Name: "billing_gpu_type", Type: TypeText, Title: "GPU Type",
		Description: "GPU type as in the deployment plan, h100-80 for example.",
		Place:       "billing.gpu.configuration.gpuType", Section: SectionCompute, Level: LevelJob, Original: true,
		Constraint: "letters, digits, hyphens and underscores", Pattern: planPattern, Example: "h100-80",
	},
	{
		Name: "billing_gpu_count", Type: TypeInteger, Default: 1, Title: "GPU Count",
		Description: "Number of GPUs, as in the deployment plan.",
		Place:       "billing.gpu.configuration.gpuCount", Section: SectionCompute, Level: LevelJob, Original: true,
		Min: 1, Max: 64,
	},
	{
		Name: "billing_gpu_timesliced", Type: TypeBoolean, Title: "GPU Time Slicing",
		Description: "Share the GPU by time slices. Only on clusters in your own cloud.",
		Place:       "billing.gpu.configuration.timesliced", Section: SectionCompute, Level: LevelJob, Original: true,
	},
}

var imageVariables = []Variable{
	{
		Name: "deployment_external_image_path", Type: TypeText, Title: "Image",
		Description: "Container image with a tag or digest. It must hold Prefect. Without it and without deployment_internal_id: " + defaultImage + ".",
		Place:       "deployment.external.imagePath", Section: SectionImage, Level: LevelRun, Original: true,
		Constraint: "an image path with a tag or digest, of letters, digits and . _ - / :", Pattern: imagePattern, Example: defaultImage,
	},
	{
		Name: "deployment_external_credentials", Type: TypeText, Title: "Registry Credentials",
		Description: "ID of the Northflank registry credentials for a private image.",
		Place:       "deployment.external.credentials", Section: SectionImage, Level: LevelRun, Original: true,
		Constraint: "letters, digits and hyphens", Pattern: credPattern, Example: "my-registry",
	},
	{
		Name: "deployment_internal_id", Type: TypeText, Title: "Build Service",
		Description: "ID of the Northflank build service whose build is run, instead of an image.",
		Place:       "deployment.internal.id", Section: SectionImage, Level: LevelJob, Original: true,
		Constraint: "letters, digits and single hyphens, beginning with a letter", Pattern: refPattern, MaxLength: 54, Example: "my-build-service",
	},
	{
		Name: "deployment_internal_branch", Type: TypeText, Title: "Branch",
		Description: "Git branch of the build.",
		Place:       "deployment.internal.branch", Section: SectionImage, Level: LevelJob, Original: true,
	},
	{
		Name: "deployment_internal_build_sha", Type: TypeText, Title: "Commit",
		Description: "Commit of the build: all 40 characters of its SHA, or latest for the newest commit of the branch that has been built.",
		Place:       "deployment.internal.buildSHA", Section: SectionImage, Level: LevelRun, Original: true,
	},
	{
		Name: "deployment_internal_build_id", Type: TypeText, Title: "Build",
		Description: "ID of one build, instead of a commit.",
		Place:       "deployment.internal.buildId", Section: SectionImage, Level: LevelRun, Original: true,
	},
}

var commandVariables = []Variable{
	{
		Name: "deployment_docker_config_type", Type: TypeText, Default: "customCommand", Title: "Docker Config Type",
		Description: "What of the image's entrypoint and command is replaced. With customCommand and a deployment_docker_custom_entrypoint, both are. With default and customEntrypoint the image itself must run \"prefect flow-run execute\".",
		Place:       "deployment.docker.configType", Section: SectionCommand, Level: LevelRun, Original: true,
		OneOf: []string{"default", "customEntrypoint", "customCommand", "customEntrypointCustomCommand"},
	},
	{
		Name: "deployment_docker_custom_command", Type: TypeText, Title: "Docker Custom Command",
		Description: "Command of the container, in place of \"prefect flow-run execute\". Northflank runs it without a shell.",
		Place:       "deployment.docker.customCommand", Section: SectionCommand, Level: LevelRun, Original: true,
	},
	{
		Name: "deployment_docker_custom_entrypoint", Type: TypeText, Title: "Docker Custom Entrypoint",
		Description: "Entrypoint of the container, in place of the image's own.",
		Place:       "deployment.docker.customEntrypoint", Section: SectionCommand, Level: LevelRun,
	},
	{
		Name: "deployment_buildpack_config_type", Type: TypeText, Title: "Buildpack Config Type",
		Description: "For a build service that builds with buildpacks: how the command is given to the image, instead of deployment_docker_config_type.",
		Place:       "deployment.buildpack.configType", Section: SectionCommand, Level: LevelRun,
		OneOf: []string{"default", "customCommand", "customEntrypointCustomCommand", "originalEntrypointCustomCommand"},
	},
}

var environmentVariables = []Variable{
	{
		Name: "build_configuration_docker_credentials", Type: TypeTextList, Title: "Build Docker Credentials",
		Description: "Kept for pools of prefect-northflank 1.0.1, which never used it either: the worker builds no images. For a private image set deployment_external_credentials.",
		Place:       "none", Section: SectionImage, Level: LevelWorker, Original: true,
	},
	{
		Name: "runtime_environment", Type: TypeTextMap, Title: "Runtime Environment",
		Description: "Environment variables of the flow run. They win over env and over all that the worker sets.",
		Place:       "runtimeEnvironment", Section: SectionEnvironment, Level: LevelRun, Original: true,
	},
	{
		Name: "runtime_environment_templates", Type: TypeBoolean, Default: false, Title: "Northflank Templates",
		Description: "Let Northflank replace ${NAME} in values of env and runtime_environment, by variables of a secret group for example. Without it such a value is refused, since the container would not see what was written.",
		Place:       "runtimeEnvironment", Section: SectionEnvironment, Level: LevelRun,
	},
	{
		Name: "runtime_files", Type: TypeTextMap, Title: "Files",
		Description: "Files mounted into the container: absolute path to text.",
		Place:       "runtimeFiles", Section: SectionEnvironment, Level: LevelRun,
		Constraint: "absolute paths, none of them a folder",
	},
	{
		Name: "leave_out_prefect_credentials", Type: TypeBoolean, Default: false, Title: "Leave Out Prefect Credentials",
		Description: "Do not hand the worker's PREFECT_API_KEY and PREFECT_API_AUTH_STRING to the flow run: it gets them from a Northflank secret group.",
		Place:       "runtimeEnvironment", Section: SectionEnvironment, Level: LevelRun,
	},
}

var limitVariables = []Variable{
	{
		Name: "settings_backoff_limit", Type: TypeInteger, Default: 3, Title: "Backoff Limit",
		Description: "How often Northflank starts a failed container again. The untouched default counts as 0, since a second container would run a finished flow again; set the number in a deployment or flow run, or change the default, to have it. Prefer retries of the flow.",
		Place:       "settings.backoffLimit", Section: SectionLimits, Level: LevelJob, Original: true,
		Min: 0, Max: maxInt32,
	},
	{
		Name: "settings_active_deadline_seconds", Type: TypeInteger, Default: 3600, Title: "Active Deadline",
		Description: "Seconds after which Northflank ends the job run, its retries included. null: never.",
		Place:       "settings.activeDeadlineSeconds", Section: SectionLimits, Level: LevelJob, Original: true,
		Min: 1, Max: maxInt32,
	},
	{
		Name: "settings_grace_period_seconds", Type: TypeInteger, Title: "Grace Period",
		Description: "Seconds between SIGTERM and SIGKILL when the container is ended. null: Northflank's default of 30.",
		Place:       "deployment.gracePeriodSeconds", Section: SectionLimits, Level: LevelJob,
		Min: 0, Max: 86400, Example: "30",
	},
	{
		Name: "settings_run_on_source_change", Type: TypeText, Default: "never", Title: "Run On Source Change",
		Description: "When Northflank runs the job by itself after a new build. Other than never starts containers that belong to no flow run.",
		Place:       "settings.runOnSourceChange", Section: SectionLimits, Level: LevelJob, Original: true,
		OneOf: []string{"never", "cd-promote", "always"},
	},
	{
		Name: "deployment_storage_ephemeral_size_mb", Type: TypeInteger, Title: "Ephemeral Storage",
		Description: "Disk of the container in MB. null: Northflank's default of 1024.",
		Place:       "deployment.storage.ephemeralStorage.storageSize", Section: SectionCompute, Level: LevelRun,
		Min: 1, Max: maxInt32, Example: "2048",
	},
	{
		Name: "deployment_storage_shm_size_mb", Type: TypeInteger, Title: "Shared Memory",
		Description: "Size of /dev/shm in MB, for data loaders of machine learning libraries. null: Northflank's default.",
		Place:       "deployment.storage.shmSize", Section: SectionCompute, Level: LevelRun,
		Min: 1, Max: maxInt32, Example: "1024",
	},
	{
		Name: "deployment_metadata_annotations", Type: TypeTextMap, Title: "Annotations",
		Description: "Kubernetes annotations of the job's containers.",
		Place:       "deployment.metadata.annotations", Section: SectionJob, Level: LevelJob,
	},
}

var workerVariables = []Variable{
	{
		Name: "start_retries", Type: TypeInteger, Default: 1, Title: "Start Retries",
		Description: "How often the worker starts a flow run again whose container failed before the flow began. A flow that began is never started again by the worker.",
		Place:       "new job run", Section: SectionWorker, Level: LevelWorker,
		Min: 0, Max: 10,
	},
	{
		Name: "start_timeout_seconds", Type: TypeInteger, Default: 900, Title: "Start Timeout",
		Description: "Seconds that a container may take to start, waiting for a machine and pulling the image included; then the start has failed. null: as long as it likes.",
		Place:       "abort of the job run", Section: SectionWorker, Level: LevelWorker,
		Min: 10, Max: 86400,
	},
	{
		Name: "linger_timeout_seconds", Type: TypeInteger, Default: 300, Title: "Linger Timeout",
		Description: "Seconds that a container may live on after its flow run has ended; then the worker aborts it. null: never.",
		Place:       "abort of the job run", Section: SectionWorker, Level: LevelWorker,
		Min: 0, Max: 604800,
	},
	{
		Name: "stream_output", Type: TypeBoolean, Default: false, Title: "Stream Output",
		Description: "Forward the container's output into the flow run's log while it runs.",
		Place:       "log connection of the job", Section: SectionWorker, Level: LevelWorker,
	},
}
