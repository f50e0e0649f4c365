package worker

import (
	"testing"

	"github.com/northflank/prefect-northflank/internal/hostile"
)

func TestHostileInput(t *testing.T) {
	hostile.Test(
		t,
		hostile.Parser{Name: "footprints", Target: fuzzFootprint},
		hostile.Parser{Name: "evidence", Target: fuzzEvidence, PerByte: 200},
	)
}
