package emulator

import (
	"errors"
	"maps"
	"time"
)

// Notification integrations can be managed; events are not delivered.

func (s *Server) listNotifications(q *request) (answer, *apiError) {
	all := sortedByID(s.notifications, idOf)
	from, to, p, e := s.paginate(q, len(all))
	if e != nil {
		return answer{}, e
	}
	items := []map[string]any{}
	for _, n := range all[from:to] {
		items = append(items, notificationView(n))
	}
	return answer{data: map[string]any{"notificationIntegrations": items}, pagination: p}, nil
}

// notificationView leaves out the secret, which is not shown again.
func notificationView(n map[string]any) map[string]any {
	view := maps.Clone(n)
	delete(view, "secret")
	view["status"] = map[string]any{"disabled": false, "reason": ""}
	return view
}

func (s *Server) createNotification(q *request) (answer, *apiError) {
	name, _ := q.body["name"].(string)
	if _, taken := s.notifications[slug(name)]; taken {
		return answer{}, errConflict("There is already a notification integration with the same derived identifier")
	}
	n := maps.Clone(q.body)
	n["id"], n["createdAt"] = slug(name), stampMillis(time.Now())
	return s.saveNotification(n), nil
}

func (s *Server) saveNotification(n map[string]any) answer {
	n["updatedAt"] = stampMillis(time.Now())
	s.notifications[idOf(n)] = n
	s.store.put("notifications/"+idOf(n)+".json", n)
	return answer{data: notificationView(n)}
}

func (s *Server) notificationOf(q *request) (map[string]any, *apiError) {
	id := q.params["notification"]
	if n := s.notifications[id]; n != nil {
		return n, nil
	}
	return nil, errMissing("notification integration", id)
}

func (s *Server) getNotification(q *request) (answer, *apiError) {
	n, e := s.notificationOf(q)
	if e != nil {
		return answer{}, e
	}
	return answer{data: notificationView(n)}, nil
}

func (s *Server) updateNotification(q *request) (answer, *apiError) {
	n, e := s.notificationOf(q)
	if e != nil {
		return answer{}, e
	}
	n = maps.Clone(n)
	maps.Copy(n, q.body)
	return s.saveNotification(n), nil
}

func (s *Server) deleteNotification(q *request) (answer, *apiError) {
	n, e := s.notificationOf(q)
	if e != nil {
		return answer{}, e
	}
	delete(s.notifications, idOf(n))
	s.store.remove("notifications/" + idOf(n) + ".json")
	return answer{data: map[string]any{}}, nil
}

// restoreAccount reads what is not part of jobs: secret groups, tags, notifications.
func (s *Server) restoreAccount() error {
	var broken error
	err := load(s.store, "secrets", func(g *secretGroup) {
		if p := s.projects[g.Project]; p != nil {
			broken = errors.Join(broken, g.setBody(g.Body))
			p.secrets[g.ID] = g
		}
	})
	for folder, into := range map[string]map[string]map[string]any{"tags": s.tags, "notifications": s.notifications} {
		err = errors.Join(err, load(s.store, folder, func(v *map[string]any) { into[idOf(*v)] = *v }))
	}
	return errors.Join(err, broken)
}
