package webhook_test

import (
	"testing"

	"github.com/northflank/prefect-northflank/internal/hostile"
)

func TestHostileInput(t *testing.T) {
	hostile.Test(t, hostile.Parser{Name: "notifications", Target: fuzzBody, Limit: maxBody})
}
