package prefect

import (
	"encoding/json"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// identity is what passes between a worker and Prefect about the worker itself.
// Only Prefect Cloud gives workers an id; a server refuses the fields that have
// to do with it.
type identity struct {
	metadata json.RawMessage // an object; nil when nothing is to be told

	mu   sync.Mutex
	id   string // guarded by mu; "" until Prefect Cloud told it
	told bool   // guarded by mu; Prefect has the metadata
}

// newIdentity makes the metadata as Prefect 3.8 reads it: the integrations that
// the worker has, by the names of their Python packages. Ours is this product.
func newIdentity(version string) *identity {
	if version == "" {
		return &identity{}
	}
	type integration struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	metadata, err := json.Marshal(map[string][]integration{"integrations": {{"prefect-northflank", version}}})
	if err != nil {
		panic(err) // two texts are always JSON
	}
	return &identity{metadata: metadata}
}

// WorkerID is the id that Prefect Cloud gave the worker that this client speaks
// for; "" on a server, and until it is known.
func (c *Client) WorkerID() string {
	c.identity.mu.Lock()
	defer c.identity.mu.Unlock()
	return c.identity.id
}

// setWorkerID keeps an id as Prefect Cloud told it; anything else is passed over.
func (i *identity) setWorkerID(text string) {
	id, err := uuid.Parse(strings.Trim(text, "\" \t\r\n"))
	if err != nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.id = id.String()
}

// WorkerMetadata is what Prefect is still to be told about the worker; nil when
// it knows, or there is nothing to tell.
func (c *Client) WorkerMetadata() json.RawMessage {
	c.identity.mu.Lock()
	defer c.identity.mu.Unlock()
	if c.identity.told {
		return nil
	}
	return c.identity.metadata
}

// noteTold: Prefect took the metadata.
func (i *identity) noteTold() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.told = true
}
