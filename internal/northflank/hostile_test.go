package northflank

import (
	"net/http"
	"testing"

	"github.com/northflank/prefect-northflank/internal/hostile"
)

func TestHostileInput(t *testing.T) {
	hostile.Test(
		t,
		// Lists ask for one page after the other, and get the same.
		hostile.Parser{Name: "answers", Target: fuzzAnswers, Limit: maxAnswer, PerByte: 300},
		hostile.Parser{Name: "error bodies", Target: fuzzErrorBody, Limit: maxAnswer},
		hostile.Parser{Name: "headers", Target: fuzzHeaders, Limit: http.DefaultMaxHeaderBytes},
		hostile.Parser{Name: "frames of log sockets", Target: fuzzTailFrames, Limit: maxFrame},
		hostile.Parser{Name: "log lines", Target: fuzzLogLines, Limit: maxAnswer},
	)
}
