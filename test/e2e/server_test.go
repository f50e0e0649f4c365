//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/northflank/prefect-northflank/internal/localstack"
	"github.com/northflank/prefect-northflank/internal/prefect"
)

// Every operation that our client uses is one of the server's. A Prefect release
// that moves one fails here.
func TestRoutesAreThoseOfTheServer(t *testing.T) {
	t.Parallel()
	api := localstack.API{URL: shared.server.APIURL}
	document := call[struct {
		Paths map[string]map[string]any
	}](t, api, http.MethodGet, "/openapi.json", nil)
	if len(document.Paths) < 100 {
		t.Fatalf("the server's OpenAPI document has %d paths, want well above 100", len(document.Paths))
	}
	routes := prefect.Routes()
	if len(routes) < 20 {
		t.Fatalf("prefect.Routes() lists %d operations, want all that the client uses", len(routes))
	}
	for _, route := range routes {
		operations, found := document.Paths[route.Path]
		if !found {
			operations, found = document.Paths["/api"+route.Path]
		}
		if !found || operations[strings.ToLower(route.Method)] == nil {
			t.Errorf("%s %s is not an operation of the server", route.Method, route.Path)
		}
	}
}

// guardedAuth is the user and password of the guarded server.
const guardedAuth = "admin:planted-password-5c1e"

// guardedServer returns a server with basic authentication and CSRF protection,
// started for the first test that asks. Several use it at once.
var guardedServer = sync.OnceValues(func() (*localstack.Prefect, error) {
	settings, err := shared.stack.StartDatabase(context.Background(), "guarded-postgres")
	if err != nil {
		return nil, err
	}
	env := map[string]string{
		"PREFECT_SERVER_API_AUTH_STRING":             guardedAuth,
		"PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
	}
	maps.Copy(env, settings)
	return shared.stack.StartPrefect(context.Background(), localstack.PrefectOptions{Name: "guarded", Env: env})
})

// busyServer returns a server for tests that send it hundreds of requests in a
// row. On SQLite a Prefect server under such load comes to a halt for a minute
// when more than 15 requests wait for its database (Prefect 3.8: a write that
// needs a second connection, a pool of 15, a busy timeout of 60 s).
var busyServer = sync.OnceValues(func() (*localstack.Prefect, error) {
	database, err := shared.stack.StartDatabase(context.Background(), "busy-postgres")
	if err != nil {
		return nil, err
	}
	return shared.stack.StartPrefect(context.Background(), localstack.PrefectOptions{Name: "busy", Env: database})
})

func busyServerURL(t *testing.T) string {
	t.Helper()
	server, err := busyServer()
	if err != nil {
		t.Fatal(err)
	}
	return server.APIURL
}

// newGuardedFixture sets a test up on the guarded server.
func newGuardedFixture(t *testing.T) *fixture {
	t.Helper()
	server, err := guardedServer()
	if err != nil {
		t.Fatal(err)
	}
	client := uuid.NewString()
	api := localstack.API{URL: server.APIURL, Header: map[string]string{
		"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(guardedAuth)),
	}}
	// Valid for an hour, or until the same client asks for another.
	token := call[struct{ Token string }](t, api, http.MethodGet, "/csrf-token?client="+client, nil).Token
	api.Header["Prefect-Csrf-Token"], api.Header["Prefect-Csrf-Client"] = token, client
	return newFixtureOn(t, server, api, map[string]string{"PREFECT_API_AUTH_STRING": guardedAuth})
}

func TestWrongPasswordIsToldOnce(t *testing.T) {
	t.Parallel()
	f := newGuardedFixture(t)
	f.settings["PREFECT_API_AUTH_STRING"] = "admin:wrong"
	_, err := f.tryProgram("", "pool", "create", "another-pool")
	if err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "PREFECT_API_AUTH_STRING") {
		t.Errorf("pool create with a wrong password: error %v, want one that tells of 401 and of the setting", err)
	}
	if err != nil && strings.Contains(err.Error(), "admin:wrong") {
		t.Errorf("the error shows the password: %v", err)
	}
}
