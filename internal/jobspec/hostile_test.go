package jobspec

import (
	"testing"

	"github.com/northflank/prefect-northflank/internal/hostile"
)

func TestHostileInput(t *testing.T) {
	hostile.Test(
		t,
		// Each is made into nine jobs.
		hostile.Parser{Name: "names", Target: fuzzJobName, PerByte: 300},
		hostile.Parser{Name: "job variables", Target: fuzzBuild, PerByte: 200},
		hostile.Parser{Name: "stored templates", Target: fuzzUpgradeTemplate, PerByte: 200},
	)
}
