// Package secret answers one question: how is a value held that must never be
// printed. It knows nothing of where a secret comes from or goes to.
package secret

import "log/slog"

// Mask is what every printed form of a non-empty [Value] shows.
const Mask = "***"

// Value holds a secret string. Its String, GoString, MarshalText, MarshalJSON
// and LogValue forms show [Mask], so that it can travel in structs that are
// logged or printed. The zero Value is the empty secret and prints as "".
type Value struct{ s string }

// New wraps s.
func New(s string) Value { return Value{s: s} }

// Reveal returns the secret itself. Call it only where a request header or
// body is built, so that a search for Reveal finds every use.
func (v Value) Reveal() string { return v.s }

// IsZero reports whether the secret is empty.
func (v Value) IsZero() bool { return v.s == "" }

func (v Value) String() string {
	if v.s == "" {
		return ""
	}
	return Mask
}

// GoString implements fmt.GoStringer.
func (v Value) GoString() string { return "secret.Value(" + v.String() + ")" }

// MarshalText implements encoding.TextMarshaler (and so covers JSON).
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// LogValue implements slog.LogValuer.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }
