package prefect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pageSize is the most that Prefect gives at once (PREFECT_API_DEFAULT_LIMIT);
// a larger limit is refused with 422.
const pageSize = 200

// MaxScheduled is the most scheduled flow runs that Prefect gives at once.
const MaxScheduled = pageSize

// ClientOptions configures a [Client].
type ClientOptions struct {
	Settings   *Settings
	HTTPClient *http.Client // nil: built from the settings
	WorkerName string       // sent as X-Prefect-Worker-Name; "" outside a worker
	Version    string       // of this product, sent in a header of our own
	Logger     *slog.Logger
	Observe    func(Call) // told of each finished call; may be nil
	// Maintenance is told, before each wait for a server in maintenance, when that
	// wait ends. Such waits have no limit but the context. May be nil.
	Maintenance func(until time.Time)
}

// Client speaks to one Prefect API. It is safe for concurrent use.
type Client struct {
	settings *Settings
	logger   *slog.Logger
	chain    stage
	errs     *errorStage
	identity *identity

	// For the event stream, which is no exchange of the chain.
	http         *http.Client
	socketHeader http.Header
	observe      func(Call)
}

// NewClient makes a client; it sends nothing yet. It fails when the settings
// name no API or a certificate file that cannot be used.
func NewClient(o ClientOptions) (*Client, error) {
	s := o.Settings
	if err := s.RequireAPI(); err != nil {
		return nil, err
	}
	httpClient := o.HTTPClient
	if httpClient == nil {
		var err error
		if httpClient, err = newHTTPClient(s); err != nil {
			return nil, err
		}
	}
	headers := fixedHeaders(s, o.WorkerName, o.Version, o.Logger)
	client := &Client{
		settings: s, logger: o.Logger, identity: newIdentity(o.Version),
		http: httpClient, socketHeader: socketHeaders(headers), observe: o.Observe,
	}
	wire := headersStage(sendStage(httpClient, s.APIURL, s.RequestTimeout), headers, client.WorkerID)
	if s.CSRFEnabled && !s.IsCloud() {
		wire = newCSRFStage(wire, observeStage(wire, o.Logger, o.Observe)).do
	}
	client.errs = newErrorStage(wire, s)
	retry := &retryStage{
		next:       client.errs.do,
		maxRetries: s.MaxRetries, jitter: s.RetryJitter, extraCodes: s.RetryExtraCodes,
		logger: o.Logger, maintenance: o.Maintenance,
	}
	client.chain = observeStage(retry.do, o.Logger, o.Observe)
	return client, nil
}

// request is what a method sends: path arguments in the template's order, query
// and JSON body, each optional.
type request struct {
	args  []string
	query url.Values
	body  any
}

// call sends a request along route and decodes the answer into out, unless that
// is nil. Numbers inside untyped values become json.Number, which keeps them exact.
func (c *Client) call(ctx context.Context, id routeID, r request, out any) error {
	ex, rep, err := c.send(ctx, id, r)
	if err != nil || out == nil {
		return err
	}
	if err := decode(rep.body, out); err != nil {
		return c.unreadable(ex, rep, err)
	}
	return nil
}

// send sends a request along route.
func (c *Client) send(ctx context.Context, id routeID, r request) (*exchange, *reply, error) {
	ex := &exchange{route: routeTable[id], path: routeTable[id].fill(r.args...), query: r.query}
	if r.body != nil {
		body, err := encode(r.body)
		if err != nil {
			return nil, nil, fmt.Errorf("encode request: %w", err)
		}
		ex.body = body
	}
	rep, err := c.chain(ctx, ex)
	return ex, rep, err
}

// unreadable is a success whose body is not what it should be: most often a web
// page, because the API URL points beside the API.
func (c *Client) unreadable(ex *exchange, rep *reply, err error) error {
	e := &Error{
		Status: rep.status, Method: ex.route.Method, Path: ex.path, Attempts: ex.attempts,
		Message: c.errs.fit("the answer cannot be read: " + err.Error()), cause: err, uncertain: ex.route.changes(),
	}
	if !rep.isJSON() {
		e.Message = c.errs.fit(answerMessage(&reply{header: rep.header, body: []byte("-")}))
		e.hint = "PREFECT_API_URL (from " + c.settings.origin("PREFECT_API_URL") +
			") may not point at a Prefect API; for a Prefect server it ends in /api"
	}
	return e
}

// encode is json.Marshal without HTML escaping.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decode reads one JSON value and nothing after it.
func decode(data []byte, out any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(out); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after the JSON value")
	}
	return nil
}

// Health asks GET /health, which needs no authorisation. What answers with a web
// page is not taken for a Prefect server; what Prefect Cloud answers beside its
// status is not documented.
func (c *Client) Health(ctx context.Context) error {
	var answer any = new(any)
	if c.settings.IsCloud() {
		answer = nil
	}
	if err := c.call(ctx, routeHealth, request{}, answer); err != nil {
		return fmt.Errorf("check health of the Prefect API: %w", err)
	}
	return nil
}

// ServerVersion returns the version of a Prefect server, such as "3.8.8".
func (c *Client) ServerVersion(ctx context.Context) (string, error) {
	var version string
	if err := c.call(ctx, routeVersion, request{}, &version); err != nil {
		return "", fmt.Errorf("read version of the Prefect server: %w", err)
	}
	return c.errs.fit(version), nil
}

// CheckServerVersion compares the server's version with the one that this
// client is written for: another major version, or one that is too old for this
// worker, is an error, an older server a warning. Cloud is not asked, nor is anyone when
// PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED is false.
func (c *Client) CheckServerVersion(ctx context.Context) (warning string, err error) {
	if c.settings.IsCloud() || !c.settings.ServerVersionCheck {
		return "", nil
	}
	server, err := c.ServerVersion(ctx)
	if err != nil {
		return "", err
	}
	return compareVersions(server, imitatedVersion)
}

// oldestServer is the first Prefect that lets a flow run go from Pending to a
// Pending of another name, which carries the right to start it. An older one
// refuses, and flow runs would stay Pending.
var oldestServer = [3]int{3, 6, 22}

func compareVersions(server, client string) (warning string, err error) {
	s, c := versionNumbers(server), versionNumbers(client)
	switch {
	case s[0] != c[0]:
		return "", &versionError{server: server}
	case slices.Compare(s[:], oldestServer[:]) < 0:
		return "", &versionError{server: server}
	case slices.Compare(s[:], c[:]) < 0:
		return fmt.Sprintf("the Prefect server is version %s, older than the %s that this client was written for", server, client), nil
	}
	return "", nil
}

// versionNumbers reads major, minor and patch; what is no number counts as 0.
func versionNumbers(version string) (numbers [3]int) {
	for i, part := range strings.SplitN(version, ".", 3) {
		digits := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
		if digits >= 0 {
			part = part[:digits]
		}
		numbers[i], _ = strconv.Atoi(part)
	}
	return numbers
}

type versionError struct{ server string }

func (e *versionError) Error() string {
	return fmt.Sprintf("the Prefect server is version %s; this worker needs a Prefect 3 server of version %d.%d.%d or later",
		e.server, oldestServer[0], oldestServer[1], oldestServer[2])
}

func (e *versionError) Hint() string {
	return "upgrade the server (flow runs may keep an older Prefect in their images); PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED=false skips this check"
}
