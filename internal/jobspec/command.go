package jobspec

import (
	"regexp"
	"strings"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

// command sets how the container starts, by Docker or by buildpack.
func (b *builder) command(d *northflank.Deployment) {
	entrypoint := b.text("deployment_docker_custom_entrypoint")
	command := b.commandText()
	docker := b.text("deployment_docker_config_type")
	buildpack := b.text("deployment_buildpack_config_type")
	if buildpack != "" {
		d.Buildpack = b.buildpack(buildpack, entrypoint, command)
		return
	}
	d.Docker = b.docker(docker, entrypoint, command)
}

// commandText is the first that is set of the container's command, the
// worker's command, and the one that every Prefect image understands.
func (b *builder) commandText() string {
	own, general := b.text("deployment_docker_custom_command"), b.text("command")
	switch {
	case own != "":
		return own
	case general != "":
		return general
	}
	return defaultCommand
}

func (b *builder) docker(configType, entrypoint, command string) *northflank.Docker {
	const name = "deployment_docker_config_type"
	if configType == "customCommand" && entrypoint != "" {
		configType = "customEntrypointCustomCommand" // customCommand is the default: the entrypoint is the wish
	}
	d := &northflank.Docker{ConfigType: configType}
	hasEntrypoint := strings.HasPrefix(configType, "customEntrypoint")
	hasCommand := strings.HasSuffix(configType, "ustomCommand")
	if hasEntrypoint {
		d.CustomEntrypoint = entrypoint
		if entrypoint == "" && !b.isSet("deployment_docker_custom_entrypoint") {
			b.add(KindMissing, name, "replaces the entrypoint, but deployment_docker_custom_entrypoint is not set", "set it, or use customCommand")
		}
	} else if entrypoint != "" && configType != "" {
		b.add(KindContradiction, name, "keeps the image's entrypoint, but deployment_docker_custom_entrypoint is set", "remove one of them (null overrides the work pool)")
	}
	if hasCommand {
		d.CustomCommand = command
		b.checkCommand(entrypoint, command)
	} else if configType != "" {
		b.refuseCommand(name)
	}
	return d
}

func (b *builder) buildpack(configType, entrypoint, command string) *northflank.Buildpack {
	const name = "deployment_buildpack_config_type"
	if !b.isSet("deployment_internal_id") {
		b.add(KindMissing, name, "is for builds of a build service, but deployment_internal_id is not set", "set it, or remove "+name)
	}
	if configType == "customCommand" && entrypoint != "" {
		configType = "customEntrypointCustomCommand"
	}
	d := &northflank.Buildpack{ConfigType: configType}
	switch configType {
	case "default":
		b.refuseCommand(name)
		return d
	case "customEntrypointCustomCommand":
		d.CustomEntrypoint = entrypoint
		if entrypoint == "" && !b.isSet("deployment_docker_custom_entrypoint") {
			b.add(KindMissing, name, "replaces the entrypoint, but deployment_docker_custom_entrypoint is not set", "set it, or use customCommand")
		}
	}
	d.CustomCommand = command
	b.checkCommand(entrypoint, command)
	return d
}

// refuseCommand reports a command that would be ignored.
func (b *builder) refuseCommand(configType string) {
	for _, name := range []string{"deployment_docker_custom_command", "command"} {
		if b.isSet(name) {
			b.add(KindContradiction, configType, "keeps the image's command, but "+name+" is set", "remove one of them (null overrides the work pool)")
			return
		}
	}
}

var (
	shellWords   = regexp.MustCompile("[\"'`|&;<>()$*?\\\\\\n]")
	shellCommand = regexp.MustCompile(`(^|/)(ba|da|a|z)?sh(\s+-[a-z]+)*\s+-[a-z]*c$`)
	quoted       = regexp.MustCompile(`^('[^']*'|"[^"]*")$`)
)

// checkCommand warns of commands that will not do what they seem to.
// Northflank docs, override command: commands run in exec form, without a
// shell; how quotes are split is not published.
func (b *builder) checkCommand(entrypoint, command string) {
	name := "deployment_docker_custom_command"
	if !b.isSet(name) {
		name = "command"
	}
	switch {
	case shellCommand.MatchString(entrypoint):
		if strings.ContainsAny(command, " \t\n") && !quoted.MatchString(command) {
			b.warn(KindCommand, name, "a shell with -c takes one argument, and Northflank splits the command at spaces; put the whole command in single quotes")
		}
	case shellWords.MatchString(command):
		b.warn(KindCommand, name, "Northflank runs the command without a shell, and how it splits quotes is not published; for shell syntax set deployment_docker_custom_entrypoint to \"sh -c\" and put the whole command in single quotes")
	}
}
