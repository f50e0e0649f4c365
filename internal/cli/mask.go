package cli

import (
	"encoding/json"
	"regexp"

	"github.com/northflank/prefect-northflank/internal/secret"
)

// jsonText is a text in compact JSON, with the colon behind it if it is a key.
var jsonText = regexp.MustCompile(`"(?:[^"\\]|\\.)*":?`)

// maskJSON hides secrets in the texts of a compact JSON body and leaves every
// other byte as it is.
func maskJSON(body []byte, scrub *secret.Scrubber) json.RawMessage {
	return jsonText.ReplaceAllFunc(body, func(quoted []byte) []byte {
		var text string
		if json.Unmarshal(quoted, &text) != nil { // a key
			return quoted
		}
		masked := scrub.Text(text)
		if masked == text {
			return quoted
		}
		out, _ := json.Marshal(masked) // a string always has JSON
		return out
	})
}
