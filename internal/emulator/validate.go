package emulator

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

type kind int

const (
	text    kind = iota
	integer      // whole number
	boolean
	object  // of: its members
	list    // of: one field, the element
	textMap // name -> string
	fileMap // absolute path -> {data, encoding}
	open    // anything: the part of the API that the worker does not use
)

// field is one row of a schema: what a body may hold under a name.
type field struct {
	name     string
	kind     kind
	required bool
	nullable bool
	min, max int    // length of a text, value of an integer; max 0: no upper bound
	pattern  string // a name in patterns; also for the keys of a textMap
	enum     []string
	of       []field
	// also is one more rule on an object: the member at fault and the problem.
	also func(members map[string]any) (name, problem string)
}

// Named patterns of the Northflank API reference.
const (
	patternName   = "NAME"
	patternName2  = "NAME2"
	patternSlug   = "SLUG"
	patternRef    = "REF"
	patternDesc   = "DESC"
	patternImage  = "IMG"
	patternCred   = "CRED"
	patternEnvKey = "ENVKEY"
)

var patterns = sync.OnceValue(func() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		patternName:  regexp.MustCompile(`^[a-zA-Z]((-|\s)?[a-zA-Z0-9]+((-|\s)[a-zA-Z0-9]+)*)?$`),
		patternName2: regexp.MustCompile(`^[a-zA-Z0-9]+((-|\s)[a-zA-Z0-9]+)*$`),
		patternSlug:  regexp.MustCompile(`^[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*$`),
		patternRef:   regexp.MustCompile(`^[a-zA-Z](-?[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*)?$`),
		patternDesc:  regexp.MustCompile("^[a-zA-Z0-9.,?\\s\\\\/'\"()[\\];`%^&*\\-_:!]+$"),
		patternImage: regexp.MustCompile(`^(?:(?:https?:\/\/)?([a-zA-Z0-9\-]+\.[a-zA-Z0-9\.\-]+)(\/v1)?)?(?:\/)?([a-zA-Z/-9\.\-_]+)(?:\:([a-zA-Z/-9\.\-_\:]+)|\@([a-zA-Z/-9\.\-_\:]+))$`),
		patternCred:  regexp.MustCompile(`^[A-Za-z0-9-]+$`),
		// The docs name letters, digits, - / and . for variables; their examples have _ too.
		patternEnvKey: regexp.MustCompile(`^[A-Za-z0-9_./-]+$`),
	}
})

// checkText returns what is wrong with a text, in words that follow its name; "" is nothing.
func checkText(pattern string, shortest, longest int, v string) string {
	switch {
	case v == "":
		return "is not allowed to be empty"
	case shortest == longest && shortest > 0 && len(v) != shortest:
		return fmt.Sprintf("length must be %d characters long", shortest)
	case len(v) < shortest:
		return fmt.Sprintf("length must be at least %d characters long", shortest)
	case longest > 0 && len(v) > longest:
		return fmt.Sprintf("length must be less than or equal to %d characters long", longest)
	case pattern != "" && !patterns()[pattern].MatchString(v):
		return fmt.Sprintf("with value %q fails to match the required pattern: /%s/", v, patterns()[pattern])
	}
	return ""
}

// problems collects what is wrong with a body: dotted field name -> sentences.
type problems map[string][]string

func (p problems) add(name, problem string) {
	p[name] = append(p[name], fmt.Sprintf("%q %s", name, problem))
}

// maxBody bounds a request body; Northflank's own limit is unpublished.
const maxBody = 8 << 20

// decodeBody reads a JSON object. A missing body, and one that is not declared
// as JSON, is refused as an absent one is on the live service.
func decodeBody(contentType string, body []byte) (map[string]any, *apiError) {
	mediaType, _, _ := strings.Cut(contentType, ";")
	if len(body) == 0 || strings.TrimSpace(mediaType) != "application/json" {
		return nil, errBody(map[string][]string{"object": {`"value" is required. Received "undefined"`}})
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	err := dec.Decode(&v)
	if err == nil && dec.More() {
		err = errors.New("text after the value")
	}
	members, isObject := v.(map[string]any)
	switch {
	case err != nil:
		return nil, &apiError{Status: 400, Message: "Request body is not valid JSON: " + err.Error(), ID: "nf-invalid-request-body"}
	case !isObject:
		return nil, errBody(map[string][]string{"object": {`"value" must be of type object`}})
	}
	return members, nil
}

// validate checks a body against a schema and returns all that is wrong.
func validate(schema []field, body map[string]any) problems {
	found := problems{}
	checkMembers(found, "", schema, body)
	return found
}

func checkMembers(found problems, prefix string, schema []field, members map[string]any) {
	for name := range members {
		if !slices.ContainsFunc(schema, func(f field) bool { return f.name == name }) {
			found.add(prefix+name, "is not allowed")
		}
	}
	for _, f := range schema {
		v, given := members[f.name]
		switch {
		case given:
			checkValue(found, prefix+f.name, f, v)
		case f.required:
			found.add(prefix+f.name, "is required")
		}
	}
}

func checkValue(found problems, name string, f field, v any) {
	if v == nil && f.nullable {
		return
	}
	switch f.kind {
	case open:
	case text:
		checkTextValue(found, name, f, v)
	case integer:
		checkInteger(found, name, f, v)
	case boolean:
		if _, ok := v.(bool); !ok {
			found.add(name, "must be a boolean")
		}
	case list:
		items, ok := v.([]any)
		if !ok {
			found.add(name, "must be an array")
		}
		for i, item := range items {
			checkValue(found, name+"."+strconv.Itoa(i), f.of[0], item)
		}
	case object, textMap, fileMap:
		members, ok := v.(map[string]any)
		if !ok {
			found.add(name, "must be of type object")
			return
		}
		checkObject(found, name, f, members)
	}
}

func checkTextValue(found problems, name string, f field, v any) {
	s, ok := v.(string)
	if !ok {
		found.add(name, "must be a string")
		return
	}
	if len(f.enum) > 0 {
		if !slices.Contains(f.enum, s) {
			found.add(name, "must be one of ["+strings.Join(f.enum, ", ")+"]")
		}
		return
	}
	if problem := checkText(f.pattern, f.min, f.max, s); problem != "" {
		found.add(name, problem)
	}
}

func checkInteger(found problems, name string, f field, v any) {
	number, ok := v.(json.Number)
	if !ok {
		found.add(name, "must be a number")
		return
	}
	n, err := strconv.Atoi(number.String())
	switch {
	case err != nil:
		found.add(name, "must be an integer")
	case n < f.min:
		found.add(name, fmt.Sprintf("must be greater than or equal to %d", f.min))
	case f.max > 0 && n > f.max:
		found.add(name, fmt.Sprintf("must be less than or equal to %d", f.max))
	}
}

func checkObject(found problems, name string, f field, members map[string]any) {
	switch f.kind {
	case textMap:
		for key, v := range members {
			if f.pattern != "" && !patterns()[f.pattern].MatchString(key) {
				found.add(name+"."+key, "is not allowed")
			}
			if _, ok := v.(string); !ok { // the value itself may be a secret: not repeated
				found.add(name+"."+key, "must be a string")
			}
		}
	case fileMap:
		for path, v := range members {
			checkFile(found, name+"."+path, path, v)
		}
	default:
		checkMembers(found, name+".", f.of, members)
		if f.also != nil {
			if member, problem := f.also(members); problem != "" {
				found.add(name+"."+member, problem)
			}
		}
	}
}

// checkFile checks a mounted file: Northflank takes base64 data and mounts it
// decoded (utf-8) or as it is (base64).
func checkFile(found problems, name, path string, v any) {
	if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
		found.add(name, "must be an absolute file path")
	}
	members, ok := v.(map[string]any)
	if !ok {
		found.add(name, "must be of type object")
		return
	}
	checkMembers(found, name+".", []field{
		{name: "data", kind: open, required: true},
		{name: "encoding", enum: []string{"utf-8", "base64"}, required: true},
	}, members)
	if data, given := members["data"]; given {
		s, isText := data.(string)
		if _, err := base64.StdEncoding.DecodeString(s); !isText || err != nil {
			found.add(name+".data", "must be a valid base64 string")
		}
	}
}
