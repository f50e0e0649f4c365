package emulator

import (
	"errors"
	"maps"
	"path"
	"slices"
	"time"
)

// integration is a notification integration: an address that is told of
// events. Guarded by Server.mu.
type integration struct {
	ID        string         `json:"id"`
	CreatedAt time.Time      `json:"createdAt"`
	UpdatedAt time.Time      `json:"updatedAt"`
	Disabled  string         `json:"disabled,omitempty"` // why nothing is delivered any more; "": it is
	Body      map[string]any `json:"body"`               // as sent; replaced whole, never changed

	spec    integrationSpec
	updates int // since the server started
}

// integrationSpec is what the emulator itself uses of an integration's body.
type integrationSpec struct {
	Name         string          `json:"name"`
	Type         string          `json:"type"`
	Webhook      string          `json:"webhook"`
	Secret       string          `json:"secret"`
	Restricted   bool            `json:"restricted"`
	Projects     []string        `json:"projects"`
	Events       map[string]bool `json:"events"`
	Restrictions struct {
		Tags struct {
			Enabled        bool     `json:"enabled"`
			Items          []string `json:"items"`
			MatchCondition string   `json:"matchCondition"`
		} `json:"tags"`
	} `json:"restrictions"`
}

func (n *integration) path() string { return path.Join("notifications", n.ID+".json") }

func (n *integration) setBody(body map[string]any) error {
	n.Body, n.spec = body, integrationSpec{}
	return convert(body, &n.spec)
}

// wants reports whether an event of a job of the project, with these tags, is
// to be delivered.
func (n *integration) wants(event, project string, tags []string) bool {
	if n.Disabled != "" || n.spec.Type != "RAW_WEBHOOK" || !n.spec.Events[triggerPrefix+event] {
		return false
	}
	if n.spec.Restricted && !slices.Contains(n.spec.Projects, project) {
		return false
	}
	t := n.spec.Restrictions.Tags
	return !t.Enabled || tagsMatch(t.Items, t.MatchCondition, tags)
}

// view is an integration in a list and after its creation. The secret is not
// shown again.
func (n *integration) view() map[string]any {
	status := map[string]any{"disabled": n.Disabled != ""}
	if n.Disabled != "" {
		status["reason"] = n.Disabled // the docs call it a boolean, which cannot be
	}
	return map[string]any{
		"id": n.ID, "name": n.spec.Name, "type": n.spec.Type, "webhook": n.spec.Webhook, "status": status,
		"createdAt": stampMillis(n.CreatedAt), "updatedAt": stampMillis(n.UpdatedAt),
	}
}

func (s *Server) listNotifications(q *request) (answer, *apiError) {
	all := sortedByID(s.notifications, func(n *integration) string { return n.ID })
	from, to, p, e := s.paginate(q, len(all))
	if e != nil {
		return answer{}, e
	}
	items := []map[string]any{}
	for _, n := range all[from:to] {
		items = append(items, n.view())
	}
	return answer{data: map[string]any{"notificationIntegrations": items}, pagination: p}, nil
}

func (s *Server) createNotification(q *request) (answer, *apiError) {
	name, _ := q.body["name"].(string)
	if _, taken := s.notifications[slug(name)]; taken {
		return answer{}, errConflict("There is already a notification integration with the same derived identifier")
	}
	n := &integration{ID: slug(name), CreatedAt: time.Now()}
	if e := s.saveNotification(n, q.body); e != nil {
		return answer{}, e
	}
	return answer{data: n.view()}, nil
}

// saveNotification stores what was created or updated, and enables it.
func (s *Server) saveNotification(n *integration, body map[string]any) *apiError {
	if err := n.setBody(body); err != nil {
		return &apiError{Status: 500, Message: err.Error()}
	}
	n.UpdatedAt, n.Disabled = time.Now(), ""
	n.updates++
	s.notifications[n.ID] = n
	s.store.put(n.path(), n)
	return nil
}

func (s *Server) notificationOf(q *request) (*integration, *apiError) {
	id := q.params["notification"]
	if n := s.notifications[id]; n != nil {
		return n, nil
	}
	return nil, errMissing("notification integration", id)
}

// getNotification tells more than the list does.
func (s *Server) getNotification(q *request) (answer, *apiError) {
	n, e := s.notificationOf(q)
	if e != nil {
		return answer{}, e
	}
	view := n.view()
	view["restricted"] = n.spec.Restricted
	for _, name := range []string{"projects", "events"} {
		if v, given := n.Body[name]; given {
			view[name] = v
		}
	}
	return answer{data: view}, nil
}

// updateNotification replaces the fields that are given. Northflank docs: all
// of them are optional, and the answer is empty.
func (s *Server) updateNotification(q *request) (answer, *apiError) {
	n, e := s.notificationOf(q)
	if e != nil {
		return answer{}, e
	}
	body := maps.Clone(n.Body)
	maps.Copy(body, q.body)
	if e := s.saveNotification(n, body); e != nil {
		return answer{}, e
	}
	return answer{data: map[string]any{}}, nil
}

func (s *Server) deleteNotification(q *request) (answer, *apiError) {
	n, e := s.notificationOf(q)
	if e != nil {
		return answer{}, e
	}
	delete(s.notifications, n.ID)
	s.store.remove(n.path())
	return answer{data: map[string]any{}}, nil
}

// restoreAccount reads what is not part of jobs: secret groups, tags, notifications.
func (s *Server) restoreAccount() error {
	var broken error
	err := errors.Join(
		load(s.store, "secrets", func(g *secretGroup) {
			if p := s.projects[g.Project]; p != nil {
				broken = errors.Join(broken, g.setBody(g.Body))
				p.secrets[g.ID] = g
			}
		}),
		load(s.store, "tags", func(t *map[string]any) { s.tags[idOf(*t)] = *t }),
		load(s.store, "notifications", func(n *integration) {
			broken = errors.Join(broken, n.setBody(n.Body))
			s.notifications[n.ID] = n
		}))
	return errors.Join(err, broken)
}
