package validate_test

import (
	"testing"

	"github.com/northflank/prefect-northflank/internal/hostile"
)

func TestHostileInput(t *testing.T) {
	// Aliases of aliases unfold into a bounded number of values, twice.
	hostile.Test(t, hostile.Parser{Name: "prefect.yaml", Target: fuzzRun, AtAll: 64 << 20, PerByte: 700})
}
