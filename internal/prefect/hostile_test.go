package prefect

import (
	"testing"

	"github.com/northflank/prefect-northflank/internal/hostile"
)

func TestHostileInput(t *testing.T) {
	hostile.Test(
		t,
		// One answer is given to each of 13 calls, and lists ask for more pages of it.
		// A full page of small things is read twice by each listing, before it is
		// known that it comes again.
		hostile.Parser{Name: "answers", Target: fuzzAnswers, Limit: maxAnswerBytes, AtAll: 16 << 20, PerByte: 300},
		hostile.Parser{Name: "channel frames", Target: fuzzParseChannelFrame, Limit: maxChannelFrame},
		hostile.Parser{Name: "event frames", Target: fuzzParseEvent, Limit: maxEventFrame},
		hostile.Parser{Name: "values of templates", Target: fuzzApplyValues, AtAll: 4 * maxExpansion},
		// A text of placeholders, built twice, looked through for their names.
		hostile.Parser{Name: "configurations", Target: fuzzBuildConfiguration, AtAll: 4 * maxExpansion, PerByte: 300},
		hostile.Parser{Name: "settings files", Target: fuzzLoadSettings, PerByte: 300},
		hostile.Parser{Name: "dotenv files", Target: fuzzParseDotenv, Limit: maxDotenvValue},
	)
}
