package webhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// Headers of a notification. Northflank docs: application/notifications/webhooks.
const (
	// tokenHeader holds the integration's secret in clear; there is no signature.
	tokenHeader     = "X-Northflank-Notification-Integration-Token"
	eventIDHeader   = "X-Northflank-Notification-Integration-Event-Id"
	eventTypeHeader = "X-Northflank-Notification-Integration-Event-Type"
)

const (
	maxBody      = 1 << 20     // bytes; a notification has about 1 kB
	refusalEvery = time.Minute // between two log lines about wrong tokens
)

// Options configure a handler.
type Options struct {
	Secret secret.Value // of the integration; without one everything is refused
	Path   string       // that notifications are posted to; "" is "/"
	// Receive is told of each notification, once, and must be quick: the answer
	// is sent when it returns. It is called by several goroutines at once.
	Receive func(Notification)
	Logger  *slog.Logger // nil is silence
}

// NewHandler returns the receiver. Its server should bound the time of reading
// a request.
//
//	path -> verb -> token -> body -> JSON -> seen before? -> Receive -> 200
//
// Northflank repeats what is not answered with 2xx and then disables the
// integration, so whatever is well-formed is answered so, understood or not.
func NewHandler(o Options) http.Handler {
	h := &handler{
		path: o.Path, receive: o.Receive, log: o.Logger,
		enabled: !o.Secret.IsZero(), secret: sha256.Sum256([]byte(o.Secret.Reveal())),
		wanted: map[string]bool{}, recent: newRecent(),
	}
	if h.path == "" {
		h.path = "/"
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	for _, event := range events() {
		h.wanted[event] = true
	}
	return h
}

type handler struct {
	path    string
	receive func(Notification)
	log     *slog.Logger
	enabled bool
	secret  [sha256.Size]byte // its hash: equally long whatever is compared with it
	wanted  map[string]bool
	recent  *recent

	mu      sync.Mutex // guards what follows
	refused int        // since the last line in the log
	told    time.Time  // when that was
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != h.path:
		http.NotFound(w, r)
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
		return
	case !h.authentic(r.Header.Get(tokenHeader)):
		h.tellRefused(r.RemoteAddr)
		http.Error(w, "wrong or missing token", http.StatusUnauthorized)
		return
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		http.Error(w, "body too large", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "body cut short", http.StatusBadRequest)
		return
	}
	n, err := parse(raw, r.Header.Get(eventTypeHeader))
	if err != nil {
		h.log.Warn("webhook notification not understood", "err", err)
		http.Error(w, "malformed JSON", http.StatusBadRequest)
		return
	}
	if h.wanted[n.Event] && h.recent.add(r.Header.Get(eventIDHeader)) {
		h.log.Debug("webhook notification", "event", n.Event, "project", n.ProjectID, "job_id", n.JobID, "job_run_id", n.RunID)
		h.receive(n)
	}
	w.WriteHeader(http.StatusOK)
}

// authentic compares a token with the secret, in a time that tells nothing
// about either.
func (h *handler) authentic(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], h.secret[:]) == 1 && h.enabled
}

// tellRefused logs a wrong token, which is never shown, and only now and then:
// who sends them must not fill the disk.
func (h *handler) tellRefused(remote string) {
	h.mu.Lock()
	h.refused++
	n, now := h.refused, time.Now()
	quiet := !h.told.IsZero() && now.Sub(h.told) < refusalEvery
	if !quiet {
		h.refused, h.told = 0, now
	}
	h.mu.Unlock()
	if !quiet {
		h.log.Warn("webhook notification refused: wrong or missing token",
			"remote", remote, "refused", n, "hint", "the integration's secret and NORTHFLANK_WEBHOOK_SECRET must be the same")
	}
}
