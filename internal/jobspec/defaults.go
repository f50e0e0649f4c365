package jobspec

import (
	"encoding/json"
	"fmt"
)

// WithDefault returns the base job template with value as the default of a job
// variable, everything else as it is.
func WithDefault(template json.RawMessage, variable string, value any) (json.RawMessage, error) {
	t, err := decodeObject(template)
	if err != nil {
		return nil, fmt.Errorf("read base job template: %w", err)
	}
	variables := t.object("variables")
	properties := variables.object("properties")
	property := properties.object(variable)
	if property == nil {
		return nil, fmt.Errorf("the base job template has no job variable %s", variable)
	}
	properties = properties.with(variable, property.with("default", value))
	return mustEncode(t.with("variables", variables.with("properties", properties))), nil
}
