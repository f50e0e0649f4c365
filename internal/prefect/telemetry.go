package prefect

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// truncatedMark ends a log message that was cut, as in Prefect's own client.
const truncatedMark = "... [truncated]"

// maxLogSizeCloud is the most that Prefect Cloud takes in one record.
const maxLogSizeCloud = 25_000

// SendLogs writes lines to the logs of their flow runs, in as many requests as
// PREFECT_LOGGING_TO_API_BATCH_SIZE asks for. Messages over
// PREFECT_LOGGING_TO_API_MAX_LOG_SIZE are cut. With
// PREFECT_LOGGING_TO_API_ENABLED=false it does nothing.
func (c *Client) SendLogs(ctx context.Context, logs []Log) error {
	if !c.settings.LoggingToAPI.Enabled {
		return nil
	}
	batches, err := c.logBatches(logs)
	if err != nil {
		return err
	}
	for _, batch := range batches {
		if err := c.call(ctx, routeCreateLogs, request{body: batch}, nil); err != nil {
			return fmt.Errorf("send logs: %w", err)
		}
	}
	return nil
}

// Logs returns the newest lines of a flow run's log, the newest first: those since
// a time, and no more than most.
func (c *Client) Logs(ctx context.Context, flowRunID string, since time.Time, most int) ([]Log, error) {
	body := map[string]any{
		"logs": map[string]any{"flow_run_id": anyOf([]string{flowRunID}), "timestamp": map[string]any{"after_": since.UTC()}},
		"sort": "TIMESTAMP_DESC",
	}
	var all []Log
	for len(all) < most {
		limit := min(pageSize, most-len(all))
		body["limit"], body["offset"] = limit, len(all)
		var page []Log
		if err := c.call(ctx, routeLogs, request{body: body}, &page); err != nil {
			return nil, fmt.Errorf("read the log of flow run %s: %w", flowRunID, err)
		}
		all = append(all, page...)
		if len(page) < limit {
			break
		}
	}
	return all, nil
}

func (c *Client) logBatches(logs []Log) ([][]json.RawMessage, error) {
	maxRecord, maxBatch := c.settings.LoggingToAPI.MaxLogSize, c.settings.LoggingToAPI.BatchSize
	if c.settings.IsCloud() {
		maxRecord = min(maxRecord, maxLogSizeCloud)
	}
	var batches [][]json.RawMessage
	size := 0 // of the last batch
	for _, line := range logs {
		line.WorkerID = c.WorkerID()
		record, err := encodeLog(line, maxRecord)
		if err != nil {
			return nil, err
		}
		if len(batches) == 0 || size+len(record) > maxBatch {
			batches, size = append(batches, nil), 0
		}
		last := len(batches) - 1
		batches[last], size = append(batches[last], record), size+len(record)
	}
	return batches, nil
}

// encodeLog makes a record of at most limit bytes, by cutting the message
// between characters.
func encodeLog(line Log, limit int) (json.RawMessage, error) {
	line.Timestamp = line.Timestamp.UTC()
	record, err := encode(line)
	if err != nil {
		return nil, fmt.Errorf("encode log line: %w", err)
	}
	if excess := len(record) - limit; excess > 0 {
		room := encodedLen(line.Message) - excess - len(truncatedMark)
		line.Message = truncate(line.Message, room) + truncatedMark
		return encode(line)
	}
	return record, nil
}

// truncate returns the beginning of text that takes at most room bytes as JSON.
func truncate(text string, room int) string {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if room -= encodedRune(r, size); room < 0 {
			return text[:i]
		}
		i += size
	}
	return text
}

func encodedLen(text string) int {
	total := 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		total += encodedRune(r, size)
		i += size
	}
	return total
}

// encodedRune is how many bytes encoding/json writes for r, which took size
// bytes of the text, without HTML escaping.
func encodedRune(r rune, size int) int {
	switch {
	case strings.ContainsRune("\"\\\b\f\n\r\t", r):
		return 2
	case r < ' ', r == '\u2028', r == '\u2029', r == utf8.RuneError && size == 1:
		return 6 // a broken byte becomes \ufffd
	}
	return size
}

// SendEvents writes events. Their ids make repeating harmless.
func (c *Client) SendEvents(ctx context.Context, events []Event) error {
	body := make([]Event, len(events))
	for i, event := range events {
		event.Occurred = event.Occurred.UTC().Truncate(time.Microsecond)
		if event.Related == nil { // null would be refused
			event.Related = []map[string]string{}
		}
		if event.Payload == nil {
			event.Payload = map[string]any{}
		}
		body[i] = event
	}
	if err := c.call(ctx, routeCreateEvents, request{body: body}, nil); err != nil {
		return fmt.Errorf("send events: %w", err)
	}
	return nil
}
