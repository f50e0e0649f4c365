package jobspec

import (
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/secret"
)

type environment struct {
	values  map[string]string
	origins map[string]Origin
}

// envName is what Northflank takes as the name of a variable.
var envName = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)

// environment merges what the flow run inherits and what the user set; later
// wins, null removes: Prefect settings, PREFECT__*, env, runtime_environment.
func (b *builder) environment() environment {
	e := environment{values: map[string]string{}, origins: map[string]Origin{}}
	e.set(HeartbeatVariable, strconv.Itoa(HeartbeatSeconds), Origin{Source: FromWorker})
	leaveOut, _ := b.boolean("leave_out_prefect_credentials")
	for name, value := range b.in.SettingsEnv {
		if leaveOut && (name == "PREFECT_API_KEY" || name == "PREFECT_API_AUTH_STRING") {
			continue
		}
		e.set(name, value, Origin{Source: FromSettings})
	}
	for _, v := range b.flowRunVariables() {
		if v.Text != "" {
			e.set(v.Key, v.Text, Origin{Source: FromWorker})
		}
	}
	templates, _ := b.boolean("runtime_environment_templates")
	for _, name := range []string{"env", "runtime_environment"} {
		for _, v := range b.entries(name) {
			key := name + "." + v.Key
			if v.Null {
				delete(e.values, v.Key)
				delete(e.origins, v.Key)
				continue
			}
			b.checkVariable(name, v, templates)
			e.set(v.Key, v.Text, b.originOf(key, name))
		}
	}
	if _, set := e.values[oldHeartbeatVariable]; set && e.origins[HeartbeatVariable].Source == FromWorker {
		delete(e.values, HeartbeatVariable)
		delete(e.origins, HeartbeatVariable)
	}
	b.checkInherited(e)
	return e
}

// A flow tells regularly that it lives, so that its silence tells that it died
// without a look at Northflank (Prefect 3.8: flow engine, heartbeats; every
// 180 s by default, 30 s at the least).
const (
	HeartbeatVariable    = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"  // seconds
	HeartbeatSeconds     = 30                                   // unless the user says otherwise
	oldHeartbeatVariable = "PREFECT_RUNNER_HEARTBEAT_FREQUENCY" // its earlier name, which Prefect still reads
)

func (e *environment) set(name, value string, from Origin) {
	e.values[name] = value
	e.origins[name] = from
}

// originOf is the origin of a key in a map: its own, else the map's.
func (b *builder) originOf(key, name string) Origin {
	if from, ok := b.in.Origins[key]; ok {
		return from
	}
	return b.in.Origins[name]
}

// flowRunVariables tell the flow process which flow run it is. Prefect 3.8:
// BaseJobConfiguration.prepare_for_flow_run.
func (b *builder) flowRunVariables() []entry {
	return []entry{
		{Key: "PREFECT__FLOW_RUN_ID", Text: b.in.FlowRun.ID},
		{Key: "PREFECT__WORKER_ID", Text: b.in.WorkerID},
		{Key: "PREFECT__WORKER_NAME", Text: b.in.WorkerName},
		{Key: "PREFECT__FLOW_ID", Text: b.in.Flow.ID},
		{Key: "PREFECT__FLOW_NAME", Text: b.in.Flow.Name},
		{Key: "PREFECT__DEPLOYMENT_ID", Text: b.in.Deployment.ID},
		{Key: "PREFECT__DEPLOYMENT_NAME", Text: b.in.Deployment.Name},
	}
}

// checkVariable checks one variable that the user set.
func (b *builder) checkVariable(name string, v entry, templates bool) {
	key := name + "." + v.Key
	switch {
	case !envName.MatchString(v.Key):
		b.addKey(KindValue, name, key, "the name has characters that Northflank does not take", "use letters, digits and _ . - / only")
	case strings.ContainsRune(v.Text, 0):
		b.addKey(KindValue, name, key, "the value has a NUL character, which no environment variable can hold", "remove it, or put the data into a file with runtime_files")
	case !templates && strings.Contains(v.Text, "${"):
		b.addKey(KindValue, name, key, "the value has ${, which Northflank would replace before the container sees it, and which cannot be escaped",
			"put the text into a file with runtime_files, or set runtime_environment_templates: true if Northflank shall replace it")
	case v.Key == "PREFECT__FLOW_RUN_ID" && v.Text != b.in.FlowRun.ID:
		b.warn(KindValue, key, "the container will run this flow run instead of the one that was scheduled; remove it")
	}
}

// checkInherited checks what reaches the container unchanged from the worker:
// see checkVariable for the reason.
func (b *builder) checkInherited(e environment) {
	for _, name := range slices.Sorted(maps.Keys(e.values)) {
		from := e.origins[name].Source
		if from != FromSettings && from != FromWorker {
			continue
		}
		if strings.Contains(e.values[name], "${") {
			b.problems = append(b.problems, Problem{
				Kind: KindValue, Variable: "env." + name, Origin: e.origins[name],
				Cause:    "the value has ${, which Northflank would replace before the container sees it, and which cannot be escaped",
				NextStep: fmt.Sprintf("change it where the worker runs, or set env.%s in the job variables (null leaves it out)", name),
			})
		}
	}
}

// files reads runtime_files. Northflank takes base64 and mounts the decoded
// text, so that no character of a file is special.
func (b *builder) files() map[string]northflank.RuntimeFile {
	files := map[string]northflank.RuntimeFile{}
	for _, f := range b.entries("runtime_files") {
		switch {
		case f.Null:
		case !strings.HasPrefix(f.Key, "/") || path.Clean(f.Key) != f.Key || f.Key == "/":
			b.addKey(KindValue, "runtime_files", "runtime_files."+f.Key, "must be the absolute path of a file, without . or .. in it", "for example \"/etc/app/settings.json\"")
		default:
			files[f.Key] = northflank.RuntimeFile{Data: base64.StdEncoding.EncodeToString([]byte(f.Text)), Encoding: "utf-8"}
		}
	}
	if len(files) == 0 {
		return nil
	}
	return files
}

var (
	// secretName is what names of variables with secrets look like; MAX_TOKENS
	// and TOKENIZER do not.
	secretName = regexp.MustCompile(`(?i)secret|token(_|$)|passw|passphrase|(api|private|access)_?key|auth_string|custom_headers|credential`)
	// secretValue is a URL with a password in it.
	secretValue = regexp.MustCompile(`://[^/\s:@]*:[^/\s@]+@`)
)

// LooksSecret reports whether a variable of the environment holds a secret, by
// its name or by the form of its value. Switches such as TOKEN_ENABLED hold none.
func LooksSecret(name, value string) bool {
	if _, isBoolean := toBoolean(value); value == "" || isBoolean {
		return false
	}
	return secretName.MatchString(name) || secretValue.MatchString(value)
}

// secrets lists what must not be shown of the finished requests: the given
// secrets, the token, values of variables that look like secrets by their
// name or form, and files that hold any of these, in the form in which they are sent.
func (b *builder) secrets(spec Spec) []string {
	all := slices.Clone(b.in.Secrets)
	all = append(all, spec.Account.Token.Reveal())
	for name, value := range spec.Run.RuntimeEnvironment {
		if LooksSecret(name, value) {
			all = append(all, value)
		}
	}
	all = slices.DeleteFunc(all, func(s string) bool {
		_, isBoolean := toBoolean(s) // of a switch such as TOKEN_ENABLED
		return s == "" || isBoolean
	})
	slices.Sort(all)
	all = slices.Compact(all)
	scrub := secret.NewScrubber(all...)
	for _, file := range slices.Sorted(maps.Keys(spec.Run.RuntimeFiles)) {
		data := spec.Run.RuntimeFiles[file].Data
		text, _ := base64.StdEncoding.DecodeString(data)
		if scrub.Text(string(text)) != string(text) {
			all = append(all, data)
		}
	}
	return all
}
