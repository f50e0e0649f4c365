package validate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/northflank/prefect-northflank/internal/jobspec"
)

// step is one entry of build, push or pull.
type step struct {
	function string
	inputs   *value // may be null
}

// deployment is one entry of deployments, as far as it can be read.
type deployment struct {
	name              string // as in messages: its name, or its number
	at                Span
	fields            *object
	pool              member // work_pool.name, a text; without value when it is not given
	variables         *value // work_pool.job_variables; nil when not given
	variablesAt       Span   // where what is missing would stand
	build, push, pull []step // its own, or else the file's
	hasName, hasEntry bool   // whether prefect deploy need not ask for them
}

// rule says what Prefect 3.8 takes in a field; for anything else it passes over
// every deployment of the file. Prefect: cli/deploy/_models.py.
type rule struct {
	types    []string // of value.typeName
	required bool     // null will not do
}

const (
	aText, aList, anObject = "a text", "a list", "an object"
	aNumber, aBoolean      = "a number", "true or false"
)

var deploymentFields = map[string]rule{
	"name": {types: []string{aText}}, "version": {types: []string{aText}}, "version_type": {types: []string{aText}},
	"tags": {types: []string{aText, aList}}, "description": {types: []string{aText}},
	"schedule": {types: []string{anObject}}, "schedules": {types: []string{aList}},
	"paused": {types: []string{aBoolean, aText, aNumber}}, "concurrency_limit": {types: []string{aNumber, aText, anObject}},
	"flow_name": {types: []string{aText}}, "entrypoint": {types: []string{aText}},
	"parameters": {types: []string{anObject}, required: true}, "enforce_parameter_schema": {types: []string{aBoolean, aText, aNumber}},
	"build": stepsRule, "push": stepsRule, "pull": stepsRule,
	"work_pool": {types: []string{anObject}, required: true}, // null is read, and then prefect deploy fails
	"triggers":  {types: []string{aList}}, "sla": {types: []string{aList}},
}

var workPoolFields = map[string]rule{
	"name": {types: []string{aText}}, "work_queue_name": {types: []string{aText}},
	"job_variables": {types: []string{anObject}, required: true},
}

var fileFields = map[string]rule{
	"prefect-version": {types: []string{aText}}, "name": {types: []string{aText}},
	"build": stepsRule, "push": stepsRule, "pull": stepsRule,
	"deployments": {types: []string{aList}, required: true},
}

var stepsRule = rule{types: []string{aList, anObject}}

// misplaced are names that people write for others, or elsewhere.
var misplaced = map[string]string{
	"job_variables":   "move it into work_pool",
	"infra_overrides": "move what it holds to work_pool, job_variables: that is what it has been called since Prefect 3",
	"work_pool_name":  "write work_pool: and below it name:",
	"work_queue_name": "move it into work_pool",
	"work_queue":      "the field is called work_queue_name, in work_pool",
	"pool":            "write work_pool: and below it name:",
	"infrastructure":  "Prefect 3 has work pools instead: write work_pool: and below it name:",
}

// parse finds the deployments of a file.
func parse(root *value, f *findings) []*deployment {
	if root.object == nil {
		f.add(Error, CodeFile, root.at, "the file is "+root.typeName()+", and Prefect takes an object only", "write deployments: and below it one - for each deployment")
		return nil
	}
	checkFields(root.object, fileFields, f, "")
	for _, m := range root.object.members {
		if _, known := fileFields[m.key]; !known && m.key != "definitions" {
			// Other keys hold anchors, which Prefect lets pass.
			if near, ok := jobspec.NearestName(m.key, []string{"deployments", "build", "push", "pull"}); ok {
				f.ignored(m, "the file", fmt.Sprintf("did you mean %q?", near))
			}
		}
	}
	list, ok := root.object.get("deployments")
	if !ok {
		f.add(Warning, CodeMissing, Span{1, 1, 1, 1}, "the file has no deployments", "write deployments: and below it one - for each deployment")
		return nil
	}
	var all []*deployment
	for i, v := range list.value.list {
		if v.object == nil {
			f.add(Error, CodeField, v.at, fmt.Sprintf("a deployment must be an object, not %s; prefect deploy then deploys nothing of this file", v.typeName()), "write name:, entrypoint: and work_pool: below one another")
			continue
		}
		all = append(all, parseDeployment(i, v, root.object, f))
	}
	return all
}

func parseDeployment(index int, v *value, file *object, f *findings) *deployment {
	d := &deployment{name: fmt.Sprintf("#%d", index+1), at: v.at, variablesAt: v.at, fields: v.object}
	if m, ok := v.object.get("name"); ok {
		d.at, d.variablesAt = m.keyAt, m.keyAt
		if name, isText := m.value.text(); isText && name != "" {
			d.name, d.hasName = name, true
		}
	}
	entry, _ := v.object.get("entrypoint")
	text, _ := entry.value.text()
	d.hasEntry = text != ""
	f.deployment = d.name
	defer func() { f.deployment = "" }()
	checkFields(v.object, deploymentFields, f, "deployment ")
	for _, m := range v.object.members {
		if _, known := deploymentFields[m.key]; !known {
			f.ignored(m, "a deployment", nextOfField(m.key))
		}
	}
	if m, ok := v.object.get("work_pool"); ok && m.value.object != nil {
		d.variablesAt = m.keyAt
		checkFields(m.value.object, workPoolFields, f, "work pool ")
		for _, field := range m.value.object.members {
			if _, known := workPoolFields[field.key]; !known {
				f.ignored(field, "work_pool", nextOfPoolField(field.key))
			}
		}
		if name, _ := m.value.object.get("name"); name.value != nil {
			if _, isText := name.value.text(); isText {
				d.pool = name
			}
		}
		if m, ok := m.value.object.get("job_variables"); ok {
			d.variablesAt = m.keyAt
			if m.value.object != nil {
				d.variables = m.value
			}
		}
	}
	d.build, d.push, d.pull = d.stepsOf("build", file), d.stepsOf("push", file), d.stepsOf("pull", file)
	return d
}

// stepsOf returns the deployment's own steps, or else the file's.
func (d *deployment) stepsOf(section string, file *object) []step {
	m, ok := d.fields.get(section)
	if !ok {
		m, ok = file.get(section)
	}
	if !ok {
		return nil
	}
	entries := m.value.list
	if m.value.object != nil && len(m.value.object.members) > 0 {
		entries = []*value{m.value}
	}
	var steps []step
	for _, entry := range entries {
		if entry.object == nil {
			continue // an empty one; what is none is noted already
		}
		for _, m := range entry.object.members {
			steps = append(steps, step{m.key, m.value})
		}
	}
	return steps
}

// ignored notes a field that Prefect does not know: an error where it is plain
// what was meant.
func (f *findings) ignored(m member, of, next string) {
	severity := Error
	if next == "" {
		severity, next = Warning, "remove it, or correct its name"
	}
	f.add(severity, CodeUnknown, m.keyAt, fmt.Sprintf("Prefect ignores %q in %s", m.key, of), next)
}

func nextOfField(name string) string {
	if next, ok := misplaced[name]; ok {
		return next
	}
	return nextOfName(name, deploymentFields)
}

// nextOfPoolField knows that job variables get written one level too high.
func nextOfPoolField(name string) string {
	if _, ok := jobspec.Lookup(name); ok {
		return "move it into job_variables"
	}
	return nextOfName(name, workPoolFields)
}

func nextOfName(name string, known map[string]rule) string {
	if near, ok := jobspec.NearestName(name, sortedKeys(known)); ok {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

// checkFields checks the types of known fields.
func checkFields(o *object, rules map[string]rule, f *findings, of string) {
	const lost = "prefect deploy then deploys nothing of this file"
	for _, m := range o.members {
		r, known := rules[m.key]
		switch {
		case !known:
		case m.value.isNull() && r.required:
			f.add(Error, CodeField, m.keyAt, fmt.Sprintf("%s%s must be %s and not be left empty; %s", of, m.key, or(r.types), lost), fmt.Sprintf("fill it in, or remove %s:", m.key))
		case !m.value.isNull() && !slices.Contains(r.types, m.value.typeName()):
			f.add(Error, CodeField, m.value.at, fmt.Sprintf("%s%s must be %s, not %s; %s", of, m.key, or(r.types), m.value.typeName(), lost), nextOfType(m.value, r.types[0]))
		case m.key == "build" || m.key == "push" || m.key == "pull":
			checkSteps(m, f)
		}
	}
}

func checkSteps(m member, f *findings) {
	for _, entry := range m.value.list {
		switch {
		case entry.object == nil:
			f.add(Error, CodeField, entry.at, fmt.Sprintf("a step of %s must be an object, not %s; prefect deploy then deploys nothing of this file", m.key, entry.typeName()), "write the step's function with a colon, and its inputs below it")
		case len(entry.object.members) > 1:
			second := entry.object.members[1]
			f.add(Error, CodeField, second.keyAt, fmt.Sprintf("a step has one function, and %q is a second key of %q", second.key, entry.object.members[0].key), "indent it further if it is an input, or begin another step with -")
		}
	}
}

func nextOfType(v *value, wanted string) string {
	switch {
	case wanted == aText && v.plain:
		return fmt.Sprintf("write it in quotes: %q", v.written)
	case wanted == aText:
		return "write a text"
	case wanted == aList:
		return "write each item behind a - in a line of its own"
	case wanted == anObject:
		return "write names with their values below it, each in a line of its own"
	}
	return "correct it, or remove it"
}

func or(words []string) string { return strings.Join(words, " or ") }
