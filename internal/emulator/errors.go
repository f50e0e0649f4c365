package emulator

import (
	"encoding/json"
	"net/http"
)

// apiError is an error answer of the API.
type apiError struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
	ID      string `json:"id,omitempty"`
	Details any    `json:"details,omitempty"`
}

func (e *apiError) Error() string { return e.Message }

// Texts and ids below are Northflank's own where known: 401, the two 404/405
// of routing, nf-invalid-request-body, "No deployment configured" and the
// duplicate's wording were seen by others on the live service. The rest is
// undocumented and only shaped alike.

func errUnauthorized() *apiError {
	return &apiError{Status: http.StatusUnauthorized, Message: "Unauthorized"}
}

func errRoute() *apiError {
	return &apiError{Status: http.StatusNotFound, Message: "Not found. The requested route does not exist"}
}

func errForbidden(message, permission string) *apiError {
	e := &apiError{Status: http.StatusForbidden, Message: message}
	if permission != "" {
		e.Details = map[string][]string{"permission": {permission}}
	}
	return e
}

func errMissing(kind, id string) *apiError {
	return &apiError{Status: http.StatusNotFound, Message: "Not found. There is no " + kind + " with id " + id}
}

func errConflict(message string) *apiError {
	return &apiError{Status: http.StatusConflict, Message: message}
}

func errBody(details map[string][]string) *apiError {
	return &apiError{
		Status: http.StatusBadRequest, ID: "nf-invalid-request-body",
		Message: "Request failed payload validation - see details.", Details: details,
	}
}

func errQuery(name, problem string) *apiError {
	return &apiError{
		Status: http.StatusBadRequest, ID: "nf-invalid-request-query",
		Message: "Request failed query validation - see details.",
		Details: map[string][]string{name: {"\"" + name + "\" " + problem}},
	}
}

func errRateLimited() *apiError {
	return &apiError{Status: http.StatusTooManyRequests, Message: "Too many requests", ID: "nf-rate-limit-exceeded"}
}

// reply is a finished answer, before anything of it is sent.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func newReply(status int, contentType string, body []byte) reply {
	h := http.Header{}
	h.Set("Content-Type", contentType)
	return reply{status: status, header: h, body: body}
}

func jsonReply(status int, v any) reply {
	body, err := json.Marshal(v)
	if err != nil { // every answer is built from plain maps and structs
		return newReply(http.StatusInternalServerError, "text/plain; charset=utf-8", []byte(err.Error()))
	}
	return newReply(status, "application/json; charset=utf-8", body)
}

// errorReply renders e in the form that the switch error-body asks for.
func errorReply(e *apiError, form string) reply {
	switch form {
	case "string":
		return jsonReply(e.Status, map[string]string{"error": e.Message})
	case "text":
		return newReply(e.Status, "text/plain; charset=utf-8", []byte(e.Message))
	}
	return jsonReply(e.Status, map[string]*apiError{"error": e})
}
