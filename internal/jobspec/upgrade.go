package jobspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// UpgradeTemplate adds to a stored base job template what came after it was
// stored: new job variables, descriptions in the place of original ones, and a
// definition of the Northflank block that lets a block reference pass the
// server's validation. Everything else stays as it is: edited defaults and
// descriptions, values written into job_configuration, job variables of the
// user's own, and the absence of original ones that somebody took out.
//
// Changes are one line each, none when the template is up to date.
func UpgradeTemplate(stored json.RawMessage) (template json.RawMessage, changes []string, err error) {
	t, err := decodeObject(stored)
	if err != nil {
		return nil, nil, fmt.Errorf("read base job template: %w", err)
	}
	if len(t) == 0 {
		return BaseJobTemplate(), []string{"the empty base job template becomes the default one"}, nil
	}
	variables := t.object("variables")
	configuration, properties := t.object("job_configuration"), variables.object("properties")
	if configuration == nil || properties == nil {
		return nil, nil, errors.New("the base job template lacks job_configuration or variables.properties")
	}
	configuration, properties, changes = addVariables(configuration, properties)
	properties, changes = upgradeCredentials(properties, changes)
	properties, changes = refreshDescriptions(properties, changes)
	if definitions := variables.object("definitions"); definitions != nil {
		definitions, changes = upgradeDefinition(definitions, changes)
		variables = variables.with("definitions", definitions)
	}
	t = t.with("job_configuration", configuration).with("variables", variables.with("properties", properties))
	return mustEncode(t), changes, nil
}

// addVariables adds variables that are not the original's, each after the one
// that it follows in the table.
func addVariables(configuration, properties object) (newConfiguration, newProperties object, changes []string) {
	after := ""
	for _, v := range Variables() {
		_, declared := properties.get(v.Name)
		if !declared && !v.Original {
			properties = properties.withAfter(after, v.Name, v.property())
			if _, ok := configuration.get(v.Name); !ok {
				configuration = configuration.withAfter(after, v.Name, v.placeholder())
			}
			changes = append(changes, "new job variable "+v.Name)
			declared = true
		}
		if declared {
			after = v.Name
		}
	}
	return configuration, properties, changes
}

// upgradeCredentials replaces the original's schema of credentials, which takes
// neither a text with a placeholder nor null.
func upgradeCredentials(properties object, changes []string) (object, []string) {
	stored := properties.object("credentials")
	if _, original := stored.get("$ref"); !original {
		return properties, changes
	}
	v := mustLookup("credentials")
	upgraded := v.property()
	if value, ok := stored.get("default"); ok {
		upgraded = upgraded.with("default", value)
	}
	if description, ok := stored.get("description"); ok && description != originalDescriptions[v.Name] {
		upgraded = upgraded.with("description", description)
	}
	return properties.with("credentials", upgraded), append(changes, "credentials takes a block reference, a placeholder or null")
}

// upgradeDefinition makes api_token required in the block's definition.
func upgradeDefinition(definitions object, changes []string) (object, []string) {
	stored := definitions.object(BlockTypeName)
	if stored == nil {
		return definitions, changes
	}
	if required, _ := stored.get("required"); slices.Contains(asList(required), any("api_token")) {
		return definitions, changes
	}
	return definitions.with(BlockTypeName, credentialsDefinition()), append(changes, "a reference to a Northflank block passes Prefect's validation")
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}
