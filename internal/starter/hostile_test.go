package starter

import (
	"testing"

	"github.com/northflank/prefect-northflank/internal/hostile"
)

func TestHostileInput(t *testing.T) {
	hostile.Test(t, hostile.Parser{Name: "Python files", Target: fuzzFlowsIn})
}
