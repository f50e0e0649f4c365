package prefect

import (
	"context"
	"errors"
	"net/http"

	"github.com/coder/websocket"
)

// ChannelReason says in one word why a worker channel ended.
type ChannelReason string

// The reasons that Prefect gives when it closes a channel, and ours.
const (
	ChannelAuthentication     ChannelReason = "authentication_failed"
	ChannelAuthorization      ChannelReason = "authorization_failed"
	ChannelUnsupportedVersion ChannelReason = "unsupported_version"
	ChannelProtocolError      ChannelReason = "protocol_error" // found by either side
	ChannelHeartbeatLost      ChannelReason = "heartbeat_persistence_failed"
	ChannelServerError        ChannelReason = "transient_server_error"

	ChannelUnavailable    ChannelReason = "endpoint_unavailable" // there is no such thing at the other end
	ChannelSetupTimeout   ChannelReason = "setup_timeout"
	ChannelConnectionLost ChannelReason = "connection_lost" // or never made
	ChannelStopped        ChannelReason = "stopped"         // by the caller's context
)

// ChannelError is the end of a worker channel. It wraps the *Error with the
// details, or whatever else ended it.
type ChannelError struct {
	Reason ChannelReason
	// Refused: the other end does not want it so, and trying again at once will not
	// change its mind. Prefect's own worker then stays with REST for good; some
	// minutes later the server may be another, and the pool be there.
	Refused bool
	// NoChannel: the upgrade was refused, so no Prefect with worker channels was
	// reached: an older server, or a proxy that passes no websockets on.
	NoChannel bool

	cause error
}

func (e *ChannelError) Error() string { return "worker channel: " + e.cause.Error() }

// Unwrap gives the cause, which carries the hint.
func (e *ChannelError) Unwrap() error { return e.cause }

// channelEnd classifies what ended a channel; ctx is the caller's.
func channelEnd(ctx context.Context, err error, setUp bool) *ChannelError {
	e := &ChannelError{cause: err}
	details, _ := asError(err)
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()) || errors.Is(err, context.Canceled):
		e.Reason = ChannelStopped
	case details != nil && details.Status == http.StatusUnauthorized: // by the upgrade or by a frame
		e.Reason, e.Refused = ChannelAuthentication, true
	case errors.Is(err, errProtocol) || errors.Is(err, websocket.ErrMessageTooBig):
		e.Reason, e.Refused = ChannelProtocolError, true
	case websocket.CloseStatus(err) != -1:
		e.Reason, e.Refused = closeReason(err)
		if details != nil {
			details.Status = closeStatus[e.Reason]
		}
	case !setUp && errors.Is(err, context.DeadlineExceeded):
		e.Reason = ChannelSetupTimeout
	case errors.Is(err, errNoUpgrade):
		e.Reason, e.Refused, e.NoChannel = ChannelUnavailable, true, true
	case details != nil && details.Status != 0:
		e.Reason, e.Refused = upgradeRefused(details)
		e.NoChannel = e.Refused
	default:
		e.Reason = ChannelConnectionLost
	}
	if details != nil && details.hint == "" {
		details.hint = channelHints[e.Reason]
		if e.Reason == ChannelServerError && !setUp && websocket.CloseStatus(err) != -1 {
			details.hint = "Prefect says so, too, of a base job template that it does not accept; REST tells what is wrong with it"
		}
	}
	return e
}

// closeStatus is what REST would have answered; 0 for what passes.
var closeStatus = map[ChannelReason]int{
	ChannelAuthentication:     http.StatusUnauthorized,
	ChannelAuthorization:      http.StatusForbidden,
	ChannelUnsupportedVersion: http.StatusBadRequest,
	ChannelProtocolError:      http.StatusBadRequest,
}

var channelHints = map[ChannelReason]string{
	ChannelAuthorization: "Prefect does not say more: the work pool is missing or was just deleted, one of the named work queues is missing," +
		` or the pool cannot be created because names that start with "prefect" are reserved`,
	ChannelUnsupportedVersion: disagreement,
	ChannelProtocolError:      disagreement,
}

const disagreement = "server and worker do not agree on the worker channel, as can be when their releases are far apart," +
	" or the server refuses the defaults of the base job template; without the channel all goes by REST"

// closeReason reads a close frame: by its reason, else by its code.
func closeReason(err error) (reason ChannelReason, refused bool) {
	var frame websocket.CloseError
	errors.As(err, &frame)
	switch reason := ChannelReason(frame.Reason); reason {
	case ChannelAuthentication, ChannelAuthorization, ChannelUnsupportedVersion, ChannelProtocolError:
		return reason, true
	case ChannelHeartbeatLost, ChannelServerError:
		return reason, false
	}
	switch frame.Code {
	case websocket.StatusPolicyViolation:
		return ChannelAuthorization, true
	case websocket.StatusProtocolError, websocket.StatusMessageTooBig: // the latter: our hello
		return ChannelProtocolError, true
	case websocket.StatusInternalError:
		return ChannelServerError, false
	}
	return ChannelConnectionLost, false
}

// upgradeRefused reads the status of an upgrade.
func upgradeRefused(e *Error) (reason ChannelReason, refused bool) {
	switch {
	case e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout:
		return ChannelServerError, false
	case e.Status == http.StatusForbidden:
		// Also what a Prefect server answers to the upgrade of a path it does not know.
		e.hint = "an older Prefect server has no worker channel; if yours has one: " + e.hint
		return ChannelAuthorization, true
	}
	return ChannelUnavailable, true
}
