package emulator

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
	"time"
)

// The events of job runs that are delivered; a subscription names them with
// triggerPrefix before them.
const (
	eventStart     = "job-run:start"
	eventSuccess   = "job-run:success"
	eventFailure   = "job-run:failure"
	eventAbort     = "job-run:abort"
	eventTerminate = "job-run:terminate"
	eventCrash     = "infrastructure:job:container-crash"
	eventEviction  = "infrastructure:job:container-eviction"

	triggerPrefix = "trigger:"
)

// Northflank docs: what is not answered with 2xx is tried again a limited
// number of times, and a webhook that keeps failing is disabled. How often and
// when is unpublished.
const (
	deliveryAttempts = 6
	firstRedelivery  = 10 * time.Second // doubles: the last attempt is 310 s after the first
	deliveryTimeout  = 10 * time.Second // of an attempt
	maxUndelivered   = 1000             // notifications under way; what comes on top is lost
	maxDelivering    = 32               // attempts at a time
)

// delivery is an event on its way to one integration.
type delivery struct {
	integration string // its id
	updates     int    // of the integration, when the event happened
	id          string // of the event
	event       string
	body        []byte
	twice       bool
}

// tell hands an event of a job run to every integration that wants it; s.mu
// must be held. They are delivered without it, in no certain order.
func (s *Server) tell(r *run, event string) {
	if len(s.notifications) == 0 || s.ctx.Err() != nil {
		return
	}
	var tags []string
	p := s.projects[r.Project]
	j := p.jobs[r.Job] // nil when it was deleted
	if j != nil {
		tags = j.spec.Tags
	}
	for _, n := range sortedByID(s.notifications, func(n *integration) string { return n.ID }) {
		if !n.wants(event, r.Project, tags) {
			continue
		}
		if s.undelivered >= maxUndelivered {
			s.logger.Warn("notification lost: too many are under way", slog.String("integration", n.ID), slog.String("event", event))
			continue
		}
		d := s.newDelivery(n, p, j, r, event)
		s.undelivered++
		s.work.Go(func() {
			s.deliver(d)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.undelivered--
		})
	}
}

// tellOf is tell for callers without s.mu.
func (s *Server) tellOf(r *run, event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(r, event)
}

// newDelivery writes the payload. Only that of builds is published, as event,
// data.build, data.project and more; that of job runs is formed after it.
func (s *Server) newDelivery(n *integration, p *project, j *job, r *run, event string) delivery {
	d := delivery{integration: n.ID, updates: n.updates, id: s.newUUID(), event: event, twice: s.switchIs(SwitchWebhookCopies, "twice")}
	if s.switchIs(SwitchWebhookEvent, "trigger") {
		d.event = triggerPrefix + event
	}
	jobName := r.Job
	if j != nil {
		jobName = j.Name
	}
	data := map[string]any{
		"project": map[string]string{"id": p.ID, "name": p.Name},
		"job":     map[string]string{"id": r.Job, "name": jobName},
	}
	if s.switchIs(SwitchWebhookRun, "named") {
		data["run"] = map[string]string{"id": r.ID, "name": r.Name, "status": r.Status}
	}
	d.body, _ = json.Marshal(map[string]any{"event": d.event, "data": data}) // maps of text always have JSON
	return d
}

// deliver makes the attempts for one notification, and disables an integration
// that took none of them.
func (s *Server) deliver(d delivery) {
	wait := firstRedelivery
	for attempt := 1; ; attempt++ {
		err := s.post(d)
		switch {
		case err == nil && d.twice:
			_ = s.post(d) // whatever becomes of it, the notification has arrived
			return
		case err == nil, errors.Is(err, errUnwanted):
			return
		case attempt == deliveryAttempts:
			s.disable(d, err)
			return
		}
		s.logger.Info("notification not delivered", slog.String("integration", d.integration), slog.String("event", d.event),
			slog.Int("attempt", attempt), slog.Duration("wait", s.config.scaled(wait)), slog.Any("err", err))
		if s.pause(s.ctx, s.config.scaled(wait)) != nil {
			return
		}
		wait *= 2
	}
}

// errUnwanted: the integration was deleted or disabled meanwhile.
var errUnwanted = errors.New("notification not wanted any more")

// post makes one attempt, to the address that the integration has now.
func (s *Server) post(d delivery) error {
	select {
	case s.delivering <- struct{}{}:
		defer func() { <-s.delivering }()
	case <-s.ctx.Done():
		return errUnwanted
	}
	s.mu.Lock()
	n := s.notifications[d.integration]
	if n == nil || n.Disabled != "" {
		s.mu.Unlock()
		return errUnwanted
	}
	spec := n.spec
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, deliveryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, spec.Webhook, bytes.NewReader(d.body))
	if err != nil {
		return err
	}
	const prefix = "X-Northflank-Notification-Integration-"
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(prefix+"Id", d.integration)
	req.Header.Set(prefix+"Name", spec.Name)
	req.Header.Set(prefix+"Event-Id", d.id)
	req.Header.Set(prefix+"Event-Type", d.event)
	if spec.Secret != "" {
		req.Header.Set(prefix+"Token", spec.Secret) // in clear: there is no signature
	}
	resp, err := s.deliverer.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the address may hold a secret
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxBody) // so that the connection can be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("answered %d", resp.StatusCode)
	}
	return nil
}

// disable ends an integration's deliveries, until it is updated.
func (s *Server) disable(d delivery, err error) {
	s.mu.Lock()
	if n := s.notifications[d.integration]; n != nil && n.updates == d.updates && n.Disabled == "" {
		n.Disabled = fmt.Sprintf("not delivered in %d attempts: %v", deliveryAttempts, err)
		s.store.put(n.path(), n)
		s.logger.Warn("notification integration disabled", slog.String("integration", n.ID), slog.String("reason", n.Disabled))
	}
	s.mu.Unlock()
	s.store.flush()
	s.changes.notify()
}

// newDeliverer is the client that carries notifications.
func newDeliverer(rt http.RoundTripper) *http.Client {
	if rt == nil {
		rt = &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: maxDelivering, IdleConnTimeout: time.Minute}
	}
	return &http.Client{
		Transport:     rt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
