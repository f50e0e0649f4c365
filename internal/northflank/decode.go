package northflank

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// pagination is the part of a list answer that leads to the next page.
type pagination struct {
	HasNextPage bool   `json:"hasNextPage"`
	Cursor      string `json:"cursor"`
}

// decode reads {"data":…,"pagination":…}. Unknown fields pass and null is zero,
// but an answer without data is none: it must not be read as an empty list.
func decode(r *request, a *answer, out any) (pagination, error) {
	var envelope struct {
		Data       json.RawMessage `json:"data"`
		Pagination pagination      `json:"pagination"`
	}
	if err := json.Unmarshal(a.body, &envelope); err != nil {
		return pagination{}, unusable(r, "not the documented envelope: "+err.Error())
	}
	if len(envelope.Data) == 0 || bytes.Equal(envelope.Data, []byte("null")) {
		return pagination{}, unusable(r, "it has no data")
	}
	if err := json.Unmarshal(envelope.Data, out); err != nil {
		return pagination{}, unusable(r, err.Error())
	}
	return envelope.Pagination, nil
}

func unusable(r *request, problem string) *AnswerError {
	return &AnswerError{Method: r.method, Path: r.path, Problem: problem}
}

// wireTime reads ISO 8601 text and is zero for an absent, null, empty or
// unreadable time: a time alone must not make a whole list unreadable.
type wireTime struct{ time.Time }

func (t *wireTime) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) != nil {
		t.Time = unixTime(b)
		return nil
	}
	t.Time = parseTime(s)
	return nil
}

// parseTime accepts RFC 3339 and the same without an offset, taken as UTC.
func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// unixTime reads a JSON number of seconds, or of milliseconds where seconds
// would be past the year 5000.
func unixTime(b []byte) time.Time {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || f <= 0 || f > 1e14 {
		return time.Time{}
	}
	if f >= 1e11 {
		return time.UnixMilli(int64(f)).UTC()
	}
	return time.UnixMilli(int64(f * 1000)).UTC()
}

// wireCount reads a count, which Northflank types as a float here and there.
type wireCount int

func (n *wireCount) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(strings.Trim(string(b), `"`), 64)
	if err == nil && f > -1e9 && f < 1e9 {
		*n = wireCount(f)
	}
	return nil
}
