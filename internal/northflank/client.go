package northflank

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// DefaultBaseURL is where Northflank's API lives.
const DefaultBaseURL = "https://api.northflank.com"

// Options configure a [Client].
type Options struct {
	BaseURL string       // http or https; "" is [DefaultBaseURL]
	TeamID  string       // "" uses the plain paths, which team tokens may; organisation tokens need it
	Token   secret.Value // sent as bearer token and in the first frame of a log socket
	// HTTPClient is used with redirects switched off; nil is a client of its
	// own that honours HTTPS_PROXY and NO_PROXY.
	HTTPClient *http.Client
	UserAgent  string       // "" is "prefect-northflank"
	Logger     *slog.Logger // nil is silence
	// Observe is told of each finished attempt, refused ones included; it must
	// be quick and safe for concurrent use. nil is nobody.
	Observe func(Call)
}

// Client calls the Northflank API with one set of credentials. It is safe for
// concurrent use. Use [Accounts] where several parts of a program may hold the
// same credentials, so that they share one request budget.
type Client struct {
	base      string // scheme://host[/prefix], no trailing slash
	team      string
	token     secret.Value
	http      *http.Client
	userAgent string
	log       *slog.Logger
	observe   func(Call)
	governor  *governor
	clock     clock
	exchange  stage
}

// New returns a client. It sends nothing.
func New(o Options) (*Client, error) {
	base, err := parseBaseURL(o.BaseURL)
	if err != nil {
		return nil, err
	}
	token := strings.TrimSpace(o.Token.Reveal())
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("northflank API token holds a character that no token has (a line break or a space?)")
	}
	c := &Client{
		base:      base,
		team:      o.TeamID,
		token:     secret.New(token),
		http:      withoutRedirects(o.HTTPClient),
		userAgent: o.UserAgent,
		log:       o.Logger,
		observe:   o.Observe,
		governor:  newGovernor(),
	}
	if c.userAgent == "" {
		c.userAgent = "prefect-northflank"
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	// One call passes, from the outside in:
	//
	//	retry -> observe -> refuse (non-2xx, not JSON) -> budget (admit, record headers) -> send
	//
	// and its answer is decoded by the method that asked.
	c.exchange = c.retrying(c.observing(c.refusing(c.budgeted(c.send))))
	return c, nil
}

// Budget returns the account's request budget as last seen.
func (c *Client) Budget() Budget { return c.governor.snapshot() }

// BaseURL returns the address that requests go to, without a trailing slash.
func (c *Client) BaseURL() string { return c.base }

// TeamID returns the team that requests are made for; "" is the token's own.
func (c *Client) TeamID() string { return c.team }

// Warning returns what a user should be told about the client's address once,
// or "".
func (c *Client) Warning() string {
	u, err := url.Parse(c.base)
	if err != nil || u.Scheme != "http" || isLoopback(u.Hostname()) {
		return ""
	}
	return fmt.Sprintf("the Northflank API token travels unencrypted to %s: use an https address", c.base)
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func parseBaseURL(s string) (string, error) {
	if s == "" {
		s = DefaultBaseURL
	}
	u, err := url.Parse(strings.TrimSpace(s))
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return "", fmt.Errorf("northflank API address %q is not of the form https://host", strings.TrimSpace(redactUserinfo(s)))
	case u.User != nil:
		return "", errors.New("northflank API address holds a user name or password: give the token on its own")
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("northflank API address %q has a query or fragment", u.Scheme+"://"+u.Host)
	}
	// People copy the address with the version on it; every path brings its own.
	path := strings.TrimSuffix(strings.TrimRight(u.EscapedPath(), "/"), "/v1")
	return u.Scheme + "://" + u.Host + strings.TrimRight(path, "/"), nil
}

// redactUserinfo hides what stands before an @ in an address that did not parse.
func redactUserinfo(s string) string {
	if i := strings.LastIndex(s, "@"); i >= 0 {
		return secret.Mask + s[i:]
	}
	return s
}

// withoutRedirects returns a client that hands 3xx answers back: Northflank
// never redirects, and a followed redirect could repeat a start or carry the
// token elsewhere.
func withoutRedirects(given *http.Client) *http.Client {
	hc := &http.Client{}
	if given != nil {
		*hc = *given
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		own := t.Clone()
		own.MaxIdleConnsPerHost = 16 // default 2 would reopen connections in every burst of starts
		hc.Transport = own
	}
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return hc
}

// call performs r and decodes the data of its answer into out (nil: any answer
// will do).
func (c *Client) call(ctx context.Context, r *request, out any) (pagination, error) {
	a, err := c.exchange(ctx, r)
	if err != nil {
		return pagination{}, err
	}
	if out == nil {
		return pagination{}, nil
	}
	return decode(r, a, out)
}
