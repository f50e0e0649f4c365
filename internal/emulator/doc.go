// Package emulator is a local, strict Northflank: the part of its API that the
// worker uses, with job runs as local processes. It answers the question how
// the product behaves against Northflank, without an account, in tests, in the
// demo and on a user's machine.
//
// It is written from Northflank's documentation alone and imports nothing of
// our client, so that one misreading of the API cannot sit on both sides. Where
// the documentation says nothing, a comment says so, and a switch (SwitchTable)
// exists for each answer that a client must survive both ways. Faults (Fault)
// break requests and job runs on purpose.
//
// A test uses it without a socket (Server.Transport), in a testing/synctest
// bubble if it likes, with a Go function in place of containers (RunnerFunc);
// or over sockets (Server.Listen, Server.ListenAdmin). The admin endpoints:
//
//	GET, DELETE  /counters               requests so far; DELETE also forgets the bodies
//	GET          /bodies                 bodies of writes, byte for byte
//	GET          /jobs, /job-runs        with exit code and reason
//	GET, POST, DELETE /faults[/{id}]     a Fault as JSON, durations such as "10s"
//	GET, PUT     /switches               {"aborted-run":"gone"}
//	GET, PUT     /rate-limit             {"limit":100,"spend":5}
//	POST         /builds                 {"project":..,"service":..,"id":..,"branch":..,"sha":..,"status":"SUCCESS"}
//
// What it does not imitate:
//
//   - Images. None is pulled; a job run executes its command on this machine,
//     with this machine's PATH, LANG and TMPDIR where the job run sets none. The
//     image's own entrypoint is passed over, and its default command is unknown:
//     a job run without a custom command fails.
//   - Isolation. A job run has its own process group, working directory and HOME
//     and nothing more: it can read what the user can read.
//   - Mounted files. They are written below the job run's own directory, which
//     NF_EMULATOR_FILES names, and not to their absolute path.
//   - Resources. Deployment plans, storage and GPUs are checked and then ignored;
//     there are no prices and no metrics. Out of memory, eviction and an image
//     that cannot be pulled exist as faults.
//   - Schedules. Cron jobs are stored and never started. Health checks, builds,
//     build-time settings and registry credentials are taken and not used.
//   - Notifications of anything but job runs and their containers, and to
//     others than RAW_WEBHOOK integrations. They can be managed.
//   - The deprecated POST /jobs/{job}/settings, /scale and /suspend, exec, and
//     everything else of Northflank that has nothing to do with jobs.
package emulator
