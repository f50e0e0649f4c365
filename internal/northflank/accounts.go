package northflank

import (
	"sync"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// Accounts hands out one [Client] for each set of credentials, so that all flow
// runs with the same ones share connections and one request budget. It is safe
// for concurrent use. Clients are kept for its whole life: their number is that
// of the credentials in use.
type Accounts struct {
	options Options

	mu      sync.Mutex
	clients map[accountKey]*Client
}

type accountKey struct {
	base, team string
	token      secret.Value
}

// NewAccounts takes from o what all clients share; its BaseURL, TeamID and
// Token are ignored.
func NewAccounts(o Options) *Accounts {
	o.HTTPClient = withoutRedirects(o.HTTPClient)
	return &Accounts{options: o, clients: map[accountKey]*Client{}}
}

// Client returns the client for the credentials. An address given in several
// spellings is one address. The second result is true when the client is new;
// that is the moment to show its [Client.Warning].
func (a *Accounts) Client(baseURL, teamID string, token secret.Value) (client *Client, isNew bool, err error) {
	o := a.options
	o.BaseURL, o.TeamID, o.Token = baseURL, teamID, token
	c, err := New(o)
	if err != nil {
		return nil, false, err
	}
	key := accountKey{c.base, c.team, c.token}
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.clients[key]; ok {
		return known, false, nil
	}
	a.clients[key] = c
	return c, true, nil
}

// All returns the clients handed out so far, for status and metrics.
func (a *Accounts) All() []*Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*Client, 0, len(a.clients))
	for _, c := range a.clients {
		all = append(all, c)
	}
	return all
}
