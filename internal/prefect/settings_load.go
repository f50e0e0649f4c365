package prefect

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LoadOptions says where settings are looked for.
type LoadOptions struct {
	Environ []string // the process environment, as os.Environ gives it
	Dir     string   // where .env, prefect.toml and pyproject.toml are; "" is the working directory
	HomeDir string   // the user's home directory
	Profile string   // profile named on the command line; "" is none
}

// LoadSettings reads Prefect's settings: environment, ./.env, ./prefect.toml,
// [tool.prefect] of ./pyproject.toml, active profile, defaults, the first that
// has a setting winning. An empty value counts as set. Every invalid value is
// reported, not only the first.
func LoadSettings(o LoadOptions) (*Settings, error) {
	l := &loader{options: o, settings: DefaultSettings()}
	l.settings.explicit = map[string]explicitValue{}
	l.settings.environ = environMap(o.Environ)
	if err := l.readSources(); err != nil {
		return nil, err
	}
	if err := l.settings.interpret(o.HomeDir); err != nil {
		return nil, err
	}
	return l.settings, nil
}

func environMap(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			m[name] = value
		}
	}
	return m
}

type loader struct {
	options  LoadOptions
	settings *Settings
}

// readSources fills explicit from the highest precedence to the lowest.
func (l *loader) readSources() error {
	l.add("environment", l.settings.environ)
	dotenv, err := l.readDotenv()
	if err != nil {
		return err
	}
	l.add(".env", dotenv)
	prefectTOML, err := l.readTOML("prefect.toml")
	if err != nil {
		return err
	}
	l.add("prefect.toml", flattenTOML(prefectTOML))
	pyproject, err := l.readTOML("pyproject.toml")
	if err != nil {
		return err
	}
	toolPrefect := table(table(pyproject, "tool"), "prefect")
	l.add("pyproject.toml", flattenTOML(toolPrefect))
	// As in Prefect, an empty path in one place leaves it to the next.
	path := cmp.Or(l.settings.environ["PREFECT_PROFILES_PATH"], dotenv["PREFECT_PROFILES_PATH"],
		text(prefectTOML["profiles_path"]), text(toolPrefect["profiles_path"]))
	l.readProfile(path)
	return nil
}

// add takes the PREFECT_ names of one source, whatever their case and whichever
// alias was used, unless a source before it had them.
func (l *loader) add(source string, values map[string]string) {
	found := map[string]string{}
	// Sorted, so that of two spellings the same one always wins: the canonical
	// name over an alias, upper case over lower.
	for _, name := range slices.Sorted(maps.Keys(values)) {
		upper := strings.ToUpper(name)
		if !strings.HasPrefix(upper, "PREFECT_") || strings.HasPrefix(upper, "PREFECT__") {
			continue
		}
		canonical, isAlias := settingAliases[upper]
		if !isAlias {
			canonical = upper
		}
		if _, taken := found[canonical]; !taken || !isAlias && name == upper {
			found[canonical] = values[name]
		}
	}
	for name, value := range found {
		if _, set := l.settings.explicit[name]; !set {
			l.settings.explicit[name] = explicitValue{value, source}
		}
	}
}

func (l *loader) path(name string) string { return filepath.Join(l.options.Dir, name) }

// readFile returns "" for a file that does not exist.
func readFile(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(data), err
}

func (l *loader) readDotenv() (map[string]string, error) {
	path := l.path(".env")
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, nil // Prefect reads regular files only; a directory .env is somebody's virtual environment
	}
	content, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	values, bad := parseDotenv(content, l.settings.environ)
	if len(bad) > 0 {
		l.settings.Warnings = append(l.settings.Warnings, badLinesText(path, bad))
	}
	return values, nil
}

// readTOML returns nil for a file that does not exist, and an error that names
// file and line for one that is broken.
func (l *loader) readTOML(name string) (map[string]any, error) {
	path := l.path(name)
	content, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	var data map[string]any
	if err := decodeTOML(content, &data); err != nil {
		return nil, &fileError{path: path, problem: tomlProblem(err)}
	}
	return data, nil
}

type fileError struct{ path, problem string }

func (e *fileError) Error() string {
	return fmt.Sprintf("read settings: %s is not valid TOML: %s", e.path, e.problem)
}

func (e *fileError) Hint() string { return "mend " + e.path + ", or work from another folder" }

// readProfile adds the settings of the active profile. A profiles file that is
// broken or lacks the profile is worth a warning only, as in Prefect.
func (l *loader) readProfile(path string) {
	home := expandHome(l.settings.environ["PREFECT_HOME"], l.options.HomeDir)
	if home == "" {
		home = filepath.Join(l.options.HomeDir, ".prefect")
	}
	path = cmp.Or(path, filepath.Join(home, "profiles.toml"))
	if !filepath.IsAbs(path) {
		path = l.path(path)
	}
	content, err := readFile(path)
	var file struct {
		Active   string                    `toml:"active"`
		Profiles map[string]map[string]any `toml:"profiles"`
	}
	if err == nil {
		err = decodeTOML(content, &file)
	}
	if err != nil {
		l.warn("%s is passed over, no profile is used: %s", path, tomlProblem(err))
		l.settings.Profile = ""
		return
	}
	wanted := cmp.Or(l.options.Profile, l.settings.environ["PREFECT_PROFILE"])
	name := cmp.Or(wanted, file.Active)
	profile, ok := file.Profiles[name]
	if !ok {
		if wanted != "" && wanted != defaultProfileName {
			l.warn("profile %q is not in %s, Prefect's default profile is used instead", wanted, path)
		}
		name, profile = defaultProfileName, map[string]any{"PREFECT_SERVER_EPHEMERAL_ENABLED": "true"}
	}
	l.settings.Profile = name
	values := map[string]string{}
	for key, value := range profile {
		values[key] = pythonSetting(value)
	}
	l.add(fmt.Sprintf("profile %q", name), values)
}

func (l *loader) warn(format string, args ...any) {
	l.settings.Warnings = append(l.settings.Warnings, fmt.Sprintf(format, args...))
}

func expandHome(path, home string) string {
	if path == "~" || strings.HasPrefix(path, "~/") {
		return home + path[1:]
	}
	return path
}

func table(parent map[string]any, key string) map[string]any {
	child, _ := parent[key].(map[string]any)
	return child
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// flattenTOML turns [worker] query_seconds = 20 into PREFECT_WORKER_QUERY_SECONDS.
func flattenTOML(data map[string]any) map[string]string {
	values := map[string]string{}
	var walk func(prefix string, table map[string]any)
	walk = func(prefix string, table map[string]any) {
		for key, value := range table {
			name := prefix + "_" + strings.ToUpper(key)
			if child, ok := value.(map[string]any); ok && !objectSetting(name) {
				walk(name, child)
				continue
			}
			values[name] = pythonSetting(value)
		}
	}
	walk("PREFECT", data)
	return values
}

// objectSetting: the two settings of Prefect 3.8 whose value is itself a table.
func objectSetting(name string) bool {
	return name == "PREFECT_CLIENT_CUSTOM_HEADERS" || name == "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES"
}

// pythonSetting writes a TOML value as Prefect writes it into an environment.
func pythonSetting(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return pythonFloat(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = pythonSetting(item)
		}
		slices.Sort(items)
		return strings.Join(items, ",")
	}
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value) // inf and nan have no JSON
	}
	return string(data)
}

// settingAliases are the old names that Prefect 3.8 still takes for settings
// that matter to a flow run. Old names of server settings are kept as they are.
var settingAliases = map[string]string{
	"PREFECT_CLIENT_ENABLE_METRICS":                     "PREFECT_CLIENT_METRICS_ENABLED",
	"PREFECT_DEFAULT_WORK_POOL_NAME":                    "PREFECT_DEPLOYMENTS_DEFAULT_WORK_POOL_NAME",
	"PREFECT_DEFAULT_DOCKER_BUILD_NAMESPACE":            "PREFECT_DEPLOYMENTS_DEFAULT_DOCKER_BUILD_NAMESPACE",
	"PREFECT_EXPERIMENTAL_WARN":                         "PREFECT_EXPERIMENTS_WARN",
	"PREFECT_RUNNER_HEARTBEAT_FREQUENCY":                "PREFECT_FLOWS_HEARTBEAT_FREQUENCY",
	"PREFECT_FLOW_DEFAULT_RETRIES":                      "PREFECT_FLOWS_DEFAULT_RETRIES",
	"PREFECT_FLOW_DEFAULT_RETRY_DELAY_SECONDS":          "PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS",
	"PREFECT_LOGGING_INTERNAL_LEVEL":                    "PREFECT_INTERNAL_LOGGING_LEVEL",
	"PREFECT_LOGGING_SETTINGS_PATH":                     "PREFECT_LOGGING_CONFIG_PATH",
	"PREFECT_EXPERIMENTS_PLUGINS_ENABLED":               "PREFECT_PLUGINS_ENABLED",
	"PREFECT_EXPERIMENTS_PLUGINS_ALLOW":                 "PREFECT_PLUGINS_ALLOW",
	"PREFECT_EXPERIMENTS_PLUGINS_DENY":                  "PREFECT_PLUGINS_DENY",
	"PREFECT_EXPERIMENTS_PLUGINS_SETUP_TIMEOUT_SECONDS": "PREFECT_PLUGINS_SETUP_TIMEOUT_SECONDS",
	"PREFECT_EXPERIMENTS_PLUGINS_STRICT":                "PREFECT_PLUGINS_STRICT",
	"PREFECT_EXPERIMENTS_PLUGINS_SAFE_MODE":             "PREFECT_PLUGINS_SAFE_MODE",
	"PREFECT_DEFAULT_RESULT_STORAGE_BLOCK":              "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK",
	"PREFECT_LOCAL_STORAGE_PATH":                        "PREFECT_RESULTS_LOCAL_STORAGE_PATH",
	"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE":               "PREFECT_SERVER_EPHEMERAL_ENABLED",
	"PREFECT_TASK_DEFAULT_RETRIES":                      "PREFECT_TASKS_DEFAULT_RETRIES",
	"PREFECT_TASK_DEFAULT_RETRY_DELAY_SECONDS":          "PREFECT_TASKS_DEFAULT_RETRY_DELAY_SECONDS",
	"PREFECT_TASK_RUNNER_THREAD_POOL_MAX_WORKERS":       "PREFECT_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS",
	"PREFECT_TASK_SCHEDULING_DEFAULT_STORAGE_BLOCK":     "PREFECT_TASKS_SCHEDULING_DEFAULT_STORAGE_BLOCK",
	"PREFECT_TASK_SCHEDULING_DELETE_FAILED_SUBMISSIONS": "PREFECT_TASKS_SCHEDULING_DELETE_FAILED_SUBMISSIONS",
}
