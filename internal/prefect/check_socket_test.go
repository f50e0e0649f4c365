package prefect

import (
	"errors"
	"net/http"
	"testing"

	"github.com/coder/websocket"
)

// TestCheckSockets: the checks get as far as the server's verdict on the
// credentials, and send nothing after it.
func TestCheckSockets(t *testing.T) {
	t.Parallel()
	accept := func(s *socket, _ *http.Request) {
		s.read()
		s.write(authSuccess)
		if _, data, err := s.conn.Read(s.ctx); err == nil {
			s.Errorf("after the authentication came %s, want nothing", data)
		}
	}
	refuse := func(s *socket, _ *http.Request) {
		s.read()
		s.close(websocket.StatusPolicyViolation, "Invalid token")
	}
	for name, check := range map[string]func(*Client) error{
		"events":  func(c *Client) error { return c.CheckEvents(t.Context()) },
		"channel": func(c *Client) error { return c.CheckChannel(t.Context(), "my pool") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := check(talking(t, nil, accept)); err != nil {
				t.Errorf("accepted: %v, want nil", err)
			}
			if err := check(talking(t, nil, refuse)); !errors.Is(err, ErrUnauthorized) {
				t.Errorf("refused: %v, want ErrUnauthorized", err)
			}
		})
	}
}
